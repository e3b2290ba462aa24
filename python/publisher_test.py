"""Every way to publish: objects, buffers, arrays, loans, in an event loop."""

import array
import asyncio
import ctypes
import itertools
import math
import select
import sys
import threading
import tracemalloc
import unittest

import mycelium
import numpy
from python.bus_case import BUNDLED
from python.bus_case import BusCase
from python.bus_case import LONG
from python.bus_case import NARROW
from python.bus_case import NARROW_FAIL
from tests.testdata import test_messages_pb2

Note = test_messages_pb2.Note
BYTES = mycelium.RawType('bytes')


def fill(publisher, block):
  """Publishes until there is no room; returns how often it succeeded."""
  return fill_by(publisher.publish, block)


def fill_by(publish, block):
  for sent in itertools.count():
    try:
      publish(block)
    except mycelium.ResourceExhausted:
      return sent


class BufferTest(BusCase):

  def test_whatever_has_the_buffer_protocol_is_published(self):
    asker, answerer = self.pair()
    subscriber = answerer.subscriber(BYTES)
    publisher = asker.publisher(BYTES)
    for data in (b'abc', bytearray(b'abc'), memoryview(b'abc'),
                 memoryview(b'xabc')[1:], array.array('b', b'abc'),
                 numpy.frombuffer(b'abc', numpy.uint8),
                 (ctypes.c_char * 3)(*b'abc')):
      publisher.publish(data)
      self.assertEqual(bytes(subscriber.recv(LONG)), b'abc')
    publisher.publish(b'')
    self.assertEqual(bytes(subscriber.recv(LONG)), b'')
    with publisher.loan(3) as loan:
      memoryview(loan)[:] = b'abc'
      publisher.publish(loan)
    self.assertEqual(bytes(subscriber.recv(LONG)), b'abc')
    subscriber.finish()
    self.check_ledger(asker, accepted=9)

  def test_arrays_of_every_shape_and_type_of_element_are_published(self):
    asker, answerer = self.pair()
    subscriber = answerer.subscriber(BYTES)
    publisher = asker.publisher(BYTES)
    record = numpy.zeros(2, [('Only', 'i4'), ('O', 'f8')])
    arrays = [
        numpy.arange(24, dtype=numpy.int16).reshape(2, 3, 4), record,
        numpy.array(['2024-05-01'], 'datetime64[s]'), numpy.array(['text']),
        numpy.array(3.5), numpy.zeros((0, 5)), numpy.array([True, False]),
        numpy.array([1j]), numpy.arange(5, dtype='>i4'),
        memoryview(numpy.zeros((2, 2)))]
    for sent in arrays:
      publisher.publish(sent)
      self.assertEqual(bytes(subscriber.recv(LONG)), sent.tobytes())
    subscriber.finish()
    self.check_ledger(asker, accepted=len(arrays))

  def test_no_copy_is_made_in_python(self):
    asker, answerer = self.pair()
    subscriber = answerer.subscriber(BYTES)
    publisher = asker.publisher(BYTES)
    sent = numpy.ones(1 << 20, numpy.uint8)
    for publish in (publisher.publish, lambda array: asyncio.run(
        publisher.publish_async(array, LONG))):
      tracemalloc.start()
      publish(sent)
      _, peak = tracemalloc.get_traced_memory()
      tracemalloc.stop()
      self.assertLess(peak, sent.nbytes // 2)
      self.assertEqual(len(subscriber.recv(LONG)), sent.nbytes)
    subscriber.finish()
    self.check_ledger(asker, accepted=2)

  def test_several_subscribers_read_one_copy(self):
    asker, answerer = self.pair()
    subscribers = [answerer.subscriber(BYTES, name=name) for name in 'ab']
    publisher = asker.publisher(BYTES)
    for publish in (publisher.publish, publisher.try_publish,
                    lambda data: asyncio.run(
                        publisher.publish_async(data, LONG))):
      for size, copies in ((1 << 10, 2), (1 << 16, 1)):
        publish(numpy.full(size, 7, numpy.uint8))
        got = [numpy.frombuffer(subscriber.recv(LONG), numpy.uint8)
               for subscriber in subscribers]
        self.assertEqual(len({array.ctypes.data for array in got}), copies)
        self.assertTrue(all((array == 7).all() for array in got))
        del got
    for subscriber in subscribers:
      subscriber.finish()
    self.check_ledger(asker, accepted=12)

  def test_subscribers_share_what_had_to_wait_for_room(self):
    asker, answerer = self.pair()
    subscribers = [answerer.subscriber(BYTES, name=name) for name in 'ab']
    publisher = asker.publisher(BYTES)
    block = bytes(1 << 18)
    sent = fill_by(publisher.try_publish, block)

    async def run():
      last = asyncio.ensure_future(publisher.publish_async(block, LONG))
      await asyncio.sleep(0)  # waits: for nothing, lets it begin to wait
      self.assertFalse(last.done())
      for subscriber in subscribers:
        self.assertEqual(len(subscriber.recv_many(sent)), sent)
        subscriber.finish()
      await last

    asyncio.run(asyncio.wait_for(run(), LONG))
    got = [numpy.asarray(subscriber.recv(LONG)) for subscriber in subscribers]
    self.assertEqual(len({array.ctypes.data for array in got}), 1)
    del got
    for subscriber in subscribers:
      subscriber.finish()
    self.check_ledger(asker, accepted=2 * (sent + 1))

  def test_what_is_not_contiguous_or_no_buffer_is_refused(self):
    asker, answerer = self.pair()
    subscriber = answerer.subscriber(BYTES)
    publisher = asker.publisher(BYTES)
    square = numpy.zeros((4, 4), numpy.int32)
    for strided in (numpy.zeros(10)[::2], square.T, numpy.asfortranarray(square),
                    memoryview(bytes(10))[::2], memoryview(square)[::2]):
      with self.assertRaisesRegex(ValueError, 'not C-contiguous; numpy.asc'):
        publisher.publish(strided)
      with self.assertRaises(mycelium.InvalidArgument):
        publisher.publish(strided)
    for nothing, name in (('text', 'str'), (Note(), 'Note'), (None, 'NoneType'),
                          (7, 'int'), ([1, 2], 'list')):
      with self.assertRaisesRegex(TypeError, f'buffer protocol.*{name}'):
        publisher.publish(nothing)
    record = numpy.zeros(2, [('Only', 'i4'), ('it', object)])
    for references in (numpy.array([{}, None]), record,
                       (ctypes.py_object * 2)({}, {})):
      with self.assertRaisesRegex(TypeError, 'references to objects'):
        publisher.publish(references)
    released = memoryview(b'abc')
    released.release()
    with self.assertRaisesRegex(ValueError, 'released'):
      publisher.publish(released)
    with self.assertRaises(mycelium.InvalidArgument):
      publisher.publish(bytes(4 << 20))
    self.assertIsNone(subscriber.recv_nowait())
    self.check_ledger(asker, accepted=0)

  def test_typed_publisher_takes_bytes_that_are_serialised_already(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    asker.publisher(Note).publish(Note(id=8).SerializeToString())
    self.assertEqual(notes.recv(LONG).id, 8)
    notes.finish()
    self.check_ledger(asker, accepted=1)

  def test_array_arrives_as_an_array(self):
    asker, answerer = self.pair()
    subscriber = answerer.subscriber(BYTES)
    sent = numpy.arange(1000, dtype=numpy.float32)
    asker.publisher(BYTES).publish(sent)
    got = numpy.frombuffer(subscriber.recv(LONG), numpy.float32)
    self.assertTrue((got == sent).all())
    self.assertFalse(got.flags.writeable)
    del got
    subscriber.finish()
    self.check_ledger(asker, accepted=1)


class LoanTest(BusCase):

  def test_loan_is_written_by_numpy_and_published(self):
    asker, answerer = self.pair()
    subscriber = answerer.subscriber(BYTES)
    publisher = asker.publisher(BYTES)
    frame = numpy.arange(256, dtype=numpy.float64)
    with publisher.loan(frame.nbytes) as loan:
      self.assertEqual(len(loan), frame.nbytes)
      numpy.copyto(numpy.frombuffer(loan, frame.dtype), frame)
      loan.publish()
    self.assertEqual(bytes(subscriber.recv(LONG)), frame.tobytes())
    subscriber.finish()
    self.check_ledger(asker, accepted=1)

  def test_loan_is_an_array_until_it_is_published(self):
    asker, answerer = self.pair()
    subscriber = answerer.subscriber(BYTES)
    loan = asker.publisher(BYTES).loan(4096)
    array = numpy.asarray(loan)
    self.assertEqual((array.dtype, array.shape), (numpy.uint8, (4096,)))
    self.assertTrue(array.flags.writeable)
    self.assertEqual(array.ctypes.data % 64, 0)
    part = array[::2]  # Keeps the loan from being published, as the whole does.
    array[:] = 5
    del array
    with self.assertRaisesRegex(BufferError, 'view'):
      loan.publish()
    part[:] = 6
    del part
    loan.publish()
    for use in (memoryview, numpy.asarray, lambda loan: numpy.frombuffer(
        loan, numpy.uint8), bytes):
      with self.assertRaises(BufferError):
        use(loan)
    self.assertEqual(bytes(subscriber.recv(LONG)), bytes([6, 5]) * 2048)
    subscriber.finish()
    self.check_ledger(asker, accepted=1)

  def test_loan_with_a_view_is_not_published(self):
    asker, answerer = self.pair()
    subscriber = answerer.subscriber(BYTES)
    loan = asker.publisher(BYTES).loan(3)
    view = memoryview(loan)
    view[:] = b'abc'
    with self.assertRaisesRegex(BufferError, 'view'):
      loan.publish()
    view.release()
    loan.publish()
    with self.assertRaisesRegex(BufferError, 'published'):
      memoryview(loan)
    with self.assertRaises(mycelium.FailedPrecondition):
      loan.publish()
    with self.assertRaisesRegex(BufferError, 'over'):
      len(loan)
    self.assertEqual(bytes(subscriber.recv(LONG)), b'abc')
    subscriber.finish()
    self.check_ledger(asker, accepted=1)

  def test_loan_is_over_while_it_is_being_published(self):
    asker, answerer = self.pair()
    publisher = asker.publisher(BYTES)
    loan = publisher.loan(100000)
    raised = []

    def on_bytes(data):  # Inside loan.publish().
      for use in (loan.publish, lambda: memoryview(loan), lambda: len(loan)):
        try:
          use()
        except (mycelium.FailedPrecondition, BufferError) as error:
          raised.append(type(error))
      seen.append((len(data), loan.in_place))

    seen = []
    subscription = answerer.subscribe(BYTES, on_bytes)
    self.assertTrue(loan.in_place)
    loan.publish()
    self.assertEqual(
        raised, [mycelium.FailedPrecondition, BufferError, BufferError])
    self.assertEqual(seen, [(100000, False)])
    self.assertFalse(loan.in_place)
    self.assertEqual(subscription.callback_errors, 0)
    self.check_ledger(asker, accepted=1)

  def test_loan_that_is_left_leaves_no_trace(self):
    asker, answerer = self.pair()
    subscriber = answerer.subscriber(BYTES)
    publisher = asker.publisher(BYTES)
    with publisher.loan(10) as loan:
      pass
    with self.assertRaisesRegex(BufferError, 'left unpublished'):
      memoryview(loan)
    view = memoryview(publisher.loan(10))  # Keeps its loan alive.
    view[:] = bytes(10)
    del view
    self.assertIsNone(subscriber.recv_nowait())
    self.check_ledger(asker, accepted=0)

  def test_loan_outlives_the_bus(self):
    asker, _ = self.pair()
    loan = asker.publisher(BYTES).loan(4)
    memoryview(loan)[:] = b'late'
    asker.close(0)
    with self.assertRaises(mycelium.FailedPrecondition):
      loan.publish()
    self.assertEqual(bytes(loan), b'late')

  def test_others_run_while_memory_for_a_loan_is_made(self):
    asker, _ = self.pair()
    publisher = asker.publisher(BYTES)
    # Nobody gets the GIL from a thread that does not release it.
    self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
    sys.setswitchinterval(1000)
    may_run = threading.Lock()
    may_run.acquire()
    ran = []

    def run():
      with may_run:
        ran.append(True)

    other = threading.Thread(target=run)
    other.start()
    may_run.release()
    loans = []  # Kept, since freeing one releases the GIL.
    while not ran and len(loans) < 100:
      loans.append(publisher.loan(1 << 20))
    self.assertTrue(ran)
    other.join()

  def test_loan_of_more_than_a_frame_is_refused(self):
    asker, _ = self.pair()
    with self.assertRaises(mycelium.InvalidArgument):
      asker.publisher(BYTES).loan(1 << 40)


class RoomTest(BusCase):

  def test_descriptor_lets_one_thread_publish_and_receive(self):
    asker, answerer = self.pair(NARROW)
    notes = answerer.subscriber(Note)
    publisher = asker.publisher(Note)
    poll = select.poll()
    sent = 0

    def fill_from(number):
      while number < 100:
        try:
          publisher.try_publish(Note(id=number, text='x' * 4000))
        except mycelium.ResourceExhausted:
          break
        number += 1
      return number

    sent = fill_from(0)
    self.assertLess(sent, 100)
    poll.register(publisher, select.POLLIN)  # After the first refusal.
    self.assertEqual(poll.poll(0), [])
    for number in range(100):
      if number == sent:
        notes.finish()
        self.assertTrue(poll.poll(LONG * 1000))
        sent = fill_from(sent)
      self.assertEqual(notes.recv(LONG).id, number)
    notes.finish()
    self.check_ledger(asker, accepted=100)

  def test_refusals_say_who_and_why_as_long_as_it_holds(self):
    asker, answerer = self.pair(BUNDLED)
    name = Note.DESCRIPTOR.full_name
    other = answerer.subscriber(mycelium.RawType(name, bytes(32)))
    publisher = asker.publisher(Note)
    with self.assertRaises(mycelium.SchemaMismatch):
      publisher.wait_for_subscribers(1, LONG)
    refusal, = publisher.refusals()
    self.assertIsInstance(refusal, mycelium.SchemaMismatch)
    self.assertEqual((refusal.topic, refusal.remote_node), (name, 'right'))
    self.assertIn('right', str(refusal))
    other.close()
    subscriber = answerer.subscriber(Note)
    while publisher.subscriber_count == 0:
      try:
        publisher.wait_for_subscribers(1, LONG)
      except mycelium.SchemaMismatch:
        pass  # The news that the other one was closed is on its way.
    self.assertEqual(publisher.refusals(), [])
    subscriber.close()
    self.check_ledger(asker, accepted=0)


class AsyncTest(BusCase):

  def test_publish_async_waits_for_room_while_the_loop_goes_on(self):
    asker, answerer = self.pair(NARROW)
    subscriber = answerer.subscriber(BYTES)
    publisher = asker.publisher(BYTES)
    block = bytes(4000)
    sent = []
    got = []

    async def write():
      for number in range(100):
        await publisher.publish_async(bytes([number]) + block, LONG)
        sent.append(number)

    async def read():
      # The lane is full, and only this loop can empty it.
      while len(sent) < 10 or not writing.done():
        payload = subscriber.recv_nowait()
        if payload is not None:
          got.append(bytes(payload)[0])
        await asyncio.sleep(0)  # waits: for nothing, lets the writer run
      while len(got) < 100:
        got.append(bytes(await subscriber.recv_async())[0])

    async def both():
      nonlocal writing
      writing = asyncio.ensure_future(write())
      await asyncio.wait_for(asyncio.gather(writing, read()), LONG)

    writing = None
    asyncio.run(both())
    self.assertEqual(got, list(range(100)))
    subscriber.finish()
    self.check_ledger(asker, accepted=100)

  def test_coroutines_publish_in_the_order_of_their_calls(self):
    asker, answerer = self.pair(NARROW)
    subscriber = answerer.subscriber(BYTES)
    publisher = asker.publisher(BYTES)
    block = bytes(4000)

    async def run():
      writing = asyncio.gather(*(
          publisher.publish_async(bytes([number]) + block, LONG)
          for number in range(50)))
      got = [bytes(await subscriber.recv_async())[0] for _ in range(50)]
      await writing
      return got

    got = asyncio.run(asyncio.wait_for(run(), LONG))
    self.assertEqual(got, list(range(50)))
    subscriber.finish()
    self.check_ledger(asker, accepted=50)

  def test_waiting_for_others_counts_as_waiting_for_room(self):
    asker, answerer = self.pair(NARROW_FAIL)
    subscriber = answerer.subscriber(BYTES)
    publisher = asker.publisher(BYTES)
    block = bytes(4000)
    sent = fill(publisher, block)

    async def run():
      first = asyncio.ensure_future(publisher.publish_async(block, LONG))
      await asyncio.sleep(0)  # waits: for nothing, lets it begin to wait
      with self.assertRaisesRegex(mycelium.ResourceExhausted, 'before this'):
        await asyncio.wait_for(publisher.publish_async(block, 0.01), LONG / 2)
      self.assertFalse(first.done())
      got = len(subscriber.recv_many(1000))
      await asyncio.wait_for(first, LONG)
      return got

    self.assertEqual(asyncio.run(run()), sent)
    self.assertEqual(len(subscriber.recv_many(1000)), 1)
    subscriber.finish()
    self.check_ledger(asker, accepted=sent + 1)

  def test_cancelled_coroutine_publishes_nothing_and_others_go_on(self):
    asker, answerer = self.pair(NARROW_FAIL)
    subscriber = answerer.subscriber(BYTES)
    publisher = asker.publisher(BYTES)
    block = bytes(4000)
    accepted = 0

    async def run(which, turns):
      """Cancels one of three, some turns of the loop after there is room."""
      tasks = [asyncio.ensure_future(publisher.publish_async(block, LONG))
               for _ in range(3)]
      for _ in range(3):
        await asyncio.sleep(0)  # waits: for nothing, lets them begin to wait
      got = len(subscriber.recv_many(1000))
      for _ in range(turns):
        await asyncio.sleep(0)  # waits: for nothing, lets them go on
      is_cancelled = tasks[which].cancel()
      await asyncio.wait_for(asyncio.wait(tasks), LONG)
      self.assertEqual([task.cancelled() for task in tasks],
                       [is_cancelled and task is tasks[which]
                        for task in tasks])
      left = len(subscriber.recv_many(1000))
      subscriber.finish()
      self.assertEqual(left, 3 - is_cancelled)
      outcomes.add(is_cancelled)
      return got + left

    outcomes = set()
    for which in (0, 1):
      for turns in range(10):
        sent = fill(publisher, block)
        got = asyncio.run(run(which, turns))
        self.assertGreaterEqual(got, sent)
        accepted += got
    self.assertEqual(outcomes, {False, True})
    self.check_ledger(asker, accepted=accepted)

  def test_timeout_of_publish_async_that_is_out_of_bounds_is_refused(self):
    asker, _ = self.pair()
    publisher = asker.publisher(BYTES)
    for timeout in (-1, math.nan, math.inf):
      with self.assertRaisesRegex(mycelium.InvalidArgument, 'to one year'):
        asyncio.run(publisher.publish_async(b'', timeout))
    self.check_ledger(asker, accepted=0)

  def test_one_event_loop_after_the_other_publishes(self):
    asker, answerer = self.pair(NARROW)
    subscriber = answerer.subscriber(BYTES)
    publisher = asker.publisher(BYTES)

    async def run():
      writing = asyncio.gather(*(
          publisher.publish_async(bytes(4000), LONG) for _ in range(50)))
      for _ in range(50):
        await subscriber.recv_async()
      await writing

    for _ in range(2):  # Its coroutines wait for room, and for each other.
      asyncio.run(asyncio.wait_for(run(), LONG))
    subscriber.finish()
    self.check_ledger(asker, accepted=100)

  def test_publish_async_raises_when_no_room_comes(self):
    asker, answerer = self.pair(NARROW)
    subscriber = answerer.subscriber(BYTES)
    patient = asker.publisher(BYTES, publish_timeout=3600)
    hasty = asker.publisher(BYTES, publish_timeout=0.01)

    async def fill(publisher, **timeout):
      sent = 0
      while True:
        try:
          await publisher.publish_async(bytes(4000), **timeout)
        except mycelium.ResourceExhausted:
          return sent
        sent += 1

    sent = asyncio.run(asyncio.wait_for(fill(patient, timeout=0.01), LONG))
    self.assertGreater(sent, 5)
    self.assertEqual(len(subscriber.recv_many(1000)), sent)
    subscriber.finish()
    # Without a timeout, the publish_timeout of the publisher holds.
    again = asyncio.run(asyncio.wait_for(fill(hasty), LONG))
    with self.assertRaises(asyncio.TimeoutError):
      asyncio.run(asyncio.wait_for(fill(patient), 2))
    self.assertEqual(len(subscriber.recv_many(1000)), again)
    subscriber.finish()
    self.check_ledger(asker, accepted=sent + again)


class GilTest(BusCase):

  def test_others_run_while_a_publisher_waits_for_room(self):
    asker, answerer = self.pair(NARROW)
    subscriber = answerer.subscriber(BYTES)
    publisher = asker.publisher(BYTES, publish_timeout=LONG)
    filled = asker.publisher(BYTES, publish_timeout=0)
    sent = 0
    while True:
      try:
        filled.publish(bytes(4000))
        sent += 1
      except mycelium.ResourceExhausted:
        break
    taken = []
    moved = threading.Event()
    begun = threading.Event()

    def make_room():
      # The lane moves, so it has not stalled. And from here on it is this thread
      # that takes messages.
      taken.extend(subscriber.recv_many(1))
      moved.set()
      begun.wait()
      while len(taken) < sent:
        taken.extend(subscriber.recv_many(1))

    thread = threading.Thread(target=make_room)
    thread.start()
    self.assertTrue(moved.wait(LONG))
    while True:
      try:
        filled.publish(bytes(100))
        sent += 1
      except mycelium.ResourceExhausted:
        break
    begun.set()
    while True:
      try:
        publisher.publish(bytes(4000))  # Would never end if it kept the GIL.
        break
      except mycelium.ResourceExhausted:
        pass  # The lane has stalled until the thread moves it.
    thread.join(LONG)
    self.assertFalse(thread.is_alive())
    taken.extend(subscriber.recv_many(1000, LONG))
    subscriber.finish()
    self.assertEqual(len(taken), sent + 1)
    self.check_ledger(asker, accepted=sent + 1)

  def test_eight_threads_publish_and_receive(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    publisher = asker.publisher(Note)
    got = [[] for _ in range(8)]

    def write(thread):
      for number in range(500):
        publisher.publish(Note(id=thread * 1000 + number))

    def read(ids):
      for _ in range(500):
        ids.append(notes.recv(LONG).id)

    threads = [threading.Thread(target=write, args=(number,))
               for number in range(8)]
    threads += [threading.Thread(target=read, args=(ids,)) for ids in got]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join(LONG)
    self.assertEqual(sorted(sum(got, [])),
                     [thread * 1000 + number
                      for thread in range(8) for number in range(500)])
    for ids in got:
      for thread in range(8):  # In order per publishing thread.
        ours = [number for number in ids if number // 1000 == thread]
        self.assertEqual(ours, sorted(ours))
    notes.finish()
    self.check_ledger(asker, accepted=4000)


if __name__ == '__main__':
  unittest.main()
