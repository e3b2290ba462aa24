"""What buses and subscriptions report besides messages.

Example:

    def on_connection(event):
      print(event.peer, event.state, event.error or '')

    bus = mycelium.MessageBus.from_topology(
        'topology.toml', 'strategy', on_connection=on_connection)

Such a callback is called on the thread that runs the node, one at a time. What
comes over links waits meanwhile, so the callback must not wait itself. It may
publish, subscribe and unsubscribe; flush() and close() raise FailedPrecondition
there. It is called as long as the bus, subscriber or subscription exists that it
was given to.

An exception that it raises goes to sys.unraisablehook. If it is not an Exception,
and a Python call such as poll() ran the callback, that call raises it instead.
Either way it counts in `callback_errors` of the bus, subscriber or subscription,
and the next event comes as ever.

`on_error` of a subscription is called on the thread that noticed the error
instead. That may be one that publishes or makes a publisher. There flush() and
close() work, unless a callback publishes or makes it. All else holds for
on_error, too.
"""

import inspect
import itertools
import logging
import weakref
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

import _mycelium
from mycelium import errors


class ConnectionEvent(NamedTuple):
  """What became of the link to another node."""

  peer: str  # The node; '' if it never said its name.
  transport: str  # 'shm', 'unix' or 'grpc'.
  # 'connected'; 'reconnected', to the same process, and nothing was lost;
  # 'disconnected', and tried again; 'refused' by one of the two sides; 'gone':
  # the peer left, or did not come back in time.
  state: str
  error: Optional[errors.MyceliumError]  # Why the link is not up, if it is not.


class FlowEvent(NamedTuple):
  """A drop or a stall in a flow of messages."""

  # 'dropped': accepted messages will not be delivered. 'stalled': a publisher
  # waited for room in vain, and no publisher waits as long again.
  kind: str
  flow: Optional[Dict[str, Any]]  # 'dropped': as in MessageBus.ledger().
  reason: str  # 'dropped': a key of its `dropped`.
  messages: int  # 'dropped': how many since the event before.
  lane: str  # 'stalled': the lane without room.


class PublisherGone(NamedTuple):
  """A publisher of another node that will send a subscription nothing more."""

  node: str
  service: str
  topic: str


def error_itself(error: errors.MyceliumError) -> errors.MyceliumError:
  """What `on_error` is called with: the event class of its Watch."""
  return error


def check_callback(callback: Any) -> None:
  """Raises TypeError if `callback` cannot be called, or only be awaited."""
  if not callable(callback):
    raise TypeError(f'the callback is not callable: {callback!r}')
  for function in (callback, getattr(callback, '__call__')):
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(
        function):
      raise TypeError(
          f'the callback is asynchronous, and nobody would await it: '
          f'{callback!r}; use "async for" with a subscriber()')


def call(callback: Callable[..., Any], *arguments: Any) -> None:
  """Calls it; TypeError if it returns a coroutine, which nobody would await."""
  result = callback(*arguments)
  if result is not None and inspect.iscoroutine(result):
    result.close()
    raise TypeError(f'the callback returned a coroutine, which nobody awaits: '
                    f'{callback!r}')


class Watch:
  """A callback that is told of events while something refers to this object.

  The runtime knows it only by its number, so that the garbage collector sees
  every reference to it.
  """

  def __init__(self, event_class: Any, callback: Callable[[Any], Any]) -> None:
    check_callback(callback)
    self._event_class = event_class
    self._callback = callback
    self.errors = 0  # How often the callback raised.
    self.number = next(_numbers)
    _watches[self.number] = self

  def tell(self, fields: Tuple[Any, ...]) -> None:
    try:
      call(self._callback, self._event_class(*fields))
    except BaseException:
      self.errors += 1
      raise  # To sys.unraisablehook.


def watch_of(event_class: Any,
             callback: Optional[Callable[[Any], Any]]) -> Optional[Watch]:
  return None if callback is None else Watch(event_class, callback)


def number_of(watch: Optional[Watch]) -> Optional[int]:
  return None if watch is None else watch.number


def errors_of(*watches: Optional[Watch]) -> int:
  return sum(watch.errors for watch in watches if watch is not None)


_numbers = itertools.count(1)
_watches: 'weakref.WeakValueDictionary[int, Watch]' = (
    weakref.WeakValueDictionary())


def _tell(number: int, fields: Tuple[Any, ...]) -> None:
  """Called by the extension, on a thread of the runtime."""
  watch = _watches.get(number)
  if watch is not None:
    watch.tell(fields)


_mycelium.set_teller(_tell)
_mycelium.set_log(logging.getLogger('mycelium').log)
