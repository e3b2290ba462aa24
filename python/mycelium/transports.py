"""Two processes without a topology: one listens, the other one connects.

Each class is one way to reach the other process, named as in a topology file.
Both ends publish and subscribe. No end gets its own messages back: a publisher
and a subscriber of one object do not hear each other.

All take these:

- `node`: the name of this process, unlike that of every other process that it
  meets. If the process ends, for whatever reason, and a process with the same
  `node` comes to the same peer within the peer's `retain` (Settings; 5 seconds),
  its subscriptions go on where those of the last process stopped. They get what
  the last process had not finished, marked as MessageInfo.redelivered where it
  may have seen the message. A process without a name is a new node each time, and
  the peer counts what waited as dropped: subscriber_gone.
  SharedMemoryTransport.create() has a default name.
- `settings`, `limits`, `on_connection`, `on_flow`, `wait`, `poll_by_caller`,
  `schema`: as for MessageBus(). The transports on this machine take `allow_uids`,
  too. The least latency costs a core: `wait='spin'`, with `poll_by_caller=True`
  where the thread that receives is also to be the one that looks.

Example:

    with mycelium.UnixTransport('/run/app/worker.sock').listen() as worker:
      for job in worker.subscriber(Job):
        ...

    with mycelium.UnixTransport('/run/app/worker.sock').connect() as transport:
      jobs = transport.publisher(Job)
      jobs.wait_for_subscribers(1, timeout=5)  # A link is no subscriber yet.
      jobs.publish(job)
"""

import contextlib
import os
from typing import Any, Callable, Dict, Optional, Sequence

from mycelium import errors
from mycelium.bus import MessageBus
from mycelium.events import ConnectionEvent, FlowEvent
from mycelium.options import Limits, Settings, Tls, checked_timeout
from mycelium.publisher import Publisher
from mycelium.subscriber import Subscriber
from mycelium.subscription import Subscription
from mycelium.topology import Path

_CONNECT_TIMEOUT = 5.0
_OnConnection = Callable[[ConnectionEvent], Any]
_OnFlow = Callable[[FlowEvent], Any]


class Transport:
  """The base of all transports, which have a bus of their own.

  A context manager: leaving it closes it.
  """

  def __init__(self, schema_digest: Optional[bytes] = None,
               **bus_options: Any) -> None:
    self._schema_digest = schema_digest
    self._bus_options: Dict[str, Any] = bus_options
    self._bus: Optional[MessageBus] = None

  @property
  def bus(self) -> MessageBus:
    """The bus of the transport, with all that a MessageBus offers.

    Raises:
      FailedPrecondition: neither listen() nor connect() was called yet.
    """
    if self._bus is None:
      raise errors.FailedPrecondition(
          f'{self}: call listen() or connect() first')
    return self._bus

  def publisher(self, message_cls: Any, **options: Any) -> Publisher[Any]:
    """See MessageBus.publisher()."""
    return self.bus.publisher(message_cls, **options)

  def subscriber(self, message_cls: Any, **options: Any) -> Subscriber[Any]:
    """See MessageBus.subscriber()."""
    return self.bus.subscriber(message_cls, **options)

  def subscribe(self, message_cls: Any, callback: Callable[..., Any],
                **options: Any) -> Subscription:
    """See MessageBus.subscribe()."""
    return self.bus.subscribe(message_cls, callback, **options)

  def flush(self, timeout: float) -> None:
    """See MessageBus.flush()."""
    self.bus.flush(timeout)

  def close(self, timeout: float = 5.0) -> None:
    """See MessageBus.close(). Does nothing if the transport is not open."""
    bus = self._bus
    if bus is None:
      return
    try:
      bus.close(timeout)
    finally:
      if bus.closed:  # It is not if a callback called this.
        self._bus = None

  def _start(self, begin: Callable[[MessageBus], None],
             timeout: float = 0.0) -> None:
    checked_timeout(timeout)
    if self._bus is not None:
      raise errors.FailedPrecondition(f'{self} is open already')
    bus = MessageBus(
        schema_digest=self._schema_digest, delivers_locally=False,
        **self._bus_options)
    try:
      begin(bus)
      if timeout != 0:
        self._wait_for_link(bus, timeout)
    except BaseException:
      with contextlib.suppress(errors.DeadlineExceeded):
        bus.close(0)
      raise
    self._bus = bus

  def _wait_for_link(self, bus: MessageBus, timeout: float) -> None:
    try:
      bus.wait_for_link(timeout)
    except errors.DeadlineExceeded as late:
      reasons = {link['last_error'] for link in bus.links()} - {''}
      why = '; '.join(sorted(reasons)) or str(late)
      raise errors.Unavailable(f'{self}: {why}') from late

  def __enter__(self) -> Any:
    return self

  def __exit__(self, *exception: Any) -> None:
    self.close()


class UnixTransport(Transport):
  """Over a Unix socket.

  Args:
    path: of the socket.
    schema_digest: the SCHEMA_DIGEST of a mycelium_schema, 32 bytes. A peer that
      was given another one gets no messages; both sides get SchemaMismatch.
    The others: see this module.
  """

  def __init__(self, path: Path, schema_digest: Optional[bytes] = None, *,
               node: str = '', settings: Optional[Settings] = None,
               limits: Optional[Limits] = None,
               on_connection: Optional[_OnConnection] = None,
               on_flow: Optional[_OnFlow] = None, wait: Optional[str] = None,
               poll_by_caller: bool = False,
               allow_uids: Sequence[int] = (), schema: str = 'exact') -> None:
    super().__init__(
        schema_digest, node=node, settings=settings, limits=limits,
        on_connection=on_connection, on_flow=on_flow, wait=wait,
        poll_by_caller=poll_by_caller, allow_uids=allow_uids, schema=schema)
    self.path = os.fspath(path)

  def listen(self) -> 'UnixTransport':
    """Accepts peers; returns this transport.

    Raises:
      AlreadyExists: another listener is there, or the path is another file.
      Unavailable: there is no such directory.
    """
    self._start(lambda bus: bus.listen_unix(self.path))
    return self

  def connect(self, timeout: float = _CONNECT_TIMEOUT) -> 'UnixTransport':
    """Connects to the process that listens; returns this transport.

    A link that breaks later comes back by itself.

    Args:
      timeout: how many seconds to wait for a listener. 0: does not wait, and
        connects when one comes.

    Raises:
      Unavailable: nobody listened in time.
      PermissionDenied: the listener does not admit this user.
      InvalidArgument: `timeout` is not from 0 to one year.
    """
    self._start(lambda bus: bus.connect_unix(self.path), timeout)
    return self

  def __str__(self) -> str:
    return f'unix transport at {self.path}'


class SharedMemoryTransport(Transport):
  """Through shared memory, between processes of one machine.

  Made by create() on one side and open() on the other; the side that opens may
  come first. `path` is the path of a Unix socket, over which the two meet.
  Nothing else appears in a file system.
  """

  def __init__(self, path: Path, schema_digest: Optional[bytes] = None,
               **bus_options: Any) -> None:
    """Not for users: see create() and open()."""
    super().__init__(schema_digest, **bus_options)
    self.path = os.fspath(path)

  @classmethod
  def create(cls, path: Path, schema_digest: Optional[bytes] = None,
             capacity: int = 1 << 20, *, node: str = '',
             settings: Optional[Settings] = None,
             limits: Optional[Limits] = None,
             on_connection: Optional[_OnConnection] = None,
             on_flow: Optional[_OnFlow] = None, wait: Optional[str] = None,
             poll_by_caller: bool = False, allow_uids: Sequence[int] = (),
             schema: str = 'exact') -> 'SharedMemoryTransport':
    """The side that listens.

    Args:
      path: where the other side finds it.
      schema_digest: the SCHEMA_DIGEST of a mycelium_schema, 32 bytes. A peer
        that was given another one gets no messages; both get SchemaMismatch.
      capacity: of each lane, in bytes. A message takes at most half of it.
      node: see this module. If empty, it is made of the path: only one process at
        a time can have created it, and its successor has to have the same name.
      The others: see this module.

    Raises:
      AlreadyExists: another listener is there, or the path is another file.
      Unavailable: there is no such directory, or no shared memory here.
    """
    transport = cls(path, schema_digest, node=node or f'shm:{os.fspath(path)}',
                    settings=settings, limits=limits,
                    on_connection=on_connection, on_flow=on_flow, wait=wait,
                    poll_by_caller=poll_by_caller, allow_uids=allow_uids,
                    schema=schema)
    transport._start(lambda bus: bus.listen_shm(transport.path, capacity))
    return transport

  @classmethod
  def open(cls, path: Path, schema_digest: Optional[bytes] = None,
           capacity: Optional[int] = None, *, node: str = '',
           settings: Optional[Settings] = None,
           limits: Optional[Limits] = None,
           on_connection: Optional[_OnConnection] = None,
           on_flow: Optional[_OnFlow] = None, wait: Optional[str] = None,
           poll_by_caller: bool = False, allow_uids: Sequence[int] = (),
           schema: str = 'exact') -> 'SharedMemoryTransport':
    """The side that connects to the process that creates `path`, now or later.

    Returns at once. wait_for_link() of its bus, or wait_for_subscribers() of a
    publisher, says whether the other side is there.

    Args:
      path, schema_digest: as for create().
      capacity: the capacity that the other side must have created it with; a side
        with another one is refused. None: accepts any, up to 64 MiB.
      The others: see this module.
    """
    transport = cls(path, schema_digest, node=node, settings=settings,
                    limits=limits, on_connection=on_connection, on_flow=on_flow,
                    wait=wait, poll_by_caller=poll_by_caller,
                    allow_uids=allow_uids, schema=schema)
    transport._start(lambda bus: bus.connect_shm(transport.path, capacity))
    return transport

  def __str__(self) -> str:
    return f'shared memory at {self.path}'


class TcpTransport(Transport):
  """Over gRPC, between machines.

  Between two machines it needs `tls`, with which it encrypts, or `insecure`, with
  which it does not. On one machine (loopback) it needs neither.

  Args:
    host: a name or an address: to listen at, or to connect to.
    port: of TCP. 0, to listen: a port that is free; `port` then says which.
    schema_digest: the SCHEMA_DIGEST of a mycelium_schema, 32 bytes. A peer that
      was given another one gets no messages; both sides get SchemaMismatch.
    tls: the certificates.
    insecure: whether what leaves the machine may be in the clear.
    allow_anonymous: whether peers of other machines that show no certificate may
      connect.
    The others: see this module.
  """

  def __init__(self, host: str, port: int,
               schema_digest: Optional[bytes] = None, *,
               tls: Optional[Tls] = None, insecure: bool = False,
               allow_anonymous: bool = False, node: str = '',
               settings: Optional[Settings] = None,
               limits: Optional[Limits] = None,
               on_connection: Optional[_OnConnection] = None,
               on_flow: Optional[_OnFlow] = None, wait: Optional[str] = None,
               poll_by_caller: bool = False, schema: str = 'exact') -> None:
    super().__init__(
        schema_digest, tls=tls, insecure=insecure,
        allow_anonymous=allow_anonymous, node=node, settings=settings,
        limits=limits, on_connection=on_connection, on_flow=on_flow, wait=wait,
        poll_by_caller=poll_by_caller, schema=schema)
    self.host = host
    self.port = port

  def listen(self) -> 'TcpTransport':
    """Accepts peers; returns this transport.

    Raises:
      AlreadyExists: the port is taken.
      FailedPrecondition: the address is not of this machine, or traffic beyond
        the machine would be in the clear.
      InvalidArgument: `tls` is not enough to listen, or a file cannot be read;
        or the port is not from 0 to 65535, or there is no such host.
      PermissionDenied: this user may not listen there.
      Unavailable: gRPC cannot listen there; the message says why.
    """
    def begin(bus: MessageBus) -> None:
      self.port = int(bus.listen_tcp(self.address).rpartition(':')[2])

    self._start(begin)
    return self

  def connect(self, timeout: float = _CONNECT_TIMEOUT) -> 'TcpTransport':
    """Connects to the process that listens; returns this transport.

    A link that breaks later comes back by itself.

    Args:
      timeout: how many seconds to wait for a listener. 0: does not wait, and
        connects when one comes.

    Raises:
      Unavailable: nobody listened in time, or the certificates do not allow the
        process that listens there.
      PermissionDenied: the listener does not admit this process, which showed no
        certificate, or was not asked for one, since the listener has no `ca`.
      FailedPrecondition: traffic would be in the clear beyond this machine.
      InvalidArgument: a file of `tls` cannot be read, or the port is not from 1
        to 65535; or `timeout` is not from 0 to one year.
    """
    self._start(lambda bus: bus.connect_tcp(self.address), timeout)
    return self

  @property
  def address(self) -> str:
    """Host and port as "host:port"."""
    host = f'[{self.host}]' if ':' in self.host else self.host
    return f'{host}:{self.port}'

  def __str__(self) -> str:
    return f'tcp transport at {self.address}'
