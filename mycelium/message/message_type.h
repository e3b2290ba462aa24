#ifndef MYCELIUM_MESSAGE_MESSAGE_TYPE_H_
#define MYCELIUM_MESSAGE_MESSAGE_TYPE_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mycelium/schema/digest.h"

namespace mycelium {

// What the bus knows about a message type: its name, its digest and how to turn
// messages into bytes and back. Two descriptions with equal names and digests
// are the same type.
//
// Thread safety: immutable after construction; the functions may be called from
// any thread, for different messages at once.
struct MessageType {
  std::string name;  // The full name: "market.Quote".
  Digest digest;

  // What the digest was computed from; empty for raw bytes.
  std::string canonical_text;

  // Null for raw bytes. `serialize` writes exactly as many bytes as `byte_size`
  // returned just before for the same, unchanged message. `parse` replaces the
  // contents of `message`; it returns false if the bytes are not of this type.
  size_t (*byte_size)(const void* message) = nullptr;
  void (*serialize)(const void* message, std::byte* out) = nullptr;
  bool (*parse)(absl::Span<const std::byte> bytes, void* message) = nullptr;

  bool is_raw() const { return byte_size == nullptr; }
};

// A type whose messages the bus carries as bytes, without looking into them.
// With the digest of a Protobuf type it matches that type's publishers and
// subscribers; without a digest, only raw ones of the same name.
MessageType RawMessageType(absl::string_view name);
MessageType RawMessageType(absl::string_view name, const Digest& digest);

}  // namespace mycelium

#endif  // MYCELIUM_MESSAGE_MESSAGE_TYPE_H_
