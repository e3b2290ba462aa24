#ifndef MYCELIUM_TRANSPORT_LANE_LOSSY_RING_H_
#define MYCELIUM_TRANSPORT_LANE_LOSSY_RING_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "mycelium/base/shared_word.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/transport/lane/ring.h"

namespace mycelium {

// A ring of frames from which the writer may take back what the reader has not
// taken yet. Neither side waits for the other, whatever the other does: a
// reader that stands still holds one frame, and the writer goes round it.
//
// Both sides move the cursor `next` by compare-and-swap: the reader to take the
// frame there, the writer to drop it. So a frame is taken or dropped, never
// both and never neither.
//
// The reader stores the frame it is about to take in `held` first. Only then
// can its compare-and-swap succeed, so a writer that sees a frame taken also
// sees it held until the reader lets go. Frames that were dropped are not held,
// even if `held` names them: the reader's compare-and-swap will fail.
//
// Layout and positions are as in ring.h, but a pad may be anywhere and of any
// size, since it also covers a held frame.
//
// Invariants:
//  (1) The commit word at the writer's position is 0.
//  (2) `next` is where a frame or its pad starts, or the writer's position.
//      Any other value is corruption.
//  (3) What lies between `next` and the writer's position is not written, nor
//      is the frame that is held.
//  (4) At most `depth` frames lie between `next` and the writer's position.
//
// Thread safety: one thread may write while one thread reads, in the same or
// another process. Ownership: writer and reader borrow memory and positions.
//
// Memory ordering: the reader stores `held` before its compare-and-swap
// (release), with which every load and exchange of `next` by the writer pairs
// (acquire). The reader's release of `held` pairs with the writer's load of it.
struct LossyPositions {
  static constexpr uint64_t kNothingHeld = ~uint64_t{0};

  alignas(64) SharedWord<uint64_t> next{0};
  alignas(64) SharedWord<uint64_t> held{kNothingHeld};
};

class LossyRingWriter final {
 public:
  enum class Fit {
    kFits,
    kDepth,    // `depth` frames are waiting already.
    kBytes,    // There is no room for as many bytes.
    kCorrupt,  // The other side has stored a cursor that no frame has.
  };

  // REQUIRES: memory.size() is a power of two, at least kRingBytesMin, and the
  // memory is zero and kFrameAlignment-aligned. depth > 0.
  LossyRingWriter(absl::Span<std::byte> memory, LossyPositions& positions,
                  size_t depth);

  // Reserves `frame_bytes` in `*room` if they fit without dropping anything.
  // What was reserved before and not committed is forgotten.
  // REQUIRES: sizeof(FrameHeader) <= frame_bytes <= frame_bytes_max().
  Fit TryReserve(size_t frame_bytes, absl::Span<std::byte>* room);

  // Makes the reserved frame, which has this sequence, visible.
  void Commit(uint64_t sequence);

  // Takes the oldest waiting frame back. `*dropped` is valid until the next
  // TryReserve(). False: fewer than `waiting` frames wait; the reader may just
  // have taken some.
  // REQUIRES: waiting > 0.
  bool DropOldest(FrameView* dropped, size_t waiting = 1);

  // Frames that nobody has taken.
  size_t waiting();

  // Whether the frame of that sequence, and all before it, were dropped, or
  // taken and let go.
  bool IsOver(uint64_t sequence);

  // Visits the header of each frame that is held or waiting.
  void ForEachFrame(absl::FunctionRef<void(const FrameHeader&)> visit);

  // Starts anew for another reader, on positions that say that nothing was read
  // and nothing is held. The frame that the last reader had taken and not let
  // go, and then the waiting frames, are written anew. `lost` is told, as by
  // DropOldest(), of frames that are larger than `frame_bytes_max` or for which
  // there is no room. `damaged` is told of frames that are no longer what was
  // committed: a sound length and sequence are put into their headers.
  struct Restarted {
    uint64_t next_sequence;  // Of the first frame that the new reader is due.
    bool had_taken;          // The last reader had that one.
  };
  Restarted Restart(absl::FunctionRef<void()> renew_positions,
                    absl::FunctionRef<void(const FrameView&)> lost,
                    absl::FunctionRef<void(const FrameView&)> damaged,
                    size_t frame_bytes_max = ~size_t{0});

  // The sequence that follows the last frame that was taken.
  uint64_t NextSequence();

  // The sequence of the last frame that is held or waiting.
  // REQUIRES: one is.
  uint64_t LastSequence();

  // The header of the oldest frame that waits. False: none does.
  bool PeekOldest(FrameHeader* header);

  // Whether the reader has stored a cursor that no frame has, since Restart().
  bool corrupt() const { return corrupt_; }

  // Whether a frame waits where the reader, which holds none, finds none, since
  // the commit word of the frame, or of the pad before it, is gone.
  // `*position`: where.
  bool LacksCommitWord(uint64_t* position);

  // A ring of this capacity takes a frame of that size whatever is held.
  static size_t CapacityFor(size_t frame_bytes);

  size_t capacity() const { return memory_.size(); }

 private:
  // A frame, from the pad before it, if any, to its end.
  struct Entry {
    uint64_t start;
    uint64_t frame;
    uint64_t end;
    uint64_t sequence;
    uint32_t frame_bytes;
    uint32_t publisher_id;
  };

  bool Synchronise();
  void GrowEntries();
  bool FindPlace(size_t aligned, uint64_t* start);
  uint64_t SequenceAfterTaken() const {
    return has_taken_ ? taken_.sequence + 1 : first_sequence_;
  }
  // Whether the reader has not let go of what it took last.
  bool HoldsTaken();
  // False: that is not what was committed. The view then has a header at most.
  bool Show(const Entry& entry, FrameView* view) const;
  const Entry& EntryAt(uint64_t i) const {
    return entries_[i & (entries_.size() - 1)];
  }
  const Entry& oldest() const { return EntryAt(first_); }
  size_t count() const { return static_cast<size_t>(last_ - first_); }
  std::byte* At(uint64_t position) {
    return &memory_[position & (memory_.size() - 1)];
  }

  absl::Span<std::byte> memory_;
  LossyPositions& positions_;
  const size_t depth_;
  uint64_t position_ = 0;
  uint64_t reserved_start_ = 0;
  uint32_t reserved_bytes_ = 0;

  // The waiting frames, as a ring with a power of two of entries.
  std::vector<Entry> entries_;
  uint64_t first_ = 0;
  uint64_t last_ = 0;
  Entry taken_ = {};  // The last that the reader took.
  bool has_taken_ = false;
  // The reader has not let go of it yet. Once it has, the place is the
  // writer's, whatever the reader says it holds.
  bool holds_taken_ = false;
  bool corrupt_ = false;
  uint64_t first_sequence_ = 1;  // That a reader is due that took nothing.
};

class LossyRingReader final {
 public:
  // `flags_allowed`: see DecodeFrame().
  LossyRingReader(absl::Span<const std::byte> memory, LossyPositions& positions,
                  uint16_t flags_allowed);

  // Takes the next frame, letting go of the one before. What `view` points at
  // stays until the next call or Release(). `view->lost_before` says how many
  // frames were dropped between the two.
  RingReader::Result Poll(FrameView* view);

  // Whether Poll() would find a frame, unless the writer drops it first.
  bool HasFrame() const;

  // How many frames wait. While the writer writes that is an estimate.
  uint64_t CountWaiting() const;

  // The whole frame that was taken last, header included.
  absl::Span<const std::byte> taken() const { return taken_; }

  // Lets go of the frame that was taken last.
  void Release();
  // The same where somebody else has stored that nothing is held.
  void Forget() { holds_ = false; }

 private:
  absl::Span<const std::byte> memory_;
  LossyPositions& positions_;
  const uint16_t flags_allowed_;
  absl::Span<const std::byte> taken_;
  uint64_t last_sequence_ = 0;
  bool holds_ = false;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_LOSSY_RING_H_
