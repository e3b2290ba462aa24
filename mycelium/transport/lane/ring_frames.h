#ifndef MYCELIUM_TRANSPORT_LANE_RING_FRAMES_H_
#define MYCELIUM_TRANSPORT_LANE_RING_FRAMES_H_

#include <vector>

#include "absl/types/span.h"
#include "mycelium/base/shared_word.h"
#include "mycelium/codec/frame_encoder.h"
#include "mycelium/transport/lane/ring.h"

namespace mycelium::test {

// Zeroed memory for a ring, aligned as rings need it.
class RingMemory final {
 public:
  explicit RingMemory(size_t bytes) : lines_(bytes / sizeof(Line)) {}
  absl::Span<std::byte> bytes() {
    return {reinterpret_cast<std::byte*>(lines_.data()),
            lines_.size() * sizeof(Line)};
  }

 private:
  struct alignas(kFrameAlignment) Line {
    std::byte bytes[kFrameAlignment] = {};
  };

  std::vector<Line> lines_;
};

// Writes a frame that can be recognised: each byte of its payload follows from
// `sequence`.
inline void FillFrame(uint64_t sequence, absl::Span<std::byte> frame) {
  FrameFields fields;
  fields.publisher_sequence = sequence;
  const absl::Span<std::byte> payload =
      EncodeFrame(fields, sequence, frame.size() - sizeof(FrameHeader), frame);
  if (!payload.empty()) {
    const std::vector<std::byte> filler(
        payload.size(), static_cast<std::byte>(sequence & 0xFF));
    CopyToShared(payload.data(), filler.data(), filler.size());
  }
}

// Whether `view` is what FillFrame() wrote for `sequence`.
inline bool IsFilled(const FrameView& view, uint64_t sequence,
                     size_t frame_bytes) {
  if (view.header.lane_sequence != sequence ||
      view.header.frame_bytes != frame_bytes ||
      view.payload.size() != frame_bytes - sizeof(FrameHeader)) {
    return false;
  }
  for (const std::byte byte : view.payload) {
    if (byte != static_cast<std::byte>(sequence & 0xFF)) return false;
  }
  return true;
}

// Claims, fills and commits. False if there is no room.
inline bool WriteFrame(RingWriter& writer, uint64_t sequence,
                       size_t frame_bytes) {
  const absl::Span<std::byte> room = writer.TryClaim(frame_bytes);
  if (room.empty()) return false;
  FillFrame(sequence, room);
  writer.Commit();
  return true;
}

}  // namespace mycelium::test

#endif  // MYCELIUM_TRANSPORT_LANE_RING_FRAMES_H_
