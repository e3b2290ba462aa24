"""Waiting for a descriptor in an asyncio event loop, without a thread."""

import asyncio
from typing import List, Optional


class Readable:
  """Coroutines that wait until one descriptor is readable.

  The descriptor is in the loop only while somebody waits, so that one which
  stays readable does not keep the loop busy.

  Not thread-safe, as asyncio is not: one loop at a time.
  """

  def __init__(self, descriptor: int) -> None:
    self._descriptor = descriptor
    self._loop: Optional[asyncio.AbstractEventLoop] = None
    self._waiting: List['asyncio.Future[None]'] = []

  async def wait(self) -> None:
    loop = asyncio.get_running_loop()
    if not self._waiting:
      self._loop = loop
      loop.add_reader(self._descriptor, self._wake)
    elif self._loop is not loop:
      raise RuntimeError('another event loop is waiting for this')
    future = loop.create_future()
    self._waiting.append(future)
    try:
      await future
    finally:
      if future in self._waiting:
        self._waiting.remove(future)
        if not self._waiting:
          loop.remove_reader(self._descriptor)

  def _wake(self) -> None:
    assert self._loop is not None
    self._loop.remove_reader(self._descriptor)
    waiting, self._waiting = self._waiting, []
    for future in waiting:
      if not future.done():
        future.set_result(None)
