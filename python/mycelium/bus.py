"""The bus of one service, with its publishers and subscribers.

Example:

    with mycelium.MessageBus.from_topology('topology.toml', 'strategy') as bus:
      quotes = bus.subscriber(Quote)
      orders = bus.publisher_to('execution', Order)
      orders.wait_for_subscribers(1, timeout=5)
      quote = quotes.recv(timeout=1)
      orders.publish(Order(symbol=quote.symbol))
      quotes.finish()  # So a flush() need not wait for the next recv().

Everything here may be used from any thread, and other Python threads run while
a call waits. Every call that waits takes a timeout, in seconds, and is ended by
Ctrl-C, except two kinds of calls: publish() waits no longer than its
publish_timeout, and the calls that make a bus, listen, connect or stop listening
wait for what the node's thread runs at that moment. Errors are raised as
exceptions of mycelium.errors.

A process that forks must not use its buses in the child: every call there raises
FailedPrecondition. Fork first, or start processes with "spawn".

What a node reports unasked, such as lost links and dropped messages, goes to
logging.getLogger('mycelium'), which a thread of its own writes to. Unless logging
is configured, warnings and errors appear on standard error. If C++ made the node
in this process, its reports go where C++ says.
"""

import os
import time
from typing import (Any, Callable, Dict, List, Optional, Sequence, Set, Type,
                    TypeVar, overload)

import _mycelium
from mycelium import ending
from mycelium import errors
from mycelium import events
from mycelium.events import ConnectionEvent, FlowEvent, PublisherGone
from mycelium.message_type import ProtobufMessage, RawType, messages_of
from mycelium.options import Limits, Settings, Tls, fields_of
from mycelium.publisher import Publisher
from mycelium.subscriber import Subscriber
from mycelium.subscription import Delivery, Subscription, unsubscribe_all
from mycelium.topology import Path

M = TypeVar('M', bound=ProtobufMessage)

_CLOSE_TIMEOUT = 5.0
_OnError = Callable[[errors.MyceliumError], Any]


class MessageBus:
  """One service's end of the bus. A context manager: leaving it closes it.

  Without a topology it reaches the code in this process that uses this bus, and
  the peers at the sockets that it listens at or dials.

  Args:
    node: the name of this process, for others to see. Made up if empty. A
      process that is started again under the name of one that ended, within
      `retain`, gets what that one had not handled. A process without a name is a
      new node each time.
    schema_digest: the SCHEMA_DIGEST of a mycelium_schema, 32 bytes. A service
      that was given another one is refused.
    wait: how threads wait: 'spin', 'adaptive' or 'block'.
    allow_uids: which users may connect besides this one.
    delivers_locally: whether its own subscriptions get what it publishes.
    tls: the certificates for encryption between machines; see TcpTransport.
    insecure: whether what leaves the machine may be in the clear.
    allow_anonymous: whether peers of other machines that show no certificate may
      connect.
    poll_by_caller: whether no thread is started: poll(), and every call that
      waits, run the node. With wait='spin', this leaves a CPU to the other side.
    on_connection: called when a link to another node came up, broke, was refused
      or is over. mycelium.events says what it may do, and what becomes of what it
      raises.
    on_flow: called when messages were dropped or a publisher waited for room in
      vain: soon after the first time, then at most once a second with all that
      happened meanwhile. The rules of mycelium.events hold for it, too.
    settings: how messages travel.
    limits: bounds of this process.
    schema: which types of other nodes are accepted for those of this one: with
      'exact', the same types only; with 'compatible', also compatible versions of
      them, if both nodes say 'compatible'.

  Raises:
    InvalidArgument: an argument is out of bounds; the text says which, and what
      the bounds are.
  """

  def __init__(self, node: str = '', schema_digest: Optional[bytes] = None,
               wait: Optional[str] = None,
               allow_uids: Sequence[int] = (),
               delivers_locally: bool = True,
               tls: Optional[Tls] = None, insecure: bool = False,
               allow_anonymous: bool = False,
               poll_by_caller: bool = False,
               on_connection: Optional[Callable[[ConnectionEvent], Any]] = None,
               on_flow: Optional[Callable[[FlowEvent], Any]] = None,
               settings: Optional[Settings] = None,
               limits: Optional[Limits] = None,
               schema: str = 'exact') -> None:
    self._open(on_connection, on_flow, lambda **watches: _mycelium.create_bus(
        node=node, schema_digest=schema_digest, wait=wait, schema=schema,
        allow_uids=list(allow_uids), delivers_locally=delivers_locally,
        tls=fields_of(Tls, tls), insecure=insecure,
        allow_anonymous=allow_anonymous, poll_by_caller=poll_by_caller,
        settings=fields_of(Settings, settings),
        limits=fields_of(Limits, limits), **watches))

  @classmethod
  def from_topology(cls, topology_path: Optional[Path], service_name: str,
                    schema_digest: Optional[bytes] = None,
                    wait: Optional[str] = None,
                    poll_by_caller: bool = False,
                    on_connection: Optional[
                        Callable[[ConnectionEvent], Any]] = None,
                    on_flow: Optional[Callable[[FlowEvent], Any]] = None
                    ) -> 'MessageBus':
    """The bus of one service of a topology.

    Args:
      topology_path: the TOML file. None: what MYCELIUM_TOPOLOGY names.
      service_name: a service of the file. Buses of services of one node, in one
        process, share the node, in whatever language they are made.
      schema_digest: the SCHEMA_DIGEST of a mycelium_schema, 32 bytes. A service
        that was given another one is refused.
      wait: how threads wait: 'spin', 'adaptive' or 'block'. None: as the
        topology says.
      poll_by_caller: as for MessageBus().
      on_connection, on_flow: as for MessageBus(). Only those of the node's first
        bus in this process are called, as in C++.

    Raises:
      InvalidArgument: the file has errors, all of which the text lists.
      NotFound: no such file, or no such service in it.
      AlreadyExists: another process, or another bus here, is that service.
      FailedPrecondition: the file has changed since this process loaded it.
      Unavailable: the node of this process is ending; try again when the call
        that ends it has returned.
    """
    bus = cls.__new__(cls)
    bus._open(
        on_connection, on_flow, lambda **watches: _mycelium.bus_from_topology(
            os.fspath(topology_path or ''), service_name,
            schema_digest=schema_digest, wait=wait,
            poll_by_caller=poll_by_caller, **watches))
    return bus

  @classmethod
  def of_process(cls, service_name: str = '',
                 schema_digest: Optional[bytes] = None,
                 on_connection: Optional[
                     Callable[[ConnectionEvent], Any]] = None,
                 on_flow: Optional[Callable[[FlowEvent], Any]] = None,
                 settings: Optional[Settings] = None,
                 limits: Optional[Limits] = None) -> 'MessageBus':
    """A bus of the node that this process shares without a topology.

    It meets the buses that C++ made with MessageBus::OfProcess(), the runtimes
    that C made with mycelium_runtime_create_of_process(), and each
    mycelium_native.Runtime without a topology.

    Args:
      service_name: the name that others see; made up if it is empty.
      schema_digest: as for MessageBus().
      on_connection, on_flow, settings, limits: as for MessageBus(). Those of the
        bus that made the node in this process hold.

    Raises:
      InvalidArgument: an argument is out of bounds.
      AlreadyExists: another bus of the node has that name.
      Unavailable: as from_topology().
    """
    bus = cls.__new__(cls)
    bus._open(
        on_connection, on_flow, lambda **watches: _mycelium.bus_of_process(
            service_name, schema_digest=schema_digest,
            settings=fields_of(Settings, settings),
            limits=fields_of(Limits, limits), **watches))
    return bus

  def _open(self, on_connection: Optional[Callable[[ConnectionEvent], Any]],
            on_flow: Optional[Callable[[FlowEvent], Any]],
            make: Callable[..., '_mycelium.Bus']) -> None:
    # Before the bus, whose first events may come before it is made.
    self._on_connection = events.watch_of(ConnectionEvent, on_connection)
    self._on_flow = events.watch_of(FlowEvent, on_flow)
    self._native = make(on_connection=events.number_of(self._on_connection),
                        on_flow=events.number_of(self._on_flow))
    self._deliveries: Set[Delivery] = set()
    ending.add(self)

  @property
  def service(self) -> str:
    """The name of the service."""
    return self._native.service

  @property
  def node(self) -> str:
    """The name of the node that hosts the service: this process."""
    return self._native.node

  @property
  def callback_errors(self) -> int:
    """How often `on_connection` and `on_flow` raised."""
    return events.errors_of(self._on_connection, self._on_flow)

  # Publishing

  @overload
  def publisher(self, message_cls: Type[M], *, topic: str = '',
                publish_time: bool = False,
                publish_timeout: Optional[float] = None,
                require_subscriber: bool = False) -> Publisher[M]: ...

  @overload
  def publisher(self, message_cls: RawType, *, topic: str = '',
                publish_time: bool = False,
                publish_timeout: Optional[float] = None,
                require_subscriber: bool = False) -> Publisher[Any]: ...

  def publisher(self, message_cls: Any, **options: Any) -> Publisher[Any]:
    """A Publisher that reaches every subscription to the topic.

    If there is no subscription, a message counts as dropped: no_subscriber.

    Args:
      message_cls: a Protobuf message class, or a RawType.
      topic: the stream; by default the full name of the type.
      publish_time: whether to stamp each message with the time.
      publish_timeout: how many seconds publish() waits for room; by default as
        the topology says.
      require_subscriber: whether publish() raises Unavailable if there is no
        subscription.
    """
    return self._make_publisher('', message_cls, **options)

  @overload
  def publisher_to(self, target_service: str, message_cls: Type[M], *,
                   topic: str = '', publish_time: bool = False,
                   publish_timeout: Optional[float] = None
                   ) -> Publisher[M]: ...

  @overload
  def publisher_to(self, target_service: str, message_cls: RawType, *,
                   topic: str = '', publish_time: bool = False,
                   publish_timeout: Optional[float] = None
                   ) -> Publisher[Any]: ...

  def publisher_to(self, target_service: str, message_cls: Any,
                   **options: Any) -> Publisher[Any]:
    """A Publisher that reaches the subscriptions of one service.

    Args: as for publisher().

    Raises:
      NotFound: the topology has no such service. The text names the nearest
        name, or, if the name is a node's, the services of that node.
      InvalidArgument: `target_service` is not a name, for example empty.
    """
    if not target_service:
      raise errors.InvalidArgument(
          'a publisher to one service needs its name; publisher() reaches all')
    return self._make_publisher(target_service, message_cls, **options)

  def _make_publisher(self, target_service: str, message_cls: Any,
                      **options: Any) -> Publisher[Any]:
    messages = messages_of(message_cls)
    native = self._native.publisher(messages.native, target_service, **options)
    return Publisher(self, native, messages, options.get('publish_timeout'))

  # Subscribing

  @overload
  def subscriber(self, message_cls: Type[M], *, topic: str = '', name: str = '',
                 overflow: Optional[str] = None, depth: Optional[int] = None,
                 window: Optional[int] = None,
                 on_publisher_gone: Optional[
                     Callable[[PublisherGone], Any]] = None,
                 on_error: Optional[_OnError] = None
                 ) -> Subscriber[M]: ...

  @overload
  def subscriber(self, message_cls: RawType, *, topic: str = '', name: str = '',
                 overflow: Optional[str] = None, depth: Optional[int] = None,
                 window: Optional[int] = None,
                 on_publisher_gone: Optional[
                     Callable[[PublisherGone], Any]] = None,
                 on_error: Optional[_OnError] = None
                 ) -> Subscriber[Any]: ...

  def subscriber(self, message_cls: Any, *,
                 on_publisher_gone: Optional[
                     Callable[[PublisherGone], Any]] = None,
                 on_error: Optional[_OnError] = None,
                 **options: Any) -> Subscriber[Any]:
    """A Subscriber, which gets what is published from now on.

    Args:
      message_cls: a Protobuf message class, or a RawType.
      topic: the stream; by default the full name of the type.
      name: tells two subscriptions of the service to one topic apart.
      overflow, depth, window: as in Settings, for this subscription. None: as
        the topology says.
      on_publisher_gone: called when a publisher of another node that this
        subscription was matched with is gone, and will not come back as the same
        process: what it had not sent is lost. mycelium.events says what the
        callback may do.
      on_error: called once with each exception that check() may raise. The rules
        of mycelium.events hold for it, too.
    """
    messages = messages_of(message_cls)
    gone = events.watch_of(PublisherGone, on_publisher_gone)
    error = events.watch_of(events.error_itself, on_error)
    native = self._native.subscriber(
        messages.native, on_publisher_gone=events.number_of(gone),
        on_error=events.number_of(error), **options)
    return Subscriber(self, native, messages, (gone, error))

  @overload
  def subscribe(self, message_cls: Type[M], callback: Callable[[M], Any], *,
                queued: bool = False, topic: str = '', name: str = '',
                overflow: Optional[str] = None, depth: Optional[int] = None,
                window: Optional[int] = None,
                on_publisher_gone: Optional[
                    Callable[[PublisherGone], Any]] = None,
                on_error: Optional[_OnError] = None
                ) -> Subscription: ...

  @overload
  def subscribe(self, message_cls: Any, callback: Callable[..., Any], *,
                with_info: bool = False, queued: bool = False, topic: str = '',
                name: str = '', overflow: Optional[str] = None,
                depth: Optional[int] = None, window: Optional[int] = None,
                on_publisher_gone: Optional[
                    Callable[[PublisherGone], Any]] = None,
                on_error: Optional[_OnError] = None
                ) -> Subscription: ...

  def subscribe(self, message_cls: Any, callback: Callable[..., Any], *,
                with_info: bool = False,
                on_publisher_gone: Optional[
                    Callable[[PublisherGone], Any]] = None,
                on_error: Optional[_OnError] = None,
                **options: Any) -> Subscription:
    """Calls `callback(message)` for every message from now on.

    The callback is never called on two threads at once. It may publish, subscribe
    and unsubscribe; flush() and close() raise FailedPrecondition there, since
    they would wait for the callback. An exception that it raises goes to
    sys.unraisablehook, and the subscription goes on. One that is not an
    Exception, such as KeyboardInterrupt, is raised by the Python call that ran
    the callback, such as publish(), if there is one.

    Args:
      message_cls, topic, name, overflow, depth, window, on_publisher_gone,
        on_error: as for subscriber(). With a RawType, messages are bytes.
      callback: called on the thread that publishes, if that thread is in this
        process, else on the node's thread.
      with_info: whether to call `callback(message, info)`, with a MessageInfo.
      queued: whether to call it on a thread of its own instead.

    Raises:
      TypeError: the callback is not callable, or is asynchronous: there is no
        event loop that would await it.
    """
    messages = messages_of(message_cls)
    delivery = Delivery(
        messages, callback, with_info, on_publisher_gone, on_error)
    delivery.start(self._native.subscribe(
        messages.native, delivery, **delivery.watches, **options))
    return Subscription(self, delivery, self._deliveries)

  # Sockets by hand

  def listen_unix(self, path: Path) -> None:
    """Accepts links at the path of a Unix socket, until the bus is closed.

    Raises:
      AlreadyExists: another listener is there, or the path is another file.
    """
    self._native.listen_unix(os.fspath(path))

  def connect_unix(self, path: Path) -> None:
    """Keeps a link to the process that listens there, now or later."""
    self._native.connect_unix(os.fspath(path))

  def listen_shm(self, path: Path, capacity: int = 1 << 20) -> None:
    """Accepts links through shared memory, until the bus is closed.

    Args:
      path: of the Unix socket over which both sides meet.
      capacity: of each lane, in bytes. A message takes at most half of it.

    Raises:
      AlreadyExists: another listener is there, or the path is another file.
    """
    self._native.listen_shm(os.fspath(path), capacity)

  def connect_shm(self, path: Path, capacity: Optional[int] = None) -> None:
    """Keeps a link to the process that listens there, now or later.

    Args:
      path: as for listen_shm().
      capacity: the capacity that the listener must have given: a listener with
        another one is refused. None: accepts any, up to 64 MiB.
    """
    self._native.connect_shm(os.fspath(path), capacity or 0)

  def listen_tcp(self, address: str) -> str:
    """Accepts links from other machines, until the bus is closed.

    Args:
      address: "host:port", as gRPC takes it. Port 0: a port that is free. Without
        a host: all interfaces.

    Returns:
      The address with the port.

    Raises:
      AlreadyExists: another listener is there.
      FailedPrecondition: the address is not of this machine, or traffic beyond
        the machine would be in the clear.
      InvalidArgument: `tls` is not enough to listen with; or the address has no
        port from 0 to 65535, or there is no such host.
      PermissionDenied: this user may not listen there.
      Unavailable: gRPC cannot listen there; the message says why.
    """
    return self._native.listen_tcp(address)

  def connect_tcp(self, address: str) -> None:
    """Keeps a link to the process that listens there, now or later.

    Returns at once. An address where traffic beyond this machine would be in the
    clear is not dialled: wait_for_link() raises that, and links() reports it.

    Raises:
      InvalidArgument: the address has no port from 1 to 65535.
    """
    self._native.connect_tcp(address)

  def stop_listening(self, address: Path) -> None:
    """Stops listening there. Links that were accepted stay.

    Args:
      address: the path, or what listen_tcp() returned.

    Raises:
      NotFound: this bus does not listen there.
      DeadlineExceeded: a callback has kept the node's thread for a second; the
        node listens there until the callback returns.
      FailedPrecondition: called from a callback.
    """
    self._native.stop_listening(os.fspath(address))

  def endpoint_stats(self) -> Dict[str, Any]:
    """What happened to the links that were accepted where this bus listens.

    The keys of the dict are connections, handshake_failures, frames_sent,
    bytes_sent, frames_received, bytes_received, stalls (how often a publisher
    waited for room in vain) and dropped, as in ledger(). Nothing is counted here
    for the places at which the bus listens because a topology says so. It is for
    monitoring, a few times a second at most: it takes locks that publishers take.
    """
    return self._native.endpoint_stats()

  def wait_for_link(self, timeout: float) -> None:
    """Waits until some other node has been connected.

    Raises:
      DeadlineExceeded: none was after `timeout` seconds; the text says why, for
        each node that was tried.
      FailedPrecondition: the bus is closed; or this is called from a callback of
        the node's own thread, or of poll(), where no link can come up.
      PermissionDenied, and others: the last thing that happened is that a link
        was refused. Raised once per refusal, by the first bus of the node in this
        process; the other buses raise DeadlineExceeded. A bus that dials nothing
        by hand waits on when it refuses a peer that never said its name.
    """
    self._native.wait_for_link(timeout)

  # The rest

  def poll(self, timeout: float) -> bool:
    """With poll_by_caller: runs what is due, waiting for it.

    Returns:
      Whether there was something to run within `timeout` seconds.

    Raises:
      FailedPrecondition: the bus has a thread for that, or its node has ended, or
        this is called from a callback that poll() runs.
    """
    return self._native.poll(timeout)

  def fileno(self) -> int:
    """With poll_by_caller: a descriptor for select() or epoll.

    It is readable when poll() would find something to run. It belongs to the bus:
    never close it.
    """
    return self._native.poll_descriptor()

  def flush(self, timeout: float) -> None:
    """Waits until all that this node has published so far was handled.

    Raises:
      DeadlineExceeded: some of it was not handled after `timeout` seconds.
      FailedPrecondition: called from a callback, for which it would wait.
    """
    self._native.flush(timeout)

  def close(self, timeout: float = _CLOSE_TIMEOUT) -> None:
    """Waits for what is in flight, then ends publishers and subscriptions.

    It waits for what this bus published, and for what has come for it. Afterwards
    every call of its publishers and subscriptions raises FailedPrecondition, as
    does a recv() that waits. Other buses of the node go on. When the last open
    bus of the node in this process is closed, the node ends, with its links and
    all that it listens at.

    A second close() does nothing. Neither does the close() of a signal handler
    that interrupts the closing of the same bus. If a signal handler raises, as
    that of Ctrl-C does, the bus is closed at once, as at the end of `timeout`,
    and then the exception is raised. If another thread is closing the bus, it may
    be open still when the exception is raised.

    Raises:
      DeadlineExceeded: some messages were not handled within `timeout` seconds
        and count as dropped; or a callback had not returned, and its message
        counts when it has. The bus is closed all the same.
      FailedPrecondition: called from a callback; the bus is open as before.
    """
    self._end(self._native.close, timeout)

  def shutdown(self, timeout: float = _CLOSE_TIMEOUT) -> None:
    """As close(), but ends the node for all its buses in this process."""
    self._end(self._native.shutdown, timeout)

  @property
  def closed(self) -> bool:
    """Whether close() is done."""
    return self._native.closed

  def _end(self, end: Callable[[float], None], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    try:
      end(timeout)
    except BaseException as raised:
      if not isinstance(raised, errors.DeadlineExceeded):
        deadline = 0.0  # A signal handler's.
      raise
    finally:
      if self.closed:
        self._let_go(deadline)

  def _let_go(self, deadline: float) -> None:
    ending.open_buses.discard(self)
    unsubscribe_all(self._deliveries, deadline)

  def ledger(self) -> List[Dict[str, Any]]:
    """What this node has counted: a dict for each publisher and subscription.

    The keys of each dict are topic, publisher_node, publisher_service,
    subscriber_node, subscriber_service, subscription_name, transport, accepted,
    delivered, in_flight and dropped, which is a dict from the reason to the
    number. Once nothing moves, accepted = delivered + all dropped + in_flight.
    With two nodes, the publisher's node counts what was accepted, and the
    subscriber's node what was delivered.
    """
    return self._native.ledger()

  def stats(self) -> Dict[str, int]:
    """The sums of the ledger: accepted, delivered, in_flight and dropped."""
    sums = dict.fromkeys(('accepted', 'delivered', 'in_flight', 'dropped'), 0)
    for flow in self.ledger():
      for key in ('accepted', 'delivered', 'in_flight'):
        sums[key] += flow[key]
      sums['dropped'] += sum(flow['dropped'].values())
    return sums

  def links(self) -> List[Dict[str, Any]]:
    """The links to other nodes: a dict for each.

    The keys of each dict are peer, transport, address, rule (why this transport),
    fallback (why memory is not shared although it should be; or ''), is_up and
    last_error.
    """
    return self._native.links()

  def __enter__(self) -> 'MessageBus':
    return self

  def __exit__(self, *exception: Any) -> None:
    self.close()


if hasattr(os, 'register_at_fork'):
  os.register_at_fork(after_in_child=_mycelium.after_fork_in_child)
