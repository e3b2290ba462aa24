"""Each sample of the release notes does what it says, in a process of its own."""

import inspect
import os
import subprocess
import sys
import tempfile
import unittest

import mycelium
import mycelium_native
from tests.samples.samples_pb2 import Features
from tests.samples.samples_pb2 import MarketData
from tests.samples.samples_pb2 import Message
from tests.samples.samples_pb2 import Order
from tests.samples.samples_pb2 import Prediction
from tests.samples.samples_pb2 import Signal
from tests.samples.samples_pb2 import TradingSignal
from tests.samples.samples_schema import SCHEMA_DIGEST

FOLDER = os.path.dirname(__file__)
LONG = 20.0


class SamplesTest(unittest.TestCase):

  def setUp(self):
    folder = tempfile.TemporaryDirectory(prefix='sa-', dir='/tmp')
    self.addCleanup(folder.cleanup)
    self.folder = folder.name
    self.topology = os.path.join(folder.name, 'topology.toml')
    with open(os.path.join(FOLDER, 'topology.toml'), encoding='utf-8') as file:
      text = file.read()
    with open(self.topology, 'w', encoding='utf-8') as file:
      file.write(f'socket_dir = "{self.folder}"\n{text}')

  def start(self, *command):
    process = subprocess.Popen(
        command,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding='utf-8')
    self.addCleanup(process.kill)
    return process

  def sample(self, name, path):
    return self.start(
        sys.executable, os.path.join(FOLDER, 'samples.py'), name, path)

  def finish(self, process):
    output, _ = process.communicate(timeout=LONG)
    self.assertEqual(process.returncode, 0)
    return output

  def bus(self, service='target-service', digest=SCHEMA_DIGEST):
    bus = mycelium.MessageBus.from_topology(self.topology, service, digest)
    self.addCleanup(bus.close, 0)
    return bus

  def check_ledger(self, bus, delivered):
    stats = bus.stats()
    self.assertEqual(stats['delivered'], delivered)
    self.assertEqual(stats['in_flight'] + stats['dropped'], 0)

  def receives(self, name, message_cls, service, number):
    bus = self.bus(service)
    messages = bus.subscriber(message_cls)
    sample = self.sample(name, self.topology)
    self.assertEqual(messages.recv(LONG).id, number)
    messages.finish()
    self.finish(sample)
    self.check_ledger(bus, 1)

  def test_unix_socket(self):
    path = os.path.join(self.folder, 'worker.sock')
    self.talk('unix_socket', path,
              mycelium.UnixTransport(path, SCHEMA_DIGEST).listen(), 'unix')

  def test_sockets_by_hand(self):
    path = os.path.join(self.folder, 'local.sock')
    self.talk('sockets_by_hand', f'local-service:{path}',
              mycelium.UnixTransport(path, SCHEMA_DIGEST).listen(), 'unix')
    transport = mycelium.TcpTransport('127.0.0.1', 0, SCHEMA_DIGEST).listen()
    self.talk('sockets_by_hand', f'elsewhere:{transport.port}', transport,
              'grpc')

  def test_shared_memory(self):
    path = os.path.join(self.folder, 'service.shm')
    self.talk('shared_memory', path, mycelium.SharedMemoryTransport.create(
        path, SCHEMA_DIGEST, capacity=1 << 20), 'shm')

  def test_from_unix_to_shared_memory(self):
    path = os.path.join(self.folder, 'worker.shm')
    self.talk('from_unix_to_shared_memory', path,
              mycelium.SharedMemoryTransport.create(path, SCHEMA_DIGEST), 'shm')

  def test_pipeline(self):
    path = os.path.join(self.folder, 'ml-node.shm')
    with mycelium.SharedMemoryTransport.create(path, SCHEMA_DIGEST) as node:
      predictions = node.subscriber(Prediction)
      features = node.publisher(Features)
      sample = self.sample('pipeline', path)
      features.wait_for_subscribers(1, LONG)
      for number in range(100):
        features.publish(Features(values=[number, 0.5]))
        self.assertEqual(predictions.recv(LONG).value, number + 0.5)
      predictions.finish()
      self.finish(sample)
      stats = node.bus.stats()
      self.assertEqual(
          (stats['accepted'], stats['delivered'], stats['in_flight'],
           stats['dropped']), (100, 100, 0, 0))

  def test_topology_information(self):
    sample = self.sample('topology_information', self.topology)
    self.assertEqual(self.finish(sample), 'shm\n')

  def test_cc_endpoint_meets_the_python_that_opens(self):
    path = os.path.join(self.folder, 'service.shm')
    endpoint = self.start(
        os.path.join(FOLDER, 'sample_cc'), 'bind_shm_endpoint', path)
    self.assertEqual(endpoint.stdout.readline(), 'ready\n')
    sample = self.sample('shared_memory', path)
    # Each has what the other one sent.
    self.assertEqual(self.finish(sample), '9\n')
    self.assertEqual(
        self.finish(endpoint),
        'received 1\nledger 1 1 0 0 shm, 1 connection\n')

  def test_cc_ring_between_two_processes(self):
    ring = self.start(os.path.join(FOLDER, 'sample_cc'), 'ring')
    self.assertEqual(self.finish(ring), 'read 100000 messages\n')

  def talk(self, name, path, transport, word):
    with transport as worker:
      messages = worker.subscriber(Message)
      publisher = worker.publisher(Message)
      sample = self.sample(name, path)
      self.assertEqual(messages.recv(LONG).id, 1)
      messages.finish()
      publisher.wait_for_subscribers(1, LONG)
      publisher.publish(Message(id=9))
      self.assertEqual(self.finish(sample), '9\n')
      flows = worker.bus.ledger()
      self.assertEqual({flow['transport'] for flow in flows}, {word})
      self.assertEqual(sum(flow['in_flight'] for flow in flows), 0)

  def test_topology_aware(self):
    self.receives('topology_aware', Message, 'target-service', 2)

  def test_migrated(self):
    self.receives('migrated', Message, 'target-service', 3)

  def test_microservice(self):
    self.receives('microservice', Order, 'execution-service', 4)

  def test_native_runtime(self):
    self.receives('native_runtime', Signal, 'target-service', 5)

  def test_trading(self):
    bus = self.bus()
    signals = bus.subscriber(TradingSignal)
    market = bus.publisher_to('ml-signals', MarketData)
    sample = self.sample('trading', self.topology)
    self.assertEqual(sample.stdout.readline(), 'ready\n')
    market.wait_for_subscribers(1, LONG)
    for number in range(100):
      market.publish(MarketData(features=[number, 0.5]))
      self.assertEqual(signals.recv(LONG).signal, number + 0.5)
    signals.finish()
    bus.flush(LONG)
    sample.stdin.close()
    sample.stdin = None
    self.finish(sample)
    self.check_ledger(bus, 100)

  def test_c_runtime(self):
    bus = self.bus(digest=None)
    messages = bus.subscriber(mycelium.RawType('samples.bytes'))
    sample = self.start(os.path.join(FOLDER, 'sample_c'), self.topology)
    self.assertEqual(bytes(messages.recv(LONG)), b'from C')
    messages.finish()
    self.finish(sample)
    self.check_ledger(bus, 1)

  def test_parameters_have_the_names_of_the_release_notes(self):
    for function, names in (
        (mycelium.Topology.load, ['path']),
        (mycelium.Topology.connection_info, ['self', 'target_service']),
        (mycelium.SharedMemoryTransport.create,
         ['path', 'schema_digest', 'capacity']),
        (mycelium.SharedMemoryTransport.open,
         ['path', 'schema_digest', 'capacity']),
        (mycelium.MessageBus.from_topology,
         ['topology_path', 'service_name', 'schema_digest']),
        (mycelium.MessageBus.publisher_to,
         ['self', 'target_service', 'message_cls']),
        (mycelium.MessageBus.subscriber, ['self', 'message_cls']),
        (mycelium_native.Runtime.__init__,
         ['self', 'schema_digest', 'topology_path', 'service_name'])):
      parameters = list(inspect.signature(function).parameters)
      self.assertEqual(parameters[:len(names)], names, function)
    create = inspect.signature(mycelium.SharedMemoryTransport.create)
    self.assertEqual(create.parameters['capacity'].default, 1024 * 1024)


if __name__ == '__main__':
  unittest.main()
