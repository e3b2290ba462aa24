"""Receiving and publishing in an event loop."""

import asyncio
import contextlib
import gc
import os
import threading
import time
import unittest

import mycelium
from python.bus_case import BUNDLED
from python.bus_case import BusCase
from python.bus_case import LONG
from python.bus_case import NARROW_FAIL
from tests.testdata import test_messages_pb2

Note = test_messages_pb2.Note


class AsyncTest(BusCase):

  def test_async_for_gets_every_message_without_a_thread(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    publisher = asker.publisher(Note)
    ids = []
    threads = set()

    async def read():
      async for note in notes:
        ids.append(note.id)
        threads.update(threading.enumerate())
        if len(ids) == 1000:
          return

    async def write():
      for number in range(1000):
        publisher.publish(Note(id=number))
        if number % 10 == 0:
          await asyncio.sleep(0)  # waits: for nothing, lets the reader run

    async def both():
      await asyncio.wait_for(asyncio.gather(read(), write()), LONG)

    asyncio.run(both())
    self.assertEqual(ids, list(range(1000)))
    self.assertEqual(threads, {threading.main_thread()})
    notes.finish()
    self.check_ledger(asker, accepted=1000)

  def polled_pair(self, text=BUNDLED):
    """Buses of two nodes; the caller runs the node of the second one."""
    topology = self.topology(text)
    answerer = self.bus(topology, 'answerer', poll_by_caller=True)
    return self.bus(topology, 'asker'), answerer

  def check_polled(self, asker, answerer, accepted):
    flushing = threading.Thread(target=asker.flush, args=(LONG,))
    flushing.start()
    while flushing.is_alive():
      answerer.poll(0.01)
    flushing.join()
    answerer.flush(LONG)
    self.check_ledger(asker, answerer, accepted=accepted)

  def test_loop_runs_the_node_that_its_caller_polls(self):
    asker, answerer = self.polled_pair()
    notes = answerer.subscriber(Note)
    publisher = asker.publisher(Note)
    watched = []

    def write():
      publisher.wait_for_subscribers(1, LONG)
      for number in range(100):
        publisher.publish(Note(id=number))

    async def read():
      # What the program itself watches stays watched.
      loop = asyncio.get_running_loop()
      loop.add_reader(answerer.fileno(), watched.append, True)
      ids = [(await notes.recv_async()).id for _ in range(100)]
      self.assertTrue(loop.remove_reader(answerer.fileno()))
      return ids

    writing = threading.Thread(target=write)
    writing.start()
    ids = asyncio.run(asyncio.wait_for(read(), LONG))
    writing.join()
    self.assertEqual(ids, list(range(100)))
    self.assertTrue(watched)
    notes.finish()
    self.check_polled(asker, answerer, accepted=100)

  def test_room_comes_in_a_loop_that_runs_the_node(self):
    asker, answerer = self.polled_pair(
        BUNDLED + '[limits]\nframe_bytes_max = 8192\n'
        '[defaults]\nlane_bytes = 65536\n')
    notes = asker.subscriber(Note)
    publisher = answerer.publisher(Note)
    ids = []

    def read():
      for _ in range(100):
        ids.append(notes.recv(LONG).id)
      notes.finish()

    async def write():
      for number in range(100):
        await publisher.publish_async(
            Note(id=number, blob=bytes(4096)), timeout=LONG)

    deadline = time.monotonic() + LONG
    while publisher.subscriber_count == 0 and time.monotonic() < deadline:
      answerer.poll(0.01)
    reading = threading.Thread(target=read)
    reading.start()
    asyncio.run(write())
    while reading.is_alive():
      answerer.poll(0.01)
    reading.join()
    self.assertEqual(ids, list(range(100)))
    self.check_polled(asker, answerer, accepted=100)

  def test_readers_of_the_program_stay_and_descriptors_do_not(self):
    asker, answerer = self.pair(NARROW_FAIL)
    notes = answerer.subscriber(Note)
    publisher = asker.publisher(Note)
    note = Note(text='x' * 4000)

    async def run():
      loop = asyncio.get_running_loop()
      for end in (notes, publisher):
        loop.add_reader(end.fileno(), watched.append, end)
      reading = asyncio.ensure_future(notes.recv_async())
      await asyncio.sleep(0)  # waits: for nothing, lets the reader begin
      sent = 1
      publisher.publish(note)
      await reading
      with contextlib.suppress(mycelium.ResourceExhausted):
        while True:
          publisher.try_publish(note)
          sent += 1
      writing = asyncio.ensure_future(publisher.publish_async(note, LONG))
      await asyncio.sleep(0)  # waits: for nothing, lets the writer begin
      notes.recv_many(1000)
      await writing
      for end in (notes, publisher):
        self.assertTrue(loop.remove_reader(end.fileno()))
      notes.recv_many(1000)
      notes.finish()
      return sent + 1

    def descriptors():
      gc.collect()
      return len(os.listdir('/proc/self/fd'))

    watched = []
    before = descriptors()
    sent = asyncio.run(asyncio.wait_for(run(), LONG))
    self.assertIn(notes, watched)
    self.check_ledger(asker, accepted=sent)
    watched.clear()
    self.assertEqual(descriptors(), before + 4)  # Each end's own and another.
    notes.close()
    del notes, publisher
    self.assertEqual(descriptors(), before)

  def test_node_that_ends_ends_who_waits_in_its_loop(self):
    asker, answerer = self.polled_pair()
    notes = answerer.subscriber(Note)

    async def read():
      asyncio.get_running_loop().call_soon(answerer.close, LONG)
      async for _ in notes:
        self.fail('nobody publishes')

    asyncio.run(asyncio.wait_for(read(), LONG))
    self.check_ledger(asker, accepted=0)

  def test_message_wakes_a_loop_that_has_nothing_else_to_do(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    publisher = asker.publisher(Note)

    async def read():
      waiting.set()
      return await asyncio.wait_for(notes.recv_async(), LONG)

    waiting = threading.Event()
    writer = threading.Thread(
        target=lambda: (waiting.wait(), publisher.publish(Note(id=5))))
    writer.start()
    self.assertEqual(asyncio.run(read()).id, 5)
    writer.join()
    notes.finish()
    self.check_ledger(asker, accepted=1)

  def test_busy_subscriber_leaves_the_loop_to_others(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    publisher = asker.publisher(Note)
    for number in range(1000):
      publisher.publish(Note(id=number))

    async def read():
      for _ in range(1000):
        await notes.recv_async()

    async def tick():
      while not reading.done():
        ticks.append(1)
        await asyncio.sleep(0)  # waits: for nothing, lets the reader run

    async def both():
      nonlocal reading
      reading = asyncio.ensure_future(read())
      await asyncio.wait_for(asyncio.gather(reading, tick()), LONG)

    ticks = []
    reading = None
    asyncio.run(both())
    self.assertGreater(len(ticks), 10)
    notes.finish()
    self.check_ledger(asker, accepted=1000)

  def test_cancelling_loses_nothing(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    publisher = asker.publisher(Note)

    async def run():
      with self.assertRaises(asyncio.TimeoutError):
        await asyncio.wait_for(notes.recv_async(), 0.01)
      publisher.publish(Note(id=9))
      return await asyncio.wait_for(notes.recv_async(), LONG)

    self.assertEqual(asyncio.run(run()).id, 9)
    notes.finish()
    self.check_ledger(asker, accepted=1)

  def test_cancelling_between_turns_of_the_loop_loses_nothing(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    publisher = asker.publisher(Note)
    for number in range(200):
      publisher.publish(Note(id=number))

    async def read():
      ids = []
      for _ in range(300):  # 200 messages, and more turns than it rests.
        if len(ids) == 200:
          break
        reading = asyncio.ensure_future(notes.recv_async())
        await asyncio.sleep(0)  # waits: for nothing, lets it take one, or rest
        reading.cancel()
        try:
          ids.append((await reading).id)
        except asyncio.CancelledError:
          rests.append(len(ids))
      return ids

    rests = []
    ids = asyncio.run(asyncio.wait_for(read(), LONG))
    self.assertGreater(len(rests), 1)
    self.assertEqual(ids, list(range(200)))
    notes.finish()
    self.check_ledger(asker, accepted=200)

  def test_closing_the_bus_ends_async_for(self):
    _, answerer = self.pair()
    notes = answerer.subscriber(Note)

    async def run():
      reading = asyncio.ensure_future(read())
      await asyncio.sleep(0)  # waits: for nothing, lets the reader begin
      closer = threading.Thread(target=answerer.close)
      closer.start()
      await asyncio.wait_for(reading, LONG)
      closer.join()

    async def read():
      async for _ in notes:
        self.fail('nobody publishes')

    asyncio.run(run())

  def test_check_says_why_messages_do_not_come_as_long_as_that_holds(self):
    asker, answerer = self.pair(NARROW_FAIL)
    notes = answerer.subscriber(Note)
    subscription = answerer.subscribe(Note, lambda note: None, name='other')
    notes.check()
    wrong = asker.publisher(
        mycelium.RawType('mycelium.test.Note', bytes(range(32))))
    for end in (notes, subscription):
      with self.assertRaises(mycelium.SchemaMismatch):
        end.check()
    with self.assertRaises(mycelium.SchemaMismatch):
      notes.recv(LONG)
    with self.assertRaises(mycelium.SchemaMismatch):
      notes.check()
    del wrong
    notes.check()
    subscription.check()
    # This subscriber falls behind, and is left out.
    slow = answerer.subscriber(Note, overflow='disconnect', name='slow')
    publisher = asker.publisher(Note)
    sent = 0
    while publisher.subscriber_count > 2:
      publisher.publish(Note(text='x' * 4000))
      sent += 1
      notes.recv(LONG)
    notes.finish()
    with self.assertRaisesRegex(mycelium.ResourceExhausted, 'fell behind'):
      slow.check()
    got = 0
    with self.assertRaisesRegex(mycelium.ResourceExhausted, 'fell behind'):
      while True:
        slow.recv(LONG)
        got += 1
    slow.finish()
    self.assertEqual(got, sent - 1)
    self.check_ledger(asker, accepted=2 * sent + got)

  def test_refused_type_is_raised_in_the_loop(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)

    async def run():
      reading = asyncio.ensure_future(notes.recv_async())
      await asyncio.sleep(0)  # waits: for nothing, lets the reader begin
      wrong = mycelium.RawType('mycelium.test.Note', bytes(range(32)))
      publisher = asker.publisher(wrong)
      with self.assertRaises(mycelium.SchemaMismatch) as raised:
        await asyncio.wait_for(reading, LONG)
      self.assertEqual(raised.exception.remote_digest, bytes(range(32)))
      del publisher

    asyncio.run(run())


if __name__ == '__main__':
  unittest.main()
