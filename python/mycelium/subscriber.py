"""Subscribers, from which a program takes messages when it wants them."""

import asyncio
import functools
from typing import (Any, AsyncIterator, Callable, Generic, Iterator, List,
                    NamedTuple, Optional, Sequence, TypeVar)

import _mycelium
from mycelium import errors
from mycelium import events
from mycelium.readable import Readable, native_bus_of

M = TypeVar('M')

_EVER = 86400.0  # Iteration waits this long, again and again.
# After this many messages without waiting, other coroutines get the event loop.
_TURN = 64


class MessageInfo(NamedTuple):
  """What is known about a message besides its contents."""

  topic: str
  type_name: str
  publisher_node: str
  publisher_service: str
  sequence: int  # Counts the messages of that publisher from 1.
  publish_time_ns: int  # Since the Unix epoch; 0 without `publish_time`.
  lost_before: int  # How many the overflow policy dropped just before.
  redelivered: bool  # An earlier process of this node may have handled it.


class Subscriber(Generic[M]):
  """Receives messages of one type when asked to. Made by MessageBus.

  A context manager: leaving it closes it. A subscriber that is neither read nor
  closed runs out of room in the end, and its overflow policy then decides what
  happens to publishers.

  A message counts as handled at the next receive of the same subscriber, at
  finish(), or when the subscriber is gone. Threads that receive at the same time
  take turns; other Python threads run while one waits.

  With a RawType, recv() returns a Payload: a read-only buffer where the bytes
  were received (`memoryview(payload)`, `bytes(payload)`, numpy.frombuffer).
  It ends with the next receive, which raises BufferError while there is still a
  view of it. Afterwards every access to its bytes raises BufferError.

  Example:

      for quote in bus.subscriber(Quote):
        handle(quote)
  """

  def __init__(self, owner: Any, native: '_mycelium.Subscriber',
               messages: Any,
               watches: Sequence[Optional[events.Watch]] = ()) -> None:
    """Not for users."""
    self._watches = watches
    self._owner = owner  # Kept alive, so that it closes itself at exit.
    self._native = native
    # Makes a message of bytes. None: a receive returns a view of the bytes.
    self._parse: Optional[Callable[[bytes], M]] = (
        None if messages.is_raw else messages.from_bytes)
    self._readable: Optional[Readable] = None
    self._streak = 0
    # Nothing is left to do in Python.
    setattr(self, 'recv', functools.partial(native.receive, self._parse))

  @property
  def callback_errors(self) -> int:
    """How often `on_publisher_gone` and `on_error` raised."""
    return events.errors_of(*self._watches)

  @property
  def closed(self) -> bool:
    """Whether no message will come any more: this, or the bus, was closed."""
    return self._native.closed

  def recv(self, timeout: float) -> M:
    """The next message, waiting up to `timeout` seconds for one.

    With a RawType that is a Payload; or `bytes`, if a recv_many() that a signal
    handler interrupted had taken it.

    Raises:
      DeadlineExceeded: none came in time. It is a TimeoutError.
      FailedPrecondition: none came, and a publisher was refused because its
        type or schema digest differs (SchemaMismatch), which is raised once; or
        the bus is closed; or a signal handler or callback calls this that runs
        during a receive of the same subscriber.
      ResourceExhausted: none came, and this subscriber fell behind and was
        disconnected, as its overflow says. Raised once.
      DataLoss: what came is not a message of this class. It counts as dropped:
        undecodable.
      BufferError: there is a view of the last payload.
    """
    message: M = self._native.receive(self._parse, timeout)
    return message

  def recv_nowait(self) -> Optional[M]:
    """The next message, or None if there is none now; else as recv()."""
    message: Optional[M] = self._native.try_receive(self._parse)
    return message

  def recv_many(self, count_max: int, timeout: float = 0.0) -> List[M]:
    """Up to `count_max` messages: those that are there already, without waiting.

    If there is none, waits up to `timeout` seconds for the first one; the list is
    empty if none comes, or if other threads receive all the while. All but the
    last count as handled when this returns. With a RawType, the messages are bytes.

    Raises: as recv(), but no DeadlineExceeded. If bytes come that are not a
      message of this class, the list ends before them, and the next receive
      raises DataLoss.
    """
    return self._native.receive_many(self._parse, count_max, timeout)

  async def recv_async(self) -> M:
    """The next message; the event loop goes on until one comes.

    No thread is used: the loop watches a descriptor, and with poll_by_caller runs
    the node. Cancelling loses nothing. Coroutines of only one event loop at a
    time may wait.
    """
    while True:
      if self._streak >= _TURN:
        self._streak = 0
        await asyncio.sleep(0)  # Here, where cancelling cannot lose a message.
      message = self.recv_nowait()
      if message is not None:
        self._streak += 1
        return message
      self._streak = 0
      if self._readable is None:
        self._readable = Readable(
            self._native.descriptor(), native_bus_of(self._owner))
        continue  # The next recv_nowait() arms the descriptor.
      await self._readable.wait()

  def check(self) -> None:
    """Returns if all is well.

    Raises: why some publisher's messages do not come, as long as that holds.
      SchemaMismatch: some publisher's type, or its service's schema digest,
        differs.
      ResourceExhausted: this subscriber fell behind, and its overflow is
        'disconnect'; or the publisher's node has no memory for its lane, which
        that node tries again; or that node takes no more subscriptions of this
        node.
    """
    self._native.check()

  def finish(self) -> None:
    """Says that the last message is handled, before the next receive does so."""
    self._native.finish()

  def close(self) -> None:
    """Ends the subscription, which otherwise lasts as long as this object.

    What is queued counts as dropped: subscriber_gone. A recv() that waits on
    another thread, and every later one, raises FailedPrecondition; iterations
    end. A view of the last payload stays valid; once it is gone, finish() says
    that the message is handled. Closing twice does nothing.
    """
    self._native.close()

  def fileno(self) -> int:
    """A descriptor for select() or epoll. It is the subscriber's: never close it.

    It is readable once a message has come after a recv_nowait() that found none.
    After a receive that a signal handler interrupted, call recv_nowait() first: it
    returns what was taken. With poll_by_caller, also watch the bus's.
    """
    return self._native.descriptor()

  @property
  def info(self) -> MessageInfo:
    """About the last message; empty before the first one."""
    return MessageInfo(*self._native.info())

  def __iter__(self) -> Iterator[M]:
    """Messages until this subscriber, or the bus, is closed.

    If a publisher is refused because its type differs, the iteration goes on with
    the messages of the others. The log, `on_error` and check() report the
    refusal.

    Raises:
      ResourceExhausted, DataLoss: as recv(). To go on, iterate again.
    """
    while True:
      try:
        message = self.recv(_EVER)
      except (errors.DeadlineExceeded, errors.SchemaMismatch):
        continue
      except errors.FailedPrecondition:
        if self.closed and not _mycelium.forked():
          return
        raise
      yield message

  async def __aiter__(self) -> AsyncIterator[M]:
    """The same without blocking the event loop."""
    while True:
      try:
        message = await self.recv_async()
      except errors.SchemaMismatch:
        continue
      except errors.FailedPrecondition:
        if self.closed and not _mycelium.forked():
          return
        raise
      yield message

  def __enter__(self) -> 'Subscriber[M]':
    return self

  def __exit__(self, *exception: Any) -> None:
    self.close()
