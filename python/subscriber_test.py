"""Every way to receive without an event loop: waiting, iterating, by descriptor."""

import asyncio
import select
import signal
import struct
import threading
import unittest

import mycelium
import numpy
from python.bus_case import BUNDLED
from python.bus_case import BusCase
from python.bus_case import LONG
from tests.testdata import test_messages_pb2

Note = test_messages_pb2.Note
Reply = test_messages_pb2.Reply
BYTES = mycelium.RawType('bytes')


class SubscriberTest(BusCase):

  def reading(self, notes):
    """A thread that reads until the end, the ids it got, and a count of them."""
    ids = []
    got = threading.Semaphore(0)

    def read():
      for note in notes:
        ids.append(note.id)
        notes.finish()
        got.release()

    reader = threading.Thread(target=read)
    reader.start()
    return reader, ids, got

  def test_iteration_ends_when_the_bus_is_closed(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    publisher = asker.publisher(Note)
    reader, ids, got = self.reading(notes)
    for number in range(100):
      publisher.publish(Note(id=number))
    for _ in range(100):
      got.acquire()
    answerer.close()
    reader.join(LONG)
    self.assertFalse(reader.is_alive())
    self.assertEqual(ids, list(range(100)))
    self.check_ledger(asker, accepted=100)

  def test_iteration_goes_on_beside_a_publisher_of_another_type(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note, topic='shared')
    refused = asker.publisher(Reply, topic='shared')
    with self.assertRaises(mycelium.SchemaMismatch):
      notes.check()
    publisher = asker.publisher(Note, topic='shared')
    reader, ids, got = self.reading(notes)
    publisher.publish(Note(id=1))
    self.assertTrue(got.acquire(timeout=LONG))
    notes.close()
    reader.join(LONG)
    self.assertFalse(reader.is_alive())
    self.assertEqual(ids, [1])

    async def read_one():
      # The loop may end before it has closed the iterator that is left early.
      with answerer.subscriber(Note, topic='shared', name='others') as others:
        again = asker.publisher(Reply, topic='shared')
        publisher.publish(Note(id=2))
        async for note in others:
          del again
          return note.id

    self.assertEqual(asyncio.run(asyncio.wait_for(read_one(), LONG)), 2)
    del refused
    self.check_ledger(asker, accepted=2)

  def test_close_drops_what_is_queued_and_nothing_comes_any_more(self):
    asker, answerer = self.pair()
    publisher = asker.publisher(Note)
    with answerer.subscriber(Note) as notes:
      for number in range(3):
        publisher.publish(Note(id=number))
      self.assertEqual(notes.recv(LONG).id, 0)
    self.assertEqual(publisher.subscriber_count, 0)
    publisher.publish(Note(id=3))
    for receive in (lambda: notes.recv(LONG), notes.recv_nowait,
                    lambda: notes.recv_many(1, LONG)):
      with self.assertRaisesRegex(mycelium.FailedPrecondition, 'is closed'):
        receive()
    notes.close()
    dropped = {'subscriber_gone': 0, 'no_subscriber': 0}
    for flow in asker.ledger():
      for reason in dropped:
        dropped[reason] += flow['dropped'][reason]
    self.assertEqual(dropped, {'subscriber_gone': 2, 'no_subscriber': 1})
    self.check_ledger(asker, accepted=4)

  def test_close_ends_iterations_that_wait(self):
    asker, answerer = self.pair()
    publisher = asker.publisher(Note)
    notes = answerer.subscriber(Note)
    reader, ids, got = self.reading(notes)
    publisher.publish(Note(id=1))
    got.acquire()
    notes.close()
    reader.join(LONG)
    self.assertFalse(reader.is_alive())

    async def read_in_a_loop():
      others = answerer.subscriber(Note, name='others')

      async def read():
        return [note.id async for note in others]

      reading = asyncio.ensure_future(read())
      publisher.publish(Note(id=2))
      await asyncio.sleep(0)  # waits: for a turn of the loop
      others.close()
      return await asyncio.wait_for(reading, LONG)

    self.assertEqual(asyncio.run(read_in_a_loop()), [2])
    self.assertEqual(ids, [1])
    self.check_ledger(asker, accepted=2)

  def test_view_outlives_close(self):
    asker, answerer = self.pair()
    publisher = asker.publisher(BYTES)
    with answerer.subscriber(BYTES) as subscriber:
      publisher.publish(b'some bytes')
      view = memoryview(subscriber.recv(LONG))
    self.assertEqual(bytes(view), b'some bytes')
    view.release()
    subscriber.finish()
    asker.flush(LONG)
    self.check_ledger(asker, accepted=1)

  def test_close_is_heard_of_over_a_link(self):
    topology = self.topology(BUNDLED)
    asker = self.bus(topology, 'asker')
    answerer = self.bus(topology, 'answerer')
    publisher = asker.publisher_to('answerer', Note)
    with answerer.subscriber(Note):
      publisher.wait_for_subscribers(1, LONG)
    while publisher.subscriber_count:
      pass
    with self.assertRaises(mycelium.Unavailable):
      publisher.publish(Note())
    self.check_ledger(asker, answerer, accepted=0)

  def test_recv_many_takes_what_is_there(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    publisher = asker.publisher(Note)
    self.assertEqual(notes.recv_many(10), [])
    self.assertEqual(notes.recv_many(10, timeout=0.01), [])
    for number in range(25):
      publisher.publish(Note(id=number))
    got = [[note.id for note in notes.recv_many(10, LONG)] for _ in range(3)]
    self.assertEqual(got, [list(range(10)), list(range(10, 20)),
                           list(range(20, 25))])
    self.assertEqual(notes.recv_many(0), [])
    notes.finish()
    self.check_ledger(asker, accepted=25)

  def test_recv_many_waits_for_the_first(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    publisher = asker.publisher(Note)
    thread = threading.Thread(target=lambda: publisher.publish(Note(id=7)))
    thread.start()
    self.assertEqual([note.id for note in notes.recv_many(10, LONG)], [7])
    thread.join()
    notes.finish()
    self.check_ledger(asker, accepted=1)

  def test_receive_that_does_not_get_its_turn_finds_nothing(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    asker.publisher(Note).publish(Note(id=1))
    has_turn, may_go_on = threading.Event(), threading.Event()

    def parse(data):
      has_turn.set()
      may_go_on.wait(LONG)
      return data

    native = notes._native  # pylint: disable=protected-access
    other = threading.Thread(target=native.receive, args=(parse, LONG))
    other.start()
    self.addCleanup(other.join)
    self.addCleanup(may_go_on.set)
    self.assertTrue(has_turn.wait(LONG))
    self.assertEqual(notes.recv_many(10), [])
    self.assertEqual(notes.recv_many(10, timeout=0.01), [])
    self.assertIsNone(notes.recv_nowait())
    with self.assertRaisesRegex(mycelium.DeadlineExceeded, 'another thread'):
      notes.recv(timeout=0.01)

  def test_descriptor_is_readable_once_a_message_came(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    publisher = asker.publisher(Note)
    poll = select.poll()
    poll.register(notes.fileno(), select.POLLIN)
    self.assertIsNone(notes.recv_nowait())
    self.assertEqual(poll.poll(0), [])
    publisher.publish(Note(id=1))
    self.assertEqual(poll.poll(LONG * 1000), [(notes.fileno(), select.POLLIN)])
    self.assertEqual(notes.recv_nowait().id, 1)
    self.assertIsNone(notes.recv_nowait())
    self.assertEqual(poll.poll(0), [])
    self.check_ledger(asker, accepted=1)

  def test_info_says_where_the_last_message_is_from(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note, topic='notes', overflow='latest')
    self.assertEqual(notes.info, mycelium.MessageInfo(
        '', '', '', '', 0, 0, 0, False))
    publisher = asker.publisher(Note, topic='notes', publish_time=True)
    self.assertEqual(publisher.topic, 'notes')
    for number in range(5):
      publisher.publish(Note(id=number))
    self.assertEqual(notes.recv(LONG).id, 4)
    self.assertEqual(notes.info._replace(publish_time_ns=0),
                     mycelium.MessageInfo('notes', 'mycelium.test.Note', 'all',
                                          'asker', 5, 0, 4, False))
    self.assertGreater(notes.info.publish_time_ns, 10**18)
    notes.finish()
    self.check_ledger(asker, accepted=5)

  def test_unknown_options_and_words_are_refused(self):
    asker, _ = self.pair()
    with self.assertRaisesRegex(TypeError, 'topik'):
      asker.subscriber(Note, topik='x')
    with self.assertRaisesRegex(mycelium.InvalidArgument, 'drop_oldest'):
      asker.subscriber(Note, overflow='drop-oldest')
    with self.assertRaises(mycelium.InvalidArgument):
      asker.subscriber(Note, overflow='drop_oldest', depth=0)

  def test_option_of_another_type_is_named(self):
    asker, _ = self.pair()
    for depth in ('5', 1.5, 2**70):
      with self.assertRaisesRegex(TypeError, 'depth must be an integer'):
        asker.subscriber(Note, overflow='drop_oldest', depth=depth)
    for topic in (5, '\ud800'):
      with self.assertRaisesRegex(TypeError, 'topic must be text'):
        asker.subscriber(Note, topic=topic)
    with self.assertRaisesRegex(TypeError, 'publish_timeout must be a number'):
      asker.publisher(Note, publish_timeout='1s')
    with self.assertRaisesRegex(TypeError, 'schema_digest must be bytes'):
      mycelium.MessageBus(schema_digest='00')
    with self.assertRaisesRegex(TypeError, 'allow_uids must be integers'):
      mycelium.MessageBus(allow_uids=['root'])


class RawTest(BusCase):

  def test_payload_is_a_read_only_view(self):
    asker, answerer = self.pair()
    subscriber = answerer.subscriber(BYTES)
    publisher = asker.publisher(BYTES)
    publisher.publish(b'one')
    payload = subscriber.recv(LONG)
    self.assertEqual((len(payload), bytes(payload)), (3, b'one'))
    with memoryview(payload) as view:
      self.assertTrue(view.readonly)
      self.assertEqual(view.tobytes(), b'one')
    with self.assertRaises((TypeError, BufferError)):
      memoryview(payload)[0] = 1
    subscriber.finish()
    self.check_ledger(asker, accepted=1)

  def test_view_cannot_outlive_its_frame(self):
    asker, answerer = self.pair()
    subscriber = answerer.subscriber(BYTES)
    publisher = asker.publisher(BYTES)
    publisher.publish(b'one')
    publisher.publish(b'two')
    first = subscriber.recv(LONG)
    view = memoryview(first)
    for receive in (subscriber.recv_nowait, subscriber.finish,
                    lambda: subscriber.recv(LONG),
                    lambda: subscriber.recv_many(1)):
      with self.assertRaisesRegex(BufferError, 'view of the last message'):
        receive()
    self.assertEqual(view.tobytes(), b'one')
    view.release()
    second = subscriber.recv_nowait()
    self.assertFalse(first.valid)
    with self.assertRaisesRegex(BufferError, 'finished'):
      memoryview(first)
    self.assertEqual(bytes(second), b'two')
    subscriber.finish()
    self.assertFalse(second.valid)
    self.check_ledger(asker, accepted=2)

  def test_finished_payload_says_so_however_it_is_used(self):
    asker, answerer = self.pair()
    publisher = asker.publisher(BYTES)
    uses = (memoryview, bytes, bytearray, len, bool, numpy.asarray, numpy.array,
            lambda payload: numpy.asarray(payload, numpy.uint8),
            lambda payload: numpy.array([payload]),
            lambda payload: numpy.frombuffer(payload, numpy.uint8),
            lambda payload: numpy.copyto(numpy.zeros(3, numpy.uint8), payload),
            lambda payload: struct.unpack('3s', payload), publisher.publish,
            publisher.try_publish)
    for number, finish in enumerate((
        lambda subscriber: subscriber.recv_nowait(),
        lambda subscriber: subscriber.finish(),
        lambda subscriber: subscriber.close())):
      subscriber = answerer.subscriber(BYTES, name=str(number))
      publisher.publish(b'abc')
      payload = subscriber.recv(LONG)
      self.assertEqual(len(payload), 3)
      array = numpy.asarray(payload)
      self.assertEqual((array.dtype, array.tolist()), (numpy.uint8, [97, 98, 99]))
      self.assertEqual(payload.__array__().tolist(), array.tolist())
      del array
      finish(subscriber)
      for use in uses:
        with self.assertRaisesRegex(BufferError, 'is finished'):
          use(payload)
      self.assertFalse(payload.valid)
      subscriber.close()
    self.check_ledger(asker, accepted=3)

  def test_view_outlives_subscriber_and_bus(self):
    asker, answerer = self.pair()
    asker_publisher = asker.publisher(BYTES)
    subscriber = answerer.subscriber(BYTES)
    asker_publisher.publish(b'x' * 1000)
    view = memoryview(subscriber.recv(LONG))
    with self.assertRaises(mycelium.DeadlineExceeded):
      answerer.close(0)  # The message is not finished.
    del subscriber, asker, answerer, asker_publisher
    self.assertEqual(view.tobytes(), b'x' * 1000)

  def test_recv_many_of_raw_is_bytes(self):
    asker, answerer = self.pair()
    subscriber = answerer.subscriber(BYTES)
    publisher = asker.publisher(BYTES)
    for number in range(10):
      publisher.publish(bytes([number]))
    self.assertEqual(subscriber.recv_many(100),
                     [bytes([number]) for number in range(10)])
    subscriber.finish()
    self.check_ledger(asker, accepted=10)

  def test_raw_type_with_a_digest_matches_the_protobuf_type(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    raw = mycelium.RawType('mycelium.test.Note', mycelium.digest(Note))
    self.assertEqual(mycelium.digest(raw), mycelium.digest(Note))
    asker.publisher(raw).publish(Note(id=3).SerializeToString())
    self.assertEqual(notes.recv(LONG).id, 3)
    notes.finish()
    self.check_ledger(asker, accepted=1)

  def test_what_does_not_parse_is_data_loss(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    # Bytes that are no field, and text that is not UTF-8.
    for number, data in enumerate((b'\xff\xff', b'\x12\x01\xff'), start=1):
      asker.publisher(Note).publish(data)
      with self.assertRaisesRegex(
          mycelium.DataLoss, 'Note": message . of service asker of node all does '
          'not parse as mycelium.test.Note'):
        notes.recv(LONG)
      notes.finish()
      flow = self.flow(asker.ledger(), 'mycelium.test.Note')
      self.assertEqual((flow['accepted'], flow['delivered'],
                        flow['dropped']['undecodable']), (number, 0, number))
    self.check_ledger(asker, accepted=2)

  def test_recv_many_ends_before_what_does_not_parse(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    publisher = asker.publisher(Note)
    # Every way to receive raises the error, once, and then goes on.
    for receive in (lambda: notes.recv(LONG), notes.recv_nowait,
                    lambda: notes.recv_many(10, LONG)):
      for number in range(3):
        publisher.publish(Note(id=number))
      publisher.publish(b'\xff\xff')
      publisher.publish(Note(id=3))
      self.assertEqual([note.id for note in notes.recv_many(10)], [0, 1, 2])
      last = notes.info.sequence
      notes.finish()
      with self.assertRaisesRegex(mycelium.DataLoss, f'message {last + 1} of'):
        receive()
      self.assertEqual(notes.info.sequence, last + 1)
      self.assertEqual([note.id for note in notes.recv_many(10)], [3])
    notes.finish()
    flow = self.flow(asker.ledger(), 'mycelium.test.Note')
    self.assertEqual((flow['delivered'], flow['dropped']['undecodable']),
                     (12, 3))
    self.check_ledger(asker, accepted=15)

  def interrupt(self, at):
    """A parse function that a signal handler interrupts once at each of the ids."""

    class Interrupt(BaseException):
      pass

    def handler(*_):
      raise Interrupt

    before = signal.signal(signal.SIGUSR1, handler)
    self.addCleanup(signal.signal, signal.SIGUSR1, before)
    left = set(at)

    def parse(data):
      note = Note.FromString(data)
      if note.id in left:
        left.remove(note.id)
        signal.raise_signal(signal.SIGUSR1)
      return note

    return parse, Interrupt

  def test_message_is_there_after_a_signal_handler_raises(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    publisher = asker.publisher(Note)
    parse, interrupt = self.interrupt(at=(1, 2))
    for number in range(1, 4):
      publisher.publish(Note(id=number))
    native = notes._native  # pylint: disable=protected-access
    with self.assertRaises(interrupt):
      native.receive(parse, LONG)
    self.assertEqual(native.receive(parse, LONG).id, 1)
    with self.assertRaises(interrupt):
      native.try_receive(parse)
    self.assertEqual(native.try_receive(parse).id, 2)
    self.assertEqual(notes.info.sequence, 2)
    self.assertEqual(notes.recv(LONG).id, 3)
    notes.finish()
    self.check_ledger(asker, accepted=3)

  def test_list_is_there_after_a_signal_handler_raises(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    publisher = asker.publisher(Note)
    parse, interrupt = self.interrupt(at=(3,))
    for number in range(1, 6):
      publisher.publish(Note(id=number))
    native = notes._native  # pylint: disable=protected-access
    with self.assertRaises(interrupt):
      native.receive_many(parse, 10, LONG)
    self.assertEqual(notes.recv(LONG).id, 1)
    self.assertEqual(notes.info.sequence, 1)
    got = []
    while len(got) < 4:
      got += [note.id for note in notes.recv_many(10, LONG)]
    self.assertEqual(got, [2, 3, 4, 5])
    notes.finish()
    self.check_ledger(asker, accepted=5)

  def test_message_that_raises_each_time_does_not_stay(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    asker.publisher(Note).publish(Note(id=1))

    def parse(_):
      raise ValueError('always')

    native = notes._native  # pylint: disable=protected-access
    for _ in range(2):
      with self.assertRaises(ValueError):
        native.receive(parse, LONG)
    self.assertIsNone(notes.recv_nowait())
    flow = self.flow(asker.ledger(), 'mycelium.test.Note')
    self.assertEqual(flow['dropped']['undecodable'], 1)
    self.check_ledger(asker, accepted=1)


if __name__ == '__main__':
  unittest.main()
