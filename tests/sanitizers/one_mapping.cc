// Both ends of a lane in one process, over one mapping, so that ThreadSanitizer
// sees each access to it: the writing end of a ring and the reading end of a
// link, lossless and lossy. The writer changes a frame that it has committed,
// which is a race that must be reported. With "ordered" as the argument the
// writer does not do this, and nothing may be reported.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>

#include "mycelium/codec/frame_encoder.h"
#include "mycelium/transport/inbound_ring.h"
#include "mycelium/transport/lane/lossy_ring.h"
#include "mycelium/transport/lane/ring.h"

namespace mycelium::test {
namespace {

constexpr size_t kRingBytes = 1 << 14;
constexpr uint64_t kFrames = 20'000;
constexpr size_t kDepth = 4;

class OneMapping final : public LaneMemory {
 public:
  absl::Span<std::byte> bytes() override {
    return {reinterpret_cast<std::byte*>(ring_.get()), kRingBytes};
  }
  LanePositions& positions() override { return positions_; }

 private:
  const std::unique_ptr<uint64_t[]> ring_{
      new uint64_t[kRingBytes / sizeof(uint64_t)]()};
  LanePositions positions_;
};

// Some messages are copied out, some are read where they lie.
size_t PayloadBytes(uint64_t sequence) { return 8 + sequence * 37 % 2000; }

void Fill(uint64_t sequence, absl::Span<std::byte> room) {
  FrameFields fields;
  fields.publisher_sequence = sequence;
  const absl::Span<std::byte> payload =
      EncodeFrame(fields, sequence, PayloadBytes(sequence), room);
  std::memset(payload.data(), static_cast<int>(sequence & 0xFF),
              payload.size());
  std::memset(room.data() + offsetof(FrameHeader, lost_before), 0, 4);
}

size_t FrameBytes(uint64_t sequence) {
  return sizeof(FrameHeader) + PayloadBytes(sequence);
}

void WriteLossless(OneMapping& memory, bool ordered) {
  RingWriter writer(memory.bytes(), memory.positions().ring);
  for (uint64_t sequence = 1; sequence <= kFrames;) {
    const absl::Span<std::byte> room = writer.TryClaim(FrameBytes(sequence));
    if (room.empty()) {
      std::this_thread::yield();
      continue;
    }
    Fill(sequence, room);
    writer.Commit();
    if (!ordered) room[sizeof(FrameHeader)] = std::byte{0};
    ++sequence;
  }
}

void WriteLossy(OneMapping& memory, bool ordered) {
  LossyRingWriter writer(memory.bytes(), memory.positions().lossy, kDepth);
  for (uint64_t sequence = 1; sequence <= kFrames;) {
    absl::Span<std::byte> room;
    if (writer.TryReserve(FrameBytes(sequence), &room) !=
        LossyRingWriter::Fit::kFits) {
      FrameView dropped;
      // The last message must arrive, so that the reader ends.
      if (!writer.DropOldest(&dropped)) std::this_thread::yield();
      continue;
    }
    Fill(sequence, room);
    writer.Commit(sequence);
    if (!ordered) room[sizeof(FrameHeader)] = std::byte{0};
    if (sequence % 64 == 0) std::this_thread::yield();
    ++sequence;
  }
}

// How many messages arrived, and how many of these as they were written.
struct Received {
  uint64_t all = 0;
  uint64_t sound = 0;
};

Received Read(const std::shared_ptr<OneMapping>& memory, bool lossy) {
  InboundRing::Options options;
  options.lossy = lossy;
  options.frame_bytes_max = kRingBytes / 4;
  InboundRing ring(memory, options);
  Received received;
  for (uint64_t last = 0; last < kFrames;) {
    const FrameView* view = nullptr;
    uint64_t end;
    const InboundRing::Look look = ring.Peek(0, &view, &end);
    if (look == InboundRing::Look::kCorrupt) {
      std::printf("%s\n", ring.error().c_str());
      return {};
    }
    if (look != InboundRing::Look::kFrame) {
      (void)ring.BeginSleep();
      (void)ring.HasWork(0);
      std::this_thread::yield();
      ring.EndSleep();
      continue;
    }
    last = view->header.lane_sequence;
    bool is_sound = view->payload.size() == PayloadBytes(last);
    for (const std::byte byte : view->payload) {
      is_sound &= byte == static_cast<std::byte>(last & 0xFF);
    }
    ++received.all;
    received.sound += is_sound ? 1 : 0;
    ring.Pop(/*handled=*/true);
    (void)ring.TakeWriterWaits();
  }
  return received;
}

int Run(bool ordered) {
  for (const bool lossy : {false, true}) {
    const auto memory = std::make_shared<OneMapping>();
    std::thread writer([&] {
      lossy ? WriteLossy(*memory, ordered) : WriteLossless(*memory, ordered);
    });
    const Received received = Read(memory, lossy);
    writer.join();
    std::printf("%s: %llu of %llu frames, %llu as they were written\n",
                lossy ? "lossy" : "lossless",
                static_cast<unsigned long long>(received.all),
                static_cast<unsigned long long>(kFrames),
                static_cast<unsigned long long>(received.sound));
    const bool enough = lossy ? received.all > 0 : received.all == kFrames;
    if (ordered && !(enough && received.sound == received.all)) return 1;
  }
  return 0;
}

}  // namespace
}  // namespace mycelium::test

int main(int argc, char** argv) {
  return mycelium::test::Run(argc > 1 && std::strcmp(argv[1], "ordered") == 0);
}
