"""Publishers."""

import asyncio
import time
from typing import Any, Generic, List, Optional, TypeVar, Union

import _mycelium
from mycelium import errors
from mycelium.message_type import Buffer
from mycelium.options import checked_timeout
from mycelium.readable import Readable, native_bus_of, result_of

M = TypeVar('M')

# As long as publish() waits where nothing is configured.
_PUBLISH_ASYNC_TIMEOUT = 1.0


class _Turns:
  """Takes turns between coroutines of one event loop: one has it at a time."""

  def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
    self.loop = loop
    self._is_taken = False
    # Of the coroutines that wait. A result that is true is the turn.
    self._line: List['asyncio.Future[bool]'] = []

  async def take(self, timeout: float) -> bool:
    """Waits for the turn; returns whether it came within `timeout` seconds."""
    if not self._is_taken:
      self._is_taken = True
      return True
    future = self.loop.create_future()
    self._line.append(future)
    try:
      return await result_of(future, timeout)
    except BaseException:
      if future.done() and not future.cancelled() and future.result():
        self.give_back()  # The turn came just before the cancellation.
      raise
    finally:
      self._line.remove(future)

  def give_back(self) -> None:
    for future in self._line:
      if not future.done():  # Neither late nor cancelled.
        future.set_result(True)
        return
    self._is_taken = False


class Publisher(Generic[M]):
  """Publishes messages of one type. Made by MessageBus, or by a transport.

  Any thread may publish; other Python threads run while a call waits.
  """

  def __init__(self, owner: Any, native: '_mycelium.Publisher',
               messages: Any, publish_timeout: Optional[float] = None) -> None:
    """Not for users."""
    self._publish_timeout = publish_timeout or _PUBLISH_ASYNC_TIMEOUT
    self._owner = owner  # Kept alive, so that it closes itself at exit.
    self._native = native
    self._to_bytes = messages.to_bytes
    self._room: Optional[Readable] = None
    self._turns: Optional[_Turns] = None
    if messages.is_raw:
      # Nothing is left to do in Python.
      setattr(self, 'publish', native.publish)
      setattr(self, 'try_publish', native.try_publish)

  @property
  def topic(self) -> str:
    """The topic: the full name of the message type, unless one was given."""
    return self._native.topic

  @property
  def subscriber_count(self) -> int:
    """How many subscriptions get the messages that are published now."""
    return self._native.subscriber_count()

  def publish(self, message: Union[M, Buffer]) -> None:
    """Publishes a message. When this returns, the message was accepted.

    It will be delivered to every subscription that is matched now, or counted
    with the reason why not. If this raises, nobody got it. Callbacks of this
    process that are not queued run meanwhile, on this thread.

    Args:
      message: of the publisher's class; or its bytes, as anything that has the
        buffer protocol and is C-contiguous, such as bytes or a numpy array. The
        bytes are copied once for each subscription, to where it reads them, but
        not for a subscription whose callback runs on this thread. From 16 KiB
        on, they are copied once for all subscriptions that can share a copy. A
        publisher of a class does not check the bytes.

    Raises:
      TypeError: the message is of another class; or is no buffer, or a buffer of
        Python objects.
      InvalidArgument: the message is larger than a frame may be; or the buffer
        is not C-contiguous. InvalidArgument is also a ValueError.
      ResourceExhausted: a subscription has had no room for as long as the
        topology, or `publish_timeout`, lets a publisher wait. The publisher waits
        only once: after that, calls fail at once until the subscription has made
        some room, for which publish_async() and fileno() wait. Or this thread
        and others that take messages wait for each other in a circle.
      Unavailable: with publisher_to(), the service is not connected, or has no
        such subscription; or the subscriber of a full lane is out of reach.
      FailedPrecondition: the types differ (SchemaMismatch), or the bus is
        closed.
      google.protobuf.message.EncodeError: Protobuf's, for a message that lacks a
        required field.
    """
    self._native.publish(self._to_bytes(message))

  def try_publish(self, message: Union[M, Buffer]) -> None:
    """As publish(), but never waits for room.

    It is for event loops other than asyncio's. They then watch fileno().

    Raises:
      ResourceExhausted: there is no room.
    """
    self._native.try_publish(self._to_bytes(message))

  def fileno(self) -> int:
    """A descriptor for select() or epoll. It is the publisher's: never close it.

    It becomes readable when there may be room for the last message that was
    refused with ResourceExhausted or Unavailable, and stays readable until
    another message is refused. With poll_by_caller, also watch the bus's.
    """
    return self._native.room_descriptor()

  def refusals(self) -> List[errors.MyceliumError]:
    """Why subscriptions to the topic do not get what is published.

    Returns:
      An exception for each such subscription, as long as the reason holds:
      SchemaMismatch, if its type or the schema digest of its service differs;
      ResourceExhausted, if there is no memory for its lane, or no lane left,
      which is tried again.
    """
    return self._native.refusals()

  async def publish_async(self, message: Union[M, Buffer],
                          timeout: Optional[float] = None) -> None:
    """As publish(), for an event loop, which goes on while there is no room.

    Coroutines publish in the order in which they call. Only coroutines of one
    event loop at a time may do so. This waits for room even where a
    subscription's policy lets publish() fail at once.

    Args:
      message: as for publish().
      timeout: how many seconds to wait for room, and for the calls before this
        one. By default, the `publish_timeout` that the publisher was made with;
        if there is none, or if it is 0, one second. The timeout of the topology
        holds for publish() only.

    Cancelling it while it waits publishes nothing.

    Raises: as publish(), and:
      InvalidArgument: `timeout` is not from 0 to one year.
    """
    if timeout is None:
      timeout = self._publish_timeout
    checked_timeout(timeout)
    data = self._to_bytes(message)
    deadline = time.monotonic() + timeout
    loop = asyncio.get_running_loop()
    if self._turns is None or self._turns.loop is not loop:
      self._turns = _Turns(loop)
    turns = self._turns
    if not await turns.take(timeout):
      raise errors.ResourceExhausted(
          f'publisher of "{self.topic}": the messages before this one have had '
          f'no room for {timeout} s')
    try:
      while True:
        try:
          self._native.try_publish(data)
          return
        except errors.ResourceExhausted:
          left = deadline - time.monotonic()
          if left <= 0:
            raise
        if self._room is None:
          self._room = Readable(self.fileno(), native_bus_of(self._owner))
        await self._room.wait(left)  # If in vain, the next refusal is the last.
    finally:
      turns.give_back()

  def loan(self, size: int) -> '_mycelium.Loan':
    """Room for a message of `size` bytes, to be written to and published.

    A Loan has the buffer protocol, begins at a multiple of 64 bytes and is
    writable until it is published. What it holds at first is not defined. While
    there is a view of it, such as an array, it cannot be published (BufferError).
    Once it is published, it gives no view (BufferError). Leaving its `with`
    without publishing leaves no trace.

        with images.loan(frame.nbytes) as loan:
          numpy.copyto(numpy.frombuffer(loan, frame.dtype), frame.ravel())
          loan.publish()

    Raises:
      InvalidArgument: no lane takes a message so large.
    """
    return self._native.loan(size)

  def wait_for_subscribers(self, count: int, timeout: float) -> None:
    """Waits until at least `count` subscriptions get what is published.

    Raises:
      DeadlineExceeded: there were fewer after `timeout` seconds; the text says
        which node is not connected, and why.
      SchemaMismatch: a subscription was refused, since its type or schema digest
        differs.
      ResourceExhausted: there were fewer, since one had no lane until then.
    """
    self._native.wait_for_subscribers(count, timeout)
