"""A process that is killed and started again under its name goes on."""

import subprocess
import sys
import unittest

import mycelium
from python import bus_case
from python.bus_case import BusCase
from python.bus_case import LONG
from tests.testdata import test_messages_pb2

Note = test_messages_pb2.Note


def end_of(way, address, **options):
  """One end of a transport."""
  kind, call = way.split('.')
  if kind == 'shm':
    make = getattr(mycelium.SharedMemoryTransport, call)
    return make(address, **options)
  if kind == 'unix':
    transport = mycelium.UnixTransport(address, **options)
  else:
    transport = mycelium.TcpTransport('localhost', int(address), **options)
  return getattr(transport, call)()


def receive(way, address, node, last):
  """Prints what it receives, up to the note `last`, which it does not finish."""
  transport = end_of(way, address, node=node)
  notes = transport.subscriber(Note)
  print('ready', flush=True)
  number = 0
  while number < int(last):
    number = notes.recv(LONG).id
    print(number, notes.info.redelivered, flush=True)
  if sys.stdin.readline():
    notes.finish()
    transport.close()


class RestartTest(BusCase):

  def start(self, *arguments):
    process = bus_case.start(
        __file__, *arguments, stdin=subprocess.PIPE)
    self.addCleanup(process.kill)
    return process

  def line(self, process):
    line = process.stdout.readline().strip()
    if not line:
      _, _, errors = bus_case.finish(process)
      self.fail(f'the other process has ended: {errors}')
    return line

  def read_until(self, process, last):
    got = []
    while not got or got[-1][0] != last:
      number, redelivered = self.line(process).split()
      got.append((int(number), redelivered == 'True'))
    return got

  def check(self, here, there, address, node):
    """A subscriber at the other end of `here` is killed and comes back."""
    patient = mycelium.Settings(retain=600)
    listens = here.split('.')[1] in ('listen', 'create')
    if listens:
      transport = end_of(here, address, settings=patient)
      if here == 'tcp.listen':
        address = str(transport.port)
    first = self.start(there, address, node, '2')
    self.line(first)
    if not listens:
      transport = end_of(here, address, settings=patient)
    with transport:
      notes = transport.publisher(Note)
      notes.wait_for_subscribers(1, LONG)
      for number in range(1, 6):
        notes.publish(Note(id=number))
      self.assertEqual(self.read_until(first, 2), [(1, False), (2, False)])
      first.kill()  # While it has not finished the second note.
      bus_case.finish(first)
      for number in range(6, 8):
        notes.publish(Note(id=number))
      second = self.start(there, address, node, '7')
      self.line(second)
      got = self.read_until(second, 7)
      # The publisher may not know yet that the first note was finished.
      self.assertIn(got[0], [(1, True), (2, True)])
      self.assertEqual([number for number, _ in got],
                       list(range(got[0][0], 8)))
      second.stdin.write('finish\n')
      second.stdin.flush()
      transport.flush(LONG)
      self.assertEqual(bus_case.finish(second)[0], 0)
      flow = self.flow(transport.bus.ledger(), 'mycelium.test.Note')
      self.assertEqual(flow['subscriber_node'], node or f'shm:{address}')
      self.assertEqual(
          (flow['accepted'], flow['in_flight'], sum(flow['dropped'].values())),
          (7, 0, 0))

  def test_opener_of_shared_memory(self):
    self.check('shm.create', 'shm.open', self.path('s'), 'worker')

  def test_creator_of_shared_memory_needs_no_name(self):
    self.check('shm.open', 'shm.create', self.path('s'), '')

  def test_who_connects_to_a_socket(self):
    self.check('unix.listen', 'unix.connect', self.path('s'), 'worker')

  def test_who_listens_at_a_socket(self):
    self.check('unix.connect', 'unix.listen', self.path('s'), 'worker')

  def test_who_connects_between_machines(self):
    self.check('tcp.listen', 'tcp.connect', '0', 'worker')


if __name__ == '__main__':
  if len(sys.argv) == 5:
    receive(*sys.argv[1:])
  else:
    unittest.main()
