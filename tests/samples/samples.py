"""The samples of the release notes, each in a process: `samples.py NAME PATH`.

PATH is a socket or a topology file. Each publishes once its code has run.
"""

import sys

from tests.samples.samples_pb2 import Features
from tests.samples.samples_pb2 import MarketData
from tests.samples.samples_pb2 import Message
from tests.samples.samples_pb2 import Order
from tests.samples.samples_pb2 import Prediction
from tests.samples.samples_pb2 import Signal
from tests.samples.samples_pb2 import TradingSignal
from tests.samples.samples_schema import SCHEMA_DIGEST

DIGEST = SCHEMA_DIGEST
LONG = 20.0


def exchange(transport, pub, sub):
  """What the samples leave out: a message each way, and the end."""
  pub.wait_for_subscribers(1, LONG)
  pub.publish(Message(id=1))
  print(sub.recv(LONG).id, flush=True)
  sub.finish()
  transport.flush(LONG)
  transport.close()


def unix_socket(path):
  """A socket that is named by hand."""
  # [unix-socket]
  from mycelium import UnixTransport

  transport = UnixTransport(path, DIGEST)
  transport.connect()

  pub = transport.publisher(Message)
  sub = transport.subscriber(Message)
  # [/unix-socket]
  exchange(transport, pub, sub)


def sockets_by_hand(path):
  """The sockets that a topology replaces: both kinds, named by hand."""
  target, place = path.split(':')
  # [sockets-by-hand]
  from mycelium import TcpTransport, UnixTransport

  if target == "local-service":
      transport = UnixTransport(place, DIGEST)
  else:
      transport = TcpTransport("127.0.0.1", int(place), DIGEST)
  # [/sockets-by-hand]
  transport.connect()
  exchange(
      transport, transport.publisher(Message), transport.subscriber(Message))


def shared_memory(path):
  """The side that opens."""
  # [shared-memory]
  from mycelium import SharedMemoryTransport

  transport = SharedMemoryTransport.open(
      path,
      schema_digest=SCHEMA_DIGEST
  )

  pub = transport.publisher(Message)
  sub = transport.subscriber(Message)
  # [/shared-memory]
  exchange(transport, pub, sub)


def from_unix_to_shared_memory(path):
  """The replacement of UnixTransport(path, DIGEST)."""
  from mycelium import SharedMemoryTransport
  # [from-unix]
  transport = SharedMemoryTransport.open(
      path,
      DIGEST
  )
  # [/from-unix]
  exchange(
      transport, transport.publisher(Message), transport.subscriber(Message))


def pipeline(path):
  """A model in a process of its own."""
  # [pipeline]
  # Separate process with shared memory
  from mycelium import SharedMemoryTransport

  transport = SharedMemoryTransport.open(
      path,
      SCHEMA_DIGEST
  )

  pub = transport.publisher(Prediction)
  sub = transport.subscriber(Features)
  # [/pipeline]
  pub.wait_for_subscribers(1, LONG)
  for _ in range(100):
    pub.publish(Prediction(value=sum(sub.recv(LONG).values)))
  sub.finish()
  transport.flush(LONG)
  transport.close()


def topology_information(path):
  """What a topology tells without a bus."""
  from mycelium import Topology
  # [topology-information]
  topology = Topology.load(path)
  info = topology.connection_info("target-service")
  # [/topology-information]
  print(info['transport'], flush=True)


def topology_aware(path):
  """Auto-routing based on the topology."""
  # [topology-aware]
  from mycelium import MessageBus

  bus = MessageBus.from_topology(
      path,
      service_name="python-worker",
      schema_digest=SCHEMA_DIGEST
  )

  # Auto-selects the transport based on topology
  pub = bus.publisher_to("target-service", Message)
  # [/topology-aware]
  pub.wait_for_subscribers(1, LONG)
  pub.publish(Message(id=2))
  bus.close()


def migrated(path):
  """The same code whatever the target is."""
  target = "target-service"
  from mycelium import MessageBus
  # [migrated]
  bus = MessageBus.from_topology(path, "my-service", DIGEST)
  pub = bus.publisher_to(target, Message)
  # [/migrated]
  pub.wait_for_subscribers(1, LONG)
  pub.publish(Message(id=3))
  bus.close()


def microservice(path):
  """Auto-routes based on the topology."""
  # [microservice]
  from mycelium import MessageBus

  bus = MessageBus.from_topology(
      path,
      "python-processor",
      SCHEMA_DIGEST
  )

  # Routes to local or remote based on topology
  pub = bus.publisher_to("execution-service", Order)
  # [/microservice]
  pub.wait_for_subscribers(1, LONG)
  pub.publish(Order(id=4))
  bus.close()


def native_runtime(path):
  """A topology-aware runtime in the process."""
  # [native-runtime]
  from mycelium_native import Runtime

  runtime = Runtime(
      schema_digest=SCHEMA_DIGEST,
      topology_path=path,
      service_name="python-ml-model"
  )
  # [/native-runtime]
  runtime.wait_for_subscribers(Signal, 1, LONG)
  # [native-publish]
  # Publishes locally or routes remotely (topology-based)
  runtime.publish(Signal(id=5))
  # [/native-publish]
  runtime.close()


class model:  # pylint: disable=invalid-name
  """What the sample leaves open."""

  @staticmethod
  def predict(features):
    return sum(features)


def trading(path):
  """A model that answers market data."""
  # [trading]
  from mycelium_native import Runtime

  runtime = Runtime(
      topology_path=path,
      service_name="ml-signals"
  )

  def on_market_data(msg):
    signal = model.predict(msg.features)
    runtime.publish(TradingSignal(signal=signal))

  runtime.subscribe(MarketData, on_market_data)
  # [/trading]
  runtime.wait_for_subscribers(TradingSignal, 1, LONG)
  print('ready', flush=True)
  sys.stdin.read()
  runtime.close()


SAMPLES = {sample.__name__: sample
           for sample in (unix_socket, sockets_by_hand, shared_memory,
                          from_unix_to_shared_memory, pipeline,
                          topology_information, topology_aware, migrated,
                          microservice, native_runtime, trading)}

if __name__ == '__main__':
  SAMPLES[sys.argv[1]](sys.argv[2])
