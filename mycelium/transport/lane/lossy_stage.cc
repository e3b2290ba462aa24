#include "mycelium/transport/lane/lossy_stage.h"

#include <algorithm>
#include <utility>

namespace mycelium {

size_t LossyStage::CapacityFor(size_t capacity_bytes, size_t frame_bytes_max) {
  return std::max(capacity_bytes,
                  LossyRingWriter::CapacityFor(frame_bytes_max));
}

LossyStage::LossyStage(const Options& options,
                       std::shared_ptr<LaneMemory> memory,
                       std::shared_ptr<DropSink> sink)
    : options_(options),
      memory_(std::move(memory)),
      sink_(std::move(sink)),
      writer_(memory_->bytes(), positions(), options.depth) {}

LossyRingWriter::Restarted LossyStage::Restart(
    absl::FunctionRef<void()> renew_positions,
    absl::FunctionRef<void(const FrameView&)> damaged) {
  return writer_.Restart(
      renew_positions,
      [this](const FrameView& lost) {
        sink_->OnDrop(lost, DropReason::kOverflowBytes);
      },
      damaged);
}

void LossyStage::Recall() {
  FrameView taken;
  while (writer_.DropOldest(&taken)) recalled_.push_back(taken.header);
}

bool LossyStage::Refit(size_t frame_bytes_max,
                       std::vector<FrameHeader>* taken_out) {
  bool fits = true;
  ForEachFrame([&](const FrameHeader& frame) {
    fits = fits && frame.frame_bytes <= frame_bytes_max;
  });
  if (fits) return false;
  (void)writer_.Restart([] {},
                        [&](const FrameView& lost) {
                          if (lost.header.frame_bytes > frame_bytes_max) {
                            taken_out->push_back(lost.header);
                          } else {
                            sink_->OnDrop(lost, DropReason::kOverflowBytes);
                          }
                        },
                        [this](const FrameView& damaged) {
                          sink_->OnDrop(damaged, DropReason::kUndecodable);
                        },
                        frame_bytes_max);
  return true;
}

absl::Span<std::byte> LossyStage::MakeRoom(size_t frame_bytes,
                                           DropReason* reason) {
  absl::Span<std::byte> room;
  int in_vain = 0;
  while (true) {
    const LossyRingWriter::Fit fit = writer_.TryReserve(frame_bytes, &room);
    if (fit == LossyRingWriter::Fit::kFits) return room;
    *reason = fit == LossyRingWriter::Fit::kDepth ? DropReason::kOverflow
                                                  : DropReason::kOverflowBytes;
    if (options_.drop_newest) return {};
    FrameView oldest;
    // None of those that are left, if the reader has made room meanwhile.
    const size_t waiting =
        fit == LossyRingWriter::Fit::kDepth ? options_.depth : 1;
    if (writer_.DropOldest(&oldest, waiting)) {
      sink_->OnDrop(oldest, *reason);
      continue;
    }
    // The reader may just have taken one of `depth`, and then the last one.
    // After that the frame does not fit beside what is held.
    if (++in_vain > 2) return {};
  }
}

}  // namespace mycelium
