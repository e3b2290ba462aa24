"""Callbacks and signal handlers that raise while a call of the bus waits."""

import _thread
import functools
import operator
import os
import signal
import sys
import threading
import time
import unittest

import mycelium
from python.bus_case import BUNDLED
from python.bus_case import BusCase
from python.bus_case import LONG
from tests.testdata import test_messages_pb2

Note = test_messages_pb2.Note
Reply = test_messages_pb2.Reply
BYTES = mycelium.RawType('bytes')


class InterruptTest(BusCase):

  def polled_pair(self):
    """Buses of two nodes; the caller runs the node of the second one."""
    topology = self.topology(BUNDLED)
    answerer = self.bus(topology, 'answerer', poll_by_caller=True)
    asker = self.bus(topology, 'asker')
    return asker, answerer

  def match(self, answerer, *publishers):
    deadline = time.monotonic() + LONG
    while any(one.subscriber_count == 0 for one in publishers):
      answerer.poll(0.01)
      self.assertLess(time.monotonic(), deadline)

  def flush(self, asker, answerer):
    flushing = threading.Thread(target=asker.flush, args=(LONG,))
    flushing.start()
    while flushing.is_alive():
      answerer.poll(0.01)
    flushing.join()

  def receive_after_an_interrupt(self, asker, answerer, type_, message, read):
    """What `read` makes of the message that an interrupted receive had taken."""
    subscriber = answerer.subscriber(type_)
    publisher = asker.publisher(type_)

    def stop(_):
      raise SystemExit

    subscription = answerer.subscribe(Reply, stop)
    replies = asker.publisher(Reply)
    self.match(answerer, publisher, replies)
    while answerer.poll(0):
      pass
    publisher.publish(message)
    replies.publish(Reply())  # Comes together with the message.
    with self.assertRaises(SystemExit):
      subscriber.recv(LONG)
    got = read(subscriber.recv(LONG))
    self.assertEqual(subscriber.info.sequence, 1)
    self.assertEqual(subscriber.recv_many(1), [])
    self.flush(asker, answerer)
    del subscription
    self.check_ledger(asker, answerer, accepted=2)
    return got

  def test_what_a_receive_had_taken_is_what_the_next_one_returns(self):
    asker, answerer = self.polled_pair()
    got = self.receive_after_an_interrupt(
        asker, answerer, Note, Note(id=7), lambda note: note.id)
    self.assertEqual(got, 7)

  def test_of_a_raw_type_it_is_a_payload_all_the_same(self):
    asker, answerer = self.polled_pair()
    data = bytes(range(256)) * 256

    def read(payload):
      self.assertTrue(payload.valid)
      return bytes(payload)

    got = self.receive_after_an_interrupt(asker, answerer, BYTES, data, read)
    self.assertEqual(got, data)

  def interrupt(self, receive, before=lambda: None):
    """Calls `receive` with a signal pending, with no Python code before it."""

    def on_signal(*_):
      before()
      raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, on_signal)
    try:
      with self.assertRaises(KeyboardInterrupt):
        list(map(operator.call, (_thread.interrupt_main, receive)))
    finally:
      signal.signal(signal.SIGINT, previous)

  def test_signal_that_only_c_code_sees_loses_nothing(self):
    asker, answerer = self.pair()
    blobs = answerer.subscriber(BYTES)
    publisher = asker.publisher(BYTES)
    receives = self.receives_of(blobs)
    for receive in receives:
      for number in range(3):
        publisher.publish(bytes([number]))
      for number in range(3):
        self.interrupt(receive)
        self.interrupt(receive)  # With what is kept.
        self.assertEqual(bytes(blobs.recv(LONG)), bytes([number]))
      self.assertEqual(blobs.recv_many(10), [])
    self.check_ledger(asker, accepted=3 * len(receives))

  def receives_of(self, subscriber):
    native = subscriber._native  # pylint: disable=protected-access
    return (functools.partial(native.receive, None, LONG),
            functools.partial(native.try_receive, None),
            functools.partial(native.receive_many, None, 10, LONG),
            functools.partial(native.receive, bytes, LONG))

  def test_closing_in_the_handler_leaves_nothing_behind(self):
    asker, answerer = self.pair()
    publisher = asker.publisher(BYTES)
    kept = []
    for number in range(4):
      blobs = answerer.subscriber(BYTES)
      kept.append(blobs)
      publisher.publish(b'x')
      self.interrupt(self.receives_of(blobs)[number], before=blobs.close)
      with self.assertRaises(mycelium.FailedPrecondition):
        blobs.recv(LONG)
      asker.flush(LONG)  # Though somebody has the subscriber still.
    self.check_ledger(asker, accepted=4)

  def test_handler_does_not_wait_for_the_receive_that_it_interrupts(self):
    asker, answerer = self.pair()
    blobs = answerer.subscriber(BYTES)
    asker.publisher(BYTES).publish(b'x')
    errors = []

    def receive():
      self.assertIsNone(blobs.recv_nowait())
      blobs.finish()
      for call in (functools.partial(blobs.recv, LONG),
                   functools.partial(blobs.recv_many, 1, LONG)):
        try:
          call()
        except mycelium.FailedPrecondition as error:
          errors.append(str(error))

    self.interrupt(self.receives_of(blobs)[0], before=receive)
    self.assertEqual(len(errors), 2, errors)
    self.assertIn('during whose receive', errors[0])
    self.assertEqual(bytes(blobs.recv(LONG)), b'x')
    blobs.finish()
    self.check_ledger(asker, accepted=1)

  def test_list_that_was_kept_outlives_a_second_signal(self):
    asker, answerer = self.pair()
    blobs = answerer.subscriber(BYTES)
    publisher = asker.publisher(BYTES)
    native = blobs._native  # pylint: disable=protected-access

    def parse(data):
      if data == b'2':
        raise KeyboardInterrupt
      return data

    for data in (b'0', b'1', b'2'):
      publisher.publish(data)
    receive_many = functools.partial(native.receive_many, None, 10, LONG)
    with self.assertRaises(KeyboardInterrupt):
      native.receive_many(parse, 10, LONG)
    self.interrupt(receive_many)
    self.assertEqual(native.receive(None, LONG), b'0')
    self.interrupt(receive_many)
    self.assertEqual(blobs.info.sequence, 1)
    self.assertEqual(blobs.recv_many(10), [b'1'])
    self.assertEqual(blobs.recv_many(10), [b'2'])
    blobs.finish()
    self.check_ledger(asker, accepted=3)

  def test_what_nobody_asks_for_any_more_is_counted(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)

    def parse(data):
      del data
      raise KeyboardInterrupt

    asker.publisher(Note).publish(Note(id=1))
    with self.assertRaises(KeyboardInterrupt):
      notes._native.receive(parse, LONG)  # pylint: disable=protected-access
    del notes
    self.check_ledger(asker, accepted=1)

  def test_callback_ends_the_wait_around_it_at_once(self):
    asker, answerer = self.polled_pair()

    def stop(_):
      raise KeyboardInterrupt

    subscription = answerer.subscribe(Reply, stop)
    notes = answerer.subscriber(Note)
    publisher = answerer.publisher(Note, topic='nobody')
    replies = asker.publisher(Reply)
    self.match(answerer, replies)
    waits = (lambda: notes.recv(LONG),
             lambda: notes.recv_many(1, LONG),
             lambda: publisher.wait_for_subscribers(1, LONG),
             lambda: next(iter(notes)))
    for wait in waits:
      replies.publish(Reply())
      began = time.monotonic()
      with self.assertRaises(KeyboardInterrupt):
        wait()
      self.assertLess(time.monotonic() - began, LONG / 2)
    self.flush(asker, answerer)
    del subscription
    self.check_ledger(asker, answerer, accepted=len(waits))

  # The new subscription is destroyed, which waits for the callback's thread.
  def test_on_error_may_raise_while_the_callback_runs(self):
    asker, answerer = self.pair()
    other = asker.publisher(mycelium.RawType(Note.DESCRIPTOR.full_name))
    publisher = asker.publisher(Note)
    published = 0

    def on_error(error):
      sys.exit(str(error))

    over = threading.Event()

    def publish():
      nonlocal published
      while not over.is_set():
        publisher.publish(Note())
        published += 1

    publishing = threading.Thread(target=publish)
    publishing.start()
    try:
      for number in range(40):
        with self.assertRaises(SystemExit):
          answerer.subscribe(
              Note, lambda note: None, queued=number % 2 == 0,
              name=f'number {number}', on_error=on_error)
    finally:
      over.set()
      publishing.join(LONG)
    del other
    asker.flush(LONG)
    self.check_ledger(asker, accepted=published)

  def test_closed_bus_neither_listens_nor_dials(self):
    asker, answerer = self.pair()
    path = self.path('late.sock')
    answerer.close()
    for call in (answerer.listen_unix, answerer.listen_shm,
                 answerer.connect_unix, answerer.connect_shm):
      with self.assertRaisesRegex(
          mycelium.FailedPrecondition, 'service answerer is closed'):
        call(path)
    self.assertFalse(os.path.exists(path))
    self.check_ledger(asker, accepted=0)


if __name__ == '__main__':
  unittest.main()
