#ifndef MYCELIUM_ROUTING_LOCAL_LANE_H_
#define MYCELIUM_ROUTING_LOCAL_LANE_H_

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "mycelium/base/environment.h"
#include "mycelium/routing/inbound_queue.h"
#include "mycelium/routing/local_frame.h"
#include "mycelium/transport/lane/lane.h"
#include "mycelium/transport/lane/lossy_ring.h"

namespace mycelium {

// A lane of a subscription of this process, lossy or not: publishers write to
// one end, the subscription reads from the other.
//
// Thread safety: as InboundQueue::Feed; lane() from any thread.
//
// Ownership: borrows the environment and the doorbell.
class LocalLane final : public InboundQueue::Feed {
 public:
  static absl::StatusOr<std::shared_ptr<LocalLane>> Create(
      Environment& environment, Lane::Options options,
      Lane::Doorbell* doorbell) {
    absl::StatusOr<std::unique_ptr<Lane>> lane =
        Lane::Create(environment, std::move(options), doorbell);
    if (!lane.ok()) return lane.status();
    return std::make_shared<LocalLane>(*std::move(lane));
  }

  explicit LocalLane(std::unique_ptr<Lane> lane) : lane_(std::move(lane)) {
    if (LossyStage* const stage = lane_->stage()) {
      lossy_reader_ = std::make_unique<LossyRingReader>(
          stage->memory(), stage->positions(), kLocalFrameFlags);
    } else {
      reader_ = std::make_unique<RingReader>(
          lane_->ring_memory(), lane_->ring_positions(), kLocalFrameFlags);
    }
  }

  Lane& lane() { return *lane_; }

  // InboundQueue::Feed:
  RingReader::Result Poll(FrameView* frame) override {
    return reader_ != nullptr ? reader_->Poll(frame)
                              : lossy_reader_->Poll(frame);
  }
  bool HasFrame() const override {
    return reader_ != nullptr ? reader_->HasFrame() : lossy_reader_->HasFrame();
  }
  bool DropWaiting(absl::FunctionRef<void(const FrameView&)> visit) override {
    if (lossy_reader_ == nullptr) return false;
    lane_->DropWaiting(visit);
    return true;
  }
  void Release(const FrameHeader&) override {
    if (reader_ != nullptr) {
      reader_->Release();
    } else {
      lossy_reader_->Release();
    }
    lane_->NotifyReleased();
  }

 private:
  const std::unique_ptr<Lane> lane_;
  std::unique_ptr<RingReader> reader_;  // One of the two.
  std::unique_ptr<LossyRingReader> lossy_reader_;
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_LOCAL_LANE_H_
