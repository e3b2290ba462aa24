"""Mycelium inside a program: Python that shares a node with C++.

In a C++ program that embeds Python, a Runtime joins the node that the program
runs, so that messages between the two need no socket. Alone, it runs a node of
its own.

Example:

    from mycelium_native import Runtime

    runtime = Runtime(topology_path='topology.toml', service_name='model')
    runtime.subscribe(
        MarketData, lambda data: runtime.publish(predict(data)))
"""

# Before the extension.
from mycelium import _loading  # isort:skip pylint: disable=unused-import

import contextlib
import os
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

import _mycelium
from mycelium import ending
from mycelium import errors
from mycelium.events import PublisherGone
from mycelium.message_type import Buffer, messages_of
from mycelium.options import Limits, Settings, checked_timeout, fields_of
from mycelium.publisher import Publisher
from mycelium.subscription import Delivery, Subscription, unsubscribe_all
from mycelium.topology import Path

__all__ = ['Runtime', 'Subscription']

_CLOSE_TIMEOUT = 5.0


class Runtime:
  """One service of this process. A context manager: leaving it closes it.

  Args:
    schema_digest: the SCHEMA_DIGEST of a mycelium_schema, 32 bytes. A service
      that was given another one is refused.
    topology_path: the TOML file. None: the file that MYCELIUM_TOPOLOGY names, if
      that is set and a service is given. Else there is no topology: the Runtime
      meets the buses that C++ made with MessageBus::OfProcess() in this process,
      and other Runtimes.
    service_name: a service of the topology. Without a topology, the name that
      others see; made up if it is None.
    settings, limits: as for MessageBus(), only without a topology. Those of the
      bus or Runtime that made the node in this process hold.

  Everything may be called from any thread, and from callbacks. The callback of a
  message that this process publishes runs on the thread that publishes it, in C++
  or Python.

  Raises: as MessageBus.from_topology().
  """

  def __init__(self, schema_digest: Optional[bytes] = None,
               topology_path: Optional[Path] = None,
               service_name: Optional[str] = None, *,
               settings: Optional[Settings] = None,
               limits: Optional[Limits] = None) -> None:
    if topology_path is not None and service_name is None:
      raise errors.InvalidArgument(
          'topology_path without service_name: which service of it is this?')
    has_topology = topology_path is not None or (
        service_name is not None and bool(os.environ.get('MYCELIUM_TOPOLOGY')))
    if has_topology and (settings is not None or limits is not None):
      raise errors.InvalidArgument(
          'settings and limits besides a topology, whose file says them')
    if has_topology:
      native = _mycelium.bus_from_topology(
          os.fspath(topology_path or ''), service_name or '',
          schema_digest=schema_digest)
    else:
      native = _mycelium.bus_of_process(
          service_name or '', schema_digest=schema_digest,
          settings=fields_of(Settings, settings),
          limits=fields_of(Limits, limits))
    self._native: Optional[_mycelium.Bus] = native
    self._service = native.service
    self._node = native.node
    self._deliveries: Set[Delivery] = set()
    # A signal handler may close what its thread is closing.
    self._lock = threading.RLock()
    self._publishers: Dict[
        Tuple[Optional[str], Any], Publisher[Any]] = {}
    ending.add(self)

  @property
  def service(self) -> str:
    """The name of the service."""
    return self._service

  @property
  def node(self) -> str:
    """The name of the node that it shares."""
    return self._node

  def publish(self, message: Any) -> None:
    """Publishes a message object to every subscription of its type.

    When this returns, the message was accepted: it will be delivered to every
    subscription that is matched now, or counted with the reason why not.

    Raises:
      Unavailable: nobody is subscribed.
      ResourceExhausted: a subscription has had no room for too long.
      InvalidArgument: the message is too large.
      FailedPrecondition: the types differ (SchemaMismatch), or the runtime is
        closed.
      google.protobuf.message.EncodeError: Protobuf's, for a message that lacks a
        required field.
    """
    self._publisher(None, type(message)).publish(message)

  def publish_to(self, target_service: str, message: Any) -> None:
    """As publish(), to the subscriptions of one service.

    Raises: as publish(), and:
      NotFound: the topology has no such service.
      InvalidArgument: `target_service` is not a name, for example empty.
    """
    self._publisher(target_service, type(message)).publish(message)

  def publish_raw(self, raw_type: Any, data: Buffer,
                  target_service: Optional[str] = None) -> None:
    """As publish(), for bytes of a mycelium.RawType.

    They go to the subscriptions of one service, or, if none is named, to all.
    """
    self._publisher(target_service, raw_type).publish(data)

  def wait_for_subscribers(self, message_cls: Any, count: int, timeout: float,
                           target_service: Optional[str] = None) -> None:
    """Waits until at least `count` subscriptions get such messages.

    It counts the subscriptions of one service, or, if none is named, all.

    Raises:
      DeadlineExceeded: there were fewer after `timeout` seconds.
      SchemaMismatch: a subscription was refused, since its type differs.
    """
    self._publisher(target_service, message_cls).wait_for_subscribers(
        count, timeout)

  def subscribe(self, message_cls: Any, callback: Callable[..., Any], *,
                with_info: bool = False,
                on_publisher_gone: Optional[
                    Callable[[PublisherGone], Any]] = None,
                on_error: Optional[
                    Callable[[errors.MyceliumError], Any]] = None,
                **options: Any) -> Subscription:
    """Calls `callback(message)` for every message from now on.

    As MessageBus.subscribe(). The subscription lasts until close(), or until its
    unsubscribe(), which waits for a callback that is running, unless that
    callback makes the call.
    """
    messages = messages_of(message_cls)
    delivery = Delivery(
        messages, callback, with_info, on_publisher_gone, on_error)
    delivery.start(self._bus().subscribe(
        messages.native, delivery, **delivery.watches, **options))
    subscription = Subscription(self, delivery, self._deliveries)
    # A close() meanwhile may have looked before the delivery was there.
    if self._native is None:
      delivery.unsubscribe(0)
      self._deliveries.discard(delivery)
    self._bus()  # Raises then.
    return subscription

  def ledger(self) -> List[Dict[str, Any]]:
    """See MessageBus.ledger(). It is the whole node's, the program's too."""
    return self._bus().ledger()

  def links(self) -> List[Dict[str, Any]]:
    """See MessageBus.links()."""
    return self._bus().links()

  def flush(self, timeout: float) -> None:
    """Waits until what the node has published so far was handled."""
    self._bus().flush(timeout)

  def close(self, timeout: float = _CLOSE_TIMEOUT) -> None:
    """Ends this service; the program's own part of the node goes on.

    First its subscriptions end, and what was queued for them counts as dropped:
    subscriber_gone. No callback runs when this returns, except one that calls
    this, or that is slower than `timeout`. Then it waits for what the node,
    including the program, has published so far; in a callback it does not.
    Afterwards every call except close() raises FailedPrecondition, and the name
    of the service is free. The node ends when neither the program's buses nor
    other Runtimes use it any more. A second close() does nothing, also on two
    threads at once.

    Leaving the `with` closes, and so does the end of the interpreter. If a signal
    handler raises, as that of Ctrl-C does, the runtime is closed at once, and
    then the exception is raised.

    Raises:
      DeadlineExceeded: some messages were not handled within `timeout` seconds,
        or a callback has not returned. The runtime is closed all the same, and
        they stay where they are.
      InvalidArgument: `timeout` is not from 0 to one year. The runtime is open as
        before.
    """
    deadline = time.monotonic() + checked_timeout(timeout)
    with self._lock:
      native, self._native = self._native, None
    if native is None:
      return
    ending.open_buses.discard(self)
    def left() -> float:
      return max(0.0, deadline - time.monotonic())

    try:
      try:
        are_over = unsubscribe_all(self._deliveries, deadline)
        native.flush(left())
      except BaseException:  # Late, or a signal handler's.
        with contextlib.suppress(errors.MyceliumError):
          native.close(0)
        raise
      native.close(left())
      if not are_over:
        raise errors.DeadlineExceeded(
            f'service {self._service}: a callback still runs')
    except errors.FailedPrecondition:
      pass  # In a callback, or the program has shut the node down.
    finally:
      with self._lock:
        publishers, self._publishers = self._publishers, {}
      publishers.clear()  # Signal handlers may run meanwhile.
      # The traceback of the exception would keep the bus, and so the name.
      del native

  def _bus(self) -> '_mycelium.Bus':
    native = self._native
    if native is None:
      raise errors.FailedPrecondition(
          f'runtime of service {self._service} is closed')
    return native

  def _publisher(self, target_service: Optional[str], message_cls: Any
                 ) -> Publisher[Any]:
    if target_service == '':
      raise errors.InvalidArgument(
          'an empty name of a service; publish() reaches all')
    key = (target_service, message_cls)
    publisher = self._publishers.get(key)
    if publisher is not None:
      return publisher
    messages = messages_of(message_cls)
    # Without the lock: an on_error may be called, which may call anything here.
    made: Publisher[Any] = Publisher(
        None, self._bus().publisher(
            messages.native, target_service or '', require_subscriber=True),
        messages)
    with self._lock:
      self._bus()  # Raises if it was closed meanwhile.
      # If another thread was faster, its publisher has the earlier messages. One
      # publisher for each type keeps the order.
      return self._publishers.setdefault(key, made)

  def __enter__(self) -> 'Runtime':
    return self

  def __exit__(self, *exception: Any) -> None:
    self.close()
