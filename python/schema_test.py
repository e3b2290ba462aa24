"""Python has the digests of the C++ code, and notices types that differ."""

import os
import tempfile
import types
import unittest

import mycelium
from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message as protobuf_message
from google.protobuf import message_factory
from google.protobuf import timestamp_pb2
from mycelium import message_type
from mycelium import testing
from python import test_schema
from tests.testdata import test_messages_pb2

MONOLITH = '''
[[nodes]]
name = "all"
services = ["one", "two"]
'''


def classes_of(files):
  """A function from full names to message classes made of `files`."""
  database = descriptor_pool.DescriptorPool()
  for file in files:
    database.Add(file)
  factory = message_factory.MessageFactory(database)
  return lambda name: factory.GetPrototype(database.FindMessageTypeByName(name))


def golden_files():
  timestamp = descriptor_pb2.FileDescriptorProto()
  timestamp_pb2.DESCRIPTOR.CopyToProto(timestamp)
  files = [timestamp]
  for path in os.environ['DESCRIPTOR_SETS'].split():
    with open(path, 'rb') as data:
      files.extend(descriptor_pb2.FileDescriptorSet.FromString(data.read()).file)
  return files


def golden_digests():
  with open(os.environ['GOLDEN_DIGESTS'], encoding='utf-8') as lines:
    return dict(line.split() for line in lines)


class DigestTest(unittest.TestCase):

  def test_digests_are_the_pinned_ones(self):
    pinned = golden_digests()
    del pinned['schema']
    class_of = classes_of(golden_files())
    computed = {
        name: mycelium.digest(class_of(name)).hex() for name in pinned
    }
    self.assertEqual(computed, pinned)

  def test_generated_class_has_the_digest_of_its_mycelium_schema(self):
    for name, digest in test_schema.TYPE_DIGESTS.items():
      message_cls = getattr(test_messages_pb2, name.rpartition('.')[2])
      self.assertEqual(mycelium.digest(message_cls), digest)
    self.assertIn('mycelium.test.Note', test_schema.TYPE_DIGESTS)


class MismatchTest(unittest.TestCase):

  def setUp(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.topology = os.path.join(folder.name, 'topology.toml')
    with open(self.topology, 'w', encoding='utf-8') as file:
      file.write(MONOLITH)

  def bus(self, service, **options):
    bus = mycelium.MessageBus.from_topology(self.topology, service, **options)
    self.addCleanup(bus.close, 0)
    return bus

  def test_both_sides_learn_the_first_field_that_differs(self):
    files = golden_files()
    old = classes_of(files)('market.Quote')
    for file in files:
      for message in file.message_type:
        for field in message.field:
          if (message.name, field.name) == ('Quote', 'price'):
            field.type = descriptor_pb2.FieldDescriptorProto.TYPE_INT64
    new = classes_of(files)('market.Quote')
    publisher = self.bus('one').publisher(old)
    subscriber = self.bus('two').subscriber(new)
    with self.assertRaises(mycelium.SchemaMismatch) as received:
      subscriber.recv(timeout=5)
    with self.assertRaises(mycelium.SchemaMismatch) as waited:
      publisher.wait_for_subscribers(1, timeout=5)
    for error, ours, arrow in ((received.exception, new, 'int64 -> double'),
                               (waited.exception, old, 'double -> int64')):
      self.assertIsInstance(error, mycelium.FailedPrecondition)
      self.assertEqual(error.topic, 'market.Quote')
      self.assertEqual(error.local_digest, mycelium.digest(ours))
      self.assertIn('price', error.difference)
      self.assertIn(arrow, error.difference)


def file_with_required_fields():
  file = descriptor_pb2.FileDescriptorProto(
      name='required.proto', package='required', syntax='proto2')
  needs = file.message_type.add(name='Needs')
  needs.field.add(name='id', number=1, label=2, type=5)
  holds = file.message_type.add(name='Holds')
  holds.field.add(name='holds', number=1, label=1, type=11,
                  type_name='.required.Holds')
  holds.field.add(name='needs', number=2, label=3, type=11,
                  type_name='.required.Needs')
  extended = file.message_type.add(name='Extended')
  extended.extension_range.add(start=2, end=3)
  extended.extension.add(name='needs', number=2, label=1, type=11,
                         type_name='.required.Needs',
                         extendee='.required.Extended')
  return file


class RequiredFieldTest(unittest.TestCase):

  def setUp(self):
    self.bus = mycelium.MessageBus()
    self.addCleanup(self.bus.close, 0)
    self.class_of = classes_of([file_with_required_fields()])

  def test_message_that_lacks_one_is_undecodable_as_in_other_languages(self):
    for name, lacks, has in (
        ('Needs', b'', b'\x08\x01'),
        ('Holds', b'\x0a\x02\x12\x00', b'\x0a\x04\x12\x02\x08\x01'),
        ('Extended', b'\x12\x00', b'\x12\x02\x08\x01')):
      with self.subTest(name=name):
        message_cls = self.class_of(f'required.{name}')
        subscriber = self.bus.subscriber(message_cls)
        got = []
        subscription = self.bus.subscribe(message_cls, got.append, name='other')
        publisher = self.bus.publisher(message_cls)
        publisher.publish(lacks)
        publisher.publish(has)
        with self.assertRaisesRegex(mycelium.DataLoss, 'does not parse'):
          subscriber.recv(timeout=5)
        self.assertEqual(subscriber.recv(timeout=5).SerializeToString(), has)
        subscriber.finish()
        self.assertEqual([message.SerializeToString() for message in got], [has])
        self.assertEqual(subscription.callback_errors, 0)
        for flow in self.bus.ledger():
          if flow['topic'] == f'required.{name}':
            self.assertEqual(
                (flow['accepted'], flow['delivered'],
                 flow['dropped']['undecodable']), (2, 1, 1))

  def test_fields_of_newer_runtimes_say_it_in_another_way(self):
    # Protobuf 7 has no label any more, and earlier ones no is_required.
    for is_required in (False, True):
      field = types.SimpleNamespace(is_required=is_required, message_type=None)
      message = types.SimpleNamespace(
          full_name='newer.Message', is_extendable=False, fields=[field])
      holder = types.SimpleNamespace(
          full_name='newer.Holder', is_extendable=False,
          fields=[types.SimpleNamespace(is_required=False, message_type=message)])
      reaches = message_type._reaches_required_field.__wrapped__  # pylint: disable=protected-access
      self.assertEqual(reaches(holder), is_required)

  def test_message_that_lacks_one_is_not_published(self):
    message_cls = self.class_of('required.Needs')
    with self.assertRaises(protobuf_message.EncodeError):
      self.bus.publisher(message_cls).publish(message_cls())
    self.assertEqual(self.bus.stats()['accepted'], 0)


class VersionsTest(unittest.TestCase):
  """Two nodes, of which one has a later version of a type."""

  def setUp(self):
    # Short enough for sockets, as Bazel's own folder is not.
    folder = tempfile.TemporaryDirectory(prefix='myc-', dir='/tmp')
    self.addCleanup(folder.cleanup)
    self.socket = os.path.join(folder.name, 'quotes.sock')
    files = golden_files()
    self.old = classes_of(files)('market.Quote')
    for file in files:
      for message in file.message_type:
        if message.name == 'Quote':
          message.field.add(name='currency', number=20, label=1, type=9)
    self.next = classes_of(files)('market.Quote')

  def ends(self, schema):
    listens = mycelium.UnixTransport(self.socket, schema=schema).listen()
    self.addCleanup(listens.close, 0)
    connects = mycelium.UnixTransport(self.socket, schema=schema).connect()
    self.addCleanup(connects.close, 0)
    return listens, connects

  def test_compatible_versions_read_each_other(self):
    listens, connects = self.ends('compatible')
    for writes, reads, topic in ((self.old, self.next, 'up'),
                                 (self.next, self.old, 'down')):
      with connects.subscriber(reads, topic=topic) as subscriber:
        publisher = listens.publisher(writes, topic=topic)
        publisher.wait_for_subscribers(1, timeout=5)
        publisher.publish(writes(symbol='X', price=1.5))
        got = subscriber.recv(timeout=5)
        self.assertEqual((type(got), got.symbol, got.price), (reads, 'X', 1.5))
        subscriber.finish()
        listens.flush(5)
    testing.check_all_delivered(listens.bus, connects.bus)

  def test_exact_versions_do_not(self):
    listens, connects = self.ends('exact')
    subscriber = connects.subscriber(self.next)
    publisher = listens.publisher(self.old)
    with self.assertRaises(mycelium.SchemaMismatch) as waited:
      publisher.wait_for_subscribers(1, timeout=5)
    with self.assertRaises(mycelium.SchemaMismatch) as received:
      subscriber.recv(timeout=5)
    for error in (waited.exception, received.exception):
      self.assertIn('currency (20): missing on', error.difference)
      self.assertIn('; compatible, but', error.difference)

  def test_no_other_word_is_known(self):
    with self.assertRaisesRegex(mycelium.InvalidArgument,
                                'schema.*known: exact, compatible'):
      mycelium.MessageBus(schema='compatibel')


if __name__ == '__main__':
  unittest.main()
