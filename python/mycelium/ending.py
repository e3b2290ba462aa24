"""Closes every open bus when the process ends. Not for users."""

import atexit
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
