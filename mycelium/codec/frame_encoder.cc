#include "mycelium/codec/frame_encoder.h"

#include "mycelium/base/shared_word.h"

namespace mycelium {

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "frames are little-endian and are read in place"
#endif

namespace {

size_t ExtensionRoom(const FrameFields& fields) {
  return AlignedFrameBytes(fields.extension.size());
}

}  // namespace

size_t EncodedFrameBytes(const FrameFields& fields, size_t payload_bytes) {
  const size_t time =
      (fields.flags & kFramePublishTime) != 0 ? kPublishTimeBytes : 0;
  return sizeof(FrameHeader) + time + ExtensionRoom(fields) + payload_bytes;
}

absl::Span<std::byte> EncodeFrame(const FrameFields& fields,
                                  uint64_t lane_sequence, size_t payload_bytes,
                                  absl::Span<std::byte> frame) {
  FrameHeader header;
  header.flags = fields.flags;
  header.extension_bytes = static_cast<uint16_t>(fields.extension.size());
  header.lane_sequence = lane_sequence;
  header.digest_prefix = fields.digest_prefix;
  header.publisher_sequence = fields.publisher_sequence;
  header.publisher_id = fields.publisher_id;
  header.lost_before = fields.lost_before;
  // The first four bytes are the commit word, which is not ours to store.
  std::byte* out = frame.data();
  constexpr size_t kAfterCommit = offsetof(FrameHeader, flags);
  CopyToShared(out + kAfterCommit,
               reinterpret_cast<const std::byte*>(&header) + kAfterCommit,
               sizeof header - kAfterCommit);
  out += sizeof header;
  if ((fields.flags & kFramePublishTime) != 0) {
    CopyToShared(out, &fields.publish_time_ns, kPublishTimeBytes);
    out += kPublishTimeBytes;
  }
  if (!fields.extension.empty()) {
    CopyToShared(out, fields.extension.data(), fields.extension.size());
    ClearShared(out + fields.extension.size(),
                ExtensionRoom(fields) - fields.extension.size());
    out += ExtensionRoom(fields);
  }
  return absl::MakeSpan(out, payload_bytes);
}

}  // namespace mycelium
