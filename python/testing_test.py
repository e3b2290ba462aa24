"""mycelium.testing: what became of every message."""

import os
import tempfile
import unittest

import mycelium
from mycelium import testing
from tests.testdata import test_messages_pb2

SOON = 20.0


class TestingTest(unittest.TestCase):

  def trouble(self, check, *buses):
    with self.assertRaises(AssertionError) as raised:
      check(*buses)
    return str(raised.exception)

  def test_all_is_well_where_each_message_was_handled(self):
    with mycelium.MessageBus() as bus:
      notes = bus.subscriber(test_messages_pb2.Note)
      bus.publisher(test_messages_pb2.Note).publish(test_messages_pb2.Note())
      notes.recv(timeout=SOON)
      notes.finish()
      testing.check_all_delivered(bus)
      testing.check_ledger(bus)

  def test_where_nothing_was_published_nothing_is_shown(self):
    with mycelium.MessageBus('a') as bus:
      for check in testing.check_ledger, testing.check_all_delivered:
        self.assertIn('no message was accepted by a', self.trouble(check, bus))

  def test_what_nobody_took_is_not_delivered(self):
    with mycelium.MessageBus('a') as bus:
      notes = bus.subscriber(test_messages_pb2.Note)
      bus.publisher(test_messages_pb2.Note).publish(test_messages_pb2.Note())
      testing.check_ledger(bus)
      trouble = self.trouble(testing.check_all_delivered, bus)
      self.assertIn(': accepted 1, delivered 0, in flight 1', trouble)
      self.assertNotIn('missing', trouble)
      notes.recv(timeout=SOON)
      notes.finish()

  def test_what_reached_nobody_is_not_delivered(self):
    with mycelium.MessageBus() as bus:
      bus.publisher(test_messages_pb2.Note).publish(test_messages_pb2.Note())
      testing.check_ledger(bus)
      self.assertIn(' -> nobody: accepted 1, delivered 0, '
                    'dropped[no_subscriber] 1',
                    self.trouble(testing.check_all_delivered, bus))

  def test_of_two_nodes_both_have_to_be_asked(self):
    with tempfile.TemporaryDirectory(dir='/tmp') as directory, \
         mycelium.MessageBus('from') as ours, \
         mycelium.MessageBus('to') as theirs:
      path = os.path.join(directory, 's')
      theirs.listen_unix(path)
      ours.connect_unix(path)
      notes = theirs.subscriber(test_messages_pb2.Note)
      publisher = ours.publisher(test_messages_pb2.Note)
      publisher.wait_for_subscribers(1, timeout=SOON)
      publisher.publish(test_messages_pb2.Note())
      notes.recv(timeout=SOON)
      notes.finish()
      ours.flush(timeout=SOON)
      testing.check_all_delivered(ours, theirs)
      testing.check_ledger(ours, theirs, theirs)  # A node twice counts once.
      self.assertIn('what to counted is missing',
                    self.trouble(testing.check_ledger, ours))
      self.assertIn('accepted 0, delivered 1, in flight 0; what from counted',
                    self.trouble(testing.check_all_delivered, theirs))

  def test_two_nodes_of_one_name_are_two(self):
    note = test_messages_pb2.Note
    with mycelium.MessageBus('a') as before, mycelium.MessageBus('a') as after:
      with before.subscribe(note, lambda got: None):
        before.publisher(note).publish(note())
        before.flush(timeout=SOON)
        testing.check_all_delivered(before, after)
        after.publisher(note).publish(note())
        self.assertIn('dropped[no_subscriber] 1', self.trouble(
            testing.check_all_delivered, before, after))

  def test_may_be_about_some_topics(self):
    note = test_messages_pb2.Note
    with mycelium.MessageBus('a') as bus:
      notes = bus.subscriber(note, topic='heard', name='first')
      bus.publisher(note, topic='unheard').publish(note())
      about = lambda *topics: lambda *buses: testing.check_all_delivered(
          *buses, topics=topics)
      self.assertIn('no message of heard was accepted by a',
                    self.trouble(about('unheard', 'heard'), bus))
      bus.publisher(note, topic='heard').publish(note())
      trouble = self.trouble(about('heard'), bus)
      self.assertIn('(first): accepted 1, delivered 0', trouble)
      self.assertNotIn('unheard', trouble)
      notes.recv(timeout=SOON)
      notes.finish()
      testing.check_all_delivered(bus, topics=['heard'])
      self.assertIn('unheard', self.trouble(testing.check_all_delivered, bus))


if __name__ == '__main__':
  unittest.main()
