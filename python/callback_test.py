"""Callbacks: on whose thread, what they may do, and how they end."""

import functools
import gc
import sys
import threading
import unittest
import weakref

import mycelium
from python.bus_case import BUNDLED
from python.bus_case import BusCase
from python.bus_case import LONG
from tests.testdata import test_messages_pb2

Note = test_messages_pb2.Note
Reply = test_messages_pb2.Reply


class CallbackTest(BusCase):

  def test_callback_runs_inside_publish_on_its_thread(self):
    asker, answerer = self.pair()
    got = []
    answerer.subscribe(
        Note, lambda note: got.append((note.id, threading.get_ident())))
    asker.publisher(Note).publish(Note(id=1))
    self.assertEqual(got, [(1, threading.get_ident())])
    self.check_ledger(asker, accepted=1)

  def test_queued_callback_runs_on_a_thread_of_its_own(self):
    asker, answerer = self.pair()
    local = threading.local()
    got = []
    done = threading.Event()

    def on_note(note):
      # One thread with one thread state, so threading.local() is kept.
      local.count = getattr(local, 'count', 0) + 1
      got.append((note.id, local.count, threading.get_ident()))
      if note.id == 99:
        done.set()

    with answerer.subscribe(Note, on_note, queued=True):
      publisher = asker.publisher(Note)
      for number in range(100):
        publisher.publish(Note(id=number))
      self.assertTrue(done.wait(LONG))
      asker.flush(LONG)
    self.assertEqual([(number, count) for number, count, _ in got],
                     [(number, number + 1) for number in range(100)])
    self.assertNotIn(threading.get_ident(), {thread for *_, thread in got})
    self.check_ledger(asker, accepted=100)

  def test_callback_over_a_link_runs_on_the_nodes_thread(self):
    topology = self.topology(BUNDLED)
    asker = self.bus(topology, 'asker')
    answerer = self.bus(topology, 'answerer')
    got = []
    answerer.subscribe(
        Note, lambda note, info: got.append((note.id, info.publisher_service)),
        with_info=True)
    publisher = asker.publisher_to('answerer', Note)
    publisher.wait_for_subscribers(1, LONG)
    for number in range(100):
      publisher.publish(Note(id=number))
    asker.flush(LONG)
    self.assertEqual(got, [(number, 'asker') for number in range(100)])
    self.check_ledger(asker, answerer, accepted=100)

  def test_callback_publishes(self):
    asker, answerer = self.pair()
    replies = asker.subscriber(Reply)
    publisher = answerer.publisher(Reply)
    answerer.subscribe(
        Note, lambda note: publisher.publish(Reply(id=note.id + 1)))
    asker.publisher(Note).publish(Note(id=1))
    self.assertEqual(replies.recv(LONG).id, 2)
    replies.finish()
    self.check_ledger(asker, accepted=2)

  def test_callback_publishes_to_itself_without_recursion(self):
    asker, _ = self.pair()
    publisher = asker.publisher(Note)
    depth = 0
    got = []

    def on_note(note):
      nonlocal depth
      depth += 1
      self.assertEqual(depth, 1)
      got.append(note.id)
      if note.id < 10:
        publisher.publish(Note(id=note.id + 1))
      depth -= 1

    subscription = asker.subscribe(Note, on_note)
    publisher.publish(Note(id=0))
    self.assertEqual(got, list(range(11)))
    self.assertEqual(subscription.callback_errors, 0)
    self.check_ledger(asker, accepted=11)

  def test_callback_unsubscribes_itself(self):
    asker, answerer = self.pair()
    got = []

    def on_note(note):
      got.append(note.id)
      subscription.unsubscribe()

    for queued in (False, True):
      subscription = answerer.subscribe(Note, on_note, queued=queued)
      publisher = asker.publisher(Note)
      for number in range(5):
        publisher.publish(Note(id=number))
      asker.flush(LONG)
      # The handler may still be returning; nothing comes after it.
      subscription.unsubscribe()
      self.assertEqual(got, [0])
      got.clear()
    self.check_ledger(asker, accepted=10)

  def test_closing_in_a_callback_is_an_error_and_the_bus_lives(self):
    asker, answerer = self.pair()
    raised = []

    def on_note(_):
      for call in (lambda: answerer.close(), lambda: answerer.flush(1)):
        try:
          call()
        except mycelium.FailedPrecondition as error:
          raised.append(str(error))

    answerer.subscribe(Note, on_note)
    publisher = asker.publisher(Note)
    publisher.publish(Note())
    self.assertEqual(len(raised), 2)
    self.assertIn('from a handler', raised[0])
    publisher.publish(Note())
    self.assertEqual(len(raised), 4)
    self.check_ledger(asker, accepted=2)

  def test_unsubscribe_waits_for_the_running_callback(self):
    asker, answerer = self.pair()
    publisher = asker.publisher(Note)
    for _ in range(20):
      entered = threading.Event()
      may_return = threading.Event()
      returned = []

      def on_note(_, entered=entered, may_return=may_return,
                  returned=returned):
        entered.set()
        may_return.wait()
        returned.append(True)

      subscription = answerer.subscribe(Note, on_note, queued=True)
      publisher.publish(Note())
      self.assertTrue(entered.wait(LONG))
      seen = []

      def end(subscription=subscription, returned=returned, seen=seen,
              may_return=may_return):
        may_return.set()
        subscription.unsubscribe()
        seen.append(list(returned))

      thread = threading.Thread(target=end)
      thread.start()
      thread.join(LONG)
      self.assertEqual(seen, [[True]])
    self.check_ledger(asker, accepted=20)

  def test_exception_is_reported_and_the_subscription_lives(self):
    asker, answerer = self.pair()
    told = []
    hook, sys.unraisablehook = sys.unraisablehook, told.append
    self.addCleanup(setattr, sys, 'unraisablehook', hook)
    got = []

    def on_note(note):
      got.append(note.id)
      if note.id == 1:
        raise ValueError('not this one')

    subscription = answerer.subscribe(Note, on_note)
    publisher = asker.publisher(Note)
    for number in range(3):
      publisher.publish(Note(id=number))
    self.assertEqual(got, [0, 1, 2])
    self.assertEqual([str(report.exc_value) for report in told],
                     ['not this one'])
    self.assertEqual(subscription.callback_errors, 1)
    told.clear()
    self.check_ledger(asker, accepted=3)

  def test_interrupt_of_a_callback_is_raised_by_the_call_around_it(self):
    asker, answerer = self.pair()
    told = []
    hook, sys.unraisablehook = sys.unraisablehook, told.append
    self.addCleanup(setattr, sys, 'unraisablehook', hook)
    data = mycelium.RawType('data')
    raised = [KeyboardInterrupt, SystemExit]

    def interrupt(_):
      raise raised[0]

    subscriptions = [answerer.subscribe(Note, interrupt),
                     answerer.subscribe(data, interrupt)]
    notes = asker.publisher(Note)
    bytes_ = asker.publisher(data)
    nested = asker.publisher(Reply)
    answerer.subscribe(Reply, lambda reply: notes.publish(Note()))

    def publish_loan():
      with bytes_.loan(4) as loan:
        loan.publish()

    for publish in (lambda: notes.publish(Note()),
                    lambda: notes.try_publish(Note()),
                    lambda: nested.publish(Reply()), publish_loan):
      with self.assertRaises(raised[0]):
        publish()
      raised.reverse()
    self.assertEqual(told, [])
    self.assertEqual([one.callback_errors for one in subscriptions], [0, 0])
    # On a thread of the runtime there is no Python call that could raise it.
    queued = answerer.subscribe(Reply, interrupt, queued=True, name='queued')
    with self.assertRaises(raised[0]):  # By the other callback.
      nested.publish(Reply())
    asker.flush(LONG)
    self.assertEqual([report.exc_type for report in told], [raised[0]])
    told.clear()
    self.assertEqual(queued.callback_errors, 1)
    self.check_ledger(asker, accepted=8)

  def test_what_nobody_could_call_or_await_is_refused(self):
    asker, answerer = self.pair()

    async def on_note(note):
      del note

    class OnNote:

      async def __call__(self, note):
        del note

    async def on_notes(note):
      yield note

    for callback in (None, 3, on_note, OnNote(), on_notes,
                     functools.partial(on_note)):
      with self.assertRaises(TypeError):
        answerer.subscribe(Note, callback)
    asker.publisher(Note).publish(Note())
    self.check_ledger(asker, accepted=1)

  def test_coroutine_that_a_callback_returns_is_its_error(self):
    asker, answerer = self.pair()
    told = []
    hook, sys.unraisablehook = sys.unraisablehook, told.append
    self.addCleanup(setattr, sys, 'unraisablehook', hook)

    async def on_note(note):
      del note

    subscription = answerer.subscribe(Note, lambda note: on_note(note))
    asker.publisher(Note).publish(Note())
    self.assertEqual([type(report.exc_value) for report in told], [TypeError])
    told.clear()
    self.assertEqual(subscription.callback_errors, 1)
    self.check_ledger(asker, accepted=1)

  def test_what_does_not_parse_is_not_handed_over(self):
    asker, answerer = self.pair()
    got = []
    subscription = answerer.subscribe(Note, lambda note: got.append(note.id))
    publisher = asker.publisher(Note)
    for message in (Note(id=1), b'\xff\xff', b'\x12\x01\xff', Note(id=2)):
      publisher.publish(message)
    self.assertEqual(got, [1, 2])
    self.assertEqual(subscription.callback_errors, 0)
    flow = self.flow(asker.ledger(), 'mycelium.test.Note')
    self.assertEqual((flow['delivered'], flow['dropped']['undecodable']),
                     (2, 2))
    self.check_ledger(asker, accepted=4)

  def test_data_loss_of_the_callback_itself_is_its_error(self):
    asker, answerer = self.pair()
    told = []
    hook, sys.unraisablehook = sys.unraisablehook, told.append
    self.addCleanup(setattr, sys, 'unraisablehook', hook)

    def on_note(_):
      raise mycelium.DataLoss('elsewhere')

    subscription = answerer.subscribe(Note, on_note)
    asker.publisher(Note).publish(Note())
    self.assertEqual([str(report.exc_value) for report in told], ['elsewhere'])
    told.clear()
    self.assertEqual(subscription.callback_errors, 1)
    flow = self.flow(asker.ledger(), 'mycelium.test.Note')
    self.assertEqual((flow['delivered'], flow['dropped']['undecodable']),
                     (1, 0))
    self.check_ledger(asker, accepted=1)

  def test_refused_type_is_told_by_check(self):
    asker, answerer = self.pair()
    subscription = answerer.subscribe(Note, lambda note: None)
    subscription.check()
    wrong = asker.publisher(
        mycelium.RawType('mycelium.test.Note', bytes(range(32))))
    with self.assertRaises(mycelium.SchemaMismatch):
      wrong.wait_for_subscribers(1, LONG)
    with self.assertRaises(mycelium.SchemaMismatch):
      subscription.check()


class LifetimeTest(BusCase):

  def test_subscription_lives_though_nobody_keeps_it(self):
    asker, answerer = self.pair()
    got = []
    answerer.subscribe(Note, lambda note: got.append(note.id))
    publisher = asker.publisher(Note)
    publisher.publish(Note(id=1))
    gc.collect()
    publisher.publish(Note(id=2))
    self.assertEqual(got, [1, 2])
    self.check_ledger(asker, accepted=2)

  def test_kept_subscription_keeps_its_bus(self):
    topology = self.topology()
    asker = self.bus(topology, 'asker')
    answerer = mycelium.MessageBus.from_topology(topology, 'answerer')
    got = []
    subscription = answerer.subscribe(Note, lambda note: got.append(note.id))
    gone = weakref.ref(answerer)
    del answerer
    gc.collect()
    publisher = asker.publisher(Note)
    publisher.publish(Note(id=1))
    self.assertEqual(got, [1])
    self.assertEqual(gone().service, 'answerer')
    del subscription
    gc.collect()
    self.assertIsNone(gone())
    publisher.publish(Note(id=2))
    self.assertEqual(got, [1])
    self.check_ledger(asker, accepted=2)

  def test_bus_with_subscriptions_goes_with_its_last_reference(self):
    topology = self.topology()
    asker = self.bus(topology, 'asker')
    got = []
    self.addCleanup(gc.enable)
    gc.disable()  # Objects have to go without the collector.
    for number in range(2):
      # The second round shows that the service is free again.
      answerer = mycelium.MessageBus.from_topology(topology, 'answerer')
      answerer.subscribe(Note, lambda note: got.append(note.id))
      subscription = answerer.subscribe(Reply, lambda reply: None)
      asker.publisher(Note).publish(Note(id=number))
      gone = weakref.ref(answerer)
      del answerer
      self.assertIsNotNone(gone())  # The subscription keeps it.
      del subscription
      self.assertIsNone(gone())
    asker.publisher(Note).publish(Note(id=2))
    self.assertEqual(got, [0, 1])
    self.check_ledger(asker, accepted=3)

  def test_callback_may_let_its_bus_go(self):
    topology = self.topology()
    asker = self.bus(topology, 'asker')
    publisher = asker.publisher(Note)
    for queued in (False, True):
      buses = [mycelium.MessageBus.from_topology(topology, 'answerer')]
      gone = weakref.ref(buses[0])
      ended = threading.Event()

      def on_note(_, buses=buses, ended=ended):
        buses.clear()  # The last reference.
        ended.set()

      buses[0].subscribe(Note, on_note, queued=queued)
      publisher.publish(Note())
      self.assertTrue(ended.wait(LONG))
      self.assertIsNone(gone())
      publisher.publish(Note())  # To nobody.
    asker.flush(LONG)
    self.check_ledger(asker, accepted=4)

  def test_cycle_of_bus_and_callback_is_garbage_in_the_end(self):
    topology = self.topology()
    asker = self.bus(topology, 'asker')
    answerer = mycelium.MessageBus.from_topology(topology, 'answerer')

    def on_note(note, bus=answerer):  # A cycle.
      got.append((note.id, bus.service))

    got = []
    answerer.subscribe(Note, on_note)
    publisher = asker.publisher(Note)
    publisher.publish(Note(id=1))
    gone = weakref.ref(on_note)
    del on_note, answerer
    gc.collect()
    self.assertIsNone(gone())
    publisher.publish(Note(id=2))
    self.assertEqual(got, [(1, 'answerer')])
    self.check_ledger(asker, accepted=2)

  def test_collecting_while_messages_come(self):
    topology = self.topology()
    publisher = self.bus(topology, 'asker').publisher(Note)
    ending = threading.Event()

    def flood():
      while not ending.is_set():
        publisher.publish(Note())

    threads = [threading.Thread(target=flood) for _ in range(3)]
    for thread in threads:
      thread.start()
    for _ in range(100):
      answerer = mycelium.MessageBus.from_topology(topology, 'answerer')
      calls = threading.Semaphore(0)

      def on_note(_, bus=answerer, calls=calls):
        assert bus.service == 'answerer'
        calls.release()

      answerer.subscribe(Note, on_note)
      calls.acquire()
      gone = weakref.ref(answerer)
      del on_note, answerer
      while gone() is not None:  # It is there as long as a callback runs.
        gc.collect()
    ending.set()
    for thread in threads:
      thread.join(LONG)
      self.assertFalse(thread.is_alive())

  def test_eight_threads_call_one_callback_one_at_a_time(self):
    asker, answerer = self.pair()
    inside = 0
    got = []

    def on_note(note):
      nonlocal inside
      inside += 1
      assert inside == 1
      got.append(note.id)
      inside -= 1

    subscription = answerer.subscribe(Note, on_note)
    publisher = asker.publisher(Note)

    def write(thread):
      for number in range(500):
        publisher.publish(Note(id=thread * 1000 + number))

    threads = [threading.Thread(target=write, args=(number,))
               for number in range(8)]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join(LONG)
      self.assertFalse(thread.is_alive())
    asker.flush(LONG)
    self.assertEqual(sorted(got), [thread * 1000 + number
                                   for thread in range(8)
                                   for number in range(500)])
    self.assertEqual(subscription.callback_errors, 0)
    self.check_ledger(asker, accepted=4000)


if __name__ == '__main__':
  unittest.main()
