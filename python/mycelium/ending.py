"""Closes every open bus when the process ends. Not for users."""

import atexit
import os
import sys
import threading
import time
import weakref
from typing import Any, List, Optional

import _mycelium
from mycelium import errors

_CLOSE_TIMEOUT = 5.0
# Of the waits after that, however long the first one took.
_TIMEOUT_MIN = 1.0

# Each has a close(timeout).
open_buses: 'weakref.WeakSet[Any]' = weakref.WeakSet()

# Below those of multiprocessing itself, whose queues end before.
_PRIORITY = -1000
# The process in which multiprocessing ends the buses.
_worker_pid = 0


def add(bus: Any) -> None:
  """Has a bus closed when the process ends, unless it is closed before."""
  open_buses.add(bus)
  _register_in_worker()


def _register_in_worker() -> None:
  """Replaces atexit in a process that multiprocessing has forked.

  Such a process ends with os._exit(), so atexit calls nothing there, but
  multiprocessing calls what it was given. It forgets that at the next fork, so
  each process registers for itself.
  """
  global _worker_pid
  multiprocessing = sys.modules.get('multiprocessing')
  parent_process = getattr(multiprocessing, 'parent_process', None)
  if (multiprocessing is None or parent_process is None
      or parent_process() is None or _worker_pid == os.getpid()):
    return
  if multiprocessing.get_start_method() == 'spawn':
    return  # It ends as every program does.
  from multiprocessing import util  # pylint: disable=import-outside-toplevel
  _worker_pid = os.getpid()
  if util.is_exiting():  # It may not look any more at what it is given.
    _start_to_end_worker()
  else:
    util.Finalize(None, _start_to_end_worker, exitpriority=_PRIORITY)


def _start_to_end_worker() -> None:
  # multiprocessing is about to wait for the threads that are not daemons, and
  # those may still use a bus. So this is one of them.
  threading.Thread(target=_end_worker, daemon=False).start()


def _end_worker() -> None:
  """As at every other exit: first the threads end, then the buses."""
  threading.main_thread().join()  # From then on, it waits for the others.
  while True:  # Threads may start others before they end.
    others = [thread for thread in threading.enumerate()
              if thread is not threading.current_thread()
              and not thread.daemon and thread.is_alive()]
    if not others:
      break
    for thread in others:
      thread.join()
  _end()


@atexit.register
def _end() -> None:
  """Ends calls and callbacks before the interpreter is gone.

  It waits three times at most: for all buses, 5 seconds; then for the log; then
  for calls and callbacks, which stay where they are after that. Each of the last
  two waits has what is left of the 5 seconds, but at least one second. A signal
  handler that raises, such as that of a second Ctrl-C, ends only the first wait.
  """
  if _mycelium.forked():
    return
  deadline = time.monotonic() + _CLOSE_TIMEOUT

  def left() -> float:
    return max(_TIMEOUT_MIN, deadline - time.monotonic())

  try:
    _close(list(open_buses), deadline)
  finally:
    try:
      _mycelium.end_log(left())
    finally:
      _mycelium.end_calls(left())


def _close(buses: List[Any], deadline: float) -> None:
  raised: Optional[BaseException] = None
  for bus in buses:
    try:
      bus.close(max(0.0, deadline - time.monotonic()))
    except errors.MyceliumError:
      pass  # The ledger has counted what was lost.
    except BaseException as interrupt:  # pylint: disable=broad-except
      raised = interrupt
      deadline = 0.0
  if raised is not None:
    raise raised
