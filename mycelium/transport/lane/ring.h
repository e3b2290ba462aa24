#ifndef MYCELIUM_TRANSPORT_LANE_RING_H_
#define MYCELIUM_TRANSPORT_LANE_RING_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/base/attributes.h"
#include "absl/types/span.h"
#include "mycelium/base/prefetch.h"
#include "mycelium/base/shared_word.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/codec/frame_encoder.h"
#include "mycelium/codec/frame_format.h"

namespace mycelium {

// A ring of variable-length frames from one writer to one reader, laid out in
// memory that both can see. Neither side ever blocks, allocates or enters the
// kernel.
//
// Positions are absolute: they count bytes since the ring was made and never
// wrap. A frame is contiguous; where it does not fit before the end of the
// memory, a pad frame fills the rest. Each header's first four bytes are the
// commit word: 0 until the frame may be read.
//
// Invariants:
//  (1) The commit word at the writer's position is 0: clearing it is part of
//      committing what lies before it, and room for it is part of every claim.
//  (2) released <= reader's cursor <= writer's position
//      <= released + capacity - kFrameAlignment.
//  (3) What lies between `released` and the writer's position is not written.
//
// Thread safety: one thread may write while one thread reads. A second writer
// or reader is a bug, not an error; Lane brings the lock.
//
// Ownership: writer and reader borrow memory and positions.

// What writer and reader tell each other besides the frames.
struct RingPositions {
  // Where the oldest frame starts that the writer must keep. The reader (or
  // whoever receives its acknowledgements) stores it.
  alignas(64) SharedWord<uint64_t> released{0};
};

inline constexpr size_t kRingBytesMin = 4096;

class RingWriter final {
 public:
  // REQUIRES: memory.size() is a power of two, at least kRingBytesMin, and the
  // memory is zero and kFrameAlignment-aligned.
  RingWriter(absl::Span<std::byte> memory, RingPositions& positions);

  // Reserves `frame_bytes`, or returns an empty span if they do not fit now.
  // Nothing is written before Commit(), so a claim may be forgotten.
  // REQUIRES: sizeof(FrameHeader) <= frame_bytes <= frame_bytes_max().
  absl::Span<std::byte> TryClaim(size_t frame_bytes);
  // The same for CommitFrom(): whether they fit.
  bool TryClaimFrom(size_t frame_bytes);

  // Makes the frame of the last claim visible.
  void Commit();

  // The same for a frame that was made elsewhere: `header` with any commit
  // word, and all that follows it. A reader that polls has the first cache
  // line, so that line is written last, all at once: written twice, it would go
  // back and forth.
  void CommitFrom(const FrameHeader& header, absl::Span<const std::byte> rest);

  // What `released` has to be before TryClaim(frame_bytes) can succeed.
  uint64_t ReleasedFor(size_t frame_bytes) const;

  // How far the reader was when the writer last looked. The writer relies on
  // it.
  uint64_t released_seen() const { return limit_ - capacity(); }

  // Where the next frame goes, give or take a pad.
  uint64_t position() const { return position_; }

  // Where the frame of the last claim ends.
  uint64_t claimed_end() const {
    return claim_start_ + AlignedFrameBytes(claim_bytes_);
  }

  // Where the pad starts that fills the end of the memory in the lap of
  // `position_`; a position of an earlier lap if that lap has none.
  uint64_t pad_from() const { return pad_from_; }

  absl::Span<const std::byte> memory() const { return memory_; }
  size_t capacity() const { return memory_.size(); }
  size_t frame_bytes_max() const { return memory_.size() / 2; }

 private:
  static constexpr size_t kLineBytes = 64;
  static constexpr size_t kLinesAhead = 6;
  static_assert(sizeof(FrameHeader) < kLineBytes);

  static void StoreCommit(std::byte* header, uint32_t frame_bytes) {
    // Pairs with RingReader::LoadCommit().
    SharedWordAt<uint32_t>(header).store(frame_bytes,
                                         std::memory_order_release);
  }
  static void ClearCommit(std::byte* header) {
    // Relaxed: the StoreCommit() that follows publishes it.
    SharedWordAt<uint32_t>(header).store(0, std::memory_order_relaxed);
  }
  std::byte* At(uint64_t position) const {
    return memory_.data() + (position & (capacity() - 1));
  }
  uint64_t StartFor(size_t aligned) const {
    const size_t run = capacity() - (position_ & (capacity() - 1));
    return aligned <= run ? position_ : position_ + run;
  }
  // Whether a frame that ends at `end` leaves the unread ones alone.
  bool Fits(uint64_t end) {
    return end + kFrameAlignment <= limit_ || FitsBehind(end);
  }
  // The same, after a look at how far the reader is by now.
  bool FitsBehind(uint64_t end);
  // What Commit() does once the next commit word is clear.
  void FinishCommit(std::byte* room, uint64_t next);
  void CommitPad();

  absl::Span<std::byte> memory_;
  RingPositions& positions_;
  uint64_t position_ = 0;
  uint64_t limit_;  // A cached `released` plus the capacity.
  uint64_t pad_from_ = 0;
  uint64_t claim_start_ = 0;
  uint32_t claim_bytes_ = 0;
};

class RingReader final {
 public:
  enum class Result { kFrame, kEmpty, kCorrupt };

  // `flags_allowed`: see DecodeFrame().
  RingReader(absl::Span<const std::byte> memory, RingPositions& positions,
             uint16_t flags_allowed);

  // Takes the next frame. What `view` points at stays until Release().
  Result Poll(FrameView* view) {
    const uint64_t at = cursor();
    const size_t offset = at & (memory_.size() - 1);
    if (LoadCommit(At(offset)) == 0) return Result::kEmpty;
    // A pad is no frame: it is left to PollOnwards(), like what is corrupt.
    const auto rest = absl::MakeConstSpan(At(offset), memory_.size() - offset);
    if (DecodeFrame(rest, memory_.size() / 2, flags_allowed_, view) !=
        FrameVerdict::kOk) {
      return PollOnwards(view);
    }
    cursor_.store(at + AlignedFrameBytes(view->header.frame_bytes),
                  std::memory_order_relaxed);
    return Result::kFrame;
  }

  // A frame with neither flags nor an extension, as most are.
  struct Bare {
    const std::byte* frame;  // Null: there is none.
    uint32_t frame_bytes;
    uint64_t end;  // Where the next frame starts.
  };
  // Poll() for a caller that decodes the frame itself: takes the next one if it
  // is bare, of that sequence, and of no more than `frame_bytes_max`, which is
  // no more than half the ring. Otherwise nothing was done, and Poll() tells
  // what there is.
  ABSL_ATTRIBUTE_ALWAYS_INLINE Bare PollBare(size_t frame_bytes_max,
                                             uint64_t sequence) {
    const uint64_t at = cursor();
    const size_t offset = at & (memory_.size() - 1);
    const std::byte* const frame = memory_.data() + offset;
    const uint32_t frame_bytes = LoadCommit(frame);
    const Bare none = {nullptr, 0, at};
    if (frame_bytes < sizeof(FrameHeader) || frame_bytes > frame_bytes_max ||
        frame_bytes > memory_.size() - offset) {
      return none;
    }
    // Copied, not looked at in place, since the writer may change them.
    uint32_t flags_and_extension;
    uint64_t found_sequence;
    static_assert(offsetof(FrameHeader, extension_bytes) ==
                  offsetof(FrameHeader, flags) + 2);
    CopyFromShared(&flags_and_extension, frame + offsetof(FrameHeader, flags),
                   sizeof flags_and_extension);
    CopyFromShared(&found_sequence,
                   frame + offsetof(FrameHeader, lane_sequence),
                   sizeof found_sequence);
    if (flags_and_extension != 0 || found_sequence != sequence) return none;
    const uint64_t end = at + AlignedFrameBytes(frame_bytes);
    cursor_.store(end, std::memory_order_relaxed);
    return {frame, frame_bytes, end};
  }

  // Whether Poll() would find a frame (or corruption). May run beside Poll() on
  // another thread, and is then a hint.
  bool HasFrame() const {
    const size_t offset = cursor() & (memory_.size() - 1);
    // Most frames go on in the next line, which comes beside this one if it is
    // asked for before anybody has looked. The one behind that is asked for
    // only where there is a frame: the writer may have still to write it.
    PrefetchToRead(At(offset + kLineBytes));
    if (LoadCommit(At(offset)) == 0) return false;
    PrefetchToRead(At(offset + 2 * kLineBytes));
    return true;
  }

  // Gives the room of every frame taken so far back to the writer.
  void Release();

  // Where the next frame is expected, before the first Poll().
  // REQUIRES: a multiple of kFrameAlignment.
  void StartAt(uint64_t cursor) { cursor_ = cursor; }

  // Where the next frame starts.
  uint64_t cursor() const { return cursor_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kLineBytes = 64;

  static uint32_t LoadCommit(const std::byte* header) {
    // Pairs with the writer's store: what it stored before is visible.
    return SharedWordAt<uint32_t>(header).load(std::memory_order_acquire);
  }
  const std::byte* At(size_t offset) const {
    return memory_.data() + (offset & (memory_.size() - 1));
  }
  // Poll() where a pad may stand.
  Result PollOnwards(FrameView* view);

  absl::Span<const std::byte> memory_;
  RingPositions& positions_;
  const uint16_t flags_allowed_;
  // Written by Poll(); relaxed: see HasFrame().
  std::atomic<uint64_t> cursor_{0};
};

// Inline, since every message passes here.

inline bool RingWriter::TryClaimFrom(size_t frame_bytes) {
  const size_t aligned = AlignedFrameBytes(frame_bytes);
  const uint64_t start = StartFor(aligned);
  if (!Fits(start + aligned)) return false;
  claim_start_ = start;
  claim_bytes_ = static_cast<uint32_t>(frame_bytes);
  return true;
}

inline absl::Span<std::byte> RingWriter::TryClaim(size_t frame_bytes) {
  if (!TryClaimFrom(frame_bytes)) return {};
  return absl::MakeSpan(At(claim_start_), frame_bytes);
}

inline void RingWriter::Commit() {
  const uint64_t next = claimed_end();
  ClearCommit(At(next));
  FinishCommit(At(claim_start_), next);
}

inline void RingWriter::FinishCommit(std::byte* room, uint64_t next) {
  StoreCommit(room, claim_bytes_);
  if (claim_start_ != position_) CommitPad();
  position_ = next;
}

// Always, so that the header is not in memory before it is in the ring.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline void RingWriter::CommitFrom(
    const FrameHeader& header, absl::Span<const std::byte> rest) {
  // In variables: for all that the compiler knows, a store through a pointer to
  // bytes may change any member.
  std::byte* const memory = memory_.data();
  const uint64_t mask = capacity() - 1;
  const uint64_t start = claim_start_;
  const uint64_t next = claimed_end();
  std::byte* const room = memory + (start & mask);
  std::byte* const to = room + sizeof header;
  // Of `rest`, what shares the header's line.
  constexpr size_t kInLine = kLineBytes - sizeof header;
  const bool fills_line = rest.size() >= kInLine;
  if (fills_line) {
    CopyToSharedInline(to + kInLine, rest.data() + kInLine,
                       rest.size() - kInLine);
  }
  // Not where Commit() does it, so that nothing comes between the first line
  // and its commit word.
  ClearCommit(memory + (next & mask));
  if (!fills_line) {
    CopyToShared(to, rest.data(), rest.size());
  } else {
    CopyToShared(to, rest.data(), kInLine);  // A few instructions, no loop.
  }
  CopyHeaderFields(header, room);
  FinishCommit(room, next);
  // The reader has, or had, the cache lines that are written next. A writer
  // that waits for a line at each commit, as locked instructions do, is as slow
  // as a line that travels. So these lines are asked for some messages earlier.
  PrefetchToWrite(memory + ((next + kLinesAhead * kLineBytes) & mask));
  PrefetchToWrite(memory + ((next + (kLinesAhead + 1) * kLineBytes) & mask));
}

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_RING_H_
