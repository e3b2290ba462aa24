"""What buses report besides messages: links, drops, publishers; and the log."""

import ctypes
import gc
import logging
import os
import queue
import sys
import threading
import unittest
import weakref

import mycelium
from python import bus_case
from python.bus_case import BUNDLED
from python.bus_case import BusCase
from python.bus_case import LONG
from tests.testdata import test_messages_pb2

Note = test_messages_pb2.Note
RECORDS_MAX = 1024  # How many records may wait; as in extension/log.h.


# The programs of the other processes.


def raise_on_a_note(topology, hook=lambda report: None):
  """A callback raises, which is logged."""
  sys.unraisablehook = hook

  def on_note(_):
    raise ValueError('not this one')

  bus = mycelium.MessageBus.from_topology(topology, 'asker')
  bus.subscribe(Note, on_note)
  bus.publisher(Note).publish(Note())


def log_at_the_end(topology):
  """Ends while one record is being written and another one waits."""
  entered, closed = threading.Event(), threading.Event()

  def emit(record):
    entered.set()
    closed.wait(LONG)
    print(record.levelname, record.getMessage(), flush=True)

  handler = logging.Handler()
  handler.emit = emit
  logging.getLogger('mycelium').addHandler(handler)
  sys.unraisablehook = lambda report: None
  bus = mycelium.MessageBus.from_topology(topology, 'asker')

  def on_note(note):
    raise ValueError(f'not {note.id}')

  def wait_for_the_end(notes):
    try:
      notes.recv(3600)
    except mycelium.FailedPrecondition:
      closed.set()

  bus.subscribe(Note, on_note)
  threading.Thread(target=wait_for_the_end, daemon=True, args=(
      bus.subscriber(Note, topic='other'),)).start()
  publisher = bus.publisher(Note)
  publisher.publish(Note(id=1))
  if not entered.wait(LONG):
    os._exit(1)
  publisher.publish(Note(id=2))


def log_in_a_forked_child(topology):
  """Parent and child log; the parent has also logged before it forks."""
  written = []
  handler = logging.Handler()
  handler.emit = lambda record: written.append(os.getpid())
  logging.getLogger('mycelium').addHandler(handler)
  sys.unraisablehook = lambda report: None
  for is_child in (False, True):
    if is_child:
      child = os.fork()
      if child:
        status = os.waitpid(child, 0)[1]
        print(os.waitstatus_to_exitcode(status), flush=True)
        return
    written.clear()
    with mycelium.MessageBus.from_topology(topology, 'asker') as bus:
      logged = threading.Event()
      handler.emit = lambda record: (written.append(os.getpid()), logged.set())

      def on_note(_):
        raise ValueError('not this one')

      bus.subscribe(Note, on_note)
      bus.publisher(Note).publish(Note())
      if not logged.wait(LONG):
        os._exit(1)
    if written != [os.getpid()]:
      os._exit(2)
  sys.exit(7)


def exit_with_a_link(topology):
  """Ends without closing; prints the events that it was told meanwhile."""
  up = threading.Event()

  def on_connection(event):
    print(event.state, flush=True)
    up.set()

  buses = [mycelium.MessageBus.from_topology(
      topology, 'asker', on_connection=on_connection)]
  buses.append(mycelium.MessageBus.from_topology(topology, 'answerer'))
  if not up.wait(LONG):
    os._exit(1)


def handler_that_raises(topology):
  """If a handler of logging raises, the record is on standard error."""

  def emit(record):
    raise OSError('the disk is full')

  handler = logging.Handler()
  handler.emit = emit
  logging.getLogger('mycelium').addHandler(handler)
  raise_on_a_note(
      topology, lambda report: print(report.exc_value, flush=True))


def log_without_threads(topology):
  """The first record comes when no thread can be started: see NoStacks."""
  bus = mycelium.MessageBus.from_topology(topology, 'asker')
  sys.unraisablehook = lambda report: None
  handler = logging.StreamHandler(sys.stdout)
  handler.setFormatter(logging.Formatter('%(levelname)s %(message)s'))
  logger = logging.getLogger('mycelium')
  logger.addHandler(handler)
  logger.propagate = False

  def on_note(note):
    raise ValueError(f'not {note.id}')

  bus.subscribe(Note, on_note)
  publisher = bus.publisher(Note)
  library = ctypes.CDLL(None)
  before = ctypes.create_string_buffer(64)  # A pthread_attr_t.
  huge = ctypes.create_string_buffer(64)
  assert library.pthread_getattr_default_np(before) == 0
  assert library.pthread_attr_init(huge) == 0
  assert library.pthread_attr_setstacksize(
      huge, ctypes.c_size_t(1 << 48)) == 0
  assert library.pthread_setattr_default_np(huge) == 0
  publisher.publish(Note(id=1))
  assert library.pthread_setattr_default_np(before) == 0
  publisher.publish(Note(id=2))


SCRIPTS = {
    function.__name__: function
    for function in (raise_on_a_note, log_at_the_end, log_in_a_forked_child,
                     exit_with_a_link, handler_that_raises,
                     log_without_threads)}


class EventCase(BusCase):

  def expect_unraisable(self):
    told = []
    hook, sys.unraisablehook = (
        sys.unraisablehook, lambda report: told.append(str(report.exc_value)))
    self.addCleanup(setattr, sys, 'unraisablehook', hook)
    return told

  def expect_state(self, events, state):
    while True:
      event = events.get(timeout=LONG)
      if event.state == state:
        return event


class ConnectionTest(EventCase):

  def test_links_that_come_and_go_are_told(self):
    events = queue.Queue()
    topology = self.topology(BUNDLED)
    asker = self.bus(topology, 'asker', on_connection=events.put)
    answerer = self.bus(topology, 'answerer')
    event = self.expect_state(events, 'connected')
    self.assertIsInstance(event, mycelium.ConnectionEvent)
    self.assertEqual((event.peer, event.error), ('right', None))
    self.assertIn(event.transport, ('shm', 'unix'))
    notes = answerer.subscriber(Note)
    publisher = asker.publisher_to('answerer', Note)
    publisher.wait_for_subscribers(1, LONG)
    publisher.publish(Note(id=1))
    self.assertEqual(notes.recv(LONG).id, 1)
    notes.finish()
    asker.flush(LONG)
    self.check_ledger(asker, answerer, accepted=1)
    answerer.close(LONG)
    self.assertEqual(self.expect_state(events, 'gone').peer, 'right')
    self.assertEqual(asker.callback_errors, 0)

  def test_refusal_says_why(self):
    events = queue.Queue()
    bus = mycelium.MessageBus(on_connection=events.put)
    self.addCleanup(bus.close, 0)
    bus.connect_tcp('192.0.2.1:1')  # In the clear, beyond this machine.
    event = self.expect_state(events, 'refused')
    self.assertEqual(event.transport, 'grpc')
    self.assertIsInstance(event.error, mycelium.FailedPrecondition)
    self.assertIn('insecure', str(event.error))

  def test_transports_tell_of_their_links(self):
    path = self.path('s')
    there, here = queue.Queue(), queue.Queue()
    tcp = mycelium.TcpTransport('localhost', 0, on_connection=there.put)
    for listen, connect in (
        (mycelium.UnixTransport(path, on_connection=there.put).listen,
         mycelium.UnixTransport(path, on_connection=here.put).connect),
        (lambda: mycelium.SharedMemoryTransport.create(
            path, on_connection=there.put),
         lambda: mycelium.SharedMemoryTransport.open(
             path, on_connection=here.put)),
        (tcp.listen,
         lambda: mycelium.TcpTransport(
             'localhost', tcp.port, on_connection=here.put).connect())):
      with listen():
        with connect():
          for events in (there, here):
            self.assertIsNone(self.expect_state(events, 'connected').error)
        self.expect_state(there, 'gone')

  def test_exception_is_reported_and_counted_and_the_next_event_comes(self):
    told = self.expect_unraisable()
    events = queue.Queue()

    def on_connection(event):
      events.put(event)
      raise ValueError(event.state)

    topology = self.topology(BUNDLED)
    asker = self.bus(topology, 'asker', on_connection=on_connection)
    answerer = self.bus(topology, 'answerer')
    self.expect_state(events, 'connected')
    answerer.close(LONG)
    self.expect_state(events, 'gone')
    asker.close(LONG)
    self.assertEqual(told[0], 'connected')
    self.assertIn('gone', told)
    self.assertEqual(asker.callback_errors, len(told))

  def test_callback_uses_the_bus_but_for_what_waits(self):
    events = queue.Queue()
    raised = queue.Queue()
    buses = queue.Queue()

    def on_connection(event):
      if event.state != 'connected':
        return
      bus = buses.get(timeout=LONG)
      for call in (lambda: bus.flush(1), bus.close):
        try:
          call()
        except mycelium.FailedPrecondition as error:
          raised.put(str(error))
      notes = bus.subscriber(Note)
      bus.publisher(Note).publish(Note(id=7))
      got = notes.recv_nowait().id
      notes.close()
      events.put((got, bus.links()[0]['peer']))

    topology = self.topology(BUNDLED)
    asker = self.bus(topology, 'asker', on_connection=on_connection)
    buses.put(asker)
    self.bus(topology, 'answerer')
    self.assertEqual(events.get(timeout=LONG), (7, 'right'))
    self.assertEqual(raised.qsize(), 2)
    self.assertIn('from a handler', raised.get())
    self.assertEqual(asker.callback_errors, 0)
    self.check_ledger(asker, accepted=1)

  def test_callback_runs_in_poll_where_the_caller_polls(self):
    threads = []
    topology = self.topology(BUNDLED)
    asker = self.bus(
        topology, 'asker', poll_by_caller=True,
        on_connection=lambda event: threads.append(threading.get_ident()))
    self.bus(topology, 'answerer')
    asker.wait_for_link(LONG)
    self.assertEqual(set(threads), {threading.get_ident()})

  def test_what_nobody_could_call_or_await_is_refused(self):
    async def on_event(event):
      del event

    for callback in (3, on_event):
      for name in ('on_connection', 'on_flow'):
        with self.assertRaises(TypeError):
          mycelium.MessageBus(**{name: callback})
      with mycelium.MessageBus() as bus, self.assertRaises(TypeError):
        bus.subscriber(Note, on_publisher_gone=callback)

  def test_cycle_of_bus_and_callback_is_garbage_in_the_end(self):
    buses = []

    def on_connection(event, buses=buses):
      del event, buses

    buses.append(mycelium.MessageBus(on_connection=on_connection))
    gone = weakref.ref(on_connection)
    del on_connection, buses
    gc.collect()
    self.assertIsNone(gone())


class FlowTest(EventCase):

  def test_drops_are_told(self):
    events = queue.Queue()
    bus = mycelium.MessageBus(on_flow=events.put)
    self.addCleanup(bus.close, 0)
    latest = bus.subscriber(Note, overflow='latest', depth=1)
    publisher = bus.publisher(Note)
    for number in range(3):
      publisher.publish(Note(id=number))
    event = events.get(timeout=LONG)
    self.assertIsInstance(event, mycelium.FlowEvent)
    self.assertEqual((event.kind, event.reason), ('dropped', 'overflow'))
    self.assertEqual(event.flow['topic'], 'mycelium.test.Note')
    self.assertEqual(event.messages, event.flow['dropped']['overflow'])
    self.assertEqual(latest.recv(LONG).id, 2)
    latest.finish()
    self.check_ledger(bus, accepted=3)


class ErrorTest(EventCase):

  def test_error_is_told_of_both_kinds_of_subscription(self):
    told = self.expect_unraisable()
    errors = []

    def on_error(error):
      errors.append(error)
      raise ValueError('no')

    bus = mycelium.MessageBus()
    self.addCleanup(bus.close, 0)
    pulled = bus.subscriber(Note, name='pulled', on_error=on_error)
    called = bus.subscribe(Note, lambda note: None, on_error=on_error)
    other = mycelium.RawType(Note.DESCRIPTOR.full_name, bytes(32))
    publisher = bus.publisher(other)
    self.assertEqual([type(error) for error in errors],
                     [mycelium.SchemaMismatch] * 2)
    self.assertEqual(errors[0].remote_digest, bytes(32))
    self.assertEqual(told, ['no', 'no'])
    self.assertEqual((pulled.callback_errors, called.callback_errors), (1, 1))
    with self.assertRaises(TypeError):
      bus.subscriber(Note, name='third', on_error=3)
    del publisher
    self.check_ledger(bus, accepted=0)


  def test_on_error_may_close_the_bus_where_a_publisher_is_made(self):
    bus = mycelium.MessageBus()
    self.addCleanup(bus.close, 0)
    closed = []

    def on_error(_):
      bus.flush(LONG)
      bus.close(LONG)
      closed.append(bus.closed)

    subscriber = bus.subscriber(Note, on_error=on_error)
    with self.assertRaisesRegex(mycelium.FailedPrecondition, 'shut down'):
      bus.publisher(mycelium.RawType(Note.DESCRIPTOR.full_name, bytes(32)))
    self.assertEqual(closed, [True])
    self.assertEqual(subscriber.callback_errors, 0)
    self.check_ledger(bus, accepted=0)


class PublisherGoneTest(EventCase):

  def test_publisher_that_is_gone_is_told(self):
    topology = self.topology(BUNDLED)
    asker = self.bus(topology, 'asker')
    answerer = self.bus(topology, 'answerer')
    told = self.expect_unraisable()
    events = queue.Queue()

    def on_gone(event):
      events.put(event)
      raise ValueError('no')

    pulled = answerer.subscriber(Note, name='pulled', on_publisher_gone=on_gone)
    called = answerer.subscribe(
        Note, lambda note: None, on_publisher_gone=on_gone)
    publisher = asker.publisher_to('answerer', Note)
    publisher.wait_for_subscribers(2, LONG)
    publisher.publish(Note(id=1))
    self.assertEqual(pulled.recv(LONG).id, 1)
    pulled.finish()
    asker.flush(LONG)
    self.check_ledger(asker, answerer, accepted=2)
    asker.close(LONG)
    for _ in range(2):
      self.assertEqual(
          events.get(timeout=LONG),
          mycelium.PublisherGone('left', 'asker', 'mycelium.test.Note'))
    answerer.close(LONG)
    self.assertEqual(told, ['no', 'no'])
    self.assertEqual((pulled.callback_errors, called.callback_errors), (1, 1))


class LogTest(EventCase):

  def handler(self, emit, *words):
    """Adds a handler for records with one of these words, until the test is
    over. Buses of earlier tests may still log."""
    handler = logging.Handler()
    handler.emit = emit
    handler.addFilter(
        lambda record: any(word in record.getMessage() for word in words))
    logger = logging.getLogger('mycelium')
    logger.addHandler(handler)
    logger.propagate = False
    self.addCleanup(setattr, logger, 'propagate', True)
    self.addCleanup(logger.removeHandler, handler)

  def failing(self, bus):
    """A publisher each of whose messages logs an error."""
    def on_note(note):
      raise ValueError(f'not {note.id}')

    self.expect_unraisable()
    bus.subscribe(Note, on_note)
    return bus.publisher(Note)

  def test_log_is_that_of_logging(self):
    records = queue.Queue()
    self.handler(records.put, 'not 5', 'other %s %d')
    bus = mycelium.MessageBus()
    self.addCleanup(bus.close, 0)
    self.failing(bus).publish(Note(id=5))
    record = records.get(timeout=LONG)
    self.assertEqual((record.name, record.levelno), ('mycelium', logging.ERROR))
    self.assertIn('not 5', record.getMessage())
    other = mycelium.RawType('other %s %d')  # Must not become a format.
    subscriber = bus.subscriber(other, overflow='latest', depth=1)
    for _ in range(2):
      bus.publisher(other).publish(b'x')
    record = records.get(timeout=LONG)
    self.assertEqual(record.levelno, logging.WARNING)
    self.assertIn('other %s %d', record.getMessage())
    self.assertIn('dropped: overflow', record.getMessage())
    subscriber.recv(LONG)
    subscriber.finish()
    self.check_ledger(bus, accepted=3)

  def test_handler_of_the_log_uses_the_bus(self):
    bus = mycelium.MessageBus()
    self.addCleanup(bus.close, 0)
    got = queue.Queue()

    def emit(record):
      lines = mycelium.RawType('lines')
      with bus.subscriber(lines) as subscriber:
        bus.publisher(lines).publish(record.getMessage().encode())
        got.put(bytes(subscriber.recv(LONG)))
        subscriber.finish()
        bus.flush(LONG)
      got.put('flushed')

    self.handler(emit, 'not 5')
    self.failing(bus).publish(Note(id=5))
    self.assertIn(b'not 5', got.get(timeout=LONG))
    self.assertEqual(got.get(timeout=LONG), 'flushed')
    self.check_ledger(bus, accepted=2)

  def test_more_than_may_wait_are_counted(self):
    bus = mycelium.MessageBus()
    self.addCleanup(bus.close, 0)
    lines = queue.Queue()
    entered = threading.Event()
    may_go_on = threading.Event()
    self.addCleanup(may_go_on.set)

    def emit(record):
      entered.set()
      may_go_on.wait(LONG)
      lines.put(record.getMessage())

    self.handler(emit, 'not ', 'records')
    publisher = self.failing(bus)
    publisher.publish(Note(id=0))
    self.assertTrue(entered.wait(LONG))
    for number in range(1, RECORDS_MAX + 1):  # All of these wait.
      publisher.publish(Note(id=number))
    for number in (98765, 98766):  # There is no room for these.
      publisher.publish(Note(id=number))
    may_go_on.set()
    for number in range(RECORDS_MAX + 1):
      self.assertTrue(lines.get(timeout=LONG).endswith(f'not {number}'))
    self.assertTrue(lines.get(timeout=LONG).startswith('2 records'))
    self.check_ledger(bus, accepted=RECORDS_MAX + 3)


class ProcessTest(BusCase):

  def run_script(self, function, text=bus_case.MONOLITH):
    status, output, errors = bus_case.finish(
        bus_case.start(__file__, function.__name__, self.topology(text)))
    self.assertEqual(status, 0, errors)
    return output, errors

  def test_errors_are_on_standard_error_if_nothing_is_configured(self):
    output, errors = self.run_script(raise_on_a_note)
    self.assertEqual(output, '')
    self.assertEqual(errors.count('not this one'), 1, errors)

  def test_last_record_is_written_before_the_process_ends(self):
    for _ in range(5):
      output, errors = self.run_script(log_at_the_end)
      self.assertRegex(output, '^ERROR .*not 1\nERROR .*not 2\n$')
      self.assertEqual(errors, '')

  def test_forked_child_logs(self):
    self.assertEqual(self.run_script(log_in_a_forked_child), ('7\n', ''))

  def test_log_goes_on_once_there_is_a_thread_for_it(self):
    output, errors = self.run_script(log_without_threads)
    self.assertRegex(output, '^ERROR .*not 2\n$')
    self.assertRegex(errors, 'not 1')  # There was no thread for it.

  def test_what_logging_does_not_take_is_on_standard_error(self):
    output, errors = self.run_script(handler_that_raises)
    self.assertIn('the disk is full', output)
    self.assertEqual(errors.count('not this one'), 1, errors)

  def test_process_ends_while_links_do(self):
    for _ in range(5):
      output, errors = self.run_script(exit_with_a_link, BUNDLED)
      self.assertTrue(output.startswith('connected\n'), output)
      self.assertNotIn('Traceback', errors)


if __name__ == '__main__':
  if sys.argv[1:2] and sys.argv[1] in SCRIPTS:
    SCRIPTS[sys.argv[1]](*sys.argv[2:])
  else:
    unittest.main()
