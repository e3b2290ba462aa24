"""What is published: Protobuf messages, or bytes under a name.

Python only collects the descriptors of a message class. The digest is computed
by the runtime, in the one place that computes it for every language.
"""

import functools
from typing import (TYPE_CHECKING, Any, Dict, Generic, Optional, Type, TypeVar,
                    Union, cast)

import _mycelium
from google.protobuf import descriptor_pb2
from google.protobuf import message as protobuf_message
from mycelium import errors

try:
  from typing import Protocol
except ImportError:  # Python 3.7
  from typing_extensions import Protocol  # type: ignore


class ProtobufMessage(Protocol):
  """What every Protobuf runtime gives its messages; nothing else is used.

  But for types with required fields, which also need IsInitialized().
  """

  DESCRIPTOR: Any

  def SerializeToString(self) -> bytes:  # pylint: disable=invalid-name
    ...

  @classmethod
  def FromString(cls, data: bytes) -> Any:  # pylint: disable=invalid-name
    ...


class RawType:
  """A type whose messages are bytes that Mycelium does not look into.

  Only raw publishers and subscribers of the same name match. If the type is given
  the digest of a Protobuf type, it matches publishers and subscribers of that
  type, in any language. Two raw types with the same name and digest are equal.

  Args:
    name: the name, which is also the topic unless another one is given.
    digest: the digest of a Protobuf type, 32 bytes.
  """

  def __init__(self, name: str, digest: Optional[bytes] = None) -> None:
    self._native = _mycelium.raw_type(name, digest)

  @property
  def name(self) -> str:
    return self._native.name

  @property
  def digest(self) -> bytes:
    """The digest, 32 bytes; made of the name if none was given."""
    return self._native.digest

  @property
  def native(self) -> '_mycelium.MessageType':
    """The type as the extension takes it."""
    return self._native

  def __eq__(self, other: object) -> bool:
    if not isinstance(other, RawType):
      return NotImplemented
    return (self.name, self.digest) == (other.name, other.digest)

  def __hash__(self) -> int:
    return hash((self.name, self.digest))


M = TypeVar('M', bound=ProtobufMessage)

if TYPE_CHECKING:
  from _typeshed import ReadableBuffer

  class _HasBuffer(Protocol):
    """What the C API gives the buffer protocol, such as a Payload."""

    def __buffer__(self, flags: int) -> memoryview:
      ...

  class _HasArray(Protocol):
    """numpy.ndarray, whose stubs may say nothing of the buffer protocol."""

    @property
    def __array_interface__(self) -> Dict[str, Any]:
      ...

  # bytes, bytearray, memoryview, numpy.ndarray, ...
  Buffer = Union[ReadableBuffer, _HasBuffer, _HasArray]
else:
  Buffer = Any


class TypedMessages(Generic[M]):
  """How messages of one class become bytes and back."""

  is_raw = False

  def __init__(self, message_cls: Type[M]) -> None:
    self.message_cls = message_cls
    self.name: str = message_cls.DESCRIPTOR.full_name
    self.native = _described(message_cls.DESCRIPTOR)
    self._may_lack_fields = _reaches_required_field(message_cls.DESCRIPTOR)

  def to_bytes(self, message: Union[M, Buffer]) -> Buffer:
    """The bytes of a message; bytes are returned as they are."""
    if isinstance(message, self.message_cls):
      return message.SerializeToString()
    if hasattr(message, 'SerializeToString'):
      raise TypeError(
          f'expected {self.name}, got {type(message).__name__}')
    return cast(Buffer, message)

  def from_bytes(self, data: bytes) -> M:
    try:
      message: Any = self.message_cls.FromString(data)
    # Protobuf in pure Python lets UnicodeDecodeError through.
    except (protobuf_message.DecodeError, UnicodeDecodeError) as error:
      raise errors.DataLoss(
          f'a message does not parse as {self.name}') from error
    # C++ does not parse such bytes either.
    if self._may_lack_fields and not message.IsInitialized():
      raise errors.DataLoss(
          f'a message does not parse as {self.name}: a required field is missing')
    return message  # type: ignore[no-any-return]


class RawMessages:
  """As TypedMessages, for bytes, which stay as they are."""

  is_raw = True

  def __init__(self, raw: RawType) -> None:
    self.name = raw.name
    self.native = raw.native

  def to_bytes(self, message: Buffer) -> Buffer:
    return message

  def from_bytes(self, data: Any) -> Any:
    return data


def messages_of(message_cls: Any) -> Any:
  """The TypedMessages or RawMessages for the class or RawType of a user."""
  if isinstance(message_cls, RawType):
    return RawMessages(message_cls)
  _check_class(message_cls)
  return TypedMessages(message_cls)


def digest(message_cls: Any) -> bytes:
  """The digest of a message class: 32 bytes, equal in every language."""
  if isinstance(message_cls, RawType):
    return message_cls.digest
  _check_class(message_cls)
  return _described(message_cls.DESCRIPTOR).digest


def _check_class(message_cls: Any) -> None:
  descriptor = getattr(message_cls, 'DESCRIPTOR', None)
  if not isinstance(message_cls, type) or not hasattr(
      descriptor, 'fields_by_number'):
    raise TypeError(
        f'not a Protobuf message class, nor a RawType: {message_cls!r}')


@functools.lru_cache(maxsize=1024)
def _described(descriptor: Any) -> '_mycelium.MessageType':
  files = descriptor_pb2.FileDescriptorSet()
  seen = set()
  remaining = [descriptor.file]
  while remaining:
    file = remaining.pop()
    if file.name in seen:
      continue
    seen.add(file.name)
    files.file.add().ParseFromString(file.serialized_pb)
    remaining.extend(file.dependencies)
  return _mycelium.MessageType(
      descriptor.full_name, files.SerializeToString())


def _is_required(field: Any) -> bool:
  # Newer Protobuf runtimes have this, and some of those no label any more.
  is_required = getattr(field, 'is_required', None)
  if is_required is None:
    return bool(field.label == field.LABEL_REQUIRED)
  return bool(is_required)


@functools.lru_cache(maxsize=1024)
def _reaches_required_field(descriptor: Any) -> bool:
  """Whether a field, or a field of a field, is required, or may be.

  Extensions are not known here, so a type that may have some counts.
  """
  seen = set()
  remaining = [descriptor]
  while remaining:
    message = remaining.pop()
    if message.full_name in seen:
      continue
    seen.add(message.full_name)
    if message.is_extendable:
      return True
    for field in message.fields:
      if _is_required(field):
        return True
      if field.message_type is not None:
        remaining.append(field.message_type)
  return False
