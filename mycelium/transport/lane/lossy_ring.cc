#include "mycelium/transport/lane/lossy_ring.h"

#include <algorithm>
#include <utility>

#include "mycelium/base/release_fence.h"

namespace mycelium {
namespace {

// Of each header: commit word, flags, extension.
constexpr size_t kPeekBytes = 8;

// Grows up to the depth, which a peer may have asked for.
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

// Whether a frame or a pad can begin like that, `run` bytes before the end of a
// ring of `capacity`.
bool IsSound(const Peeked& peeked, size_t run, size_t capacity) {
  const size_t aligned = AlignedFrameBytes(peeked.frame_bytes);
  if (peeked.flags != kFramePad) {
    return peeked.frame_bytes >= sizeof(FrameHeader) && aligned <= run;
  }
  return aligned == peeked.frame_bytes && aligned >= kPeekBytes &&
         aligned <= capacity;
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
  uint64_t first = first_;
  while (first != last_ && EntryAt(first).end <= next) ++first;
  // Compared, never trusted, and before anything is taken for read: the reader
  // may be another process.
  const bool is_sound = first == last_ ? next == position_
                                       : next == EntryAt(first).start ||
                                             next == EntryAt(first).frame;
  corrupt_ |= !is_sound;
  if (!is_sound || first == first_) return is_sound;
  taken_ = EntryAt(first - 1);
  has_taken_ = holds_taken_ = true;
  first_ = first;
  return true;
}

bool LossyRingWriter::HoldsTaken() {
  if (!holds_taken_) return false;
  // Acquire: pairs with Release(), after which the frame may be overwritten.
  holds_taken_ =
      positions_.held.load(std::memory_order_acquire) == taken_.frame;
  return holds_taken_;
}

bool LossyRingWriter::Show(const Entry& entry, FrameView* view) const {
  const size_t offset = entry.frame & (capacity() - 1);
  *view = FrameView();
  const FrameVerdict verdict =
      DecodeFrame(memory_.subspan(offset, entry.end - entry.frame), capacity(),
                  ~uint16_t{0}, view);
  FrameHeader& header = view->header;
  if (verdict == FrameVerdict::kOk && header.frame_bytes == entry.frame_bytes &&
      header.lane_sequence == entry.sequence &&
      header.publisher_id == entry.publisher_id) {
    return true;
  }
  const FrameHeader read = header;
  *view = FrameView();
  header = read;
  header.frame_bytes = entry.frame_bytes;
  header.lane_sequence = entry.sequence;
  header.publisher_id = entry.publisher_id;
  header.flags = 0;  // It refers to nothing.
  return false;
}

bool LossyRingWriter::FindPlace(size_t aligned, uint64_t* start) {
  const uint64_t mask = capacity() - 1;
  // With the commit word that comes behind the frame.
  const uint64_t span = aligned + kFrameAlignment;
  const uint64_t oldest = last_ == first_ ? position_ : EntryAt(first_).start;
  const bool avoid = HoldsTaken();
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
  uint32_t publisher_id;
  CopyFromShared(&publisher_id,
                 At(reserved_start_) + offsetof(FrameHeader, publisher_id),
                 sizeof publisher_id);
  entries_[last_ & (entries_.size() - 1)] = {
      position_, reserved_start_, end, sequence, reserved_bytes_, publisher_id};
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
    absl::FunctionRef<void(const FrameView&)> lost,
    absl::FunctionRef<void(const FrameView&)> damaged, size_t frame_bytes_max) {
  (void)Synchronise();
  struct Kept {
    uint64_t sequence;
    std::vector<std::byte> bytes;
  };
  std::vector<Kept> kept;
  const auto keep = [&](const Entry& entry) {
    FrameView view;
    if (!Show(entry, &view)) {
      damaged(view);
      return false;
    }
    kept.push_back({entry.sequence, std::vector<std::byte>(entry.frame_bytes)});
    CopyFromShared(kept.back().bytes.data(), At(entry.frame),
                   entry.frame_bytes);
    return true;
  };
  Restarted restarted;
  restarted.had_taken = HoldsTaken() && keep(taken_);
  restarted.next_sequence =
      restarted.had_taken ? taken_.sequence : SequenceAfterTaken();
  for (uint64_t i = first_; i != last_; ++i) (void)keep(EntryAt(i));
  first_ = last_ = 0;
  has_taken_ = holds_taken_ = corrupt_ = false;
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
  return SequenceAfterTaken();
}

uint64_t LossyRingWriter::LastSequence() {
  (void)Synchronise();
  if (count() == 0) return taken_.sequence;
  return EntryAt(last_ - 1).sequence;
}

bool LossyRingWriter::PeekOldest(FrameHeader* header) {
  (void)Synchronise();
  if (count() == 0) return false;
  FrameView view;
  (void)Show(oldest(), &view);
  *header = view.header;
  return true;
}

bool LossyRingWriter::LacksCommitWord(uint64_t* position) {
  if (!Synchronise() || count() == 0) return false;
  // The reader that has the frame before may still come to this one, and what
  // is left begins anew with the one that is held.
  if (HoldsTaken()) return false;
  *position = positions_.next.load(std::memory_order_relaxed);
  // The reader may have gone on meanwhile.
  if (*position != oldest().start && *position != oldest().frame) return false;
  return SharedWordAt<uint32_t>(At(*position))
             .load(std::memory_order_relaxed) == 0;
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
    // A reader that still looks there, and finds what is written there next,
    // looks at `next` again and must not find the old value.
    ReleaseFence();
    ++first_;
    (void)Show(entry, dropped);
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
  return !has_taken_ || taken_.sequence > sequence || !HoldsTaken();
}

void LossyRingWriter::ForEachFrame(
    absl::FunctionRef<void(const FrameHeader&)> visit) {
  (void)Synchronise();
  const auto look = [&](const Entry& entry) {
    FrameView view;
    (void)Show(entry, &view);
    visit(view.header);
  };
  if (HoldsTaken()) look(taken_);
  for (uint64_t i = first_; i != last_; ++i) look(EntryAt(i));
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
  // A writer that drops all the time, or has gone mad, must not keep us here.
  for (int tries = 0; tries < kTriesMax; ++tries) {
    uint64_t next = positions_.next.load(std::memory_order_acquire);
    const size_t offset = next & (memory_.size() - 1);
    // The writer may be another process, and store anything.
    if (offset % kFrameAlignment != 0) return RingReader::Result::kCorrupt;
    const size_t run = memory_.size() - offset;
    const Peeked peeked = Peek(&memory_[offset]);
    const size_t aligned = AlignedFrameBytes(peeked.frame_bytes);
    const bool is_pad = peeked.flags == kFramePad;
    if (!IsSound(peeked, run, memory_.size())) {
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

uint64_t LossyRingReader::CountWaiting() const {
  uint64_t next = positions_.next.load(std::memory_order_acquire);
  uint64_t frames = 0;
  for (size_t seen = 0; seen < memory_.size();) {
    const size_t offset = next & (memory_.size() - 1);
    if (offset % kFrameAlignment != 0) break;
    const Peeked peeked = Peek(&memory_[offset]);
    if (!IsSound(peeked, memory_.size() - offset, memory_.size())) break;
    const size_t aligned = AlignedFrameBytes(peeked.frame_bytes);
    frames += peeked.flags != kFramePad;
    next += aligned;
    seen += aligned;
  }
  return frames;
}

void LossyRingReader::Release() {
  if (!holds_) return;
  holds_ = false;
  // Pairs with the load in HoldsTaken().
  positions_.held.store(LossyPositions::kNothingHeld,
                        std::memory_order_release);
}

}  // namespace mycelium
