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
from mycelium.options import Limits, Settings, fields_of
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
    topology_path: the TOML file. None: what MYCELIUM_TOPOLOGY names if a
      service is given, else no topology at all: then it meets what this process
      made with MessageBus::OfProcess() in C++, and other Runtimes.
    service_name: a service of the topology. Without a topology, the name that
      others see; made up if it is None.
    settings, limits: as for MessageBus(). Without a topology; those of who made
      the node first in this process hold.

  Everything may be called from any thread, callbacks included. The callback of a
  message of this process runs on the thread that publishes it, in C++ or
  Python.

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
    self._lock = threading.Lock()
    self._publishers: Dict[
        Tuple[Optional[str], Any], Publisher[Any]] = {}
    ending.open_buses.add(self)

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

    When this returns, it was accepted: it will be delivered to every
    subscription that is matched now, or counted with the reason why not.

    Raises:
      Unavailable: nobody is subscribed.
      ResourceExhausted: a subscription has had no room for too long.
      InvalidArgument: the message is too large.
      FailedPrecondition: the types differ (SchemaMismatch), or the runtime is
        closed.
    """
    self._publisher(None, type(message)).publish(message)

  def publish_to(self, target_service: str, message: Any) -> None:
    """The same to the subscriptions of one service.

    Raises: also NotFound: the topology has no such service; and InvalidArgument:
      it is no name, such as an empty one.
    """
    self._publisher(target_service, type(message)).publish(message)

  def publish_raw(self, raw_type: Any, data: Buffer,
                  target_service: Optional[str] = None) -> None:
    """The same for bytes of a mycelium.RawType; to all, if no service is named.
    """
    self._publisher(target_service, raw_type).publish(data)

  def wait_for_subscribers(self, message_cls: Any, count: int, timeout: float,
                           target_service: Optional[str] = None) -> None:
    """Waits until at least `count` subscriptions get such messages.

    Of one service, or, if none is named, of all.

    Raises:
      DeadlineExceeded: there were fewer after `timeout` seconds.
      SchemaMismatch: a subscription was refused, as its type differs.
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

    As MessageBus.subscribe(). It lasts until its unsubscribe(), which waits for
    a callback that is running unless that is the one that calls it, or until
    close().
    """
    messages = messages_of(message_cls)
    delivery = Delivery(
        messages, callback, with_info, on_publisher_gone, on_error)
    delivery.start(self._bus().subscribe(
        messages.native, delivery, **delivery.watches, **options))
    subscription = Subscription(self, delivery, self._deliveries)
    # Who closed it meanwhile may have looked before that was there.
    if self._native is None:
      delivery.unsubscribe(0)
      self._deliveries.discard(delivery)
    self._bus()  # Raises then.
    return subscription

  def ledger(self) -> List[Dict[str, Any]]:
    """See MessageBus.ledger(); of the whole node, the program's part too."""
    return self._bus().ledger()

  def links(self) -> List[Dict[str, Any]]:
    """See MessageBus.links()."""
    return self._bus().links()

  def flush(self, timeout: float) -> None:
    """Waits until what the node has published so far was handled."""
    self._bus().flush(timeout)

  def close(self, timeout: float = _CLOSE_TIMEOUT) -> None:
    """Ends this service; the program's own part of the node goes on.

    First its subscriptions end: no callback runs when this returns, but one that
    calls it or is slower than `timeout`, and what was queued for them counts as
    dropped: subscriber_gone. Then what the node has published so far, the program
    included, is waited for, except in a callback. Afterwards every call but this
    raises FailedPrecondition, and the name of the service is free. The node ends
    with the last who uses it: the program's buses, and other Runtimes. Closing
    twice does nothing, also on two threads at once.

    Leaving the `with` closes, and so does the end of the interpreter. What a signal
    handler raises, as Ctrl-C does, is raised when it is closed, which it then is at
    once.

    Raises:
      DeadlineExceeded: some messages were not handled within `timeout` seconds,
        or a callback has not returned. The runtime is closed all the same, and
        they stay where they are.
    """
    deadline = time.monotonic() + timeout
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
        self._publishers.clear()
      # The traceback of what is raised would keep it, and the name with it.
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
      # That of a thread that was faster has the earlier messages: one for each
      # type, so that order is kept.
      return self._publishers.setdefault(key, made)

  def __enter__(self) -> 'Runtime':
    return self

  def __exit__(self, *exception: Any) -> None:
    self.close()
