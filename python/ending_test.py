"""Closing and exit while a callback does not return."""

import gc
import os
import queue
import signal
import socket
import sys
import threading
import time
import unittest
import unittest.mock
import weakref

import mycelium
import mycelium_native
from mycelium import ending
from python import bus_case
from python.bus_case import BUNDLED
from python.bus_case import BusCase
from python.bus_case import LONG
from tests.testdata import test_messages_pb2

Note = test_messages_pb2.Note


class Stuck:
  """A callback that is told when to return."""

  def __init__(self):
    self.entered = threading.Event()
    self.may_return = threading.Event()
    self.returned = []

  def __call__(self, note):
    self.stand()
    self.returned.append(note.id)

  def stand(self, *_):
    self.entered.set()
    self.may_return.wait(LONG)


def in_thread(function, *arguments):
  """Runs it in a thread; returns that, and a list for its result or exception."""
  outcome = []

  def run():
    try:
      outcome.append(function(*arguments))
    except mycelium.MyceliumError as error:
      outcome.append(error)

  thread = threading.Thread(target=run, daemon=True)
  thread.start()
  return thread, outcome


class StuckCallbackTest(BusCase):

  def stuck(self):
    stuck = Stuck()
    self.addCleanup(stuck.may_return.set)
    return stuck

  def raise_in(self, function, before=lambda: None, has_begun=lambda: True):
    """A signal handler calls `before`, and raises, inside of that function."""

    def on_signal(_, frame):
      # Otherwise the signal comes again.
      if frame.f_code.co_name == function and has_begun():
        signal.setitimer(signal.ITIMER_REAL, 0)
        before()
        raise InterruptedError

    previous = signal.signal(signal.SIGALRM, on_signal)
    self.addCleanup(signal.signal, signal.SIGALRM, previous)
    self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)

  def expect_late(self, close):
    thread, outcome = in_thread(close, 0.01)
    thread.join(LONG / 2)
    self.assertFalse(thread.is_alive(), 'close() waits without a deadline')
    self.assertIsInstance(outcome[0], mycelium.DeadlineExceeded)

  def test_unsubscribe_waits_no_longer_than_it_is_told(self):
    stuck = self.stuck()
    bus = self.bus(self.topology(BUNDLED), 'answerer')
    subscription = bus.subscribe(Note, stuck, queued=True)
    publisher = bus.publisher(Note)
    publisher.publish(Note(id=1))
    self.assertTrue(stuck.entered.wait(LONG))
    publisher.publish(Note(id=2))
    self.expect_late(subscription.unsubscribe)
    self.assertEqual(stuck.returned, [])
    stuck.may_return.set()
    subscription.unsubscribe(LONG)
    self.assertEqual(stuck.returned, [1])
    subscription.unsubscribe(0)
    self.check_ledger(bus, accepted=2)
    self.assertEqual(bus.stats()['dropped'], 1)

  def test_late_unsubscribe_lets_go_of_the_callback(self):
    stuck = self.stuck()
    bus = self.bus(self.topology(BUNDLED), 'answerer')
    gone = threading.Event()

    def on_note(note):
      stuck(note)

    weakref.finalize(on_note, gone.set)
    subscription = bus.subscribe(Note, on_note, queued=True)
    del on_note
    publisher = bus.publisher(Note)
    publisher.publish(Note(id=1))
    self.assertTrue(stuck.entered.wait(LONG))
    self.expect_late(subscription.unsubscribe)
    del subscription
    gc.collect()  # Of the exception, which refers to it.
    self.assertFalse(gone.is_set())
    stuck.may_return.set()
    self.assertTrue(gone.wait(LONG))
    self.assertEqual(stuck.returned, [1])
    bus.flush(LONG)
    self.check_ledger(bus, accepted=1)

  def expect_late_and_the_rest_counted(self, answerer, asker, stuck, **options):
    subscription = answerer.subscribe(Note, stuck, **options)
    publisher = asker.publisher(Note)
    publishing, _ = in_thread(publisher.publish, Note(id=1))
    self.assertTrue(stuck.entered.wait(LONG))
    self.expect_late(answerer.close)
    # A caller can wait until the callback has returned.
    waiting, _ = in_thread(subscription.unsubscribe)
    self.assertEqual(stuck.returned, [])
    stuck.may_return.set()
    waiting.join(LONG)
    self.assertEqual(stuck.returned, [1])
    publishing.join(LONG)
    publisher.publish(Note(id=2))  # To nobody.
    asker.flush(LONG)

  def test_close_ends_by_its_deadline_while_a_queued_callback_runs(self):
    asker, answerer = self.pair()
    self.expect_late_and_the_rest_counted(
        answerer, asker, self.stuck(), queued=True)
    self.check_ledger(asker, accepted=2)

  def test_close_ends_by_its_deadline_while_a_publisher_runs_the_callback(self):
    asker, answerer = self.pair()
    self.expect_late_and_the_rest_counted(answerer, asker, self.stuck())
    self.check_ledger(asker, accepted=2)

  def test_stuck_callback_is_waited_for_once_and_not_for_each_address(self):
    count = 20
    stuck = self.stuck()
    listening, dialling = mycelium.MessageBus(), mycelium.MessageBus()
    paths = [self.path(str(number)) for number in range(count)]
    for path in paths:
      listening.listen_unix(path)
    dialling.connect_unix(paths[0])
    subscription = listening.subscribe(Note, stuck)
    publisher = dialling.publisher(Note)
    publisher.wait_for_subscribers(1, LONG)
    publisher.publish(Note(id=1))
    self.assertTrue(stuck.entered.wait(LONG))
    begin = time.monotonic()
    with self.assertRaisesRegex(mycelium.DeadlineExceeded, 'is busy'):
      listening.stop_listening(paths[1])
    with self.assertRaises(mycelium.DeadlineExceeded):
      listening.close(0.01)
    self.assertLess(time.monotonic() - begin, count / 2)
    stuck.may_return.set()
    subscription.unsubscribe(LONG)
    dialling.flush(LONG)
    flow = self.flow(dialling.ledger(), 'mycelium.test.Note')
    self.assertEqual((flow['accepted'], flow['in_flight']), (1, 0))
    self.assertEqual(sum(flow['dropped'].values()), 0)
    self.assertEqual(stuck.returned, [1])
    dialling.close(LONG)

  def test_close_ends_by_its_deadline_while_the_node_runs_the_callback(self):
    topology = self.topology(BUNDLED)
    asker = self.bus(topology, 'asker')
    answerer = mycelium.MessageBus.from_topology(topology, 'answerer')
    stuck = self.stuck()
    subscription = answerer.subscribe(Note, stuck)
    publisher = asker.publisher_to('answerer', Note)
    publisher.wait_for_subscribers(1, LONG)
    publisher.publish(Note(id=1))
    self.assertTrue(stuck.entered.wait(LONG))
    self.expect_late(answerer.close)
    # Nor does dropping the last reference wait for it.
    kept = [answerer, subscription]
    del answerer, subscription
    dropping, _ = in_thread(kept.clear)
    dropping.join(LONG / 2)
    self.assertFalse(dropping.is_alive())
    stuck.may_return.set()
    asker.flush(LONG)  # The other node says last that it was handled.
    flow = self.flow(asker.ledger(), 'mycelium.test.Note')
    self.assertEqual((flow['accepted'], flow['in_flight']), (1, 0))
    self.assertEqual(sum(flow['dropped'].values()), 0)

  def test_leaving_the_block_of_a_subscription_can_be_interrupted(self):
    asker, answerer = self.pair()
    stuck = self.stuck()
    subscription = answerer.subscribe(Note, stuck, queued=True)
    asker.publisher(Note).publish(Note(id=1))
    self.assertTrue(stuck.entered.wait(LONG))

    self.raise_in('unsubscribe')
    helper = threading.Timer(LONG / 2, stuck.may_return.set)  # Not for ever.
    helper.start()
    self.addCleanup(helper.cancel)
    with self.assertRaises(InterruptedError):
      with subscription:
        pass
    self.assertEqual(stuck.returned, [])
    stuck.may_return.set()
    subscription.unsubscribe()
    self.assertEqual(stuck.returned, [1])
    self.check_ledger(asker, accepted=1)

  def test_callbacks_may_unsubscribe_each_other(self):
    asker, answerer = self.pair()
    inside = threading.Barrier(2)
    over = threading.Semaphore(0)
    subscriptions = []

    def end_both(_):
      inside.wait(LONG)
      for subscription in subscriptions:
        subscription.unsubscribe()
      over.release()

    subscriptions += [
        answerer.subscribe(Note, end_both, queued=True, name=name)
        for name in ('one', 'two')]
    asker.publisher(Note).publish(Note())
    for _ in subscriptions:
      self.assertTrue(over.acquire(timeout=LONG))
    for subscription in subscriptions:
      subscription.unsubscribe(LONG)
      self.assertEqual(subscription.callback_errors, 0)
    self.check_ledger(asker, accepted=2)

  def expect_closed_by_a_signal(self, end, before=lambda _: None):
    asker, answerer = self.pair()
    stuck = self.stuck()
    subscription = answerer.subscribe(Note, stuck, queued=True)
    publisher = asker.publisher(Note)
    publisher.publish(Note(id=1))
    self.assertTrue(stuck.entered.wait(LONG))
    publisher.publish(Note(id=2))

    def has_begun():
      try:
        answerer.publisher(Note)
      except mycelium.FailedPrecondition:
        return True
      return False

    self.raise_in('_end', lambda: before(answerer), has_begun)
    began = time.monotonic()
    with self.assertRaises(InterruptedError):
      end(answerer)
    self.assertLess(time.monotonic() - began, LONG / 2)
    self.assertTrue(answerer.closed)
    self.assertEqual(stuck.returned, [])
    self.assertNotIn(answerer, ending.open_buses)
    stuck.may_return.set()
    subscription.unsubscribe(LONG)
    self.assertEqual(stuck.returned, [1])
    self.check_ledger(asker, accepted=2)
    self.assertEqual(asker.stats()['dropped'], 1)

  def test_closing_can_be_interrupted(self):
    self.expect_closed_by_a_signal(lambda bus: bus.close(LONG))

  def test_shutting_down_can_be_interrupted(self):
    self.expect_closed_by_a_signal(lambda bus: bus.shutdown(LONG))

  def test_signal_handler_may_close_what_it_interrupts_the_closing_of(self):
    def close_again(bus):
      bus.close(LONG)
      self.assertFalse(bus.closed)

    self.expect_closed_by_a_signal(lambda bus: bus.close(LONG), close_again)

  def test_closing_that_was_not_begun_is_not_done_by_a_wrong_timeout(self):
    asker, answerer = self.pair()
    inbox = answerer.subscriber(Note)
    with self.assertRaises(mycelium.InvalidArgument):
      answerer.close(float('nan'))
    self.assertFalse(answerer.closed)
    asker.publisher(Note).publish(Note(id=1))
    self.assertEqual(inbox.recv(LONG).id, 1)
    inbox.finish()
    self.check_ledger(asker, accepted=1)

  def test_closing_of_a_runtime_can_be_interrupted(self):
    one = mycelium_native.Runtime()
    two = mycelium_native.Runtime()
    self.addCleanup(one.close, 0)
    stuck = self.stuck()
    one.subscribe(Note, stuck, queued=True)
    two.publish(Note(id=1))
    self.assertTrue(stuck.entered.wait(LONG))
    self.raise_in('close')
    began = time.monotonic()
    with self.assertRaises(InterruptedError):
      two.close(LONG)
    self.assertLess(time.monotonic() - began, LONG / 2)
    stuck.may_return.set()
    one.flush(LONG)
    self.expect_one_delivered(one.ledger(), two.service)

  def expect_late_runtime(self, queued):
    one = mycelium_native.Runtime()
    two = mycelium_native.Runtime()
    self.addCleanup(one.close, 0)
    stuck = self.stuck()
    two.subscribe(Note, stuck, queued=queued)
    publishing, _ = in_thread(one.publish, Note(id=1))
    self.assertTrue(stuck.entered.wait(LONG))
    self.expect_late(two.close)
    stuck.may_return.set()
    publishing.join(LONG)
    one.flush(LONG)
    self.expect_one_delivered(one.ledger(), one.service)

  def expect_one_delivered(self, ledger, publisher):
    # The node may be that of an earlier test, until a callback of that ends.
    flow, = (flow for flow in ledger if flow['publisher_service'] == publisher)
    self.assertEqual((flow['accepted'], flow['delivered'], flow['in_flight']),
                     (1, 1, 0))

  def test_name_is_free_where_closing_was_too_late(self):
    worker = mycelium_native.Runtime(service_name='worker')
    other = mycelium_native.Runtime()
    self.addCleanup(other.close, LONG)
    stuck = self.stuck()
    other.subscribe(Note, stuck, queued=True)
    worker.publish(Note(id=1))
    self.assertTrue(stuck.entered.wait(LONG))
    try:
      worker.close(0.01)
      self.fail('the message was not handled')
    except mycelium.DeadlineExceeded:  # Its traceback keeps objects alive.
      again = mycelium_native.Runtime(service_name='worker')
    self.addCleanup(again.close, LONG)
    stuck.may_return.set()
    other.flush(LONG)
    self.expect_one_delivered(other.ledger(), 'worker')

  def test_runtime_closes_by_its_deadline_while_a_queued_callback_runs(self):
    self.expect_late_runtime(queued=True)

  def test_runtime_closes_by_its_deadline_while_a_publisher_is_in_it(self):
    self.expect_late_runtime(queued=False)


  def test_runtime_closes_by_its_deadline_while_another_callback_runs(self):
    topology = self.topology(BUNDLED)
    asker = self.bus(topology, 'asker')
    runtime = mycelium_native.Runtime(
        topology_path=topology, service_name='answerer')
    stuck = self.stuck()
    runtime.subscribe(Note, lambda note: None, on_publisher_gone=stuck.stand)
    publisher = asker.publisher(Note)
    publisher.wait_for_subscribers(1, LONG)
    publisher.publish(Note(id=1))
    asker.flush(LONG)
    flow = self.flow(asker.ledger(), 'mycelium.test.Note')
    self.assertEqual((flow['accepted'], flow['in_flight']), (1, 0))
    self.assertEqual(sum(flow['dropped'].values()), 0)
    asker.close(LONG)
    self.assertTrue(stuck.entered.wait(LONG))
    self.expect_late(runtime.close)
    dropping, _ = in_thread([runtime].clear)
    del runtime
    dropping.join(LONG / 2)
    self.assertFalse(dropping.is_alive())


class WaitForLinkTest(BusCase):

  def test_who_comes_in_vain_does_not_end_it(self):
    refused = queue.Queue()
    bus = mycelium.MessageBus(on_connection=refused.put)
    self.addCleanup(bus.close, 0)
    path = self.path('a.sock')
    bus.listen_unix(path)
    with socket.socket(socket.AF_UNIX) as nobody:
      nobody.connect(path)
    self.assertEqual(refused.get(timeout=LONG).state, 'refused')
    with self.assertRaises(mycelium.DeadlineExceeded):
      bus.wait_for_link(0)
    waiting, outcome = in_thread(bus.wait_for_link, LONG)
    other = mycelium.MessageBus()
    self.addCleanup(other.close, 0)
    other.connect_unix(path)
    waiting.join(LONG)
    self.assertEqual(outcome, [None])
    other.wait_for_link(LONG)

  def test_refusal_of_who_was_asked_is_told(self):
    path = self.path('a.sock')
    with socket.socket(socket.AF_UNIX) as stranger:
      stranger.bind(path)
      stranger.listen()
      stranger.settimeout(LONG)
      bus = mycelium.MessageBus()
      self.addCleanup(bus.close, 0)
      bus.connect_unix(path)
      connection, _ = stranger.accept()
      with connection:
        connection.sendall(b'no protocol of ours' * 100)
        with self.assertRaisesRegex(mycelium.DataLoss, 'record starts with'):
          bus.wait_for_link(LONG)

  def test_it_notices_that_the_bus_was_closed(self):
    for poll_by_caller in (False, True):
      bus = mycelium.MessageBus(poll_by_caller=poll_by_caller)
      thread, outcome = in_thread(bus.wait_for_link, 3600)
      bus.close()
      thread.join(LONG)
      self.assertFalse(thread.is_alive())
      self.assertRegex(str(outcome[0]), 'is closed')
      self.assertIsInstance(outcome[0], mycelium.FailedPrecondition)

  def test_it_is_refused_where_it_would_wait_for_itself(self):
    for poll_by_caller in (False, True):
      raised = queue.Queue()
      buses = []

      def on_flow(_, raised=raised, buses=buses):
        try:
          buses[0].wait_for_link(1)
        except mycelium.MyceliumError as error:
          raised.put(error)

      bus = mycelium.MessageBus(poll_by_caller=poll_by_caller, on_flow=on_flow)
      self.addCleanup(bus.close, 0)
      buses.append(bus)
      latest = bus.subscriber(Note, overflow='latest', depth=1)
      publisher = bus.publisher(Note)
      for _ in range(3):
        publisher.publish(Note())
      while poll_by_caller and raised.empty():
        bus.poll(0.1)
      self.assertIsInstance(
          raised.get(timeout=LONG), mycelium.FailedPrecondition)
      latest.close()
      self.check_ledger(bus, accepted=3)

# The programs of the other processes.


def wait_for_ever(_):
  threading.Event().wait()


def spin_for_ever(_):
  while True:
    pass


def ask_for_ever(_):
  while True:
    threading.Event().wait(0.001)  # Asks for the GIL again and again.


def publish_for_ever(_):
  with mycelium.MessageBus() as bus:
    publisher = bus.publisher(Note)
    while True:
      publisher.publish(Note())


CALLBACKS = {function.__name__: function
             for function in (wait_for_ever, spin_for_ever, ask_for_ever,
                              publish_for_ever)}


def exit_in_callback(topology, name, where):
  """Ends although a callback never returns."""
  asker = mycelium.MessageBus.from_topology(topology, 'asker')
  answerer = mycelium.MessageBus.from_topology(topology, 'answerer')
  entered = threading.Event()

  def on_note(note):
    entered.set()
    CALLBACKS[name](note)

  answerer.subscribe(Note, on_note, queued=where == 'queued')
  publisher = asker.publisher_to('answerer', Note)
  publisher.wait_for_subscribers(1, LONG)
  publisher.publish(Note())
  assert entered.wait(LONG)
  print('ready', flush=True)
  if where == 'function':  # Returning drops all references.
    return
  globals()['kept'] = [asker, answerer, publisher]
  sys.exit(7)


def exit_in_runtime(_, name, where):
  one = mycelium_native.Runtime()
  two = mycelium_native.Runtime()
  entered = threading.Event()

  def on_note(note):
    entered.set()
    CALLBACKS[name](note)

  two.subscribe(Note, on_note, queued=where == 'queued')
  threading.Thread(target=one.publish, args=(Note(),), daemon=True).start()
  assert entered.wait(LONG)
  print('ready', flush=True)
  globals()['kept'] = [one, two]
  sys.exit(7)


def exit_in_publisher_gone(topology, name, _):
  asker = mycelium.MessageBus.from_topology(topology, 'asker')
  runtime = mycelium_native.Runtime(
      topology_path=topology, service_name='answerer')
  entered = threading.Event()

  def on_publisher_gone(gone):
    entered.set()
    CALLBACKS[name](gone)

  runtime.subscribe(
      Note, lambda note: None, on_publisher_gone=on_publisher_gone)
  publisher = asker.publisher(Note)
  publisher.wait_for_subscribers(1, LONG)
  asker.close()
  assert entered.wait(LONG)
  print('ready', flush=True)
  globals()['kept'] = runtime
  sys.exit(7)


SCRIPTS = {function.__name__: function
           for function in (exit_in_callback, exit_in_runtime,
                            exit_in_publisher_gone)}


class ExitTest(unittest.TestCase):

  def test_signal_handler_that_raises_while_a_bus_closes_stops_nothing(self):
    timeouts = []

    class Bus:

      def close(self, timeout=5.0):
        timeouts.append(timeout)
        if len(timeouts) == 1:
          raise KeyboardInterrupt

    # The function that atexit calls.
    end = ending._end  # pylint: disable=protected-access
    patch = unittest.mock.patch.object
    with patch(ending, 'open_buses', [Bus(), Bus()]):
      with patch(ending, '_mycelium') as native:
        native.forked.return_value = False
        with self.assertRaises(KeyboardInterrupt):
          end()
    self.assertGreater(timeouts[0], 0)
    self.assertEqual(timeouts[1:], [0])
    native.end_log.assert_called_once()
    native.end_calls.assert_called_once()


class StuckExitTest(BusCase):

  # A script, its callback, where that runs, and the exit status.
  CASES = (
      (exit_in_callback, 'wait_for_ever', 'queued', 7),
      (exit_in_callback, 'spin_for_ever', 'node', 7),
      (exit_in_callback, 'ask_for_ever', 'queued', 7),
      (exit_in_callback, 'publish_for_ever', 'node', 7),
      (exit_in_callback, 'wait_for_ever', 'function', 0),
      (exit_in_runtime, 'wait_for_ever', 'queued', 7),
      (exit_in_runtime, 'ask_for_ever', 'publisher', 7),
      (exit_in_publisher_gone, 'wait_for_ever', 'node', 7),
  )

  def start_case(self, number, script, callback, where):
    folder = self.path(str(number))
    os.mkdir(folder)
    topology = os.path.join(folder, 'topology.toml')
    with open(topology, 'w', encoding='utf-8') as file:
      file.write(f'socket_dir = "{folder}"\n{BUNDLED}')
    process = bus_case.start(
        __file__, script.__name__, topology, callback, where)
    self.addCleanup(process.kill)
    return process

  def test_process_ends_though_a_callback_never_returns(self):
    # All at the same time, since each takes long.
    processes = [self.start_case(number, *case[:3])
                 for number, case in enumerate(self.CASES)]
    for case, process in zip(self.CASES, processes):
      script, callback, where, status = case
      with self.subTest(script=script.__name__, callback=callback, where=where):
        self.assertEqual(process.stdout.readline(), 'ready\n')
        ended, _, errors = bus_case.finish(process)
        self.assertEqual(ended, status, errors)
        self.assertNotIn('Fatal', errors)


if __name__ == '__main__':
  if sys.argv[1:2] and sys.argv[1] in SCRIPTS:
    SCRIPTS[sys.argv[1]](*sys.argv[2:])
  else:
    unittest.main()
