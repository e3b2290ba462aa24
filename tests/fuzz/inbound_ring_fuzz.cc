// Arbitrary bytes in both segments of a lane that a peer has made, which change
// while they are read.
//
// Input: a byte of choices, a byte with the number of steps, the steps, then
// the memory. A step is a byte, and the words that it needs. Frames may refer
// to loans in memory 1.

#include <algorithm>
#include <cstring>
#include <memory>

#include "mycelium/transport/inbound_ring.h"
#include "mycelium/transport/lane/ring_frames.h"
#include "tests/fuzz/input.h"

namespace mycelium::test {
namespace {

constexpr size_t kFrameBytesMax = 3000;
constexpr size_t kPositionWords = 8;
constexpr uint32_t kLoans = 1;

// Memory that ends where its allocation ends.
class FuzzMemory final : public LaneMemory {
 public:
  absl::Span<std::byte> bytes() override { return ring_.bytes(); }
  LanePositions& positions() override { return positions_; }

  // Repeats the bytes, so that few of them fill the memory.
  void Fill(absl::Span<const std::byte> with) {
    for (size_t at = 0; !with.empty() && at < kRingBytesMin;) {
      const size_t count = std::min(with.size(), kRingBytesMin - at);
      std::memcpy(&bytes()[at], with.data(), count);
      at += count;
    }
  }
  void StoreInRing(uint64_t at, uint64_t word) {
    // Half of them where a frame may start.
    const uint64_t unit = at % 2 == 0 ? kFrameAlignment : sizeof word;
    std::memcpy(&bytes()[at % kRingBytesMin / unit * unit], &word, sizeof word);
  }
  void StorePosition(uint64_t which, uint64_t word) {
    const size_t at = which % kPositionWords;
    std::memcpy(reinterpret_cast<std::byte*>(&positions_) + at * 64, &word,
                at == 3 || at == 7 ? 4 : 8);
  }

 private:
  RingMemory ring_{kRingBytesMin};
  LanePositions positions_;
};

bool LiesIn(absl::Span<const std::byte> part,
            absl::Span<const std::byte> whole) {
  return part.data() >= whole.data() &&
         part.data() + part.size() <= whole.data() + whole.size();
}

// Reads the frame that is shown. False: there is no further frame.
bool Look(InboundRing& ring, FuzzMemory& memory, FuzzMemory& loans,
          bool copies_all) {
  const FrameView* view = nullptr;
  uint64_t end = 0;
  switch (ring.Peek(/*controls_seen=*/1, &view, &end)) {
    case InboundRing::Look::kFrame:
      Require(view->header.frame_bytes <= kFrameBytesMax, "frames are bounded");
      Require(
          (view->header.flags & ~(kFrameFlagsOnWire | kFrameRedelivered)) == 0,
          "flags are allowed");
      if (!view->payload.empty()) {
        const bool is_lent = LiesIn(view->payload, loans.bytes());
        const bool is_copied =
            !is_lent && !LiesIn(view->payload, memory.bytes());
        Require(is_copied || (is_lent && !copies_all) ||
                    (!copies_all &&
                     view->payload.size() + view->extension.size() + 7 >
                         InboundRing::kCopiedBytesMax),
                "what is small, or of another user, is copied");
      }
      Touch(view->payload);
      Touch(view->extension);
      return true;
    case InboundRing::Look::kCorrupt:
      Require(!ring.error().empty(), "what is wrong is said");
      return false;
    case InboundRing::Look::kCorruptLater:
      Require(!ring.error().empty(), "what is wrong is said");
      return true;
    case InboundRing::Look::kEmpty:
    case InboundRing::Look::kNotYet:
      return true;
  }
  return false;
}

void Step(FuzzInput& input, InboundRing& ring, FuzzMemory& memory,
          InboundRing::LoanMemories& loans, FuzzMemory& lent, bool* may_go_on,
          bool copies_all) {
  switch (const uint8_t step = input.TakeByte(); step % 8) {
    case 0:
    case 1: {
      *may_go_on = Look(ring, memory, lent, copies_all);
      const FrameView* view = nullptr;
      uint64_t end;
      if (step % 8 == 1 && *may_go_on &&
          ring.Peek(1, &view, &end) == InboundRing::Look::kFrame) {
        ring.Pop((step & 8) != 0);
        ring.NoteTaken(1);
      }
      break;
    }
    case 2: {
      const uint64_t at = input.TakeWord();
      memory.StoreInRing(at, input.TakeWord());
      break;
    }
    case 3:
      memory.StorePosition(step / 8, input.TakeWord());
      break;
    case 4:
      ring.NoteHandled(ring.taken());
      (void)ring.TakeWriterWaits();
      break;
    case 5:
      (void)ring.BeginSleep();
      (void)ring.HasWork(1);
      ring.EndSleep();
      break;
    case 6:
      (void)ring.IsDrained(1);
      break;
    case 7:
      if ((step & 8) != 0) {
        loans.erase(kLoans);
        ring.LetGoOfLoans();
      } else {
        ring.BeginDraining();
      }
      break;
  }
  Require(ring.handled() <= ring.taken(), "nothing is handled before its time");
}

void Run(FuzzInput input) {
  const uint8_t choices = input.TakeByte();
  auto memory = std::make_shared<FuzzMemory>();
  const auto lent = std::make_shared<FuzzMemory>();
  InboundRing::LoanMemories loans = {{kLoans, lent}};
  InboundRing::Options options;
  options.loans = &loans;
  options.lossy = (choices & 1) != 0;
  options.copies_all = (choices & 2) != 0;
  options.redelivered_until = (choices & 4) != 0 ? 2 : 0;
  options.position = uint64_t{choices} / 8 * 128;
  options.frame_bytes_max = kFrameBytesMax;
  options.has_barrier = [] { return true; };
  options.busy_frames = 2;
  memory->StorePosition(1, options.position);
  InboundRing ring(memory, options);
  FuzzInput steps = input;
  const size_t steps_count = steps.TakeByte();
  input = steps;
  (void)input.Take(steps_count * 9);
  memory->Fill(input.Take(kRingBytesMin));
  bool may_go_on = true;
  for (size_t i = 0; i < steps_count && may_go_on; ++i) {
    Step(steps, ring, *memory, loans, *lent, &may_go_on, options.copies_all);
  }
  // Even if a living peer goes on for ever, the reader does not follow it for
  // ever.
  ring.BeginDraining();
  uint64_t shown = 0;
  const FrameView* view = nullptr;
  uint64_t end;
  while (may_go_on && ring.Peek(1, &view, &end) == InboundRing::Look::kFrame) {
    Touch(view->payload);
    ring.Pop(true);
    ++shown;
  }
  Require(shown <= kRingBytesMin / kFrameAlignment,
          "no more is drained than the memory holds");
}

}  // namespace
}  // namespace mycelium::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  mycelium::test::Run(mycelium::test::FuzzInput(bytes, count));
  return 0;
}
