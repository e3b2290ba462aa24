#ifndef MYCELIUM_CODEC_FRAME_ENCODER_H_
#define MYCELIUM_CODEC_FRAME_ENCODER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/base/attributes.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mycelium/base/shared_word.h"
#include "mycelium/codec/frame_format.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "frames are little-endian and are read in place"
#endif

namespace mycelium {

// What a frame says about its payload.
struct FrameFields {
  uint64_t digest_prefix = 0;
  uint64_t publisher_sequence = 0;
  uint32_t publisher_id = 0;
  uint32_t lost_before = 0;  // In frames that stay in this process.
  uint16_t flags = 0;
  int64_t publish_time_ns = 0;  // Written if `flags` has kFramePublishTime.
  absl::string_view extension;  // A serialised mycelium.v1.EnvelopeExtension.
};

// The size of a frame with these fields around `payload_bytes`.
size_t EncodedFrameBytes(const FrameFields& fields, size_t payload_bytes);

// Writes everything but the payload and the commit word to `frame`, and
// returns where the payload goes. The frame becomes visible when the owner of
// the memory stores the commit word (Lane::Commit).
// REQUIRES: frame.size() == EncodedFrameBytes(fields, payload_bytes).
absl::Span<std::byte> EncodeFrame(const FrameFields& fields,
                                  uint64_t lane_sequence, size_t payload_bytes,
                                  absl::Span<std::byte> frame);

// Copies all of `header` except the commit word to the start of a frame. The
// owner of the memory stores the commit word.
void CopyHeaderFields(const FrameHeader& header, std::byte* frame);

// Inline, since every message passes here.

// Always, so that a header which was made a moment ago never is in memory.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline void CopyHeaderFields(
    const FrameHeader& header, std::byte* frame) {
  // Loads each field as it was stored a moment ago: one load over several
  // fields would wait until the last of those stores is in the cache.
  const auto copy = [&](const auto& field) {
    const std::byte* const from = reinterpret_cast<const std::byte*>(&field);
    const ptrdiff_t offset = from - reinterpret_cast<const std::byte*>(&header);
    CopyToShared(frame + offset, from, sizeof field);
    // No instruction: keeps the compiler from joining this with the next.
    std::atomic_signal_fence(std::memory_order_seq_cst);
  };
  copy(header.flags);
  copy(header.extension_bytes);
  copy(header.lane_sequence);
  copy(header.digest_prefix);
  copy(header.publisher_sequence);
  copy(header.publisher_id);
  copy(header.lost_before);
}

inline size_t EncodedFrameBytes(const FrameFields& fields,
                                size_t payload_bytes) {
  const size_t time =
      (fields.flags & kFramePublishTime) != 0 ? kPublishTimeBytes : 0;
  return sizeof(FrameHeader) + time +
         PaddedExtensionBytes(fields.extension.size()) + payload_bytes;
}

inline absl::Span<std::byte> EncodeFrame(const FrameFields& fields,
                                         uint64_t lane_sequence,
                                         size_t payload_bytes,
                                         absl::Span<std::byte> frame) {
  FrameHeader header;
  header.flags = fields.flags;
  header.extension_bytes = static_cast<uint16_t>(fields.extension.size());
  header.lane_sequence = lane_sequence;
  header.digest_prefix = fields.digest_prefix;
  header.publisher_sequence = fields.publisher_sequence;
  header.publisher_id = fields.publisher_id;
  header.lost_before = fields.lost_before;
  std::byte* out = frame.data();
  CopyHeaderFields(header, out);
  out += sizeof header;
  if ((fields.flags & kFramePublishTime) != 0) {
    CopyToShared(out, &fields.publish_time_ns, kPublishTimeBytes);
    out += kPublishTimeBytes;
  }
  if (!fields.extension.empty()) {
    CopyToShared(out, fields.extension.data(), fields.extension.size());
    ClearShared(out + fields.extension.size(),
                PaddedExtensionBytes(fields.extension.size()) -
                    fields.extension.size());
    out += PaddedExtensionBytes(fields.extension.size());
  }
  return absl::MakeSpan(out, payload_bytes);
}

}  // namespace mycelium

#endif  // MYCELIUM_CODEC_FRAME_ENCODER_H_
