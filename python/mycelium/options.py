"""Options of buses, under the names that a topology file uses.

docs/topology.md says what each means, and its default and bounds. None stands
for the default. Times are in seconds, sizes in bytes. A value out of bounds is
InvalidArgument, with the text that C++ and C give.
"""

import os
from typing import Any, Dict, NamedTuple, Optional, Type

from mycelium import errors
from mycelium.topology import Path

_TIMEOUT_MAX = 365 * 86400.0  # As in C++.


class Tls(NamedTuple):
  """PEM files for the encryption between machines.

  They are read again when they change, without a link being dropped.

  Attributes:
    certificate: the listening side needs one; the connecting side shows one if it
      has one.
    key: of the certificate.
    ca: the CA that must have signed the peer's certificate. The connecting side
      needs it. If it is empty, the listening side asks for no certificate, and so
      admits nobody from other machines without allow_anonymous.
    require_client_certificate: whether the listening side refuses peers without a
      certificate.
  """

  certificate: Path = ''
  key: Path = ''
  ca: Path = ''
  require_client_certificate: bool = False


class Settings(NamedTuple):
  """How messages travel without a topology; a topology has [defaults] for it.

  Attributes:
    overflow: what happens when a lane is full: 'block', 'fail', 'drop_newest',
      'drop_oldest', 'latest' or 'disconnect'.
    depth: messages that wait in a lossy lane.
    window: how many more messages of a lossy lane may be on their way.
    lane_bytes: memory of one lane, from 4 KiB; two of the largest frames, see
      Limits, must fit.
    publish_timeout: how long publish() waits for room.
    retain: how long messages wait for a process that died to come back under the
      same name.
    wait: how threads wait: 'spin', 'adaptive' or 'block'.
    spin: how long 'adaptive' spins before it sleeps.
  """

  overflow: Optional[str] = None
  depth: Optional[int] = None
  window: Optional[int] = None
  lane_bytes: Optional[int] = None
  publish_timeout: Optional[float] = None
  retain: Optional[float] = None
  wait: Optional[str] = None
  spin: Optional[float] = None


class Limits(NamedTuple):
  """Bounds of a node without a topology; a topology has [limits] for them.

  Attributes:
    handshake: how long a peer may take to say who it is.
    frame_bytes_max: the largest message, with its header.
    links: how many links to other nodes there may be.
    reconnect_min: the first pause before a lost link is dialled again.
    reconnect_max: the longest such pause.
    keepalive: how long a link between machines may be silent.
    redeliver_max: how often a message at which processes die is redelivered
      before it is dropped.
  """

  handshake: Optional[float] = None
  frame_bytes_max: Optional[int] = None
  links: Optional[int] = None
  reconnect_min: Optional[float] = None
  reconnect_max: Optional[float] = None
  keepalive: Optional[float] = None
  redeliver_max: Optional[int] = None


def fields_of(kind: Type[Any], given: Any) -> Optional[Dict[str, Any]]:
  """What the extension takes for a Tls, Settings or Limits, or for None.

  Raises:
    TypeError: `given` is of another class than `kind`.
  """
  if given is None:
    return None
  if not isinstance(given, kind):
    raise TypeError(f'expected a mycelium.{kind.__name__}, got {given!r}')
  return {name: os.fspath(value) if isinstance(value, os.PathLike) else value
          for name, value in given._asdict().items()}


def checked_timeout(timeout: float) -> float:
  """A timeout that the extension is not given, or not at once.

  Raises:
    InvalidArgument: as the extension does.
  """
  if not 0 <= timeout <= _TIMEOUT_MAX:
    raise errors.InvalidArgument(
        'a timeout is a number of seconds from 0 to one year')
  return timeout
