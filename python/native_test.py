"""mycelium_native.Runtime, in a process of its own."""

import gc
import math
import os
import signal
import threading
import unittest
import unittest.mock

import mycelium
import mycelium_native
from mycelium_native import Runtime
from python.bus_case import BUNDLED
from python.bus_case import BusCase
from python.bus_case import LONG
from tests.testdata import test_messages_pb2

Note = test_messages_pb2.Note
Reply = test_messages_pb2.Reply


class RuntimeTest(BusCase):

  def runtime(self, **arguments):
    runtime = Runtime(**arguments)
    self.addCleanup(runtime.close, 0)
    return runtime

  def test_two_runtimes_of_a_process_meet_without_a_topology(self):
    one = self.runtime()
    two = self.runtime(service_name='two')
    self.assertEqual(one.node, two.node)
    self.assertEqual(two.service, 'two')
    got = []
    two.subscribe(Note, lambda note: got.append(note.id))
    one.publish(Note(id=1))
    one.publish_to('two', Note(id=2))
    self.assertEqual(got, [1, 2])
    for flow in one.ledger():
      self.assertEqual(flow['transport'], 'inproc')
      self.assertEqual(flow['accepted'], flow['delivered'])

  def test_publishing_to_nobody_raises(self):
    runtime = self.runtime()
    with self.assertRaises(mycelium.Unavailable):
      runtime.publish(Note())
    with self.assertRaises(TypeError):
      runtime.publish('text')
    self.assertEqual(runtime.ledger(), [])

  def test_on_error_may_publish_and_close(self):
    self.addCleanup(gc.collect)  # A callback and its runtime hold each other.
    runtime = self.runtime()
    alarms = []
    runtime.subscribe(Reply, lambda reply: alarms.append(reply))

    def on_error(error):
      runtime.publish(Reply())
      runtime.close(0)

    runtime.subscribe(Note, lambda note: None, on_error=on_error)
    other = mycelium.RawType(Note.DESCRIPTOR.full_name, bytes(32))
    failures = []

    def publish():
      try:
        runtime.publish_raw(other, b'x')
      except mycelium.MyceliumError as error:
        failures.append(error)

    publishing = threading.Thread(target=publish, daemon=True)
    publishing.start()
    publishing.join(LONG)
    self.assertFalse(publishing.is_alive())
    self.assertEqual(len(alarms), 1)
    self.assertEqual([type(error) for error in failures],
                     [mycelium.FailedPrecondition])

  def test_subscribing_while_on_error_closes_leaves_no_callback(self):
    other = self.runtime()
    wrong = mycelium.RawType(Note.DESCRIPTOR.full_name, bytes(32))
    with self.assertRaises(mycelium.Unavailable):
      other.publish_raw(wrong, b'x')  # From now on it has such a publisher.
    runtime = self.runtime()
    got = []
    with self.assertRaises(mycelium.FailedPrecondition):
      runtime.subscribe(Note, got.append,
                        on_error=lambda error: runtime.close(0))
    with self.assertRaises(mycelium.Unavailable):
      other.publish(Note(id=1))
    self.assertEqual(got, [])
    self.assertEqual(other.ledger(), [])

  def test_raw_types_of_one_name_have_one_publisher(self):
    runtime = self.runtime()
    sequences = []
    runtime.subscribe(
        mycelium.RawType('image'),
        lambda data, info: sequences.append((data, info.sequence)),
        with_info=True)
    for data in (b'a', b'b'):
      runtime.publish_raw(mycelium.RawType('image'), data)
    self.assertEqual(sequences, [(b'a', 1), (b'b', 2)])
    digest = bytes(range(32))
    self.assertEqual(mycelium.RawType('image', digest),
                     mycelium.RawType('image', digest))
    self.assertNotEqual(mycelium.RawType('image', digest),
                        mycelium.RawType('image'))
    self.assertNotEqual(mycelium.RawType('image'), 'image')
    self.assertEqual(sum(flow['accepted'] for flow in runtime.ledger()), 2)
    self.assertEqual(sum(flow['delivered'] for flow in runtime.ledger()), 2)

  def test_subscription_is_told_of_errors_and_of_publishers(self):
    runtime = self.runtime()
    errors = []
    runtime.subscribe(Note, lambda note: None, on_error=errors.append,
                      on_publisher_gone=lambda gone: None)
    other = mycelium.RawType(Note.DESCRIPTOR.full_name, bytes(32))
    with self.assertRaises(mycelium.SchemaMismatch):
      runtime.publish_raw(other, b'x')
    self.assertIsInstance(errors[0], mycelium.SchemaMismatch)
    self.assertEqual(runtime.links(), [])
    self.assertEqual(runtime.ledger(), [])

  def test_bus_of_the_process_meets_a_runtime(self):
    runtime = self.runtime()
    bus = mycelium.MessageBus.of_process('puller')
    self.addCleanup(bus.close, LONG)
    self.assertEqual(bus.node, runtime.node)
    self.assertEqual(bus.service, 'puller')
    notes = bus.subscriber(Note)
    for number in range(3):
      runtime.publish(Note(id=number))
    self.assertEqual([note.id for note in notes.recv_many(10, LONG)], [0, 1, 2])
    notes.finish()
    got = []
    runtime.subscribe(Reply, lambda reply: got.append(reply.id))
    bus.publisher(Reply).publish(Reply(id=7))
    self.assertEqual(got, [7])
    with self.assertRaises(mycelium.AlreadyExists):
      mycelium.MessageBus.of_process('puller')
    flows = [flow for flow in bus.ledger()
             if flow['publisher_service'] in (runtime.service, 'puller')]
    self.assertEqual(sum(flow['accepted'] for flow in flows), 4)
    self.assertEqual(sum(flow['delivered'] for flow in flows), 4)
    bus.close(LONG)
    self.assertTrue(bus.closed)

  def test_callback_publishes(self):
    runtime = self.runtime()
    replies = []
    runtime.subscribe(Reply, lambda reply: replies.append(reply.id))
    runtime.subscribe(Note, lambda note: runtime.publish(Reply(id=note.id + 1)))
    for number in range(100):
      runtime.publish(Note(id=number))
    self.assertEqual(replies, list(range(1, 101)))

  def test_callback_unsubscribes_and_closes(self):
    for end in ('unsubscribe', 'close'):
      runtime = self.runtime()
      got = []

      def on_note(note, end=end, runtime=runtime, got=got):
        got.append(note.id)
        if end == 'close':
          runtime.close()
        else:
          subscription.unsubscribe()

      subscription = runtime.subscribe(Note, on_note)
      runtime.publish(Note(id=1))
      with self.assertRaises(
          (mycelium.Unavailable, mycelium.FailedPrecondition)):
        runtime.publish(Note(id=2))
      self.assertEqual(got, [1])
      self.assertEqual(subscription.callback_errors, 0)

  def test_close_waits_for_a_running_callback(self):
    for _ in range(20):
      runtime = Runtime()
      other = Runtime()
      entered = threading.Event()
      may_return = threading.Event()
      returned = []

      def on_note(_, entered=entered, may_return=may_return,
                  returned=returned):
        entered.set()
        may_return.wait()
        returned.append(True)

      runtime.subscribe(Note, on_note)
      publishing = threading.Thread(target=other.publish, args=(Note(),))
      publishing.start()
      self.assertTrue(entered.wait(LONG))
      may_return.set()
      runtime.close()
      self.assertEqual(returned, [True])
      publishing.join(LONG)
      other.close()

  def test_close_waits_for_what_was_published_and_ends_all_the_same(self):
    one = self.runtime(service_name='one')
    two = self.runtime(service_name='two')
    entered = threading.Event()
    may_return = threading.Event()
    self.addCleanup(may_return.set)
    got = []

    def on_note(note):
      entered.set()
      may_return.wait(LONG)
      got.append(note.id)

    two.subscribe(Note, on_note, queued=True)
    one.publish(Note(id=1))
    one.publish(Note(id=2))
    self.assertTrue(entered.wait(LONG))
    with self.assertRaises(mycelium.DeadlineExceeded):
      one.close(0.01)
    with self.assertRaises(mycelium.FailedPrecondition):
      one.publish(Note())
    again = self.runtime(service_name='one')  # The name is free.
    again.publish(Note(id=3))
    may_return.set()
    again.close(LONG)
    self.assertEqual(got, [1, 2, 3])  # Accepted messages were not taken back.

  def test_what_is_queued_for_a_closed_runtime_is_counted(self):
    one = self.runtime()
    two = self.runtime()
    entered = threading.Event()
    may_return = threading.Event()
    closing = []

    def on_note(_):
      entered.set()
      may_return.wait(LONG)

    two.subscribe(Note, on_note, queued=True)
    for number in range(3):
      one.publish(Note(id=number))
    self.assertTrue(entered.wait(LONG))
    for _ in range(2):
      closing.append(threading.Thread(target=two.close))
      closing[-1].start()
    may_return.set()
    for thread in closing:
      thread.join(LONG)
    one.flush(LONG)
    flow = self.flow(one.ledger(), 'mycelium.test.Note')
    self.assertEqual((flow['accepted'], flow['in_flight']), (3, 0))
    self.assertGreaterEqual(flow['delivered'], 1)
    self.assertEqual(
        flow['delivered'] + flow['dropped']['subscriber_gone'], 3)

  def test_closed_runtime_says_so_and_others_go_on(self):
    one = self.runtime()
    two = self.runtime()
    three = self.runtime()
    got = []
    three.subscribe(Note, lambda note: got.append(note.id))
    one.close()
    one.close()
    for call in (lambda: one.publish(Note()), one.ledger,
                 lambda: one.subscribe(Note, print)):
      with self.assertRaisesRegex(mycelium.FailedPrecondition, 'is closed'):
        call()
    two.publish(Note(id=3))
    self.assertEqual(got, [3])

  def test_closing_that_was_not_begun_is_not_done_by_a_wrong_timeout(self):
    runtime = self.runtime()
    got = []
    runtime.subscribe(Note, lambda note: got.append(note.id))
    for timeout in (-1, math.nan, math.inf):
      with self.assertRaisesRegex(mycelium.InvalidArgument, 'to one year'):
        runtime.close(timeout)
    with self.assertRaises(TypeError):
      runtime.close('soon')
    runtime.publish(Note(id=1))
    self.assertEqual(got, [1])
    flow = self.flow(runtime.ledger(), 'mycelium.test.Note')
    self.assertEqual((flow['accepted'], flow['delivered']), (1, 1))

  def test_signal_handler_may_close_what_it_interrupts_the_closing_of(self):
    runtime = self.runtime()
    handled = []

    class Publisher(mycelium.Publisher):
      """As when a signal comes while close() lets go of a publisher."""

      def __del__(self):
        signal.raise_signal(signal.SIGUSR1)

    def on_signal(*_):
      runtime.close(0)
      handled.append(True)

    def on_alarm(*_):
      raise InterruptedError('close() hangs')

    for number, handler in ((signal.SIGUSR1, on_signal),
                            (signal.SIGALRM, on_alarm)):
      previous = signal.signal(number, handler)
      self.addCleanup(signal.signal, number, previous)
    signal.alarm(LONG)
    self.addCleanup(signal.alarm, 0)
    with unittest.mock.patch.object(mycelium_native, 'Publisher', Publisher):
      runtime.wait_for_subscribers(Note, 0, LONG)
    runtime.close(LONG)
    self.assertEqual(handled, [True])

  def test_topology_routes_to_another_node(self):
    topology = self.topology(BUNDLED)
    asker = self.runtime(topology_path=topology, service_name='asker')
    with mock_environment(MYCELIUM_TOPOLOGY=topology):
      answerer = self.runtime(service_name='answerer')
    self.assertEqual((asker.node, answerer.node), ('left', 'right'))
    got = []
    done = threading.Event()

    def on_note(note):
      got.append(note.id)
      if note.id == 99:
        done.set()

    answerer.subscribe(Note, on_note)
    asker.wait_for_subscribers(Note, 1, LONG, target_service='answerer')
    for number in range(100):
      asker.publish_to('answerer', Note(id=number))
    self.assertTrue(done.wait(LONG))
    asker.flush(LONG)
    self.assertEqual(got, list(range(100)))
    sent = self.flow(asker.ledger(), 'mycelium.test.Note')
    handled = self.flow(answerer.ledger(), 'mycelium.test.Note')
    self.assertEqual((sent['transport'], sent['accepted'],
                      sent['in_flight']), ('shm', 100, 0))
    self.assertEqual(handled['delivered'], 100)
    with self.assertRaises(mycelium.NotFound):
      asker.publish_to('nobody', Note())
    for publish in (
        lambda: asker.publish_to('', Note()),
        lambda: asker.publish_raw(mycelium.RawType('x'), b'', ''),
        lambda: asker.wait_for_subscribers(Note, 1, 0.01, target_service='')):
      with self.assertRaisesRegex(mycelium.InvalidArgument, 'publish()'):
        publish()

  def test_wrong_arguments_are_refused(self):
    with self.assertRaisesRegex(mycelium.InvalidArgument, 'service_name'):
      Runtime(topology_path='x.toml')
    with self.assertRaises(mycelium.InvalidArgument):
      Runtime(schema_digest=b'short')

  def test_other_digest_is_refused(self):
    one = self.runtime(schema_digest=bytes([1]) * 32)
    two = self.runtime(schema_digest=bytes([2]) * 32)
    two.subscribe(Note, lambda note: self.fail('it was refused'))
    with self.assertRaises(mycelium.SchemaMismatch):
      one.publish(Note())

  def test_raw_bytes(self):
    runtime = self.runtime()
    data = mycelium.RawType('data')
    got = []
    runtime.subscribe(data, got.append)
    runtime.publish_raw(data, b'abc')
    runtime.publish_raw(data, memoryview(b'def'))
    self.assertEqual(got, [b'abc', b'def'])

  def test_runtime_that_nobody_keeps_ends(self):
    runtime = Runtime(service_name='forgotten')
    runtime.subscribe(Note, lambda note, runtime=runtime: None)
    del runtime
    gc.collect()
    self.runtime(service_name='forgotten')


def mock_environment(**values):
  return unittest.mock.patch.dict(os.environ, values)


if __name__ == '__main__':
  unittest.main()
