#ifndef MYCELIUM_MESSAGE_PAYLOAD_H_
#define MYCELIUM_MESSAGE_PAYLOAD_H_

#include <cstddef>
#include <memory>
#include <utility>

#include "absl/types/span.h"
#include "mycelium/message/message_type.h"

namespace mycelium {

struct LoanPlace;

// The contents of a message on its way through a process: a typed object, or
// bytes, or both forms of the same message. Borrows what it points at.
struct Payload {
  // Describes `object`; its name and digest also hold for `bytes`.
  const MessageType* type = nullptr;

  const void* object = nullptr;  // Null: there are only `bytes`.
  absl::Span<const std::byte> bytes;

  // Owns `object`, or `bytes` if `object` is null, if a publisher handed them
  // over or a queue holds them; else null.
  const std::shared_ptr<const void>* shared = nullptr;

  // Where `bytes` lie in memory that peers may map; null if they lie elsewhere.
  // Set only if `shared` owns them.
  const LoanPlace* place = nullptr;

  static Payload Object(const MessageType& type, const void* object,
                        const std::shared_ptr<const void>* shared) {
    Payload payload;
    payload.type = &type;
    payload.object = object;
    payload.shared = shared;
    return payload;
  }

  static Payload Bytes(const MessageType& type,
                       absl::Span<const std::byte> bytes,
                       const std::shared_ptr<const void>* shared = nullptr) {
    Payload payload;
    payload.type = &type;
    payload.bytes = bytes;
    payload.shared = shared;
    return payload;
  }

  // Whether a queue of this process takes a share of what is published instead
  // of a copy of it.
  bool IsHandedOver() const {
    return shared != nullptr &&
           (object != nullptr || bytes.size() >= kHandOverBytesMin);
  }
  // Below this a copy is cheaper than a share.
  static constexpr size_t kHandOverBytesMin = 1024;

  // The size of the serialised form. For an object, call it right before
  // Serialize().
  size_t ByteSize() const {
    return object == nullptr ? bytes.size() : type->byte_size(object);
  }

  // Writes ByteSize() bytes.
  void Serialize(std::byte* out) const;
};

// What an object frame holds instead of bytes, in a ring of this process.
struct ObjectPayload {
  std::shared_ptr<const void> object;
  // Null: `object` points at bytes, as many as the frame has room for.
  const MessageType* type;
};
static_assert(sizeof(ObjectPayload) <= Payload::kHandOverBytesMin);

}  // namespace mycelium

#endif  // MYCELIUM_MESSAGE_PAYLOAD_H_
