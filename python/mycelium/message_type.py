"""What the runtime has to know of a Protobuf message class.

Python only collects the descriptors. The digest is computed by the runtime, in
the one place that computes it for every language.
"""

import _mycelium
from google.protobuf import descriptor_pb2


def message_type_of(message_cls):
  """The extension's MessageType of a generated (or dynamic) message class."""
  descriptor = getattr(message_cls, 'DESCRIPTOR', None)
  if not isinstance(message_cls, type) or not hasattr(
      descriptor, 'fields_by_number'):
    raise TypeError(f'not a Protobuf message class: {message_cls!r}')
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


def type_digest(message_cls):
  """The digest of a message class: 32 bytes, equal in every language."""
  return message_type_of(message_cls).digest
