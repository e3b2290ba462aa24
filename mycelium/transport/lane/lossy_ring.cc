#include "mycelium/transport/lane/lossy_ring.h"

#include <algorithm>
#include <utility>

#include "mycelium/base/release_fence.h"

namespace mycelium {
namespace {

// Of each header: commit word, flags, extension.
constexpr size_t kPeekBytes = 8;

// Grows up to the depth, which may be a peer's wish.
constexpr size_t kEntriesAtFirst = 1024;

// How often the reader tries to take a frame before it says that there is none.
constexpr int kTriesMax = 1024;

struct Peeked {
  uint32_t frame_bytes;
  uint16_t flags;
};

// Reads the start of a header that the writer may be overwriting, because the
// frame there was dropped since. Whatever comes out is used only after `next`
// was seen, or made, to have named this frame all the while.
Peeked Peek(const std::byte* header) {
  // Pairs with StoreCommit(): what the writer stored before is visible.
  const uint64_t word = LoadRacing(header);
  return {static_cast<uint32_t>(word), static_cast<uint16_t>(word >> 32)};
}

uint32_t LoadCommit(const std::byte* header) {
  return SharedWordAt<uint32_t>(header).load(std::memory_order_acquire);
}

void StoreCommit(std::byte* header, uint32_t frame_bytes) {
  // Pairs with Peek().
  SharedWordAt<uint32_t>(header).store(frame_bytes, std::memory_order_release);
}

size_t RoundUpToPowerOfTwo(size_t value) {
  size_t power = 1;
  while (power < value) power *= 2;
  return power;
}

}  // namespace

LossyRingWriter::LossyRingWriter(absl::Span<std::byte> memory,
                                 LossyPositions& positions, size_t depth)
    : memory_(memory),
      positions_(positions),
      depth_(depth),
      entries_(RoundUpToPowerOfTwo(std::min(depth, kEntriesAtFirst))) {}

size_t LossyRingWriter::CapacityFor(size_t frame_bytes) {
  // What is held may cut the memory in two, and a frame may fit in neither end
  // of a half: four times the frame leaves a half of that room.
  return RoundUpToPowerOfTwo(std::max(
      kRingBytesMin, 4 * (AlignedFrameBytes(frame_bytes) + kFrameAlignment)));
}

bool LossyRingWriter::Synchronise() {
  // Acquire: what the reader held when it moved the cursor is seen below.
  const uint64_t next = positions_.next.load(std::memory_order_acquire);
  while (count() > 0 && oldest().end <= next) {
    taken_ = oldest();
    has_taken_ = true;
    ++first_;
  }
  // Compared, never trusted: the reader may be another process.
  if (count() == 0) return next == position_;
  return next == oldest().start || next == oldest().frame;
}

bool LossyRingWriter::IsHeld(const Entry& taken) const {
  // Acquire: pairs with Release(), after which the frame may be overwritten.
  return positions_.held.load(std::memory_order_acquire) == taken.frame;
}

bool LossyRingWriter::FindPlace(size_t aligned, uint64_t* start) const {
  const uint64_t mask = capacity() - 1;
  // With the commit word that comes behind the frame.
  const uint64_t span = aligned + kFrameAlignment;
  const uint64_t oldest = last_ == first_
                              ? position_
                              : entries_[first_ & (entries_.size() - 1)].start;
  const bool avoid = has_taken_ && IsHeld(taken_);
  const uint64_t held_bytes = avoid ? taken_.end - taken_.frame : 0;
  uint64_t at = position_;
  while (at + span <= oldest + capacity()) {
    const uint64_t run = capacity() - (at & mask);
    if (aligned > run) {
      at += run;
      continue;
    }
    const bool overlaps = avoid && (((at - taken_.frame) & mask) < held_bytes ||
                                    ((taken_.frame - at) & mask) < span);
    if (!overlaps) {
      *start = at;
      return true;
    }
    at += (taken_.end - at) & mask;
  }
  return false;
}

LossyRingWriter::Fit LossyRingWriter::TryReserve(size_t frame_bytes,
                                                 absl::Span<std::byte>* room) {
  if (!Synchronise()) return Fit::kCorrupt;
  if (count() >= depth_) return Fit::kDepth;
  if (!FindPlace(AlignedFrameBytes(frame_bytes), &reserved_start_)) {
    return Fit::kBytes;
  }
  reserved_bytes_ = static_cast<uint32_t>(frame_bytes);
  *room = absl::MakeSpan(At(reserved_start_), frame_bytes);
  return Fit::kFits;
}

void LossyRingWriter::Commit(uint64_t sequence) {
  const uint64_t end = reserved_start_ + AlignedFrameBytes(reserved_bytes_);
  // Relaxed: the StoreCommit() that follows publishes it.
  SharedWordAt<uint32_t>(At(end)).store(0, std::memory_order_relaxed);
  StoreCommit(At(reserved_start_), reserved_bytes_);
  if (reserved_start_ != position_) {
    // The reader stands before the pad, so the pad's commit comes last.
    const uint16_t flags = kFramePad;
    CopyToShared(At(position_) + offsetof(FrameHeader, flags), &flags,
                 sizeof flags);
    StoreCommit(At(position_),
                static_cast<uint32_t>(reserved_start_ - position_));
  }
  if (count() == entries_.size()) GrowEntries();
  entries_[last_ & (entries_.size() - 1)] = {position_, reserved_start_, end,
                                             sequence};
  ++last_;
  position_ = end;
}

void LossyRingWriter::GrowEntries() {
  std::vector<Entry> larger(2 * entries_.size());
  for (uint64_t i = first_; i != last_; ++i) {
    larger[i & (larger.size() - 1)] = entries_[i & (entries_.size() - 1)];
  }
  entries_ = std::move(larger);
}

LossyRingWriter::Restarted LossyRingWriter::Restart(
    absl::FunctionRef<void()> renew_positions,
    absl::FunctionRef<void(const FrameView&)> lost, size_t frame_bytes_max) {
  (void)Synchronise();
  Restarted restarted;
  restarted.had_taken = has_taken_ && IsHeld(taken_);
  restarted.next_sequence =
      restarted.had_taken ? taken_.sequence : NextSequence();
  struct Kept {
    uint64_t sequence;
    std::vector<std::byte> bytes;
  };
  std::vector<Kept> kept;
  const auto keep = [&](const Entry& entry) {
    FrameHeader header;
    CopyFromShared(&header, At(entry.frame), sizeof header);
    kept.push_back(
        {entry.sequence, std::vector<std::byte>(header.frame_bytes)});
    CopyFromShared(kept.back().bytes.data(), At(entry.frame),
                   header.frame_bytes);
  };
  if (restarted.had_taken) keep(taken_);
  for (uint64_t i = first_; i != last_; ++i) {
    keep(entries_[i & (entries_.size() - 1)]);
  }
  first_ = last_ = 0;
  has_taken_ = false;
  first_sequence_ = restarted.next_sequence;
  position_ = (position_ / capacity() + 1) * capacity();
  ClearShared(memory_.data(), memory_.size());
  renew_positions();
  positions_.held.store(LossyPositions::kNothingHeld,
                        std::memory_order_relaxed);
  positions_.next.store(position_, std::memory_order_release);
  for (const Kept& frame : kept) {
    if (frame.bytes.size() > frame_bytes_max ||
        !FindPlace(AlignedFrameBytes(frame.bytes.size()), &reserved_start_)) {
      FrameView view;
      (void)DecodeFrame(frame.bytes, capacity(), ~uint16_t{0}, &view);
      lost(view);
      continue;
    }
    // All but the commit word, which is what Commit() stores.
    constexpr size_t kAfterCommit = offsetof(FrameHeader, flags);
    CopyToShared(At(reserved_start_) + kAfterCommit,
                 frame.bytes.data() + kAfterCommit,
                 frame.bytes.size() - kAfterCommit);
    reserved_bytes_ = static_cast<uint32_t>(frame.bytes.size());
    Commit(frame.sequence);
  }
  return restarted;
}

uint64_t LossyRingWriter::NextSequence() {
  (void)Synchronise();
  return has_taken_ ? taken_.sequence + 1 : first_sequence_;
}

uint64_t LossyRingWriter::LastSequence() {
  (void)Synchronise();
  if (count() == 0) return taken_.sequence;
  return entries_[(last_ - 1) & (entries_.size() - 1)].sequence;
}

bool LossyRingWriter::PeekOldest(FrameHeader* header) {
  (void)Synchronise();
  if (count() == 0) return false;
  CopyFromShared(header, At(oldest().frame), sizeof *header);
  return true;
}

bool LossyRingWriter::DropOldest(FrameView* dropped, size_t waiting) {
  while (Synchronise() && count() >= waiting) {
    const Entry entry = oldest();
    uint64_t next = positions_.next.load(std::memory_order_relaxed);
    if (next != entry.start && next != entry.frame) continue;
    // Fails if the reader took it, or skipped the pad before it. No acquire:
    // what the reader did before it got here was seen in Synchronise().
    if (!positions_.next.compare_exchange_strong(next, entry.end,
                                                 std::memory_order_release)) {
      continue;
    }
    // A reader who still looks there, and finds what is written there next,
    // looks at `next` again and must not find the old one.
    ReleaseFence();
    ++first_;
    const size_t offset = entry.frame & (capacity() - 1);
    // Written by this side, so it can be nothing else.
    (void)DecodeFrame(memory_.subspan(offset, entry.end - entry.frame),
                      capacity(), ~uint16_t{0}, dropped);
    return true;
  }
  return false;
}

size_t LossyRingWriter::waiting() {
  (void)Synchronise();
  return count();
}

bool LossyRingWriter::IsOver(uint64_t sequence) {
  (void)Synchronise();
  if (count() > 0 && oldest().sequence <= sequence) return false;
  return !has_taken_ || taken_.sequence > sequence || !IsHeld(taken_);
}

void LossyRingWriter::ForEachFrame(
    absl::FunctionRef<void(const FrameHeader&)> visit) {
  (void)Synchronise();
  const auto look = [&](const Entry& entry) {
    FrameHeader header;
    CopyFromShared(&header, At(entry.frame), sizeof header);
    visit(header);
  };
  if (has_taken_ && IsHeld(taken_)) look(taken_);
  for (uint64_t i = first_; i != last_; ++i) {
    look(entries_[i & (entries_.size() - 1)]);
  }
}

LossyRingReader::LossyRingReader(absl::Span<const std::byte> memory,
                                 LossyPositions& positions,
                                 uint16_t flags_allowed)
    : memory_(memory), positions_(positions), flags_allowed_(flags_allowed) {}

bool LossyRingReader::HasFrame() const {
  for (int tries = 0; tries < kTriesMax; ++tries) {
    const uint64_t next = positions_.next.load(std::memory_order_acquire);
    const size_t offset = next & (memory_.size() - 1);
    if (offset % kFrameAlignment != 0) return true;  // For Poll() to report.
    const Peeked peeked = Peek(&memory_[offset]);
    if (peeked.frame_bytes != 0) return true;
    // A dropped frame's memory may say anything: only the present one counts.
    if (positions_.next.load(std::memory_order_acquire) == next) return false;
  }
  return true;
}

RingReader::Result LossyRingReader::Poll(FrameView* view) {
  // A writer who drops all the time, or has gone mad, must not keep us here.
  for (int tries = 0; tries < kTriesMax; ++tries) {
    uint64_t next = positions_.next.load(std::memory_order_acquire);
    const size_t offset = next & (memory_.size() - 1);
    // The writer may be another process, and store anything.
    if (offset % kFrameAlignment != 0) return RingReader::Result::kCorrupt;
    const size_t run = memory_.size() - offset;
    const Peeked peeked = Peek(&memory_[offset]);
    const size_t aligned = AlignedFrameBytes(peeked.frame_bytes);
    const bool is_pad = peeked.flags == kFramePad;
    const bool is_sound =
        is_pad ? aligned == peeked.frame_bytes && aligned >= kPeekBytes &&
                     aligned <= memory_.size()
               : peeked.frame_bytes >= sizeof(FrameHeader) && aligned <= run;
    if (!is_sound) {
      if (positions_.next.load(std::memory_order_acquire) != next) continue;
      Release();
      return peeked.frame_bytes == 0 ? RingReader::Result::kEmpty
                                     : RingReader::Result::kCorrupt;
    }
    if (!is_pad) {
      holds_ = true;
      // Release: we no longer look at the frame that was held before. The
      // writer sees this before it sees the exchange below.
      positions_.held.store(next, std::memory_order_release);
    }
    if (!positions_.next.compare_exchange_strong(next, next + aligned,
                                                 std::memory_order_acq_rel)) {
      continue;
    }
    if (is_pad) continue;
    // The frame is ours and does not change any more. This load pairs with
    // StoreCommit() where ThreadSanitizer sees it.
    if (LoadCommit(&memory_[offset]) != peeked.frame_bytes) {
      return RingReader::Result::kCorrupt;
    }
    if (DecodeFrame(memory_.subspan(offset, aligned), memory_.size(),
                    flags_allowed_, view) != FrameVerdict::kOk) {
      return RingReader::Result::kCorrupt;
    }
    taken_ = memory_.subspan(offset, peeked.frame_bytes);
    view->lost_before += view->header.lane_sequence - last_sequence_ - 1;
    last_sequence_ = view->header.lane_sequence;
    return RingReader::Result::kFrame;
  }
  Release();
  return RingReader::Result::kEmpty;
}

void LossyRingReader::Release() {
  if (!holds_) return;
  holds_ = false;
  // Pairs with the load in IsHeld().
  positions_.held.store(LossyPositions::kNothingHeld,
                        std::memory_order_release);
}

}  // namespace mycelium
