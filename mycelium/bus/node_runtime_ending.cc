// The part of NodeRuntime that ends: subscriptions, the services of a bus, and
// the node.
#include <algorithm>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "mycelium/bus/node_runtime.h"

namespace mycelium {
namespace {

// How long peers have for their last word, at least and at most, whatever the
// deadline.
constexpr int64_t kPartingMinNs = 100'000'000;
constexpr int64_t kPartingMaxNs = 1'000'000'000;
// How long a handler has to return, at least, whatever the deadline.
constexpr int64_t kMomentNs = 1'000'000;

}  // namespace

void NodeRuntime::RemoveSubscription(
    std::shared_ptr<Subscription> subscription) {
  if (is_inherited()) return;
  subscription->Close();
  Retire(subscription);
}

void NodeRuntime::ShutSubscription(std::shared_ptr<Subscription> subscription) {
  if (is_inherited()) return;
  (void)subscription->Shut();
  Retire(subscription);
}

absl::Status NodeRuntime::RemoveSubscriptionBy(
    const std::shared_ptr<Subscription>& subscription, Patience& patience) {
  const bool is_out = subscription->Shut();
  Retire(subscription);
  // Notified when a thread returns from the handler; the message that it has is
  // counted then.
  EventCount& event = subscription->options().mode == DeliveryMode::kQueued
                          ? subscription->queue().event()
                          : subscription->gate().left_event();
  const Outcome outcome = WaitPatiently(
      event,
      [&] {
        return !subscription->in_handler() &&
               (is_out || !subscription->gate().HasStarted());
      },
      // A caller that has no time left looks more than once, too: the loop is
      // inside a gate between two handlers as well.
      patience, environment_.clock.NowNs() + kMomentNs);
  if (outcome == Outcome::kReady) {
    subscription->Close();  // A thread inside may not have done the rest.
    return absl::OkStatus();
  }
  return absl::DeadlineExceededError(
      absl::StrCat(subscription->lane().name(), ": its handler still runs"));
}

void NodeRuntime::Retire(const std::shared_ptr<Subscription>& subscription) {
  const uint32_t id = subscription->options().id;
  if (dispatcher_->Find(id) == nullptr) return;
  TakeOut(subscription);
  // What these have captured may call us, so they end without the lock.
  std::function<void(const absl::Status&)> on_error;
  std::function<void(const PublisherGone&)> on_publisher_gone;
  std::vector<std::shared_ptr<Subscription>> folded;
  // In one step: a report in between would know nothing of the subscription.
  MutexLock lock(mutex_);
  // Another thread may be ending the subscription too; it is counted once.
  if (dispatcher_->Find(id) == nullptr) return;
  dispatcher_->Remove(id);
  folded = FoldEndedSubscriptions();
  ended_subscriptions_.push_back(subscription);
  on_error.swap(on_error_[id]);
  on_error_.erase(id);
  on_publisher_gone.swap(on_publisher_gone_[id]);
  on_publisher_gone_.erase(id);
  refusals_.RemoveSubscription(id);
}

void NodeRuntime::TakeOut(const std::shared_ptr<Subscription>& subscription) {
  router_->RemoveLocal(*subscription);
  loop_->Post([this, subscription] { peers_->Unsubscribe(*subscription); });
}

std::vector<std::shared_ptr<Subscription>>
NodeRuntime::FoldEndedSubscriptions() {
  auto& ended = ended_subscriptions_;
  // Frames on their way, or a handler up the stack, may still count. The gate
  // is read before the shares: a thread takes a share before it leaves the gate
  // of an ended subscription.
  const auto over = std::partition(
      ended.begin(), ended.end(),
      [](const std::shared_ptr<Subscription>& subscription) {
        return subscription->gate().IsRunning() || subscription.use_count() > 1;
      });
  std::vector<std::shared_ptr<Subscription>> folded(
      std::make_move_iterator(over), std::make_move_iterator(ended.end()));
  ended.erase(over, ended.end());
  for (const auto& subscription : folded) {
    for (const FlowReport& report : ReportsOf(*subscription)) {
      ended_reports_.FoldEnded(report);
    }
  }
  return folded;
}

absl::Status NodeRuntime::CloseService(const std::string& service,
                                       Patience patience) {
  bool ends_node = false;
  bool is_first = false;
  {
    // In one step: a service that is added meanwhile keeps the node, or finds
    // that it ends.
    MutexLock lock(mutex_);
    closing_.insert(service);
    ends_node = shut_down_ || closing_.size() == services_.size();
    is_first = ends_node && !std::exchange(shut_down_, true);
  }
  if (ends_node) return ShutdownAs(is_first, std::move(patience));
  // As in Shutdown(), but for this service only.
  absl::Status flushed = FlushService(service, patience);
  for (const auto& publisher : router_->PublishersOf(service)) {
    RemovePublisher(*publisher);
  }
  router_->changed_event().Notify(environment_.waiter);
  if (flushed.ok()) flushed = FlushService(service, patience);
  // A handler that ended its own subscription may still run.
  for (const auto& subscription : SubscriptionsAndEnded()) {
    if (subscription->options().service != service) continue;
    absl::Status removed = RemoveSubscriptionBy(subscription, patience);
    if (flushed.ok()) flushed = std::move(removed);
  }
  RemoveService(service);
  return patience.StatusOf(flushed);
}

absl::Status NodeRuntime::Shutdown(Patience patience) {
  if (absl::Status outside = CheckOutsideHandlers("Shutdown()");
      !outside.ok()) {
    return outside;
  }
  return ShutdownAs(BeginShutdown(), std::move(patience));
}

bool NodeRuntime::BeginShutdown() {
  MutexLock lock(mutex_);
  return !std::exchange(shut_down_, true);
}

absl::Status NodeRuntime::ShutdownAs(bool is_first, Patience patience) {
  if (!is_first) {
    const Outcome outcome = WaitPatiently(
        ended_event_, [this] { return has_ended(); }, patience);
    if (outcome == Outcome::kReady) return absl::OkStatus();
    return patience.StatusOf(absl::DeadlineExceededError(
        absl::StrCat("node ", node_, " is still shutting down")));
  }
  router_->changed_event().Notify(environment_.waiter);
  // Others may publish during the first flush; the second one waits for what
  // was accepted meanwhile.
  const bool waits = patience.until != kInDestructor;
  absl::Status flushed = waits ? FlushAll(patience) : absl::OkStatus();
  router_->ClosePublishers();
  if (waits && flushed.ok()) flushed = FlushAll(patience);
  for (const auto& subscription : SubscriptionsAndEnded()) {
    // A destructor has no status to return.
    if (!waits) {
      RemoveSubscription(subscription);
      continue;
    }
    absl::Status removed = RemoveSubscriptionBy(subscription, patience);
    if (flushed.ok()) flushed = std::move(removed);
  }
  ReportTaken();
  const auto part = [this] {
    listeners_.clear();
    peers_->Part();
  };
  const auto end = [this] {
    peers_->Shutdown();
    ended_->store(true, std::memory_order_release);
    ended_event_.Notify(environment_.waiter);
    WakePoll();
  };
  // A handler may keep the loop's thread. A task that has not run in time runs
  // when the handler returns; a destructor waits for it.
  if (!waits) patience.until = kNever;
  const auto run_in_time = [&](const std::function<void()>& task) {
    const TimeNs least = environment_.clock.NowNs() + kPartingMinNs;
    return OnLoopBy(task, patience, least);
  };
  const bool has_parted = run_in_time(part);
  if (has_parted) {
    const TimeNs now = environment_.clock.NowNs();
    Patience last_word = patience;
    last_word.until =
        std::min(waits ? patience.until : kInDestructor, now + kPartingMaxNs);
    (void)WaitPatiently(
        peers_->parted_event(), [this] { return peers_->HasParted(); },
        last_word, now + kPartingMinNs);
    if (last_word.is_ended && !patience.is_ended) EndPatience(patience);
  }
  if (!run_in_time(end)) {
    return patience.StatusOf(absl::DeadlineExceededError(
        absl::StrCat("node ", node_, ": a handler keeps its thread, and its ",
                     "links end when that returns")));
  }
  return patience.StatusOf(flushed);
}

void NodeRuntime::ReportTaken() {
  std::vector<std::shared_ptr<Subscription>> ended;
  {
    MutexLock lock(mutex_);
    ended = ended_subscriptions_;
  }
  // A message that a handler, or a thread that pulled, still has counts as
  // delivered.
  for (const auto& subscription : ended) subscription->queue().ReportTaken();
}

}  // namespace mycelium
