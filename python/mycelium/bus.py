"""The bus of one service, with its publishers and subscribers.

Example:

    with mycelium.MessageBus.from_topology('topology.toml', 'strategy') as bus:
      quotes = bus.subscriber(Quote)
      orders = bus.publisher_to('execution', Order)
      orders.wait_for_subscribers(1, timeout=5)
      quote = quotes.recv(timeout=1)
      orders.publish(Order(symbol=quote.symbol))
      quotes.recv_nowait()  # Finishes the quote, whoever flushes.

Everything here may be used from any thread, and other Python threads run while
a call waits. Every call that waits takes a timeout, in seconds. What goes wrong
is raised as an exception of mycelium.errors.
"""

import atexit
import os
import weakref

import _mycelium
from google.protobuf import message as protobuf_message
from mycelium import errors
from mycelium.message_type import message_type_of

_CLOSE_TIMEOUT = 5.0


class Publisher:
  """Publishes messages of one class. Made by MessageBus."""

  def __init__(self, bus, publisher, message_cls):
    self._bus = bus  # Which closes itself at exit as long as it is alive.
    self._publisher = publisher
    self._message_cls = message_cls

  @property
  def topic(self):
    """The topic: the full name of the message type."""
    return self._publisher.topic

  def publish(self, message):
    """Publishes a message; when this returns, it was accepted.

    It will be delivered to every subscription that is matched now, or counted
    with the reason why not. If this raises, nobody got it.

    Raises:
      ResourceExhausted: a subscription has had no room for as long as the
        topology lets a publisher wait.
      Unavailable: of publisher_to(): the service is not connected, or has no
        such subscription.
      InvalidArgument: the message is too large.
      FailedPrecondition: the types differ (SchemaMismatch), or the bus is
        closed.
    """
    if not isinstance(message, self._message_cls):
      raise TypeError(
          f'expected {self._message_cls.DESCRIPTOR.full_name}, '
          f'got {type(message).__name__}')
    self._publisher.publish(message.SerializeToString())

  def wait_for_subscribers(self, count, timeout):
    """Waits until at least `count` subscriptions get what is published.

    Raises:
      DeadlineExceeded: there were fewer after `timeout` seconds.
      SchemaMismatch: a subscription was refused, as its type differs.
    """
    self._publisher.wait_for_subscribers(count, timeout)


class Subscriber:
  """Receives messages of one class when asked to. Made by MessageBus.

  A message counts as handled at the next receive of the same subscriber, or
  when the subscriber is gone. Threads that receive at once take turns.
  """

  def __init__(self, bus, subscriber, message_cls):
    self._bus = bus  # Which closes itself at exit as long as it is alive.
    self._subscriber = subscriber
    self._message_cls = message_cls

  def recv(self, timeout):
    """The next message, waiting up to `timeout` seconds for one.

    Raises:
      DeadlineExceeded: none came in time. It is a TimeoutError.
      FailedPrecondition: none came, and a publisher was refused because its
        type differs (SchemaMismatch), or the bus is closed.
      DataLoss: what came is not a message of this class.
    """
    return self._parsed(self._subscriber.receive(timeout))

  def recv_nowait(self):
    """The next message, or None if there is none now."""
    data = self._subscriber.try_receive()
    return None if data is None else self._parsed(data)

  def _parsed(self, data):
    try:
      return self._message_cls.FromString(data)
    except protobuf_message.DecodeError as error:
      raise errors.DataLoss(
          'a message does not parse as '
          f'{self._message_cls.DESCRIPTOR.full_name}') from error


class MessageBus:
  """One service's end of the bus. A context manager: leaving it closes it."""

  def __init__(self, bus):
    """Not for users: see from_topology()."""
    self._bus = bus
    _open_buses.add(self)

  @classmethod
  def from_topology(cls, topology_path, service_name, schema_digest=None):
    """The bus of one service of a topology.

    Args:
      topology_path: the TOML file. Empty: what MYCELIUM_TOPOLOGY names.
      service_name: a service of it. Buses of services of one node, in one
        process, share the node.
      schema_digest: the SCHEMA_DIGEST of a mycelium_schema, 32 bytes. A service
        that gives another one is refused.

    Raises:
      InvalidArgument: the file has errors, all of which the text lists.
      NotFound: no such file, or no such service in it.
      AlreadyExists: another process, or another bus here, is that service.
      FailedPrecondition: the file has changed since this process loaded it.
    """
    return cls(_mycelium.MessageBus(
        os.fspath(topology_path), service_name, schema_digest))

  @property
  def service(self):
    """The name of the service."""
    return self._bus.service

  @property
  def node(self):
    """The name of the node that hosts the service: this process."""
    return self._bus.node

  def publisher(self, message_cls):
    """A Publisher that reaches every subscription to the type.

    Without any, a message counts as dropped: no_subscriber.
    """
    return self.publisher_to('', message_cls)

  def publisher_to(self, target_service, message_cls):
    """A Publisher that reaches the subscriptions of one service.

    Raises:
      NotFound: the topology has no such service; the text names the nearest.
    """
    return Publisher(
        self,
        self._bus.publisher_to(message_type_of(message_cls), target_service),
        message_cls)

  def subscriber(self, message_cls):
    """A Subscriber, which gets what is published from now on."""
    return Subscriber(
        self, self._bus.subscriber(message_type_of(message_cls)), message_cls)

  def flush(self, timeout):
    """Waits until all that this node has published so far was handled.

    Raises:
      DeadlineExceeded: it was not, after `timeout` seconds.
    """
    self._bus.flush(timeout)

  def close(self, timeout=_CLOSE_TIMEOUT):
    """Waits for what is in flight, then ends the node.

    It ends for every service of the node in this process; a recv() that waits
    raises FailedPrecondition. Closing twice does nothing.

    Raises:
      DeadlineExceeded: some messages were not handled within `timeout` seconds
        and count as dropped. The bus is closed all the same.
    """
    _open_buses.discard(self)
    self._bus.shutdown(timeout)

  def ledger(self):
    """What this node has counted: a dict for each publisher and subscription.

    Its keys are topic, publisher_node, publisher_service, subscriber_node,
    subscriber_service, subscription_name, transport, accepted, delivered,
    in_flight and dropped, which is a dict from the reason to the number. Once
    nothing moves, accepted = delivered + all dropped + in_flight; of two nodes
    the publisher's counts what was accepted, the subscriber's what was
    delivered.
    """
    return self._bus.ledger()

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    self.close()


_open_buses = weakref.WeakSet()


@atexit.register
def _close_all():
  """Ends calls that wait in other threads before the interpreter is gone."""
  for bus in list(_open_buses):
    try:
      bus.close()
    except errors.DeadlineExceeded:
      pass  # The ledger has counted what was lost.
  _mycelium.end_calls(_CLOSE_TIMEOUT)
