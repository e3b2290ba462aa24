#include "mycelium/transport/lane/lossy_stage.h"

#include <algorithm>
#include <utility>

namespace mycelium {

absl::StatusOr<std::unique_ptr<LossyStage>> LossyStage::Create(
    Environment& environment, const Options& options, size_t capacity_bytes,
    size_t frame_bytes_max, std::shared_ptr<DropSink> sink) {
  const size_t capacity =
      std::max(capacity_bytes, LossyRingWriter::CapacityFor(frame_bytes_max));
  absl::StatusOr<Mapping> memory = Mapping::Private(environment.sys, capacity);
  if (!memory.ok()) return memory.status();
  return std::unique_ptr<LossyStage>(
      new LossyStage(options, *std::move(memory), std::move(sink)));
}

LossyStage::LossyStage(const Options& options, Mapping memory,
                       std::shared_ptr<DropSink> sink)
    : options_(options),
      memory_(std::move(memory)),
      positions_(std::make_unique<LossyPositions>()),
      sink_(std::move(sink)),
      writer_(memory_.bytes(), *positions_, options.depth) {}

absl::Span<std::byte> LossyStage::MakeRoom(size_t frame_bytes,
                                           DropReason* reason) {
  absl::Span<std::byte> room;
  bool was_drained = false;
  while (true) {
    const LossyRingWriter::Fit fit = writer_.TryReserve(frame_bytes, &room);
    if (fit == LossyRingWriter::Fit::kFits) return room;
    *reason = fit == LossyRingWriter::Fit::kDepth ? DropReason::kOverflow
                                                  : DropReason::kOverflowBytes;
    if (options_.drop_newest) return {};
    FrameView oldest;
    if (writer_.DropOldest(&oldest)) {
      sink_->OnDrop(oldest, *reason);
      continue;
    }
    // The reader may just have taken the last one. Seen twice, the frame does
    // not fit beside what is held.
    if (was_drained) return {};
    was_drained = true;
  }
}

}  // namespace mycelium
