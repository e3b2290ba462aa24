#ifndef MYCELIUM_MESSAGE_PAYLOAD_H_
#define MYCELIUM_MESSAGE_PAYLOAD_H_

#include <cstddef>
#include <memory>
#include <utility>

#include "absl/types/span.h"
#include "mycelium/message/message_type.h"

namespace mycelium {

// The contents of a message on its way through a process: a typed object, or
// bytes, or both forms of the same. Borrows what it points at.
struct Payload {
  // Describes `object`; its name and digest also hold for `bytes`.
  const MessageType* type = nullptr;

  const void* object = nullptr;  // Null: only `bytes` are there.
  absl::Span<const std::byte> bytes;

  // Owns `object` where a publisher or a queue handed it over; else null.
  const std::shared_ptr<const void>* shared = nullptr;

  static Payload Object(const MessageType& type, const void* object,
                        const std::shared_ptr<const void>* shared) {
    Payload payload;
    payload.type = &type;
    payload.object = object;
    payload.shared = shared;
    return payload;
  }

  static Payload Bytes(const MessageType& type,
                       absl::Span<const std::byte> bytes) {
    Payload payload;
    payload.type = &type;
    payload.bytes = bytes;
    return payload;
  }

  // The size of the serialised form. For an object, call it right before
  // Serialize().
  size_t ByteSize() const {
    return object == nullptr ? bytes.size() : type->byte_size(object);
  }

  // Writes ByteSize() bytes.
  void Serialize(std::byte* out) const;
};

// What an object frame of a ring in this process holds in place of bytes.
struct ObjectPayload {
  std::shared_ptr<const void> object;
  const MessageType* type;
};

}  // namespace mycelium

#endif  // MYCELIUM_MESSAGE_PAYLOAD_H_
