#ifndef MYCELIUM_TRANSPORT_LANE_LOSSY_STAGE_H_
#define MYCELIUM_TRANSPORT_LANE_LOSSY_STAGE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/transport/lane/drop_reason.h"
#include "mycelium/transport/lane/lane_memory.h"
#include "mycelium/transport/lane/lossy_ring.h"

namespace mycelium {

// Told of each message that a lossy lane drops.
//
// Thread safety: called with the lane locked, by the thread that publishes or
// that prepares the lane for another reader; must not call back into the lane.
class DropSink {
 public:
  virtual ~DropSink() = default;

  // The payload of `frame` is empty if the message never was in the lane. The
  // view is valid for the call.
  virtual void OnDrop(const FrameView& frame, DropReason reason) = 0;
};

// Where a frame ends in the ring that it was moved to from the stage.
struct MovedFrame {
  uint64_t end;
  uint64_t sequence;
};

// What a lossy lane keeps: the frames that nobody has taken yet, and the rule
// by which they make room for newer ones.
//
// Thread safety: none but that of LossyRingWriter beside a reader of memory()
// and positions(); the lane brings the lock.
//
// Ownership: shares the sink.
class LossyStage final {
 public:
  struct Options {
    size_t depth = 1;  // The most that waits.
    // Drops the message that comes instead of the oldest that waits.
    bool drop_newest = false;
  };

  // The least memory for a lane of that capacity and largest frame.
  static size_t CapacityFor(size_t capacity_bytes, size_t frame_bytes_max);

  LossyStage(const Options& options, std::shared_ptr<LaneMemory> memory,
             std::shared_ptr<DropSink> sink);

  // Makes room for a frame, dropping what is in its way. Empty: the message
  // itself must go, for the reason in `*reason`.
  absl::Span<std::byte> MakeRoom(size_t frame_bytes, DropReason* reason);
  void Commit(uint64_t sequence) { writer_.Commit(sequence); }

  // Drops the message that MakeRoom() had no room for.
  void DropNewest(const FrameView& frame, DropReason reason) {
    sink_->OnDrop(frame, reason);
  }

  bool IsOver(uint64_t sequence) { return writer_.IsOver(sequence); }
  // Takes back what waits, without telling the sink.
  void Recall();
  // Visits the frames that were recalled, too.
  void ForEachFrame(absl::FunctionRef<void(const FrameHeader&)> visit) {
    for (const FrameHeader& frame : recalled_) visit(frame);
    writer_.ForEachFrame(visit);
  }

  // See LossyRingWriter.
  LossyRingWriter::Restarted Restart(
      absl::FunctionRef<void()> renew_positions,
      absl::FunctionRef<void(const FrameView&)> damaged);
  // Restarts on the same positions, without the frames that are larger, which
  // it adds to `*taken_out`. False: no frame is larger, and nothing was done.
  bool Refit(size_t frame_bytes_max, std::vector<FrameHeader>* taken_out);
  uint64_t NextSequence() { return writer_.NextSequence(); }
  uint64_t LastSequence() { return writer_.LastSequence(); }
  bool PeekOldest(FrameHeader* header) { return writer_.PeekOldest(header); }
  bool DropOldest(FrameView* dropped) { return writer_.DropOldest(dropped); }
  bool corrupt() const { return writer_.corrupt(); }
  bool LacksCommitWord(uint64_t* position) {
    return writer_.LacksCommitWord(position);
  }

  absl::Span<const std::byte> memory() const { return memory_->bytes(); }
  LossyPositions& positions() { return memory_->positions().lossy; }

 private:
  const Options options_;
  const std::shared_ptr<LaneMemory> memory_;
  const std::shared_ptr<DropSink> sink_;
  LossyRingWriter writer_;
  std::vector<FrameHeader> recalled_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_LOSSY_STAGE_H_
