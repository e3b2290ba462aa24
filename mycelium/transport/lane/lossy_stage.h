#ifndef MYCELIUM_TRANSPORT_LANE_LOSSY_STAGE_H_
#define MYCELIUM_TRANSPORT_LANE_LOSSY_STAGE_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/mapping.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/transport/lane/drop_reason.h"
#include "mycelium/transport/lane/lossy_ring.h"

namespace mycelium {

// Told of each message that a lossy lane drops.
//
// Thread safety: called by whoever publishes, with the lane locked; must not
// call back into the lane.
class DropSink {
 public:
  virtual ~DropSink() = default;

  // The payload of `frame` is empty if the message never was in the lane. The
  // view is valid for the call.
  virtual void OnDrop(const FrameView& frame, DropReason reason) = 0;
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

  static absl::StatusOr<std::unique_ptr<LossyStage>> Create(
      Environment& environment, const Options& options, size_t capacity_bytes,
      size_t frame_bytes_max, std::shared_ptr<DropSink> sink);

  // Makes room for a frame, dropping what is in its way. Empty: the message
  // itself must go, for the reason in `*reason`.
  absl::Span<std::byte> MakeRoom(size_t frame_bytes, DropReason* reason);
  void Commit(uint64_t sequence) { writer_.Commit(sequence); }

  // Drops the message that MakeRoom() had no room for.
  void DropNewest(const FrameView& frame, DropReason reason) {
    sink_->OnDrop(frame, reason);
  }

  bool IsOver(uint64_t sequence) { return writer_.IsOver(sequence); }
  bool empty() { return IsOver(~uint64_t{0} - 1); }
  void ForEachFrame(absl::FunctionRef<void(const FrameHeader&)> visit) {
    writer_.ForEachFrame(visit);
  }

  absl::Span<const std::byte> memory() const { return memory_.bytes(); }
  LossyPositions& positions() { return *positions_; }

 private:
  LossyStage(const Options& options, Mapping memory,
             std::shared_ptr<DropSink> sink);

  const Options options_;
  const Mapping memory_;
  const std::unique_ptr<LossyPositions> positions_;
  const std::shared_ptr<DropSink> sink_;
  LossyRingWriter writer_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_LOSSY_STAGE_H_
