"""Two processes without a topology: one listens, the other one connects.

Each class is one way to reach the other process, named as in a topology file.
Both ends publish and subscribe; nobody gets his own messages back.

Example:

    with mycelium.UnixTransport('/run/app/worker.sock').listen() as worker:
      for job in worker.subscriber(Job):
        ...

    with mycelium.UnixTransport('/run/app/worker.sock').connect() as transport:
      transport.publisher(Job).publish(job)
"""

import os
from typing import Any, Callable, Optional

from mycelium import errors
from mycelium.bus import MessageBus
from mycelium.publisher import Publisher
from mycelium.subscriber import Subscriber
from mycelium.subscription import Subscription
from mycelium.topology import Path

_CONNECT_TIMEOUT = 5.0


class Transport:
  """What all of them have: a bus of their own. A context manager."""

  def __init__(self, schema_digest: Optional[bytes] = None) -> None:
    self._schema_digest = schema_digest
    self._bus: Optional[MessageBus] = None

  @property
  def bus(self) -> MessageBus:
    """Its bus, with all that a MessageBus offers.

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
    """See MessageBus.close(). Does nothing if it is not open."""
    bus, self._bus = self._bus, None
    if bus is not None:
      bus.close(timeout)

  def _start(self, begin: Callable[[MessageBus], None],
             timeout: float = 0.0) -> None:
    if self._bus is not None:
      raise errors.FailedPrecondition(f'{self} is open already')
    bus = MessageBus(schema_digest=self._schema_digest)
    try:
      begin(bus)
      if timeout > 0:
        self._wait_for_link(bus, timeout)
    except BaseException:
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
  """

  def __init__(self, path: Path, schema_digest: Optional[bytes] = None) -> None:
    super().__init__(schema_digest)
    self.path = os.fspath(path)

  def listen(self) -> 'UnixTransport':
    """Accepts peers; returns itself.

    Raises:
      AlreadyExists: somebody listens there, or it is another file.
      Unavailable: there is no such directory.
    """
    self._start(lambda bus: bus.listen_unix(self.path))
    return self

  def connect(self, timeout: float = _CONNECT_TIMEOUT) -> 'UnixTransport':
    """Connects to who listens; returns itself.

    A link that breaks later comes back by itself.

    Args:
      timeout: how many seconds to wait for somebody; 0: whoever comes will do.

    Raises:
      Unavailable: nobody listened in time.
      PermissionDenied: who listens does not let this user in.
    """
    self._start(lambda bus: bus.connect_unix(self.path), timeout)
    return self

  def __str__(self) -> str:
    return f'unix transport at {self.path}'
