#ifndef MYCELIUM_CODEC_FRAME_ENCODER_H_
#define MYCELIUM_CODEC_FRAME_ENCODER_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mycelium/codec/frame_format.h"

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

}  // namespace mycelium

#endif  // MYCELIUM_CODEC_FRAME_ENCODER_H_
