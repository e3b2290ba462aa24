"""Every language meets every other one, over each transport."""

import itertools
import os
import subprocess
import sys
import tempfile
import unittest

import mycelium
from tests.interop.peers import DIGEST
from tests.interop.peers import FOLDER
from tests.interop.peers import free_address
from tests.interop.peers import LANGUAGES
from tests.interop.peers import LONG
from tests.interop.peers import Peer
from tests.testdata.test_messages_pb2 import Note

# The transports that all of them have.
TRANSPORTS = ['shm', 'unix', 'grpc']
# One of these publishes to the other in the same process.
EMBEDDED = ['C++', 'Python']
COUNT = 10000
OTHER = bytes([2]) * 32


class InteropTest(unittest.TestCase):

  def setUp(self):
    folder = tempfile.TemporaryDirectory(prefix='io-', dir='/tmp')
    self.addCleanup(folder.cleanup)
    path = os.path.join(folder.name, 's')
    self.addresses = {'shm': path, 'unix': path, 'grpc': free_address()}
    self.peers = []
    self.addCleanup(lambda: [peer.kill() for peer in self.peers])

  def start(self, language, role, transport, **options):
    options.setdefault('count', COUNT)
    peer = Peer(
        language, role, transport, self.addresses[transport], **options)
    self.peers.append(peer)
    self.assertEqual(peer.line(), 'ready')
    return peer

  def expect(self, peer, *lines):
    for line in lines:
      self.assertEqual(peer.line(), line)

  def exchange(self, publishing, subscribing, transport):
    subscriber = self.start(subscribing, 'subscribe', transport)
    publisher = self.start(publishing, 'publish', transport)
    self.expect(subscriber, 'from 1', f'received {COUNT}')
    self.expect(publisher, 'matched', f'ledger {COUNT} 0 0 0 {transport}')
    self.assertEqual(subscriber.end(), [f'ledger 0 {COUNT} 0 0 {transport}'])
    self.assertEqual(publisher.end(), [])

  def refuse(self, publishing, subscribing, transport):
    """Both sides learn both digests."""
    subscriber = self.start(subscribing, 'subscribe', transport, digest=OTHER)
    publisher = self.start(publishing, 'publish', transport)
    for peer in (subscriber, publisher):
      line = peer.line()
      self.assertIn('error FAILED_PRECONDITION', line)
      self.assertIn(DIGEST.hex(), line)
      self.assertIn(OTHER.hex(), line)
    for peer in (subscriber, publisher):
      peer.end()

  def restart_subscriber(self, publishing, subscribing, transport):
    """The next process gets what the killed one had not handled."""
    half = COUNT // 2
    killed = self.start(subscribing, 'subscribe', transport, pause_at=half)
    publisher = self.start(publishing, 'publish', transport)
    self.expect(killed, 'from 1', f'at {half}')
    killed.kill()
    successor = self.start(subscribing, 'subscribe', transport)
    # Messages that the killed process had handled without saying so come again.
    first = int(successor.line().split()[1])
    self.assertLessEqual(first, half)
    self.expect(successor, f'received {COUNT}')
    self.expect(publisher, 'matched')
    self.expect(publisher, f'ledger {COUNT} 0 0 0 {transport}')
    self.assertEqual(
        successor.end(), [f'ledger 0 {COUNT - first + 1} 0 0 {transport}'])
    publisher.end()

  def restart_publisher(self, publishing, subscribing, transport):
    """The subscriber goes on with the next one."""
    half = COUNT // 2
    subscriber = self.start(subscribing, 'subscribe', transport)
    killed = self.start(publishing, 'publish', transport, count=half)
    # Half of the number that the subscriber waits for; all of them were
    # handled.
    self.expect(killed, 'matched', f'ledger {half} 0 0 0 {transport}')
    killed.kill()
    successor = self.start(publishing, 'publish', transport)
    self.expect(subscriber, 'from 1', 'from 1', f'received {COUNT}')
    self.expect(successor, 'matched', f'ledger {COUNT} 0 0 0 {transport}')
    self.assertEqual(
        subscriber.end(), [f'ledger 0 {COUNT + half} 0 0 {transport}'])
    successor.end()

  def kill_publisher(self, publishing, subscribing, transport):
    """What it put into shared memory arrives all the same."""
    half = COUNT // 2
    quarter = COUNT // 4
    subscriber = self.start(
        subscribing, 'subscribe', transport, pause_at=quarter)
    killed = self.start(
        publishing, 'publish', transport, count=half, pause_at=half)
    self.expect(killed, 'matched', f'at {half}')
    self.expect(subscriber, 'from 1', f'at {quarter}')
    killed.kill()
    subscriber.go_on()
    self.expect(subscriber, f'at {half}')
    successor = self.start(publishing, 'publish', transport)
    subscriber.go_on()
    self.expect(subscriber, 'from 1')
    for last in range(quarter, COUNT + 1, quarter):
      self.expect(subscriber, f'at {last}')
      subscriber.go_on()
    self.expect(subscriber, f'received {COUNT}')
    self.expect(successor, 'matched', f'ledger {COUNT} 0 0 0 {transport}')
    self.assertEqual(
        subscriber.end(), [f'ledger 0 {COUNT + half} 0 0 {transport}'])
    successor.end()


class EmbeddedTest(unittest.TestCase):
  """C++ and the Python inside it; see embedding_peer.cc."""

  def run_both(self, publishing, python_digest):
    """What they print, one line each."""
    done = subprocess.run(
        [os.path.join(FOLDER, 'embedding_peer'), publishing, DIGEST.hex(),
         python_digest.hex(), str(COUNT)],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
        stdout=subprocess.PIPE, timeout=LONG, encoding='utf-8', check=False)
    self.assertEqual(done.returncode, 0, done.stdout)
    return done.stdout.splitlines()

  def test_exchange_within_a_process(self):
    for publishing in EMBEDDED:
      with self.subTest(publishing):
        self.assertEqual(
            self.run_both(publishing, DIGEST),
            [f'received {COUNT}', f'ledger {COUNT} {COUNT} 0 0'])

  def test_refuse_within_a_process(self):
    for publishing in EMBEDDED:
      with self.subTest(publishing):
        *errors, ledger = self.run_both(publishing, OTHER)
        self.assertEqual(len(errors), 2, errors)  # Both sides.
        for error in errors:
          self.assertIn('error FAILED_PRECONDITION', error)
          self.assertIn(DIGEST.hex(), error)
          self.assertIn(OTHER.hex(), error)
        self.assertEqual(ledger, 'ledger 0 0 0 0')


LAWS = {
    'exchange': TRANSPORTS,
    'refuse': TRANSPORTS,
    'restart_subscriber': TRANSPORTS,
    'restart_publisher': TRANSPORTS,
    # Over a socket, messages that had not left the process are gone with it.
    'kill_publisher': ['shm'],
}


def add_tests():
  for law, transports in LAWS.items():
    for publishing, subscribing, transport in itertools.product(
        LANGUAGES, LANGUAGES, transports):

      def test(self, law=law, publishing=publishing, subscribing=subscribing,
               transport=transport):
        getattr(self, law)(publishing, subscribing, transport)

      name = f'test_{law}_{publishing}_to_{subscribing}_over_{transport}'
      setattr(InteropTest, name.replace('C++', 'cc').lower(), test)


add_tests()


def pairs_table():
  """The guide's table, made from the tests above."""
  rows = [['from \\ to', *LANGUAGES], ['---'] * (len(LANGUAGES) + 1)]
  for publishing in LANGUAGES:
    row = [publishing]
    for subscribing in LANGUAGES:
      embedded = (publishing != subscribing and
                  {publishing, subscribing} == set(EMBEDDED))
      row.append(', '.join(['inproc'] * embedded + TRANSPORTS))
    rows.append(row)
  lines = ['| ' + ' | '.join(row) + ' |' for row in rows]
  lines[1] = lines[1].replace(' ', '')
  return '\n'.join(lines)


class GuideTest(unittest.TestCase):

  def test_guide_names_the_pairs_that_are_tested(self):
    with open(os.environ['GUIDE'], encoding='utf-8') as guide:
      text = guide.read()
    shown = text.split('<!-- pairs -->\n')[1].split('\n<!-- /pairs -->')[0]
    self.assertEqual(shown, pairs_table())


class DigestTest(unittest.TestCase):

  def test_c_peer_has_the_digest_of_the_others(self):
    with open(os.environ['NOTE_DIGEST'], encoding='utf-8') as header:
      numbers = header.read().split('{')[1].split('}')[0].split(',')
    self.assertEqual(bytes(int(number, 16) for number in numbers if
                           number.strip()), mycelium.digest(Note))


if __name__ == '__main__':
  unittest.main()
