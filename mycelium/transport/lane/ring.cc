#include "mycelium/transport/lane/ring.h"

#include <algorithm>

namespace mycelium {
namespace {

constexpr size_t kLineBytes = 64;

uint32_t LoadCommit(const std::byte* header) {
  // Pairs with StoreCommit(): what the writer stored before is visible.
  return SharedWordAt<uint32_t>(header).load(std::memory_order_acquire);
}

void StoreCommit(std::byte* header, uint32_t frame_bytes) {
  // Pairs with LoadCommit().
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

void RingWriter::CommitFrom(const std::byte* frame) {
  std::byte* const room = &memory_[claim_start_ & (capacity() - 1)];
  const size_t line_left = kLineBytes - (claim_start_ & (kLineBytes - 1));
  const size_t head = std::min<size_t>(line_left, claim_bytes_);
  CopyToShared(room + head, frame + head, claim_bytes_ - head);
  constexpr size_t kAfterCommit = sizeof(uint32_t);
  // As Commit() does once more: here, so that nothing comes between the first
  // line and its commit word.
  const size_t next = claimed_end() & (capacity() - 1);
  ClearCommit(&memory_[next]);
  CopyToShared(room + kAfterCommit, frame + kAfterCommit, head - kAfterCommit);
  Commit();
}

RingReader::RingReader(absl::Span<const std::byte> memory,
                       RingPositions& positions, uint16_t flags_allowed)
    : memory_(memory), positions_(positions), flags_allowed_(flags_allowed) {}

RingReader::Result RingReader::Poll(FrameView* view) {
  uint64_t at = cursor();
  while (true) {
    const size_t offset = at & (memory_.size() - 1);
    const std::byte* const header = &memory_[offset];
    const uint32_t committed = LoadCommit(header);
    if (committed == 0) {
      // The frame that comes goes on behind this line: have it here by then.
      __builtin_prefetch(
          &memory_[(offset + kLineBytes) & (memory_.size() - 1)]);
      return Result::kEmpty;
    }
    uint16_t flags;
    CopyFromShared(&flags, header + offsetof(FrameHeader, flags), sizeof flags);
    const size_t run = memory_.size() - offset;
    if (flags == kFramePad) {
      // A pad ends where the memory does, and starts after a frame: one of a
      // whole lap would send us round for ever.
      if (committed != run || offset == 0) return Result::kCorrupt;
      at += run;
      cursor_.store(at, std::memory_order_relaxed);
      continue;
    }
    if (DecodeFrame(memory_.subspan(offset), memory_.size() / 2, flags_allowed_,
                    view) != FrameVerdict::kOk) {
      return Result::kCorrupt;
    }
    cursor_.store(at + AlignedFrameBytes(view->header.frame_bytes),
                  std::memory_order_relaxed);
    return Result::kFrame;
  }
}

void RingReader::Release() {
  // Pairs with the load in RingWriter::Fits().
  positions_.released.store(cursor(), std::memory_order_release);
}

}  // namespace mycelium
