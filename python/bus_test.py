"""Services in Python exchange messages over the topology."""

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
import unittest

import mycelium
import mycelium.bus
from python.bus_case import BUNDLED
from python.bus_case import BusCase
from python.bus_case import LONG
from python.bus_case import MONOLITH
from python.bus_case import NARROW_BLOCK
from python.bus_case import NARROW_FAIL
from tests.testdata import test_messages_pb2

Note = test_messages_pb2.Note
Reply = test_messages_pb2.Reply

def answer(bus, notes, count):
  """Answers `count` notes of a subscriber; returns the ids."""
  replies = bus.publisher_to('asker', Reply)
  replies.wait_for_subscribers(1, LONG)
  ids = []
  for _ in range(count):
    note = notes.recv(LONG)
    ids.append(note.id)
    replies.publish(Reply(id=note.id, value=len(note.text)))
  notes.recv_nowait()
  return ids


def ask(bus, count):
  """Asks `count` times, one note after the other; returns the replies."""
  replies = bus.subscriber(Reply)
  notes = bus.publisher_to('answerer', Note)
  notes.wait_for_subscribers(1, LONG)
  got = []
  for number in range(count):
    notes.publish(Note(id=number, text='x' * number))
    reply = replies.recv(LONG)
    got.append((reply.id, reply.value))
  replies.recv_nowait()
  return got


def answer_in_a_process(topology, count, results):
  """The program of a test's second process."""
  with mycelium.MessageBus.from_topology(topology, 'answerer') as bus:
    notes = bus.subscriber(Note)  # Kept until the other side has counted.
    ids = answer(bus, notes, count)
    bus.flush(LONG)
    results.send((ids, bus.ledger()))
    results.recv()  # Waits until the other side is done, too.


def wait_for_ever_at_exit(topology):
  """Ends the process while daemon threads of it wait in recv()."""
  bus = mycelium.MessageBus.from_topology(topology, 'asker')
  waiting = threading.Semaphore(0)

  def wait(notes):
    waiting.release()
    while True:
      try:
        notes.recv(timeout=3600)
      except mycelium.FailedPrecondition:
        pass

  for _ in range(8):
    notes = bus.subscriber(Note)
    threading.Thread(target=wait, args=(notes,), daemon=True).start()
  for _ in range(8):
    waiting.acquire()


def publish_for_ever_at_exit(topology):
  """As above, while the threads publish, and wait for subscribers."""
  bus = mycelium.MessageBus.from_topology(topology, 'asker')
  begun = threading.Semaphore(0)

  def repeat(call):
    begun.release()
    while True:
      try:
        call()
      except mycelium.FailedPrecondition:
        pass

  notes = bus.publisher(Note)
  for call in 4 * [
      lambda: notes.publish(Note(text='x' * 1000)),
      lambda: notes.wait_for_subscribers(1, timeout=3600)]:
    threading.Thread(target=repeat, args=(call,), daemon=True).start()
  for _ in range(8):
    begun.acquire()


AT_EXIT = {
    function.__name__: function
    for function in (wait_for_ever_at_exit, publish_for_ever_at_exit)}


class BusTest(BusCase):

  def test_two_processes_exchange_messages_over_shm(self):
    topology = self.topology(BUNDLED)
    ours, theirs = multiprocessing.Pipe()
    other = multiprocessing.get_context('spawn').Process(
        target=answer_in_a_process, args=(topology, 100, theirs))
    other.start()
    self.addCleanup(other.kill)
    bus = self.bus(topology, 'asker')
    self.assertEqual(bus.node, 'left')
    got = ask(bus, 100)
    self.assertEqual(got, [(number, number) for number in range(100)])
    self.assertTrue(ours.poll(LONG))
    their_ids, their_ledger = ours.recv()
    self.assertEqual(their_ids, list(range(100)))
    bus.flush(LONG)
    sent = self.flow(bus.ledger(), 'mycelium.test.Note')
    handled = self.flow(their_ledger, 'mycelium.test.Note')
    self.assertEqual(sent['transport'], 'shm')
    self.assertEqual(sent['accepted'], 100)
    self.assertEqual(sent['in_flight'], 0)
    self.assertEqual(handled['delivered'], 100)
    self.assertEqual(sum(sent['dropped'].values()), 0)
    self.assertEqual(sum(handled['dropped'].values()), 0)
    ours.send('done')
    other.join(LONG)
    self.assertEqual(other.exitcode, 0)

  # If a call that waits kept the GIL, the thread that could end the wait would
  # never run.
  def test_caller_runs_the_node(self):
    path = self.path('s')
    threads = threading.active_count()
    with mycelium.MessageBus(wait='spin', poll_by_caller=True) as polled:
      with mycelium.MessageBus() as threaded:
        threaded.listen_unix(path)
        polled.connect_unix(path)
        polled.wait_for_link(LONG)
        got = []
        polled.subscribe(Note, lambda note: got.append(note.id))
        notes = threaded.publisher(Note)
        while notes.subscriber_count == 0:
          polled.poll(LONG)
        notes.publish(Note(id=1))
        # As a program's own event loop would do.
        while not got:
          self.assertEqual(select.select([polled], [], [], LONG)[0], [polled])
          polled.poll(0)
        self.assertEqual(got, [1])
        # A call that waits runs the node, too.
        replies = polled.subscriber(Reply)
        answers = threaded.publisher(Reply)
        while answers.subscriber_count == 0:
          polled.poll(LONG)
        answers.publish(Reply(id=2))
        self.assertEqual(replies.recv(LONG).id, 2)
        replies.finish()
        while threaded.stats()['in_flight']:
          polled.poll(LONG)
        self.check_ledger(polled, threaded, accepted=2)
        with self.assertRaisesRegex(mycelium.FailedPrecondition, 'thread'):
          threaded.poll(0)
        with self.assertRaises(mycelium.DeadlineExceeded):
          mycelium.MessageBus(poll_by_caller=True).wait_for_link(0.01)
    self.assertEqual(threading.active_count(), threads)

  def test_other_threads_run_while_one_waits(self):
    topology = self.topology(MONOLITH)
    asker = self.bus(topology, 'asker')
    answerer = self.bus(topology, 'answerer')
    notes = answerer.subscriber(Note)
    ids = []
    thread = threading.Thread(
        target=lambda: ids.extend(answer(answerer, notes, 100)))
    thread.start()
    got = ask(asker, 100)
    thread.join()
    self.assertEqual(got, [(number, number) for number in range(100)])
    self.assertEqual(ids, list(range(100)))
    flow = self.flow(asker.ledger(), 'mycelium.test.Note')
    self.assertEqual(flow['transport'], 'inproc')
    self.assertEqual((flow['accepted'], flow['delivered']), (100, 100))

  def test_other_threads_run_while_one_publishes_and_flushes(self):
    topology = self.topology(NARROW_BLOCK)
    notes = self.bus(topology, 'answerer').subscriber(Note)
    asker = self.bus(topology, 'asker')
    publisher = asker.publisher(Note)
    flushing = threading.Event()
    ids = []

    def receive():
      for _ in range(200):
        ids.append(notes.recv(LONG).id)
      flushing.wait()  # While one message is not finished yet.
      notes.recv_nowait()

    thread = threading.Thread(target=receive)
    thread.start()
    for number in range(200):
      publisher.publish(Note(id=number, blob=bytes(4096)))
    flushing.set()
    asker.flush(LONG)
    thread.join()
    self.assertEqual(ids, list(range(200)))

  # A signal handler runs while flush() waits. It publishes one message for each
  # that it receives, so that there is never less to wait for.
  def test_flush_does_not_wait_for_what_is_published_meanwhile(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    publisher = asker.publisher(Note)
    for _ in range(3):
      publisher.publish(Note())
    seen = []

    def on_alarm(*_):
      publisher.publish(Note())
      seen.append(notes.recv(LONG))

    before = signal.signal(signal.SIGALRM, on_alarm)
    self.addCleanup(signal.signal, signal.SIGALRM, before)
    self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    asker.flush(LONG)
    signal.setitimer(signal.ITIMER_REAL, 0)
    self.assertGreaterEqual(len(seen), 4)  # The next receive finishes each.
    self.assertEqual(len(notes.recv_many(100)), 3)
    notes.finish()
    self.check_ledger(asker, accepted=len(seen) + 3)

  def test_threads_that_receive_at_once_get_each_message_once(self):
    topology = self.topology(MONOLITH)
    notes = self.bus(topology, 'answerer').subscriber(Note)
    publisher = self.bus(topology, 'asker').publisher(Note)
    got = [[], [], []]

    def receive(ids):
      for _ in range(50):
        ids.append(notes.recv(LONG).id)

    threads = [threading.Thread(target=receive, args=(ids,)) for ids in got]
    for thread in threads:
      thread.start()
    for number in range(150):
      publisher.publish(Note(id=number))
    for thread in threads:
      thread.join()
    self.assertEqual(sorted(sum(got, [])), list(range(150)))

  def test_every_bus_of_a_node_may_wait_for_its_links(self):
    topology = self.topology(BUNDLED.replace('"asker"', '"asker", "second"'))
    first = self.bus(topology, 'asker')
    second = self.bus(topology, 'second')
    for bus in (first, second):
      with self.assertRaisesRegex(
          mycelium.DeadlineExceeded, 'right.sock: No such file'):
        bus.wait_for_link(0.01)
    self.bus(topology, 'answerer')
    first.wait_for_link(LONG)
    second.wait_for_link(LONG)

  def test_link_to_a_path_that_is_no_utf8_is_reported(self):
    bus = self.bus(self.topology(BUNDLED), 'asker')
    bus.connect_unix(self.path('').encode() + b'\xff.sock')
    with self.assertRaisesRegex(mycelium.DeadlineExceeded, '\ufffd.sock'):
      bus.wait_for_link(0.01)
    links = [link for link in bus.links() if '\ufffd.sock' in link['address']]
    self.assertEqual(len(links), 1, bus.links())

  def test_recv_says_that_it_needs_a_timeout(self):
    notes = self.bus(self.topology(), 'asker').subscriber(Note)
    for arguments in ((), (None,), ('1',)):
      with self.assertRaisesRegex(TypeError, 'must be a number of seconds'):
        notes.recv(*arguments)

  def test_recv_raises_timeout_error_when_nothing_comes(self):
    notes = self.bus(self.topology(MONOLITH), 'asker').subscriber(Note)
    with self.assertRaises(TimeoutError) as raised:
      notes.recv(timeout=0.01)
    self.assertIsInstance(raised.exception, mycelium.DeadlineExceeded)
    self.assertEqual(raised.exception.code, 'DEADLINE_EXCEEDED')
    self.assertIn('mycelium.test.Note', str(raised.exception))
    with self.assertRaisesRegex(TimeoutError, 'within 120ms'):
      notes.recv(timeout=0.12)  # Longer than the runtime waits at a time.
    self.assertIsNone(notes.recv_nowait())

  def test_close_ends_a_recv_that_waits(self):
    bus = self.bus(self.topology(MONOLITH), 'asker')
    notes = bus.subscriber(Note)
    waiting = threading.Event()
    raised = []

    def wait():
      waiting.set()
      try:
        notes.recv(timeout=LONG)
      except mycelium.MyceliumError as error:
        raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait()
    bus.close()
    thread.join()
    self.assertEqual([type(error) for error in raised],
                     [mycelium.FailedPrecondition])

  def test_closed_bus_can_be_opened_again(self):
    topology = self.topology(BUNDLED)
    with mycelium.MessageBus.from_topology(topology, 'asker') as first:
      notes = first.publisher(Note)
    with self.assertRaises(mycelium.FailedPrecondition):
      notes.publish(Note())
    again = self.bus(topology, 'asker')
    again.publisher(Note).publish(Note(id=1))
    flow = self.flow(again.ledger(), 'mycelium.test.Note')
    self.assertEqual(flow['dropped']['no_subscriber'], 1)

  def test_closing_one_bus_leaves_the_others_of_its_node(self):
    topology = self.topology(MONOLITH)
    answerer = self.bus(topology, 'answerer')
    notes = answerer.subscriber(Note)
    with self.bus(topology, 'asker') as asker:
      publisher = asker.publisher(Note)
      mine = asker.subscriber(Reply)
      publisher.publish(Note(id=1))
      self.assertEqual(notes.recv(LONG).id, 1)
      notes.finish()
    for call in (lambda: publisher.publish(Note()), lambda: mine.recv(LONG),
                 lambda: asker.publisher(Note)):
      with self.assertRaises(mycelium.FailedPrecondition):
        call()
    with self.bus(topology, 'asker') as again:
      again.publisher_to('answerer', Note).publish(Note(id=2))
      self.assertEqual(notes.recv(LONG).id, 2)
      notes.finish()
    answerer.publisher(Note).publish(Note(id=3))
    self.assertEqual(notes.recv(LONG).id, 3)
    notes.finish()
    self.check_ledger(answerer, accepted=3)

  def test_shutdown_ends_the_node_for_all_buses_of_it(self):
    asker, answerer = self.pair()
    notes = answerer.subscriber(Note)
    asker.publisher(Note).publish(Note(id=1))
    with self.assertRaises(mycelium.DeadlineExceeded):
      asker.shutdown(0)
    self.assertEqual((asker.closed, notes.closed), (True, True))
    with self.assertRaises(mycelium.FailedPrecondition):
      answerer.publisher(Note)
    asker.shutdown(LONG)
    answerer.close()
    self.assertTrue(answerer.closed)
    self.check_ledger(answerer, accepted=1)

  def test_shutdown_is_refused_in_a_callback(self):
    bus = self.bus(self.topology(MONOLITH), 'asker')
    raised = []

    def on_note(_):
      try:
        bus.shutdown(LONG)
      except mycelium.FailedPrecondition as error:
        raised.append(error)

    bus.subscribe(Note, on_note)
    bus.publisher(Note).publish(Note())
    self.assertEqual((len(raised), bus.closed), (1, False))
    self.check_ledger(bus, accepted=1)

  def test_endpoint_counts_and_stops(self):
    path = self.path('s')
    with mycelium.MessageBus() as listening, mycelium.MessageBus() as dialling:
      notes = dialling.subscriber(Note)
      publisher = listening.publisher(Note)
      address = listening.listen_tcp('localhost:0')
      dialling.connect_tcp(address)
      publisher.wait_for_subscribers(1, LONG)
      publisher.publish(Note(id=1))
      self.assertEqual(notes.recv(LONG).id, 1)
      notes.finish()
      counts = listening.endpoint_stats()
      self.assertEqual((counts['connections'], counts['frames_sent']), (1, 1))
      self.assertEqual(set(counts['dropped'].values()), {0})
      self.assertEqual(dialling.endpoint_stats()['connections'], 0)
      listening.listen_unix(path)
      for endpoint in (address, path):
        with self.assertRaises(mycelium.NotFound):
          dialling.stop_listening(endpoint)
        listening.stop_listening(endpoint)
        with self.assertRaises(mycelium.NotFound):
          listening.stop_listening(endpoint)
      self.assertFalse(os.path.exists(path))
      listening.flush(LONG)
      self.check_ledger(listening, dialling, accepted=1)

  def test_sockets_of_a_closed_bus_are_free(self):
    path = self.path('s')
    topology = self.topology(MONOLITH)
    asker, answerer = self.bus(topology, 'asker'), self.bus(topology, 'answerer')
    asker.listen_unix(path)
    with self.assertRaises(mycelium.AlreadyExists):
      answerer.listen_unix(path)
    asker.close()
    answerer.listen_unix(path)

  def test_full_subscriber_is_resource_exhausted(self):
    topology = self.topology(NARROW_FAIL)
    notes = self.bus(topology, 'answerer').subscriber(Note)
    publisher = self.bus(topology, 'asker').publisher(Note)
    sent = 0
    with self.assertRaises(mycelium.ResourceExhausted):
      while sent < 1000:
        publisher.publish(Note(id=sent, blob=bytes(4096)))
        sent += 1
    got = [notes.recv(LONG).id for _ in range(sent)]
    self.assertEqual(got, list(range(sent)))
    self.assertIsNone(notes.recv_nowait())

  def test_absent_service_is_unavailable(self):
    publisher = self.bus(self.topology(BUNDLED), 'asker').publisher_to(
        'answerer', Note)
    with self.assertRaises(mycelium.Unavailable):
      publisher.publish(Note())
    with self.assertRaises(TimeoutError):
      publisher.wait_for_subscribers(1, timeout=0.01)

  def test_unknown_service_is_not_found_and_the_nearest_is_named(self):
    topology = self.topology(MONOLITH)
    with self.assertRaisesRegex(mycelium.NotFound, 'answerer'):
      mycelium.MessageBus.from_topology(topology, 'answerrer')
    with self.assertRaisesRegex(mycelium.NotFound, 'answerer'):
      self.bus(topology, 'asker').publisher_to('answerrer', Note)

  def test_publisher_to_a_name_that_is_empty_does_not_reach_all(self):
    with self.assertRaisesRegex(mycelium.InvalidArgument, 'publisher()'):
      mycelium.MessageBus().publisher_to('', Note)

  def test_second_bus_of_a_service_already_exists(self):
    topology = self.topology(MONOLITH)
    self.bus(topology, 'asker')
    with self.assertRaises(mycelium.AlreadyExists):
      mycelium.MessageBus.from_topology(topology, 'asker')

  def test_wrong_arguments_are_refused(self):
    bus = self.bus(self.topology(MONOLITH), 'asker')
    notes = bus.subscriber(Note)
    for timeout in (-1, float('nan'), float('inf')):
      with self.assertRaises(ValueError):
        notes.recv(timeout)
    with self.assertRaises(mycelium.InvalidArgument):
      mycelium.MessageBus.from_topology(
          self.topology(MONOLITH), 'answerer', schema_digest=b'short')
    with self.assertRaises(TypeError):
      bus.publisher(Note).publish(Reply())
    with self.assertRaises(TypeError):
      bus.publisher('mycelium.test.Note')
    with self.assertRaisesRegex(TypeError, 'queued'):
      bus.subscriber(Note, queued=True)  # An option of callbacks only.

  def test_process_ends_while_threads_receive(self):
    self.expect_end_of('wait_for_ever_at_exit')

  def test_process_ends_while_threads_publish(self):
    self.expect_end_of('publish_for_ever_at_exit')

  def expect_end_of(self, function):
    topology = self.topology(MONOLITH)
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    for _ in range(5):
      ended = subprocess.run(
          [sys.executable, __file__, function, topology],
          env=environment, timeout=LONG, check=False,
          stderr=subprocess.PIPE, encoding='utf-8')
      # The log may say that nobody is subscribed, and nothing else.
      lines = [line for line in ended.stderr.splitlines()
               if 'messages dropped: no_subscriber' not in line]
      self.assertEqual((ended.returncode, lines), (0, []))


if __name__ == '__main__':
  if sys.argv[1:2] and sys.argv[1] in AT_EXIT:
    AT_EXIT[sys.argv[1]](sys.argv[2])
  else:
    unittest.main()
