"""What ends with the process: every bus that is open. Not for users."""

import atexit
import time
import weakref
from typing import Any, List, Optional

import _mycelium
from mycelium import errors

_CLOSE_TIMEOUT = 5.0
# Of what follows, however long that took.
_TIMEOUT_MIN = 1.0

# Each has a close(timeout).
open_buses: 'weakref.WeakSet[Any]' = weakref.WeakSet()


@atexit.register
def _end() -> None:
  """Ends calls and callbacks before the interpreter is gone.

  For what does not end it waits three times at most: 5 seconds for all buses, and
  what is left of them or a second for the log, and for calls and callbacks, which
  then stay where they are. A signal handler that raises, such as a second Ctrl-C,
  ends the first wait and nothing else.
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
