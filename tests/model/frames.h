#ifndef MYCELIUM_TESTS_MODEL_FRAMES_H_
#define MYCELIUM_TESTS_MODEL_FRAMES_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/types/span.h"
#include "mycelium/base/shared_word.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/codec/frame_encoder.h"
#include "mycelium/transport/inbound_ring.h"
#include "mycelium/transport/lane/lane_memory.h"
#include "mycelium/transport/lane/ring.h"
#include "tests/model/explorer.h"

namespace mycelium::model {

// A ring and its positions for one execution. The ring may be smaller than
// kRingBytesMin, which no code in it relies on: with fewer bytes it takes fewer
// frames to come round. For the same reason frames start at multiples of 8
// here, and of 64 elsewhere.
class ModelMemory final : public LaneMemory {
 public:
  explicit ModelMemory(size_t ring_bytes) : ring_(ring_bytes / 8) {}

  absl::Span<std::byte> bytes() override {
    return {reinterpret_cast<std::byte*>(ring_.data()), ring_.size() * 8};
  }
  LanePositions& positions() override { return words_.positions; }

  // The doorbells of the link: one byte on a socket.
  SharedWord<uint32_t>& readers_bell() { return words_.readers_bell; }
  SharedWord<uint32_t>& writers_bell() { return words_.writers_bell; }

  Scenario::Shared shared() {
    static constexpr const char* kNames[] = {
        "released",      "next",         "held",  "sleeping",
        "wake_at",       "identity",     "taken", "takes_barriers",
        "reader's bell", "writer's bell"};
    return {bytes().data(),
            bytes().size(),
            reinterpret_cast<std::byte*>(&words_),
            sizeof words_,
            /*word_bytes=*/64,
            kNames};
  }

 private:
  struct Words {
    LanePositions positions;
    alignas(64) SharedWord<uint32_t> readers_bell{0};
    alignas(64) SharedWord<uint32_t> writers_bell{0};
  };
  std::vector<uint64_t> ring_;
  Words words_;
};

inline void Ring(SharedWord<uint32_t>& bell) {
  bell.exchange(1, std::memory_order_acq_rel);
}

// The caller does what the reader wants done about barriers. `frames`: as
// InboundRing::Options; 0: it cannot run any.
inline void PromiseAfter(int frames, InboundRing::Options* options) {
  if (frames == 0) return;
  options->has_barrier = [] { return true; };
  options->busy_frames = frames;
}

// Writes all of a frame except its commit word. Each byte of its payload
// follows from `sequence`.
inline void FillFrame(uint64_t sequence, absl::Span<std::byte> frame) {
  FrameFields fields;
  fields.publisher_sequence = sequence;
  const absl::Span<std::byte> payload =
      EncodeFrame(fields, sequence, frame.size() - sizeof(FrameHeader), frame);
  const std::vector<std::byte> filler(payload.size(),
                                      static_cast<std::byte>(sequence & 0xFF));
  CopyToShared(payload.data(), filler.data(), filler.size());
}

// Commits the same frame, made in other memory. REQUIRES: it is claimed.
inline void CommitFilled(uint64_t sequence, size_t frame_bytes,
                         RingWriter& writer) {
  FrameHeader header = {};
  header.lane_sequence = sequence;
  header.publisher_sequence = sequence;
  const std::vector<std::byte> filler(frame_bytes - sizeof header,
                                      static_cast<std::byte>(sequence & 0xFF));
  writer.CommitFrom(header, filler);
}

// Reads the whole payload.
inline bool IsFilled(const FrameView& view, size_t frame_bytes) {
  const uint64_t sequence = view.header.lane_sequence;
  if (view.header.frame_bytes != frame_bytes ||
      view.header.publisher_sequence != sequence ||
      view.payload.size() != frame_bytes - sizeof(FrameHeader)) {
    return false;
  }
  std::vector<std::byte> payload(view.payload.size());
  CopyFromShared(payload.data(), view.payload.data(), payload.size());
  for (const std::byte byte : payload) {
    if (byte != static_cast<std::byte>(sequence & 0xFF)) return false;
  }
  return true;
}

// Whether two runs of bytes overlap in a ring.
inline bool Meet(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes,
                 size_t capacity) {
  if (a_bytes == 0 || b_bytes == 0) return false;
  const uint64_t mask = capacity - 1;
  return ((b - a) & mask) < a_bytes || ((a - b) & mask) < b_bytes;
}

}  // namespace mycelium::model

#endif  // MYCELIUM_TESTS_MODEL_FRAMES_H_
