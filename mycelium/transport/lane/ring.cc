#include "mycelium/transport/lane/ring.h"

#include <algorithm>

namespace mycelium {
namespace {

constexpr size_t kLineBytes = 64;

void StoreCommit(std::byte* header, uint32_t frame_bytes) {
  // Pairs with RingReader::LoadCommit().
  SharedWordAt<uint32_t>(header).store(frame_bytes, std::memory_order_release);
}

void ClearCommit(std::byte* header) {
  // Relaxed: the StoreCommit() that follows publishes it.
  SharedWordAt<uint32_t>(header).store(0, std::memory_order_relaxed);
}

}  // namespace

RingWriter::RingWriter(absl::Span<std::byte> memory, RingPositions& positions)
    : memory_(memory), positions_(positions), limit_(memory.size()) {}

bool RingWriter::Fits(uint64_t end) {
  if (end + kFrameAlignment <= limit_) return true;
  // Pairs with the reader's store: it no longer looks at what it released.
  const uint64_t released = positions_.released.load(std::memory_order_acquire);
  // Compared, never trusted: the reader may be another process.
  if (released > position_ || released + capacity() < limit_) return false;
  limit_ = released + capacity();
  return end + kFrameAlignment <= limit_;
}

uint64_t RingWriter::StartFor(size_t aligned) const {
  const size_t run = capacity() - (position_ & (capacity() - 1));
  return aligned <= run ? position_ : position_ + run;
}

uint64_t RingWriter::ReleasedFor(size_t frame_bytes) const {
  const size_t aligned = AlignedFrameBytes(frame_bytes);
  const uint64_t end = StartFor(aligned) + aligned + kFrameAlignment;
  return end > capacity() ? end - capacity() : 0;
}

absl::Span<std::byte> RingWriter::TryClaim(size_t frame_bytes) {
  const size_t aligned = AlignedFrameBytes(frame_bytes);
  const uint64_t start = StartFor(aligned);
  if (!Fits(start + aligned)) return {};
  claim_start_ = start;
  claim_bytes_ = static_cast<uint32_t>(frame_bytes);
  return memory_.subspan(start & (capacity() - 1), frame_bytes);
}

void RingWriter::Commit() {
  const uint64_t next = claim_start_ + AlignedFrameBytes(claim_bytes_);
  ClearCommit(&memory_[next & (capacity() - 1)]);
  StoreCommit(&memory_[claim_start_ & (capacity() - 1)], claim_bytes_);
  if (claim_start_ != position_) {
    // The reader stands before the pad, so the pad's commit comes last.
    std::byte* const pad = &memory_[position_ & (capacity() - 1)];
    const uint16_t flags = kFramePad;
    CopyToShared(pad + offsetof(FrameHeader, flags), &flags, sizeof flags);
    StoreCommit(pad, static_cast<uint32_t>(claim_start_ - position_));
    pad_from_ = position_;
  }
  position_ = next;
}

void RingWriter::CommitFrom(const FrameHeader& header,
                            absl::Span<const std::byte> rest) {
  std::byte* const room = &memory_[claim_start_ & (capacity() - 1)];
  const size_t line_left = kLineBytes - (claim_start_ & (kLineBytes - 1));
  const size_t in_line =
      line_left <= sizeof header
          ? 0
          : std::min<size_t>(line_left - sizeof header, rest.size());
  std::byte* const to = room + sizeof header;
  CopyToShared(to + in_line, rest.data() + in_line, rest.size() - in_line);
  // As Commit() does once more: here, so that nothing comes between the first
  // line and its commit word.
  ClearCommit(&memory_[claimed_end() & (capacity() - 1)]);
  if (in_line > 0) CopyToShared(to, rest.data(), in_line);
  constexpr size_t kAfterCommit = offsetof(FrameHeader, flags);
  CopyToShared(room + kAfterCommit,
               reinterpret_cast<const std::byte*>(&header) + kAfterCommit,
               sizeof header - kAfterCommit);
  Commit();
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
  // Pairs with the load in RingWriter::Fits().
  positions_.released.store(cursor(), std::memory_order_release);
}

}  // namespace mycelium
