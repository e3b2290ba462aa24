"""The service `matching`, in Python: prints the orders it gets and fills them.

    py_service TOPOLOGY
"""

import sys

import mycelium
import order_pb2
import order_schema
from trading.side import v1_pb2 as side_pb2

PATIENCE = 20  # Seconds.


def run(topology):
  with mycelium.MessageBus.from_topology(
      topology, 'matching', schema_digest=order_schema.SCHEMA_DIGEST) as bus:
    orders = bus.subscriber(order_pb2.Order)
    fills = bus.publisher_to('orders', order_pb2.Fill)
    fills.wait_for_subscribers(1, PATIENCE)
    for number in range(3):
      order = orders.recv(PATIENCE)
      side = side_pb2.Side.Name(order.side)
      time = 'with' if order.HasField('created') else 'without'
      print(f'order of {order.symbol}, {side}, {time} a time')
      fills.publish(order_pb2.Fill(symbol=order.symbol, price=10.5 + number))
    orders.recv_nowait()  # The last order is done.
    bus.flush(PATIENCE)


print(f'mycelium {mycelium.__version__}, '
      f'schema {order_schema.SCHEMA_DIGEST.hex()}')
run(sys.argv[1])
