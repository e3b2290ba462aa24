"""Waiting for a descriptor in an asyncio event loop, without a thread."""

import asyncio
import os
import weakref
from typing import Any, List, Optional

from mycelium import errors


_PAUSE = 0.001  # Seconds in which another thread may run the node.


def native_bus_of(owner: Any) -> Any:
  """The native bus of what made a publisher or subscriber, or None.

  Args:
    owner: a MessageBus, or None.
  """
  return getattr(owner, '_native', None)


async def result_of(future: 'asyncio.Future[bool]',
                    timeout: Optional[float]) -> bool:
  """The result of a future; False if it has none after `timeout` seconds.

  asyncio.wait_for() of Python 3.11 swallows a cancellation that comes when the
  result is there already. Here the coroutine waits for the future itself, so that
  its cancellation always arrives.
  """
  timer = None
  if timeout is not None:
    timer = future.get_loop().call_later(timeout, _settle, future, False)
  try:
    return await future
  finally:
    if timer is not None:
      timer.cancel()


def _settle(future: 'asyncio.Future[bool]', result: bool) -> None:
  if not future.done():
    future.set_result(result)


class Readable:
  """Coroutines that wait until one descriptor is readable.

  The descriptor is in the loop only while a coroutine waits, so that a descriptor
  that stays readable does not keep the loop busy. If the bus is polled by its
  caller, the loop runs its node meanwhile, since nothing else might.

  What is watched is a duplicate, which lives as long as this object: a loop has
  one reader for each descriptor, and the descriptor itself is the user's to watch.

  Not thread-safe, as asyncio is not. One loop at a time may wait.
  """

  def __init__(self, descriptor: int, bus: Any) -> None:
    """`bus`: a native one, or None."""
    self._descriptor = os.dup(descriptor)
    # Not at exit, when a loop on another thread may still watch it.
    weakref.finalize(self, os.close, self._descriptor).atexit = False
    self._bus = bus if bus is not None and bus.polled_by_caller else None
    self._bus_descriptor = -1  # Also a duplicate.
    self._pause: Optional[asyncio.TimerHandle] = None
    self._loop: Optional[asyncio.AbstractEventLoop] = None
    self._waiting: List['asyncio.Future[bool]'] = []

  async def wait(self, timeout: Optional[float] = None) -> bool:
    """Returns whether it was readable within `timeout` seconds."""
    loop = asyncio.get_running_loop()
    if not self._waiting:
      self._watch(loop)
    elif self._loop is not loop:
      raise RuntimeError('another event loop is waiting for this')
    future = loop.create_future()
    self._waiting.append(future)
    try:
      return await result_of(future, timeout)
    finally:
      if future in self._waiting:
        self._waiting.remove(future)
        if not self._waiting:
          self._unwatch()

  def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
    self._loop = loop
    if self._bus is not None:
      self._bus_descriptor = os.dup(self._bus.poll_descriptor())
      loop.add_reader(self._bus_descriptor, self._turn)
    loop.add_reader(self._descriptor, self._wake)

  def _unwatch(self) -> None:
    assert self._loop is not None
    self._loop.remove_reader(self._descriptor)
    if self._pause is not None:
      self._pause.cancel()
      self._pause = None
    if self._bus_descriptor >= 0:
      self._loop.remove_reader(self._bus_descriptor)
      os.close(self._bus_descriptor)
      self._bus_descriptor = -1

  def _turn(self) -> None:
    try:
      ran = self._bus.poll(0)
    except errors.FailedPrecondition as error:
      # The bus is over, or this loop runs in one of its callbacks.
      self._wake(error)
      return
    if not ran and self._bus_descriptor >= 0 and self._loop is not None:
      # Another thread runs the node; the descriptor stays readable meanwhile.
      self._loop.remove_reader(self._bus_descriptor)
      self._pause = self._loop.call_later(_PAUSE, self._go_on)

  def _go_on(self) -> None:
    assert self._loop is not None
    self._pause = None
    self._loop.add_reader(self._bus_descriptor, self._turn)

  def _wake(self, error: Optional[Exception] = None) -> None:
    if not self._waiting:  # In the same turn of the loop as the last one.
      return
    self._unwatch()
    waiting, self._waiting = self._waiting, []
    for future in waiting:
      if future.done():
        continue
      if error is not None:
        future.set_exception(error)
      else:
        future.set_result(True)
