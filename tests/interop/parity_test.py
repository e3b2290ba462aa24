"""What the three languages can, as the table of the guide: each cell is run."""

import os
import tempfile
import unittest

from tests.interop.peers import free_address
from tests.interop.peers import LANGUAGES
from tests.interop.peers import Peer

COUNT = 1000
TWO_NODES = '''
[[nodes]]
name = "publish"
services = ["publish"]
{publish}
[[nodes]]
name = "subscribe"
services = ["subscribe"]
{subscribe}
'''
ONE_NODE = '''
[[nodes]]
name = "both"
services = ["publish", "subscribe"]
'''
UNIX_ROUTE = '''
[[routes]]
from = "publish"
to = "subscribe"
transport = "unix"
'''


def host_and_port():
  host, port = free_address().split(':')
  return f'host = "{host}"\nport = {port}'


def topology_for(transport):
  """A topology in which `publish` and `subscribe` meet over `transport`."""
  if transport == 'inproc':
    return ONE_NODE
  if transport == 'grpc':
    return TWO_NODES.format(
        publish=host_and_port(), subscribe=host_and_port())
  text = TWO_NODES.format(publish='', subscribe='')
  return text + UNIX_ROUTE if transport == 'unix' else text


# Scenario: how the two sides find each other, and the transports that they then
# use.
SCENARIOS = {
    'In one process': ('topology', ['inproc']),
    'Another process, same machine': ('by hand', ['shm', 'unix']),
    'Another machine': ('by hand', ['grpc']),
    'By topology': ('topology', ['inproc', 'shm', 'unix', 'grpc']),
}


class ParityTest(unittest.TestCase):

  def setUp(self):
    folder = tempfile.TemporaryDirectory(prefix='pa-', dir='/tmp')
    self.addCleanup(folder.cleanup)
    self.folder = folder.name

  def start(self, language, role, transport, address):
    peer = Peer(language, role, transport, address, count=COUNT)
    self.addCleanup(peer.kill)
    return peer

  def topology(self, transport):
    path = os.path.join(self.folder, f'{transport}.toml')
    with open(path, 'w', encoding='utf-8') as file:
      file.write(f'socket_dir = "{self.folder}"\n{topology_for(transport)}')
    return path

  def run_alone(self, language, topology):
    """One process is both sides; returns the transport that its ledger names."""
    lines = sorted(self.start(language, 'both', 'topology', topology).end())
    self.assertEqual(lines[0], 'from 1')
    *ledger, used = lines[1].split()
    self.assertEqual(ledger, ['ledger', f'{COUNT}', f'{COUNT}', '0', '0'])
    self.assertEqual(lines[2:], ['matched', f'received {COUNT}'])
    return used

  def run_two(self, language, transport, address):
    """Returns the transport that both ledgers name."""
    subscriber = self.start(language, 'subscribe', transport, address)
    self.assertEqual(subscriber.line(), 'ready')
    publisher = self.start(language, 'publish', transport, address)
    self.assertEqual([publisher.line(), publisher.line()], ['ready', 'matched'])
    self.assertEqual([subscriber.line(), subscriber.line()],
                     ['from 1', f'received {COUNT}'])
    *sent, used = publisher.line().split()
    self.assertEqual(sent, ['ledger', f'{COUNT}', '0', '0', '0'])
    self.assertEqual(
        subscriber.end(), [f'ledger 0 {COUNT} 0 0 {used}'])
    self.assertEqual(publisher.end(), [])
    return used

  def run_over(self, language, how, transport):
    if how == 'topology':
      topology = self.topology(transport)
      if transport == 'inproc':
        return self.run_alone(language, topology)
      return self.run_two(language, 'topology', topology)
    address = (free_address() if transport == 'grpc' else
               os.path.join(self.folder, f'{language}-{transport}'))
    return self.run_two(language, transport, address)

  def parity_table(self):
    rows = [['', *LANGUAGES, 'Parity']]
    for scenario, (how, transports) in SCENARIOS.items():
      used = {language: [self.run_over(language, how, transport)
                         for transport in transports]
              for language in LANGUAGES}
      wanted = set(used['C++'])
      least = min(len(wanted & set(words)) for words in used.values())
      rows.append([scenario, *(', '.join(words) for words in used.values()),
                   f'{100 * least // len(wanted)} %'])
    rows.insert(1, ['---'] * len(rows[0]))
    lines = ['| ' + ' | '.join(row) + ' |' for row in rows]
    lines[0] = lines[0].replace('|  |', '| |')
    lines[1] = lines[1].replace(' ', '')
    return '\n'.join(lines)

  def test_guide_has_the_table_of_what_was_run(self):
    table = self.parity_table()
    print(table)
    with open(os.environ['GUIDE'], encoding='utf-8') as guide:
      text = guide.read()
    shown = text.split('<!-- parity -->\n')[1].split('\n<!-- /parity -->')[0]
    self.assertEqual(shown, table)


if __name__ == '__main__':
  unittest.main()
