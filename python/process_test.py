"""Processes: two over a socket, forked ones, interrupted ones, ending ones."""

from concurrent import futures
import contextlib
import gc
import math
import itertools
import multiprocessing
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import unittest

import mycelium
from python import bus_case
from python.bus_case import BUNDLED
from python.bus_case import BusCase
from python.bus_case import LONG
from tests.testdata import test_messages_pb2

Note = test_messages_pb2.Note
Reply = test_messages_pb2.Reply
BYTES = mycelium.RawType('bytes')
ONE = bytes([1]) * 32
OTHER = bytes([2]) * 32
ISSUE_CERTIFICATES = 'tests/support/issue_certificates'


# The programs of the other processes. Each prints a line once it is ready.


def echo(path, digest):
  """Answers each note until the peer is gone or stdin ends."""
  answer(mycelium.UnixTransport(path, bytes.fromhex(digest)).listen(), 'ready')


def echo_tcp(digest, folder=''):
  """As echo(), over TCP; encrypted with the files of a folder, if one is given."""
  tls = None if not folder else mycelium.Tls(
      certificate=f'{folder}/localhost.pem', key=f'{folder}/localhost.key',
      ca=f'{folder}/ca.pem', require_client_certificate=True)
  transport = mycelium.TcpTransport(
      'localhost', 0, bytes.fromhex(digest), tls=tls).listen()
  answer(transport, str(transport.port))


def answer(transport, ready):
  with transport:
    replies = transport.publisher(Reply)
    transport.subscribe(
        Note, lambda note: replies.publish(Reply(id=note.id)))
    print(ready, flush=True)
    try:
      replies.wait_for_subscribers(1, LONG)
      print('matched', flush=True)
    except mycelium.SchemaMismatch:
      print('refused', flush=True)
    sys.stdin.read()
    transport.flush(LONG)
    print(transport.bus.stats(), flush=True)


def interrupted_recv(topology):
  """Gets SIGINT while it waits, and prints that it noticed."""
  bus = mycelium.MessageBus.from_topology(topology, 'asker')
  notes = bus.subscriber(Note)
  try:
    print('ready', flush=True)
    notes.recv(timeout=3600)
  except KeyboardInterrupt:
    print('interrupted', flush=True)
  # The bus works as before.
  bus.publisher(Note).publish(Note(id=1))
  print(notes.recv(timeout=LONG).id, flush=True)


def interrupted_calls(topology):
  """As interrupted_recv(), for other calls that wait."""
  bus = mycelium.MessageBus.from_topology(topology, 'asker')
  notes = bus.subscriber(Note)
  bus.publisher(Note).publish(Note())
  notes.recv(LONG)  # Not finished: flush() waits.
  publisher = bus.publisher(Reply)
  for call in (lambda: bus.flush(3600),
               lambda: publisher.wait_for_subscribers(1, 3600),
               lambda: bus.wait_for_link(3600),
               lambda: bus.subscriber(Reply).recv_many(1, 3600)):
    try:
      print('ready', flush=True)
      call()
    except KeyboardInterrupt:
      print('interrupted', flush=True)


def fork_with_a_bus(topology):
  """The child may not use the bus, and ends cleanly; the parent goes on."""
  bus = mycelium.MessageBus.from_topology(topology, 'asker')
  publisher = bus.publisher(Note)
  notes = bus.subscriber(Note)
  bus.subscribe(Note, lambda note: None, name='other')
  child = os.fork()
  if child == 0:
    for call in (lambda: publisher.publish(Note()),
                 lambda: notes.recv(LONG), lambda: next(iter(notes)), bus.close,
                 bus.fileno,
                 lambda: mycelium.MessageBus(),
                 lambda: mycelium.MessageBus.from_topology(
                     topology, 'answerer')):
      try:
        call()
      except mycelium.FailedPrecondition as error:
        assert 'forked' in str(error), error
      else:
        os._exit(1)
    sys.exit(7)  # Through atexit and every destructor.
  assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
  publisher.publish(Note(id=5))
  print(notes.recv(LONG).id, flush=True)


def fork_with_a_message(topology):
  """The child may not use bytes of the parent's messages; an error says so."""
  asker = mycelium.MessageBus.from_topology(topology, 'asker')
  answerer = mycelium.MessageBus.from_topology(topology, 'answerer')
  images = answerer.subscriber(mycelium.RawType('images'))
  publisher = asker.publisher(mycelium.RawType('images'))
  publisher.wait_for_subscribers(1, LONG)
  publisher.publish(bytes(65536))
  image = images.recv(LONG)
  loan = publisher.loan(65536)
  for bus in (answerer, asker):  # From then on a fork is harmless.
    with contextlib.suppress(mycelium.DeadlineExceeded):
      bus.close(0)
  assert bytes(image) == bytes(65536)
  assert len(loan) == 65536
  child = os.fork()
  if child == 0:
    assert not image.valid
    for read in (lambda: bytes(image), lambda: len(image),
                 lambda: memoryview(image), lambda: bytes(loan),
                 lambda: len(loan), lambda: memoryview(loan)):
      try:
        read()
      except BufferError as error:
        assert 'forked' in str(error), error
      else:
        os._exit(1)
    with loan:
      assert not loan.in_place
    sys.exit(7)
  assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
  print(len(image), flush=True)


def fork_before_a_bus(topology):
  """Parent and child each open a bus after the fork."""
  mycelium.MessageBus().close()
  child = os.fork()
  service = 'asker' if child else 'answerer'
  with mycelium.MessageBus.from_topology(topology, service) as bus:
    if child:
      replies = bus.subscriber(Reply)
      notes = bus.publisher_to('answerer', Note)
      notes.wait_for_subscribers(1, LONG)
      notes.publish(Note(id=4))
      print(replies.recv(LONG).id, flush=True)
      replies.finish()
      assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    else:
      notes = bus.subscriber(Note)
      replies = bus.publisher_to('asker', Reply)
      replies.wait_for_subscribers(1, LONG)
      replies.publish(Reply(id=notes.recv(LONG).id))
      notes.finish()
      bus.flush(LONG)


def fork_with_a_subscription(topology):
  """The child may not unsubscribe; only the subscription keeps the bus."""
  bus = mycelium.MessageBus.from_topology(topology, 'asker')
  subscription = bus.subscribe(Note, lambda note: None, queued=True)
  del bus
  gc.collect()
  child = os.fork()
  if child == 0:
    try:
      subscription.unsubscribe()
    except mycelium.FailedPrecondition as error:
      assert 'forked' in str(error), error
    else:
      os._exit(1)
    sys.exit(7)
  print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def fork_with_a_closed_bus(topology):
  """The child may open buses of its own, and leaves the parent's alone."""
  bus = mycelium.MessageBus.from_topology(topology, 'asker')
  kept = [bus, bus.publisher(Note), bus.subscriber(Note),
          bus.subscribe(Note, lambda note: None, queued=True, name='other'),
          bus.publisher(BYTES).loan(10)]
  bus.close()
  child = os.fork()
  if child == 0:
    try:
      kept[1].publish(Note())
    except mycelium.FailedPrecondition as error:
      assert 'forked' not in str(error), error
    else:
      os._exit(1)
    with mycelium.MessageBus.from_topology(topology, 'asker') as bus:
      notes = bus.subscriber(Note)
      bus.publisher(Note).publish(Note(id=5))
      assert notes.recv(LONG).id == 5
      notes.finish()
    del bus, notes
    kept.clear()
    sys.exit(7)
  print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def start_worker(method, target, port):
  """Starts a process that leaves its bus open; prints its exit code."""
  worker = multiprocessing.get_context(method).Process(
      target=globals()[target], args=(int(port),))
  worker.start()
  worker.join()
  print(worker.exitcode, flush=True)


def publish_and_return(port):
  """Returns while a thread still publishes; another thread waits for work."""
  transport = mycelium.TcpTransport('localhost', port).connect(LONG)
  notes = transport.publisher(Note)
  notes.wait_for_subscribers(1, LONG)
  executor = futures.ThreadPoolExecutor(1)
  executor.submit(lambda: None)
  returning = threading.Event()

  def publish():
    returning.wait(LONG)
    for number in range(1000):
      notes.publish(Note(id=number))

  threading.Thread(target=publish).start()
  globals()['kept'] = [transport, notes, executor]
  returning.set()


def return_and_publish(port):
  """Opens the bus when the process ends already, and publishes after that."""

  def publish(notes):
    for number in range(1000):
      notes.publish(Note(id=number))

  def connect():
    threading.main_thread().join()  # Until it waits for the other threads.
    transport = mycelium.TcpTransport('localhost', port).connect(LONG)
    notes = transport.publisher(Note)
    notes.wait_for_subscribers(1, LONG)
    globals()['kept'] = [transport, notes]
    threading.Thread(target=publish, args=(notes,)).start()

  threading.Thread(target=connect).start()


def exit_under_fire(topology):
  """Ends while callbacks run on the threads of node, callback and publisher."""
  bus = mycelium.MessageBus.from_topology(topology, 'answerer')
  enough = threading.Semaphore(0)

  def on_note(_, info):
    if info.publisher_service == 'asker':
      enough.release()

  for number, queued in enumerate((False, True, True)):
    bus.subscribe(Note, on_note, with_info=True, queued=queued,
                  name=str(number))
  publisher = bus.publisher(Note)

  def flood():
    while True:
      try:
        publisher.publish(Note(text='x' * 100))
      except mycelium.MyceliumError:
        pass

  threading.Thread(target=flood, daemon=True).start()
  print('ready', flush=True)
  for _ in range(1000):
    enough.acquire()


def exit_with_subscriptions(topology):
  """Ends while callbacks run; only subscriptions keep the bus."""
  bus = mycelium.MessageBus.from_topology(topology, 'answerer')
  enough = threading.Semaphore(0)
  kept = [bus.subscribe(Note, lambda _: enough.release(), queued=queued,
                        name=str(number))
          for number, queued in enumerate((False, True, True))]
  del bus
  gc.collect()
  print('ready', flush=True)
  for _ in range(1000):
    enough.acquire()
  assert len(kept) == 3


def flood_peer(topology):
  """Publishes from another process until the subscribing process is gone."""
  bus = mycelium.MessageBus.from_topology(topology, 'asker')
  notes = bus.publisher_to('answerer', Note)
  notes.wait_for_subscribers(3, LONG)
  print('ready', flush=True)
  while True:
    try:
      notes.publish(Note(text='x' * 100))
    except mycelium.MyceliumError:
      return


def both_protobufs(order):
  """Imports grpcio, Python's protobuf and the extension, in that order."""
  for name in order.split(','):
    __import__(name)
  from google.protobuf.internal import api_implementation
  bus = mycelium.MessageBus()
  notes = bus.subscriber(Note)
  bus.publisher(Note).publish(Note(id=6, text='x'))
  print(notes.recv(LONG).id, api_implementation.Type(), flush=True)


SCRIPTS = {
    function.__name__: function
    for function in (echo, echo_tcp, interrupted_recv, interrupted_calls,
                     fork_with_a_bus, fork_with_a_message, fork_before_a_bus,
                     fork_with_a_subscription, fork_with_a_closed_bus,
                     start_worker, exit_under_fire, exit_with_subscriptions,
                     flood_peer, both_protobufs)}


class ProcessTest(BusCase):

  def start(self, function, *arguments, **options):
    process = bus_case.start(
        __file__, function.__name__, *arguments, **options)
    self.addCleanup(process.kill)
    return process

  def line(self, process):
    line = process.stdout.readline().strip()
    self.assertTrue(line, 'the other process has ended')
    return line

  def finish(self, process):
    status, output, errors = bus_case.finish(process)
    self.assertEqual((status, errors), (0, ''), output)
    return output

  # Two processes

  def test_two_processes_without_a_topology(self):
    path = self.path('worker.sock')
    worker = self.start(echo, path, ONE.hex(), stdin=subprocess.PIPE)
    self.line(worker)
    transport = mycelium.UnixTransport(path, schema_digest=ONE)
    self.assertEqual(self.ask(worker, transport), ('', ''))

  def ask(self, worker, transport):
    """A hundred notes and their answers, and the ledgers of both.

    Returns the output and the errors of the other one.
    """
    with transport.connect():
      replies = transport.subscriber(Reply)
      notes = transport.publisher(Note)
      notes.wait_for_subscribers(1, LONG)
      self.assertEqual(self.line(worker), 'matched')
      got = []
      for number in range(100):
        notes.publish(Note(id=number))
        got.append(replies.recv(LONG).id)
      replies.finish()
      self.assertEqual(got, list(range(100)))
      transport.flush(LONG)
      worker.stdin.close()
      worker.stdin = None
      theirs = self.line(worker)
      ours = transport.bus.stats()
    self.assertEqual(ours, {'accepted': 100, 'delivered': 100,
                            'in_flight': 0, 'dropped': 0})
    self.assertEqual(theirs, str(ours))
    status, output, errors = bus_case.finish(worker)
    self.assertEqual(status, 0, errors)
    return output, errors

  def test_two_processes_over_tcp(self):
    worker = self.start(echo_tcp, ONE.hex(), stdin=subprocess.PIPE)
    port = int(self.line(worker))
    transport = mycelium.TcpTransport('localhost', port, ONE)
    self.assertEqual(self.ask(worker, transport), ('', ''))

  def test_two_processes_over_tls(self):
    subprocess.run([ISSUE_CERTIFICATES, self.folder, 'localhost'], check=True)
    worker = self.start(
        echo_tcp, ONE.hex(), self.folder, stdin=subprocess.PIPE)
    port = int(self.line(worker))
    shows = {'certificate': pathlib.Path(self.path('localhost.pem')),
             'key': self.path('localhost.key')}
    closes = 'Socket closed|reset by peer'  # Which is all that a listener says.
    # Without TLS; without a CA; without a certificate.
    for tls, told in ((None, closes),
                      (mycelium.Tls(**shows), 'certificate verify failed'),
                      (mycelium.Tls(ca=self.path('ca.pem')), closes)):
      with self.subTest(tls=tls):
        with mycelium.TcpTransport(
            'localhost', port, ONE, tls=tls).connect(0) as transport:
          self.expect_no_link(transport.bus, told)
    # gRPC has logged what it refused.
    self.ask(worker, mycelium.TcpTransport(
        'localhost', port, ONE,
        tls=mycelium.Tls(ca=self.path('ca.pem'), **shows)))

  def expect_no_link(self, bus, told):
    """No link comes up, for a reason that `told` describes."""
    deadline = time.monotonic() + LONG
    why = ''
    while not re.search(told, why) and time.monotonic() < deadline:
      with self.assertRaises(mycelium.DeadlineExceeded) as late:
        bus.wait_for_link(0.05)
      why = str(late.exception)
    self.assertRegex(why, told)

  def test_tcp_in_the_clear_is_refused_beyond_this_machine(self):
    for begin in (mycelium.TcpTransport('0.0.0.0', 0).listen,
                  mycelium.TcpTransport('192.0.2.1', 1).connect):
      with self.assertRaisesRegex(mycelium.FailedPrecondition, 'insecure'):
        begin()
    with mycelium.TcpTransport('0.0.0.0', 0, insecure=True).listen():
      pass

  def test_tls_that_is_not_enough_is_refused(self):
    for tls, told in ((mycelium.Tls(certificate='c.pem'), 'key'),
                      (mycelium.Tls('no.pem', 'no.key'), 'no.pem')):
      with self.assertRaisesRegex(mycelium.InvalidArgument, told):
        mycelium.TcpTransport('localhost', 0, tls=tls).listen()

  def test_port_that_is_taken_is_told(self):
    with mycelium.TcpTransport('::1', 0).listen() as transport:
      self.assertEqual(str(transport), f'tcp transport at [::1]:{transport.port}')
      with self.assertRaisesRegex(mycelium.AlreadyExists, str(transport.port)):
        mycelium.TcpTransport('::1', transport.port).listen()

  def test_other_digest_is_a_schema_mismatch(self):
    path = self.path('worker.sock')
    worker = self.start(echo, path, ONE.hex(), stdin=subprocess.PIPE)
    self.line(worker)
    with mycelium.UnixTransport(path, OTHER).connect() as transport:
      with self.assertRaises(mycelium.SchemaMismatch) as raised:
        transport.publisher(Note).wait_for_subscribers(1, LONG)
      self.assertEqual(raised.exception.local_digest, OTHER)
      self.assertEqual(raised.exception.remote_digest, ONE)
      replies = transport.subscriber(Reply)  # For the other side to refuse.
      self.assertEqual(self.line(worker), 'refused')
      del replies
    worker.stdin.close()
    worker.stdin = None
    status, _, errors = bus_case.finish(worker)
    self.assertEqual(status, 0)
    self.assertIn(OTHER.hex(), errors)  # The other side logged it.

  def test_connecting_to_nobody_is_unavailable(self):
    path = self.path('nobody.sock')
    with self.assertRaisesRegex(mycelium.Unavailable, 'nobody.sock'):
      mycelium.UnixTransport(path).connect(timeout=0.05)

  def test_timeout_of_connect_that_is_out_of_bounds_is_refused(self):
    for transport in (mycelium.UnixTransport(self.path('nobody.sock')),
                      mycelium.TcpTransport('localhost', 1)):
      for timeout in (-1, math.nan, math.inf):
        with self.assertRaisesRegex(mycelium.InvalidArgument, 'to one year'):
          transport.connect(timeout)
      with transport.connect(0):  # Does not wait.
        self.assertFalse(any(link['is_up'] for link in transport.bus.links()))

  def test_transport_must_be_opened_first_and_once(self):
    transport = mycelium.UnixTransport(self.path('s'))
    with self.assertRaisesRegex(mycelium.FailedPrecondition, 'listen'):
      transport.publisher(Note)
    with transport.listen():
      with self.assertRaises(mycelium.FailedPrecondition):
        transport.connect()
    with transport.listen():  # It was closed.
      pass
    transport.close()

  def test_callback_that_closes_its_transport_leaves_it_open(self):
    path = self.path('s')
    refused = []

    with mycelium.UnixTransport(path).listen() as worker:
      def on_note(_):
        try:
          worker.close()
        except mycelium.FailedPrecondition as error:
          refused.append(str(error))

      worker.subscribe(Note, on_note)
      with mycelium.UnixTransport(path).connect() as transport:
        publisher = transport.publisher(Note)
        publisher.wait_for_subscribers(1, LONG)
        publisher.publish(Note())
        transport.flush(LONG)
        self.check_ledger(transport.bus, worker.bus, accepted=1)
      bus = worker.bus
      self.assertFalse(bus.closed)
    self.assertEqual(len(refused), 1)
    self.assertTrue(bus.closed)

  # Interrupts

  def test_ctrl_c_ends_recv(self):
    process = self.start(interrupted_recv, self.topology())
    self.line(process)
    process.send_signal(signal.SIGINT)
    self.assertEqual(self.line(process), 'interrupted')
    self.assertEqual(self.line(process), '1')
    self.finish(process)

  def test_ctrl_c_ends_every_call_that_waits(self):
    process = self.start(interrupted_calls, self.topology())
    for _ in range(4):
      self.assertEqual(self.line(process), 'ready')
      process.send_signal(signal.SIGINT)
      self.assertEqual(self.line(process), 'interrupted')
    self.finish(process)

  def test_handler_of_a_signal_runs_while_recv_waits(self):
    notes = self.bus(self.topology(), 'asker').subscriber(Note)
    handled = []

    def on_signal(*_):
      handled.append(time.monotonic())

    previous = signal.signal(signal.SIGALRM, on_signal)
    self.addCleanup(signal.signal, signal.SIGALRM, previous)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    begin = time.monotonic()
    with self.assertRaisesRegex(mycelium.DeadlineExceeded, 'within 1s'):
      notes.recv(timeout=1)
    self.assertEqual(len(handled), 1)
    self.assertLess(handled[0] - begin, 0.9)

  # Forks

  def test_forked_child_gets_an_error_and_ends(self):
    output = self.finish(self.start(fork_with_a_bus, self.topology()))
    self.assertEqual(output, '5\n')

  def test_forked_child_is_told_that_a_message_is_not_its_own(self):
    output = self.finish(self.start(fork_with_a_message, self.topology(BUNDLED)))
    self.assertEqual(output, '65536\n')

  def test_fork_before_the_first_bus_works(self):
    output = self.finish(self.start(fork_before_a_bus, self.topology(BUNDLED)))
    self.assertEqual(output, '4\n')

  def test_kept_subscription_makes_a_fork_an_error(self):
    output = self.finish(
        self.start(fork_with_a_subscription, self.topology()))
    self.assertEqual(output, '7\n')

  def test_fork_after_the_last_bus_was_closed_works(self):
    output = self.finish(self.start(fork_with_a_closed_bus, self.topology()))
    self.assertEqual(output, '7\n')

  # Ends

  def test_buses_of_multiprocessing_are_closed_when_their_process_ends(self):
    for method, target in itertools.product(
        ('fork', 'forkserver', 'spawn'),
        ('publish_and_return', 'return_and_publish')):
      with self.subTest(method=method, target=target):
        events = queue.Queue()
        ids = []
        with mycelium.TcpTransport(
            'localhost', 0, on_connection=events.put).listen() as transport:
          transport.subscribe(Note, lambda note, ids=ids: ids.append(note.id))
          output = self.finish(
              self.start(start_worker, method, target, str(transport.port)))
          states = [events.get(timeout=LONG).state for _ in range(2)]
        self.assertEqual(output, '0\n')
        self.assertEqual(states, ['connected', 'gone'])
        self.assertEqual(ids, list(range(1000)))

  def test_process_ends_while_callbacks_run(self):
    self.expect_end_under_fire(exit_under_fire)

  def test_process_ends_while_callbacks_run_that_alone_are_kept(self):
    self.expect_end_under_fire(exit_with_subscriptions)

  def expect_end_under_fire(self, function):
    topology = self.topology(BUNDLED)
    for _ in range(5):
      ending = self.start(function, topology)
      self.line(ending)
      flooding = self.start(flood_peer, topology)
      self.line(flooding)
      for process in (ending, flooding):
        status, _, errors = bus_case.finish(process)
        self.assertEqual(status, 0, errors)
        # Drops are logged and, on a busy machine, publishers that waited in vain.
        for line in errors.splitlines():
          self.assertRegex(line, 'messages dropped: |waited for room in vain')

  # Other extensions

  def test_extension_loads_beside_protobuf_and_grpc(self):
    modules = ['mycelium', 'google.protobuf.message', 'grpc']
    for implementation in ('cpp', 'python'):
      for order in (modules, modules[::-1]):
        output = self.finish(self.start(
            both_protobufs, ','.join(order),
            env={'PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION': implementation}))
        self.assertEqual(output, f'6 {implementation}\n')


if __name__ == '__main__':
  if sys.argv[1:2] and sys.argv[1] in SCRIPTS:
    SCRIPTS[sys.argv[1]](*sys.argv[2:])
  else:
    unittest.main()
