#include "mycelium/routing/subscription.h"

#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mycelium {

// The subscription's own lane as one of the rings that its queue reads.
class Subscription::LocalFeed final : public InboundQueue::Feed {
 public:
  explicit LocalFeed(Lane& lane)
      : lane_(lane),
        reader_(lane.ring_memory(), lane.ring_positions(), kLocalFrameFlags) {}

  RingReader& reader() override { return reader_; }
  void OnReleased(const FrameHeader&) override { lane_.NotifyReleased(); }
  bool ended() const override { return false; }

 private:
  Lane& lane_;
  RingReader reader_;
};

absl::StatusOr<std::shared_ptr<Subscription>> Subscription::Create(
    Environment& environment, Options options, MessageHandler handler,
    LogSink log) {
  std::shared_ptr<Subscription> subscription(new Subscription(
      environment, std::move(options), std::move(handler), std::move(log)));
  Lane::Options lane_options;
  lane_options.name =
      absl::StrCat("subscription ", subscription->options_.service, " to \"",
                   subscription->options_.topic, "\"");
  lane_options.capacity_bytes = subscription->options_.lane_bytes;
  lane_options.frame_bytes_max = subscription->options_.frame_bytes_max;
  absl::StatusOr<std::unique_ptr<Lane>> lane =
      Lane::Create(environment, std::move(lane_options), subscription.get());
  if (!lane.ok()) return lane.status();
  subscription->lane_ = *std::move(lane);
  if (subscription->options_.mode == DeliveryMode::kQueued) {
    subscription->queue_.AddFeed(
        std::make_shared<LocalFeed>(*subscription->lane_));
  } else {
    subscription->spill_reader_ = std::make_unique<RingReader>(
        subscription->lane_->ring_memory(),
        subscription->lane_->ring_positions(), kLocalFrameFlags);
  }
  return subscription;
}

Subscription::Subscription(Environment& environment, Options options,
                           MessageHandler handler, LogSink log)
    : environment_(environment),
      options_(std::move(options)),
      handler_(std::move(handler)),
      log_(std::move(log)),
      queue_(environment) {}

Subscription::~Subscription() { Close(); }

std::shared_ptr<FlowCounters> Subscription::FlowFrom(const Origin& origin) {
  MutexLock lock(flows_mutex_);
  std::shared_ptr<FlowCounters>& flow = flows_[&origin];
  if (flow == nullptr) flow = std::make_shared<FlowCounters>();
  return flow;
}

FlowCounters& Subscription::CachedFlow(const Origin& origin) {
  if (cached_origin_ != &origin) {
    cached_flow_ = FlowFrom(origin).get();  // flows_ keeps it.
    cached_origin_ = &origin;
  }
  return *cached_flow_;
}

void Subscription::Run(FlowCounters& flow, const Payload& payload,
                       const MessageInfo& info) {
  bool decodable = true;
  try {
    decodable = handler_(payload, info);
  } catch (const std::exception& error) {
    ReportHandlerError(error.what());
  } catch (...) {
    ReportHandlerError("an exception that is no std::exception");
  }
  if (decodable) {
    flow.CountDelivered();
  } else {
    flow.CountDropped(DropReason::kUndecodable, 1);
  }
}

void Subscription::ReportHandlerError(const char* what) {
  handler_errors_.fetch_add(1, std::memory_order_relaxed);
  log_(LogLevel::kError,
       absl::StrCat(lane_->name(), ": handler threw: ", what));
}

void Subscription::Leave() {
  if (gate_.LeaveQuickly()) return;  // Somebody may destroy this from here on.
  const std::shared_ptr<Subscription> keep = shared_from_this();
  if (!gate_.LeaveSlowly(environment_.waiter)) LeaveAfterDraining();
  if (gate_.closed()) DropSpilled();
}

void Subscription::LeaveAfterDraining() {
  const std::shared_ptr<Subscription> keep = shared_from_this();
  do {
    DrainSpill();
  } while (!gate_.Leave(environment_.waiter));
  if (gate_.closed()) DropSpilled();
}

void Subscription::DrainSpill() {
  FrameView frame;
  while (!gate_.closed() &&
         spill_reader_->Poll(&frame) == RingReader::Result::kFrame) {
    const Origin& origin = OriginOf(frame);
    Run(CachedFlow(origin), PayloadOf(frame, type()), InfoOf(frame, origin));
    FinishSpilled(frame);
  }
}

void Subscription::DropSpilled() {
  // The gate is closed and left: only Close() and the last one inside get here.
  MutexLock lock(drop_mutex_);
  FrameView frame;
  while (spill_reader_->Poll(&frame) == RingReader::Result::kFrame) {
    DropFrame(frame);
    FinishSpilled(frame);
  }
}

void Subscription::FinishSpilled(const FrameView& frame) {
  DestroyObject(frame);
  // A frame of a link; the publishers of this node have other ids.
  if (frame.header.publisher_id == 0) {
    SpillTracker::FinishSpill(frame.header.lane_sequence);
  }
  spill_reader_->Release();
  lane_->NotifyReleased();
  // Pairs with the exchange in CallWhenRoom(): whichever comes second sees what
  // the other did before.
  if (has_room_callbacks_.exchange(false)) RunRoomCallbacks();
}

void Subscription::CallWhenRoom(size_t frame_bytes,
                                std::function<void()> callback) {
  {
    MutexLock lock(room_mutex_);
    room_callbacks_.push_back(std::move(callback));
    has_room_callbacks_.exchange(true);
  }
  if (lane_->HasRoom(frame_bytes)) RunRoomCallbacks();
}

void Subscription::RunRoomCallbacks() {
  std::vector<std::function<void()>> callbacks;
  {
    MutexLock lock(room_mutex_);
    callbacks.swap(room_callbacks_);
  }
  for (const auto& callback : callbacks) callback();
}

bool Subscription::RunNext() {
  FrameView frame;
  if (!queue_.Take(&frame)) return false;
  const Origin& origin = OriginOf(frame);
  Run(CachedFlow(origin), PayloadOf(frame, type()), InfoOf(frame, origin));
  queue_.Finish();
  return true;
}

void Subscription::CountPulled(const Origin& origin, bool decodable) {
  if (decodable) {
    CachedFlow(origin).CountDelivered();
  } else {
    CachedFlow(origin).CountDropped(DropReason::kUndecodable, 1);
  }
}

void Subscription::DropFrame(const FrameView& frame) {
  FlowFrom(OriginOf(frame))->CountDropped(DropReason::kSubscriberGone, 1);
}

void Subscription::Close() {
  if (closed_.exchange(true)) return;
  if (lane_ == nullptr) return;
  lane_->Close();
  if (options_.mode == DeliveryMode::kQueued) {
    queue_.Close([this](const FrameView& frame) { DropFrame(frame); });
    return;
  }
  gate_.Close(environment_.waiter);
  // Called from inside the handler, the rest is dropped when that returns.
  if (!gate_.IsInside()) DropSpilled();
}

void Subscription::DropLate(InboundQueue::Feed& feed) {
  queue_.DropLate(feed, [this](const FrameView& frame) { DropFrame(frame); });
}

std::vector<Subscription::FlowLedger> Subscription::Ledgers() const {
  MutexLock lock(flows_mutex_);
  std::vector<FlowLedger> ledgers;
  for (const auto& [origin, flow] : flows_) {
    ledgers.push_back({origin, flow->Read()});
  }
  return ledgers;
}

void Subscription::OnCommit(Lane&) {
  if (options_.mode == DeliveryMode::kQueued) queue_.Notify();
}

}  // namespace mycelium
