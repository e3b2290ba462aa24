#ifndef MYCELIUM_TRANSPORT_GRPC_WIRE_READER_H_
#define MYCELIUM_TRANSPORT_GRPC_WIRE_READER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "google/protobuf/io/zero_copy_stream.h"

namespace mycelium {

// Reads the wire format of Protobuf from pieces of memory, and nothing beyond
// the innermost limit. It does what google::protobuf::io::CodedInputStream
// does, but inline: for a small message, fetching that code takes longer than
// running it.
//
// If a member that returns bool returns false, it has read nothing of use, and
// reading has to be given up.
//
// Thread safety: none.
//
// Ownership: borrows the stream, whose pieces stay as they are meanwhile.
class WireReader final {
 public:
  // `bytes`: how many of the stream there are to read.
  WireReader(google::protobuf::io::ZeroCopyInputStream& in, size_t bytes)
      : in_(in), left_(bytes) {}

  // Limits reading to the next `bytes`. Returns what LeaveLimit() takes.
  // REQUIRES: bytes <= left().
  size_t EnterLimit(size_t bytes) {
    const size_t outer = left_ - bytes;
    left_ = bytes;
    return outer;
  }
  // REQUIRES: IsAtEnd().
  void LeaveLimit(size_t outer) { left_ = outer; }

  // How many bytes there are within the limit.
  size_t left() const { return left_; }
  // Whether all bytes within the limit were read, and were sound.
  bool IsAtEnd() const { return left_ == 0 && !is_broken_; }

  // 0: there is none, see IsAtEnd().
  uint32_t Tag() {
    if (left_ == 0) return 0;
    uint64_t tag;
    if (!Varint(&tag) || tag == 0 || tag > kTagMax) {
      is_broken_ = true;
      return 0;
    }
    return static_cast<uint32_t>(tag);
  }

  bool Varint(uint64_t* value) {
    // Most have one byte.
    if (at_ != end_ && left_ > 0 && *at_ < 0x80) {
      *value = *at_++;
      --left_;
      return true;
    }
    uint64_t read = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (left_ == 0 || (at_ == end_ && !NextPiece())) return false;
      const uint8_t byte = *at_++;
      --left_;
      read |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) {
        *value = read;
        return true;
      }
    }
    return false;
  }
  // Of a longer number it takes the lower bits, as all of Protobuf does.
  bool Varint(uint32_t* value) {
    uint64_t read;
    if (!Varint(&read)) return false;
    *value = static_cast<uint32_t>(read);
    return true;
  }

  bool Fixed64(uint64_t* value) { return Raw(value, sizeof *value); }

  // A length, if there are so many bytes within the limit.
  bool Length(size_t* bytes) {
    uint64_t read;
    if (!Varint(&read) || read > left_) return false;
    *bytes = static_cast<size_t>(read);
    return true;
  }

  bool Raw(void* to, size_t bytes) {
    auto* out = static_cast<char*>(to);
    return ForEachPiece(bytes, [&](const uint8_t* from, size_t count) {
      std::memcpy(out, from, count);
      out += count;
    });
  }

  // Skips what follows the tag of a field that nobody asked for.
  bool Skip(uint32_t tag) { return SkipWithin(tag, kGroupsMax); }

 private:
  static constexpr uint64_t kTagMax = std::numeric_limits<uint32_t>::max();
  // How deep groups, which old Protobuf had, may be nested.
  static constexpr int kGroupsMax = 64;

  bool NextPiece() {
    const void* piece;
    int bytes = 0;
    do {
      if (!in_.Next(&piece, &bytes)) return false;
    } while (bytes == 0);
    at_ = static_cast<const uint8_t*>(piece);
    end_ = at_ + bytes;
    return true;
  }

  template <typename Take>
  bool ForEachPiece(size_t bytes, Take take) {
    if (bytes > left_) return false;
    left_ -= bytes;
    while (bytes > 0) {
      if (at_ == end_ && !NextPiece()) return false;
      const size_t count = std::min(bytes, static_cast<size_t>(end_ - at_));
      take(at_, count);
      at_ += count;
      bytes -= count;
    }
    return true;
  }

  bool SkipBytes(size_t bytes) {
    return ForEachPiece(bytes, [](const uint8_t*, size_t) {});
  }

  bool SkipWithin(uint32_t tag, int groups_left) {
    if (tag >> 3 == 0) return false;
    uint64_t value;
    size_t bytes;
    switch (tag & 7) {
      case 0:
        return Varint(&value);
      case 1:
        return SkipBytes(8);
      case 2:
        return Length(&bytes) && SkipBytes(bytes);
      case 3:
        return SkipGroup(tag, groups_left);
      case 5:
        return SkipBytes(4);
      default:
        return false;
    }
  }

  bool SkipGroup(uint32_t start, int groups_left) {
    if (groups_left == 0) return false;
    while (const uint32_t tag = Tag()) {
      if (tag == start + 1) return true;
      if (!SkipWithin(tag, groups_left - 1)) return false;
    }
    return false;
  }

  google::protobuf::io::ZeroCopyInputStream& in_;
  const uint8_t* at_ = nullptr;
  const uint8_t* end_ = nullptr;
  size_t left_;
  bool is_broken_ = false;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_WIRE_READER_H_
