"""Exceptions: one for each status code of the runtime, of the same name.

All of them derive from MyceliumError, so catch that for any error; `code` is the
name of the status code. Some also derive from the exception that Python has for
the case.
"""

from typing import Any, Dict, Optional, Type


class MyceliumError(Exception):
  """A call did not do its work; the text says where and what."""

  code = 'UNKNOWN'


class InvalidArgument(MyceliumError, ValueError):
  """An argument, or the topology file, is wrong; or a message is too large."""

  code = 'INVALID_ARGUMENT'


class DeadlineExceeded(MyceliumError, TimeoutError):
  """What was waited for did not come in time."""

  code = 'DEADLINE_EXCEEDED'


class NotFound(MyceliumError):
  """There is no such service, file or type."""

  code = 'NOT_FOUND'


class AlreadyExists(MyceliumError):
  """The name is taken: by another process, or another bus of this one."""

  code = 'ALREADY_EXISTS'


class PermissionDenied(MyceliumError):
  """This user may not do that."""

  code = 'PERMISSION_DENIED'


class ResourceExhausted(MyceliumError):
  """No room: a subscriber is too slow. Nobody got the message; try again."""

  code = 'RESOURCE_EXHAUSTED'


class FailedPrecondition(MyceliumError):
  """The bus is closed, or is not in a state for this call."""

  code = 'FAILED_PRECONDITION'


class SchemaMismatch(FailedPrecondition):
  """Publisher and subscriber mean different types by the same name.

  Attributes:
    topic: the topic that they share.
    type_name: the full name of the message type on this side.
    local_digest: the digest of the type on this side, 32 bytes.
    remote_digest: the same for the other side.
    difference: the first difference that is not compatible, ours -> theirs,
      for people; empty if the other side's type is not known.
    remote_node: the node at the other end; empty within one process.
  """

  def __init__(self, message: str, topic: str = '', type_name: str = '',
               local_digest: bytes = b'', remote_digest: bytes = b'',
               difference: str = '', remote_node: str = '') -> None:
    super().__init__(message)
    self.topic = topic
    self.type_name = type_name
    self.local_digest = local_digest
    self.remote_digest = remote_digest
    self.difference = difference
    self.remote_node = remote_node


class Unavailable(MyceliumError):
  """The other side is not connected. Try again."""

  code = 'UNAVAILABLE'


class Unimplemented(MyceliumError):
  """This program, or the other side, lacks what the call needs."""

  code = 'UNIMPLEMENTED'


class Internal(MyceliumError):
  """A bug in Mycelium, or the system refuses something that it should not."""

  code = 'INTERNAL'


class DataLoss(MyceliumError):
  """What came is not what was sent."""

  code = 'DATA_LOSS'


# By the number of the code, which is that of absl::StatusCode and of gRPC.
_BY_NUMBER: Dict[int, Type[MyceliumError]] = {
    3: InvalidArgument,
    4: DeadlineExceeded,
    5: NotFound,
    6: AlreadyExists,
    7: PermissionDenied,
    8: ResourceExhausted,
    9: FailedPrecondition,
    12: Unimplemented,
    13: Internal,
    14: Unavailable,
    15: DataLoss,
}


def error_of(number: int, message: str,
             mismatch: Optional[Dict[str, Any]]) -> MyceliumError:
  """The exception that the extension raises for a status.

  Args:
    number: the status code.
    message: the text of the status.
    mismatch: the arguments of SchemaMismatch as a dict, or None.
  """
  if mismatch is not None:
    return SchemaMismatch(message, **mismatch)
  return _BY_NUMBER.get(number, MyceliumError)(message)
