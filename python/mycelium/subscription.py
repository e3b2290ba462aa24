"""Callbacks that are called for every message."""

import time
from typing import Any, Callable, Dict, Optional, Set

import _mycelium
from mycelium import errors
from mycelium import events
from mycelium.subscriber import MessageInfo


class Delivery:
  """The part of one subscription that a bus keeps. Not for users.

  It does not refer to the bus, so the bus is destroyed as soon as nothing else
  refers to it, and its subscriptions with it.
  """

  def __init__(self, messages: Any, callback: Callable[..., Any],
               with_info: bool,
               on_publisher_gone: Optional[
                   Callable[[events.PublisherGone], Any]] = None,
               on_error: Optional[
                   Callable[[errors.MyceliumError], Any]] = None) -> None:
    events.check_callback(callback)
    self._watches = (
        events.watch_of(events.PublisherGone, on_publisher_gone),
        events.watch_of(events.error_itself, on_error))
    self._parsed = messages.from_bytes
    self._callback = callback
    self._with_info = with_info
    self._native: Optional['_mycelium.Subscription'] = None

  def start(self, native: '_mycelium.Subscription') -> None:
    self._native = native

  def unsubscribe(self, timeout: Optional[float] = None) -> bool:
    """Ends it; returns whether no callback runs any more."""
    return self._native is None or self._native.unsubscribe(timeout)

  def check(self) -> None:
    if self._native is not None:
      self._native.check()

  @property
  def watches(self) -> Dict[str, Optional[int]]:
    """What the extension takes for on_publisher_gone and on_error."""
    gone, error = self._watches
    return {'on_publisher_gone': events.number_of(gone),
            'on_error': events.number_of(error)}

  @property
  def callback_errors(self) -> int:
    handled = 0 if self._native is None else self._native.handler_errors
    return handled + events.errors_of(*self._watches)

  def _deliver(self, data: bytes, info: Any) -> bool:
    """Called by the extension, on a thread of the runtime or of a publisher.

    Returns whether the data are a message of the class.
    """
    try:
      message = self._parsed(data)
    except errors.DataLoss:
      return False
    if self._with_info:
      events.call(self._callback, message, MessageInfo(*info))
    else:
      events.call(self._callback, message)
    return True


def unsubscribe_all(deliveries: Set[Delivery], deadline: float) -> bool:
  """Ends the subscriptions of `deliveries`, and empties the set.

  Args:
    deadline: of time.monotonic(), for callbacks that are running.

  Returns:
    Whether no callback runs any more.
  """
  are_over = True
  for delivery in list(deliveries):
    left = max(0.0, deadline - time.monotonic())
    are_over = delivery.unsubscribe(left) and are_over
  deliveries.clear()
  return are_over


class Subscription:
  """A callback that is subscribed. Made by MessageBus.subscribe().

  The subscription lasts until unsubscribe(), until its bus is closed, or until
  nothing refers to the bus any more. A program need not keep this object; while
  it does, it keeps the bus, too. A context manager: leaving it unsubscribes.
  """

  def __init__(self, owner: Any, delivery: Delivery,
               siblings: Set[Delivery]) -> None:
    """Not for users."""
    self._owner = owner  # Kept alive, so that it closes itself at exit.
    self._delivery = delivery
    self._siblings = siblings  # The deliveries that the bus keeps.
    siblings.add(delivery)

  def unsubscribe(self, timeout: Optional[float] = None) -> None:
    """Ends it. No callback runs when this returns, and none will.

    It waits for a callback that is running on another thread; Ctrl-C ends the
    wait. If the callback itself calls this, that is its last run. A second call
    waits for the same callback. Callbacks may unsubscribe each other without a
    timeout: the last one then does not wait for those that wait for it.

    Args:
      timeout: how many seconds to wait for such a callback. None: until it
        returns.

    Raises:
      DeadlineExceeded: the callback still runs. It is not called again.
    """
    is_over = self._delivery.unsubscribe(timeout)
    # From now on only this object, and a callback that runs, keep the delivery.
    self._siblings.discard(self._delivery)
    if not is_over and timeout is not None:
      raise errors.DeadlineExceeded(
          f'unsubscribe: the callback still runs after {timeout} s')

  def check(self) -> None:
    """As Subscriber.check()."""
    self._delivery.check()

  @property
  def callback_errors(self) -> int:
    """How often the callback, on_publisher_gone or on_error raised.

    Each time sys.unraisablehook was called, and the subscription went on.
    """
    return self._delivery.callback_errors

  def __enter__(self) -> 'Subscription':
    return self

  def __exit__(self, *exception: Any) -> None:
    self.unsubscribe()
