#include "mycelium/transport/lane/ring.h"

namespace mycelium {

RingWriter::RingWriter(absl::Span<std::byte> memory, RingPositions& positions)
    : memory_(memory), positions_(positions), limit_(memory.size()) {}

bool RingWriter::FitsBehind(uint64_t end) {
  // Pairs with the reader's store: it no longer looks at what it released.
  const uint64_t released = positions_.released.load(std::memory_order_acquire);
  // Compared, never trusted: the reader may be another process.
  if (released > position_ || released + capacity() < limit_ ||
      released % kFrameAlignment != 0) {
    return false;
  }
  limit_ = released + capacity();
  return end + kFrameAlignment <= limit_;
}

uint64_t RingWriter::ReleasedFor(size_t frame_bytes) const {
  const size_t aligned = AlignedFrameBytes(frame_bytes);
  const uint64_t end = StartFor(aligned) + aligned + kFrameAlignment;
  return end > capacity() ? end - capacity() : 0;
}

void RingWriter::CommitPad() {
  // The reader stands before the pad, so the pad's commit comes last.
  std::byte* const pad = At(position_);
  const uint16_t flags = kFramePad;
  CopyToShared(pad + offsetof(FrameHeader, flags), &flags, sizeof flags);
  StoreCommit(pad, static_cast<uint32_t>(claim_start_ - position_));
  pad_from_ = position_;
}

RingReader::RingReader(absl::Span<const std::byte> memory,
                       RingPositions& positions, uint16_t flags_allowed)
    : memory_(memory), positions_(positions), flags_allowed_(flags_allowed) {}

RingReader::Result RingReader::PollOnwards(FrameView* view) {
  const uint64_t at = cursor();
  const size_t offset = at & (memory_.size() - 1);
  const std::byte* const header = &memory_[offset];
  uint16_t flags;
  CopyFromShared(&flags, header + offsetof(FrameHeader, flags), sizeof flags);
  if (flags != kFramePad) return Result::kCorrupt;
  // A pad ends where the memory does, and starts after a frame: one of a whole
  // lap would send us round for ever.
  const size_t run = memory_.size() - offset;
  if (LoadCommit(header) != run || offset == 0) return Result::kCorrupt;
  cursor_.store(at + run, std::memory_order_relaxed);
  return Poll(view);
}

void RingReader::Release() {
  // Pairs with the load in RingWriter::FitsBehind().
  positions_.released.store(cursor(), std::memory_order_release);
}

}  // namespace mycelium
