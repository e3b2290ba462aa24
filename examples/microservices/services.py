"""Three services that handle orders, in the processes that the topology names.

    services TOPOLOGY SERVICE...

runs services of one node. `gateway` sends orders and waits for their fills;
`python-processor` prices them; `execution-service` fills them. When the gateway
is done, its process prints its ledger and ends. The other processes do so when
their standard input ends.
"""

import json
import sys

from mycelium import MessageBus

from examples.microservices.orders_pb2 import Fill
from examples.microservices.orders_pb2 import Order
from examples.microservices.orders_pb2 import PricedOrder
from examples.microservices.orders_schema import SCHEMA_DIGEST

PATIENCE = 20.0
ORDERS = 1000
# The most orders that the gateway has sent and has no fills for. If it sent all
# orders before it took the first fill, its lanes would fill up, and it would
# wait for services that wait for it.
UNDER_WAY_MAX = 100
PRICES = {'MYC': 12.5, 'HYP': 3.0, 'SPO': 40.0}


class Processor:
  """Prices orders and passes them on."""

  def __init__(self, bus):
    self._priced = bus.publisher_to('execution-service', PricedOrder,
                                    publish_timeout=PATIENCE)
    # On a thread of its own, since a handler that itself publishes may wait.
    self._orders = bus.subscribe(Order, self._on_order, queued=True)

  def wait(self):
    self._priced.wait_for_subscribers(1, PATIENCE)

  def check(self):
    # An exception in a callback is printed and counted; here it means that the
    # callback could not publish. The order still counts as delivered.
    assert self._orders.callback_errors == 0

  def _on_order(self, order):
    self._priced.publish(
        PricedOrder(order=order, price=PRICES[order.symbol]))


class Execution:
  """Fills priced orders."""

  def __init__(self, bus):
    self._fills = bus.publisher_to('gateway', Fill, publish_timeout=PATIENCE)
    self._priced = bus.subscribe(PricedOrder, self._on_priced_order,
                                 queued=True)

  def wait(self):
    self._fills.wait_for_subscribers(1, PATIENCE)

  def check(self):
    assert self._priced.callback_errors == 0

  def _on_priced_order(self, priced):
    self._fills.publish(Fill(
        order_id=priced.order.id, amount=priced.price * priced.order.quantity))


class Gateway:
  """Sends orders and adds up what they cost."""

  def __init__(self, bus):
    self._fills = bus.subscriber(Fill)
    self._orders = bus.publisher_to('python-processor', Order,
                                    publish_timeout=PATIENCE)

  def wait(self):
    self._orders.wait_for_subscribers(1, PATIENCE)

  def check(self):
    pass

  def run(self):
    symbols = list(PRICES)
    total = 0.0
    sent = 0
    for number in range(1, ORDERS + 1):
      while sent < min(ORDERS, number + UNDER_WAY_MAX - 1):
        sent += 1
        self._orders.publish(Order(
            id=sent, symbol=symbols[sent % len(symbols)], quantity=sent))
      fill = self._fills.recv(PATIENCE)
      assert fill.order_id == number, fill
      total += fill.amount
    self._fills.finish()
    print(f'gateway: {ORDERS} fills, {total:.2f} in all', flush=True)


SERVICES = {'gateway': Gateway, 'python-processor': Processor,
            'execution-service': Execution}


def main(topology, *names):
  buses = {name: MessageBus.from_topology(topology, name, SCHEMA_DIGEST)
           for name in names}
  services = {name: SERVICES[name](bus) for name, bus in buses.items()}
  for service in services.values():
    service.wait()
  print('ready', flush=True)
  sys.stdin.readline()  # Comes when all processes are ready.
  if 'gateway' in services:
    services['gateway'].run()
  else:
    sys.stdin.read()
  bus = buses[names[0]]  # The services share their node.
  try:
    bus.flush(PATIENCE)
    print(json.dumps(bus.ledger()), flush=True)
    for service in services.values():
      service.check()
  finally:
    bus.close()


if __name__ == '__main__':
  main(*sys.argv[1:])
