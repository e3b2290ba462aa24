#ifndef MYCELIUM_MESSAGE_PROTOBUF_TYPE_H_
#define MYCELIUM_MESSAGE_PROTOBUF_TYPE_H_

#include <cstddef>
#include <cstdint>

#include "google/protobuf/message.h"
#include "mycelium/message/message_type.h"
#include "mycelium/schema/canonical_text.h"

namespace mycelium {

// The MessageType of a generated Protobuf message, made at the first call.
//
// Thread safety: may be called from any thread.
template <typename Message>
const MessageType& MessageTypeOf() {
  static const MessageType* const type = [] {
    auto* made = new MessageType;
    made->name = Message::descriptor()->full_name();
    made->canonical_text = CanonicalText(*Message::descriptor());
    made->digest = Digest::Of(made->canonical_text);
    made->byte_size = [](const void* message) {
      return static_cast<const Message*>(message)->ByteSizeLong();
    };
    made->serialize = [](const void* message, std::byte* out) {
      static_cast<const Message*>(message)->SerializeWithCachedSizesToArray(
          reinterpret_cast<uint8_t*>(out));
    };
    made->parse = [](absl::Span<const std::byte> bytes, void* message) {
      return static_cast<Message*>(message)->ParseFromArray(
          bytes.data(), static_cast<int>(bytes.size()));
    };
    return made;
  }();
  return *type;
}

}  // namespace mycelium

#endif  // MYCELIUM_MESSAGE_PROTOBUF_TYPE_H_
