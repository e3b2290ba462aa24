#include "mycelium/routing/subscription.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/routing/handler_wait.h"

namespace mycelium {
namespace {

thread_local bool this_thread_has_taken = false;

}  // namespace

// How much larger a link's frame is while it waits for a busy handler: its
// extension, rounded up, is followed by the word of the SpillTracker.
constexpr size_t kSpillExtraBytes =
    PaddedExtensionBytes(SpillTracker::kWordBytes) + kExtensionAlignment;

// Counts what the subscription's lossy lanes drop. The subscription owns the
// lanes, so it outlives this.
class Subscription::Drops final : public DropSink {
 public:
  explicit Drops(Subscription& subscription) : subscription_(subscription) {}

  void OnDrop(const FrameView& frame, DropReason reason) override {
    subscription_.DropFrame(frame, reason);
    DestroyObject(frame);
  }

 private:
  Subscription& subscription_;
};

absl::StatusOr<std::shared_ptr<Subscription>> Subscription::Create(
    Environment& environment, Options options, MessageHandler handler,
    LogSink log) {
  std::shared_ptr<Subscription> subscription(new Subscription(
      environment, std::move(options), std::move(handler), std::move(log)));
  absl::StatusOr<Lane*> lane = subscription->LaneFor(LaneRule());
  if (!lane.ok()) return lane.status();
  return subscription;
}

absl::StatusOr<Lane*> Subscription::LaneFor(const LaneRule& asked) {
  LaneRule rule = asked;
  rule.window = 0;  // Nothing is on its way within a process.
  MutexLock lock(lanes_mutex_);
  for (size_t i = 0; i < rules_.size(); ++i) {
    if (rules_[i] == rule) return &owned_lanes_[i]->lane();
  }
  const std::string name = absl::StrCat("subscription ", options_.service,
                                        " to \"", options_.topic, "\"");
  if (rules_.size() == kLanesMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat(name, ": publishers with more than ", kLanesMax - 1,
                     " different lossy overflow rules; give them equal depth"));
  }
  Lane::Options lane_options;
  lane_options.name = name;
  lane_options.capacity_bytes = options_.lane_bytes;
  lane_options.frame_bytes_max = options_.frame_bytes_max;
  if (options_.mode == DeliveryMode::kInline && !rule.own) {
    // Takes every frame that a link may bring, whatever the size of its lanes.
    lane_options.frame_bytes_max += kSpillExtraBytes;
    lane_options.capacity_bytes =
        std::max(lane_options.capacity_bytes, 2 * lane_options.frame_bytes_max);
  }
  lane_options.lossy = rule.stage();
  if (rule.lossy) lane_options.drop_sink = std::make_shared<Drops>(*this);
  absl::StatusOr<std::shared_ptr<LocalLane>> made =
      LocalLane::Create(environment_, std::move(lane_options), this);
  if (!made.ok()) return made.status();
  if (closed()) (*made)->lane().Close();
  lanes_[rules_.size()].store(made->get(), std::memory_order_release);
  rules_.push_back(rule);
  owned_lanes_.push_back(*made);
  if (options_.mode == DeliveryMode::kQueued) queue_.AddFeed(*made);
  return &(*made)->lane();
}

std::vector<Lane*> Subscription::Lanes() {
  std::vector<Lane*> lanes;
  for (size_t i = 0; LaneAt(i) != nullptr; ++i) {
    lanes.push_back(&LaneAt(i)->lane());
  }
  return lanes;
}

Subscription::Subscription(Environment& environment, Options options,
                           MessageHandler handler, LogSink log)
    : environment_(environment),
      options_(std::move(options)),
      has_handler_(handler != nullptr),
      handler_(std::move(handler)),
      log_(std::move(log)),
      queue_(environment) {}

Subscription::~Subscription() { Close(); }

std::shared_ptr<FlowCounters> Subscription::FlowFrom(const Origin& origin) {
  MutexLock lock(flows_mutex_);
  Flow& flow = flows_[&origin];
  if (flow.counters == nullptr) {
    flow = {origin.Keep(), std::make_shared<FlowCounters>()};
  }
  return flow.counters;
}

FlowCounters& Subscription::CachedFlow(const Origin& origin) {
  if (cached_origin_ != &origin) {
    cached_flow_ = FlowFrom(origin).get();  // flows_ keeps it.
    cached_origin_ = &origin;
  }
  return *cached_flow_;
}

void Subscription::CountDropped(FlowCounters& flow, DropReason reason) {
  flow.CountDropped(reason, 1);
  if (options_.on_drop != nullptr) options_.on_drop();
}

void Subscription::ReportHandlerError(const char* what) {
  handler_errors_.fetch_add(1, std::memory_order_relaxed);
  log_(LogLevel::kError,
       absl::StrCat(lane().name(), ": handler threw: ", what));
}

void Subscription::Leave() {
  if (gate_.LeaveQuickly()) return;  // A thread may destroy this from here on.
  const std::shared_ptr<Subscription> keep = shared_from_this();
  switch (gate_.LeaveSlowly(environment_.waiter)) {
    case Gate::Exit::kOut:
      return;
    case Gate::Exit::kOutForGood:
      return OnOutForGood();
    case Gate::Exit::kStillInside:
      return LeaveAfterDraining();
  }
}

void Subscription::DrainAndLeave() {
  if (gate_.Start()) return LeaveAfterDraining();
  Leave();  // It was closed: what is queued is dropped.
}

void Subscription::LeaveAfterDraining() {
  const std::shared_ptr<Subscription> keep = shared_from_this();
  Gate::Exit exit;
  do {
    DrainSpill();
    exit = gate_.Leave(environment_.waiter);
  } while (exit == Gate::Exit::kStillInside);
  if (exit == Gate::Exit::kOutForGood) OnOutForGood();
}

void Subscription::OnOutForGood() {
  DropSpilled();
  ReleaseHandler();
}

void Subscription::ReleaseHandler() {
  // What it has captured may call anything, so it is destroyed without a lock.
  MessageHandler released;
  {
    MutexLock lock(drop_mutex_);
    released.swap(handler_);
  }
}

bool Subscription::HasThisThreadTaken() { return this_thread_has_taken; }

void Subscription::NoteThisThreadTakes() { this_thread_has_taken = true; }

bool Subscription::TakeSpilled(FrameView* frame, LocalLane** from) {
  for (size_t i = 0; (*from = LaneAt(i)) != nullptr; ++i) {
    if ((*from)->Poll(frame) == RingReader::Result::kFrame) return true;
  }
  return false;
}

void Subscription::DrainSpill() {
  FrameView frame;
  LocalLane* from;
  while (!gate_.closed() && TakeSpilled(&frame, &from)) {
    const Origin& origin = OriginOf(frame);
    Run(CachedFlow(origin), PayloadOf(frame, type()), InfoOf(frame, origin));
    FinishSpilled(frame, *from);
  }
}

void Subscription::DropSpilled() {
  // The gate is closed, and no thread has started: only Close() and the last
  // thread inside get here.
  MutexLock lock(drop_mutex_);
  FrameView frame;
  LocalLane* from;
  while (TakeSpilled(&frame, &from)) {
    DropFrame(frame, DropReason::kSubscriberGone);
    FinishSpilled(frame, *from);
  }
}

void Subscription::FinishSpilled(const FrameView& frame, LocalLane& from) {
  DestroyObject(frame);
  // Only a frame that came over a link has an extension.
  if (!frame.extension.empty()) SpillTracker::FinishSpill(frame.extension);
  from.Release(frame.header);
}

bool Subscription::RunNext() {
  // Most looks find nothing, and write nothing.
  if (!queue_.MayTake()) return false;
  // Before the look: a thread that closes the queue after that sees it.
  in_handler_.store(1, std::memory_order_relaxed);
  const FrameView* const frame = queue_.Take();
  if (frame != nullptr) {
    const Origin& origin = OriginOf(*frame);
    Run(CachedFlow(origin), PayloadOf(*frame, type()), InfoOf(*frame, origin));
    // Only now: a thread that waits for us may count next what is in flight.
    queue_.FinishAndClear(in_handler_);
  } else {
    // Pairs with Shut(): the thread that comes second sees what the other
    // stored.
    in_handler_.exchange(0, std::memory_order_acq_rel);
  }
  if (queue_.closed()) {
    ReleaseHandler();
    queue_.Notify();  // A thread may wait for us to be out.
  }
  return frame != nullptr;
}

void Subscription::CountPulled(const Origin& origin, MessageOutcome outcome) {
  Count(CachedFlow(origin), outcome);
}

void Subscription::DropFrame(const FrameView& frame, DropReason reason) {
  CountDropped(*FlowFrom(OriginOf(frame)), reason);
}

bool Subscription::Shut() {
  closed_.exchange(true);  // No store: see ClosedBehind().
  {
    // Another thread that is closing it may not have closed the lanes yet, and
    // nobody drops what comes into a lane once the queue is closed.
    MutexLock lock(lanes_mutex_);  // No lane is added that nobody closes.
    for (const auto& lane : owned_lanes_) lane->lane().Close();
  }
  if (options_.mode == DeliveryMode::kQueued) {
    queue_.Close([this](const FrameView& frame) {
      DropFrame(frame, DropReason::kSubscriberGone);
    });
    const bool is_running =
        in_handler_.fetch_add(0, std::memory_order_acq_rel) != 0;
    if (!is_running) ReleaseHandler();  // Or RunNext() does.
    return true;
  }
  if (!gate_.Shut()) return false;
  // If the handler calls this, the rest is done when it returns.
  if (!gate_.IsInside()) OnOutForGood();
  return true;
}

void Subscription::Close() {
  if (Shut()) return;
  {
    const HandlerWait wait(*this);
    if (wait.in_circle()) return;  // The thread inside does the rest.
    gate_.Close(environment_.waiter);
  }
  OnOutForGood();
}

void Subscription::DropLate(InboundQueue::Feed& feed) {
  queue_.DropLate(feed, [this](const FrameView& frame) {
    DropFrame(frame, DropReason::kSubscriberGone);
  });
}

std::vector<Subscription::FlowLedger> Subscription::Ledgers() const {
  MutexLock lock(flows_mutex_);
  std::vector<FlowLedger> ledgers;
  for (const auto& [origin, flow] : flows_) {
    ledgers.push_back({origin, flow.counters->Read()});
  }
  return ledgers;
}

void Subscription::OnCommit(Lane&) {
  if (options_.mode == DeliveryMode::kQueued) queue_.Notify();
}

}  // namespace mycelium
