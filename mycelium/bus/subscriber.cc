#include "mycelium/bus/subscriber.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/event_count.h"
#include "mycelium/base/mutex.h"
#include "mycelium/base/start_thread.h"
#include "mycelium/routing/handler_wait.h"

namespace mycelium {

struct SubscriptionHandle::Shared {
  explicit Shared(std::string node) : node_name(std::move(node)) {}

  const std::string node_name;
  mutable Mutex mutex;
  // Until a thread unsubscribes, which takes both.
  std::shared_ptr<NodeRuntime> node ABSL_GUARDED_BY(mutex);
  std::thread worker ABSL_GUARDED_BY(mutex);

  std::atomic<bool> is_working{false};  // The worker has not returned.
  EventCount worker_event;              // Notified when it does.

  // Waits for the worker of a queued subscription that was shut, if there is
  // one. False: the worker is the caller, or waits for the caller, as when
  // handlers unsubscribe each other; it returns later.
  bool AwaitWorker(const Subscription& subscription, Waiter& waiter) {
    if (!is_working.load()) return true;
    const HandlerWait wait(subscription);
    if (wait.in_circle()) return false;
    while (is_working.load()) {
      EventCount::Sleeper sleeper(worker_event);
      if (!is_working.load()) break;
      sleeper.Until(waiter, kNever);
    }
    return true;
  }
};

absl::StatusOr<SubscriptionHandle> SubscriptionHandle::Start(
    std::shared_ptr<NodeRuntime> node,
    std::shared_ptr<Subscription> subscription) {
  SubscriptionHandle handle;  // Unsubscribes if this fails.
  handle.shared_ = std::make_shared<Shared>(node->node());
  handle.subscription_ = std::move(subscription);
  Shared& shared = *handle.shared_;
  MutexLock lock(shared.mutex);
  shared.node = std::move(node);
  if (handle.subscription_->options().mode != DeliveryMode::kQueued) {
    return handle;
  }
  shared.is_working.store(true);
  absl::StatusOr<std::thread> thread = StartThread(
      handle.subscription_->lane().name(),
      // The handler may let go of the handle, and of every other owner of the
      // node.
      [node = shared.node, subscription = handle.subscription_.get(),
       shared = handle.shared_.get()] {
        subscription->SetConsumerThread();
        InboundQueue& queue = subscription->queue();
        while (!queue.closed()) {
          if (subscription->RunNext()) continue;
          node->SpinAndSleep(
              queue.event(), [&] { return queue.HasFrame() || queue.closed(); },
              subscription->options().spin_ns);
        }
        shared->is_working.store(false);
        shared->worker_event.Notify(node->environment().waiter);
      });
  if (!thread.ok()) {
    shared.is_working.store(false);
    return thread.status();
  }
  shared.worker = *std::move(thread);
  return handle;
}

SubscriptionHandle& SubscriptionHandle::operator=(SubscriptionHandle&& other) {
  if (this == &other) return *this;
  // Ends last: see Unsubscribe().
  SubscriptionHandle before(std::move(*this));
  shared_ = std::move(other.shared_);
  subscription_ = std::move(other.subscription_);
  return *this;
}

absl::Status SubscriptionHandle::status() const {
  if (shared_ == nullptr) return absl::OkStatus();
  if (shared_.is_inherited()) return shared_.Check(shared_->node_name);
  MutexLock lock(shared_->mutex);
  if (shared_->node == nullptr) return absl::OkStatus();
  return shared_->node->refusals().Of(subscription_->options().id);
}

// The next two functions destroy what the handler has captured, which may own
// the handle. They use nothing of the handle afterwards.
void SubscriptionHandle::Unsubscribe() {
  if (shared_ == nullptr || shared_.is_inherited()) return;
  const std::shared_ptr<Subscription> subscription = subscription_.get();
  const std::shared_ptr<Shared> shared = shared_.get();
  std::shared_ptr<NodeRuntime> node;
  std::thread worker;
  {
    MutexLock lock(shared->mutex);
    node.swap(shared->node);
    worker.swap(shared->worker);
  }
  if (node != nullptr) {
    node->RemoveSubscription(subscription);
  } else {
    subscription->Close();  // Another thread has unsubscribed, or is about to.
  }
  // Not by join(), which does not return, or throws, if the handler waits for
  // us.
  const bool has_returned =
      shared->AwaitWorker(*subscription, subscription->environment().waiter);
  if (!worker.joinable()) return;
  if (has_returned) {
    worker.join();
  } else {
    worker.detach();
  }
}

bool SubscriptionHandle::UnsubscribeWithin(absl::Duration timeout,
                                           const KeepWaiting& keep_waiting) {
  if (shared_ == nullptr || shared_.is_inherited()) return true;
  const std::shared_ptr<Subscription> subscription = subscription_.get();
  Environment& environment = subscription->environment();
  // A thread that is just looking whether there is a message runs no handler.
  constexpr absl::Duration kMoment = absl::Milliseconds(1);
  const TimeNs deadline =
      DeadlineAfter(environment.clock.NowNs(), std::max(timeout, kMoment));
  // The handle keeps its share of the node, since letting go of the last share
  // waits for all handlers. It also keeps the thread, since Unsubscribe() is
  // not over before the thread has ended.
  std::shared_ptr<NodeRuntime> node;
  {
    MutexLock lock(shared_->mutex);
    node = shared_->node;
  }
  if (node != nullptr) node->ShutSubscription(subscription);
  const bool is_queued = subscription->options().mode == DeliveryMode::kQueued;
  // Notified when a handler returns; its thread may take a little longer.
  EventCount& event = is_queued ? subscription->queue().event()
                                : subscription->gate().left_event();
  const auto is_over = [&subscription] {
    return subscription->IsHandledByThisThread() ||
           (!subscription->in_handler() && !subscription->gate().HasStarted());
  };
  // Once over it stays over, though a thread that looks in vain for a message
  // may be inside for a moment again.
  bool has_ended = is_over();
  std::optional<HandlerWait> wait;
  const auto would_wait_in_circle = [&] {
    if (deadline == kNever) wait.emplace(*subscription);
    return wait.has_value() && wait->in_circle();
  };
  if (!has_ended && would_wait_in_circle()) return false;
  const auto ask_after = [&](TimeNs now) {
    return keep_waiting == nullptr ? kNever
                                   : DeadlineAfter(now, kKeepWaitingPeriod);
  };
  TimeNs now = environment.clock.NowNs();
  TimeNs ask_at = ask_after(now);
  while (!has_ended && now < deadline) {
    if (now >= ask_at) {
      // keep_waiting() may wait for other handlers: one wait at a time.
      wait.reset();
      if (!keep_waiting()) break;
      if (would_wait_in_circle()) return false;
      ask_at = ask_after(now);
    }
    EventCount::Sleeper sleeper(event);
    has_ended = is_over();
    if (has_ended) break;
    sleeper.Until(environment.waiter, std::min(deadline, ask_at));
    has_ended = is_over();
    now = environment.clock.NowNs();
  }
  wait.reset();
  if (!has_ended) return false;
  subscription->Close();  // A thread inside may not have done the rest.
  return true;
}

SubscriberBase& SubscriberBase::operator=(SubscriberBase&& other) {
  if (this == &other) return *this;
  Close();
  node_ = std::move(other.node_);
  subscription_ = std::move(other.subscription_);
  info_ = other.info_;
  origin_ = other.origin_;
  return *this;
}

absl::Status SubscriberBase::CheckNotForked() const {
  if (!subscription_.is_inherited()) return absl::OkStatus();
  return node_ == nullptr ? MovedFrom() : node_->CheckNotForked();
}

absl::Status SubscriberBase::status() const {
  if (node_ == nullptr) return absl::OkStatus();
  if (node_->is_inherited()) return CheckNotForked();
  return node_->refusals().Of(subscription_->options().id);
}

absl::Status SubscriberBase::MovedFrom() {
  return absl::FailedPreconditionError("this subscriber was moved from");
}

void SubscriberBase::Close() {
  if (node_ == nullptr || node_->is_inherited()) return;
  Finish();
  // This destroys what on_error has captured, which may own this subscriber.
  const std::shared_ptr<NodeRuntime> node = std::exchange(node_.get(), nullptr);
  const std::shared_ptr<Subscription> subscription = subscription_.get();
  node->RemoveSubscription(subscription);
  // Other owners may keep the subscription a while, to count its last messages.
  subscription->queue().CloseDescriptor();
}

absl::StatusOr<int> SubscriberBase::Descriptor() {
  if (subscription_.is_inherited()) return CheckNotForked();
  if (subscription_ == nullptr) return MovedFrom();
  InboundQueue& queue = subscription_->queue();
  absl::StatusOr<int> descriptor = queue.Descriptor();
  if (!descriptor.ok()) return descriptor;
  // What is there already makes the descriptor readable too. News is looked for
  // after arming, since arming takes back what earlier news has done.
  const bool is_empty = queue.ArmDescriptor();
  const bool has_news =
      closed() || node_->refusals().HasNews(subscription_->options().id);
  if (!is_empty || has_news) queue.MakeReadable();
  return descriptor;
}

bool SubscriberBase::TryTake(Payload* payload) {
  if (subscription_ == nullptr) return false;
  InboundQueue& queue = subscription_->queue();
  const FrameView* const frame = queue.TakeOrArm();
  if (frame == nullptr) return false;
  subscription_->SetConsumerThread();
  origin_ = &OriginOf(*frame);
  info_ = InfoOf(*frame, *origin_);
  *payload = PayloadOf(*frame, subscription_->type());
  return true;
}

absl::Status SubscriberBase::Take(absl::Duration timeout, Payload* payload,
                                  const KeepWaiting& keep_waiting) {
  if (subscription_.is_inherited()) return CheckNotForked();
  if (TryTake(payload)) return absl::OkStatus();
  if (subscription_ == nullptr) return MovedFrom();
  // While this thread waits, another one that has taken before does not count
  // as the one that must make room.
  subscription_->SetConsumerThread();
  InboundQueue& queue = subscription_->queue();
  // To look is to take, which saves a second look. With a descriptor it only
  // looks, since it would have to arm the descriptor at each look.
  const bool only_looks = queue.has_descriptor();
  const TimeNs deadline =
      DeadlineAfter(node_->environment().clock.NowNs(), timeout);
  RoomWaiter::Outcome outcome;
  do {
    bool taken = false;
    const absl::StatusOr<RoomWaiter::Outcome> waited = node_->WaitWhile(
        keep_waiting, queue.event(),
        [&] {
          taken = taken || (!only_looks && TryTake(payload));
          return taken || (only_looks && queue.HasFrame()) || queue.closed() ||
                 node_->refusals().HasNews(subscription_->options().id);
        },
        deadline, subscription_->options().spin_ns);
    if (!waited.ok()) return waited.status();
    if (taken || TryTake(payload)) return absl::OkStatus();
    if (absl::Status news = TakeNews(); !news.ok()) return news;
    outcome = *waited;
    // kReady, but nothing is left: the message was dropped to make room for the
    // next one, or the news is none any more.
  } while (outcome == RoomWaiter::Outcome::kReady);
  if (outcome == RoomWaiter::Outcome::kWouldDeadlock &&
      timeout > absl::ZeroDuration()) {
    return absl::FailedPreconditionError(
        "Receive() was called from a handler, which it would wait for");
  }
  const absl::Status why = status();
  return absl::DeadlineExceededError(absl::StrCat(
      "no message on \"", subscription_->options().topic, "\" within ",
      absl::FormatDuration(timeout), why.ok() ? "" : "; ", why.message()));
}

absl::Status SubscriberBase::TakeNews() {
  if (subscription_.is_inherited()) return CheckNotForked();
  if (node_ == nullptr) return MovedFrom();
  if (closed()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "subscriber of \"", subscription_->options().topic, "\" is closed"));
  }
  return node_->refusals().TakeNews(subscription_->options().id);
}

absl::Status SubscriberBase::Undecodable() const {
  return absl::DataLossError(
      absl::StrCat("topic \"", info_.topic(), "\": message ", info_.sequence(),
                   " of service ", info_.publisher_service(), " of node ",
                   info_.publisher_node(), " does not parse as ",
                   subscription_->type().name));
}

void SubscriberBase::Count(MessageOutcome outcome) {
  subscription_->CountPulled(*origin_, outcome);
}

absl::Span<const std::byte> RawSubscriber::BytesOf(const Payload& payload) {
  if (!leaves_counting_) Count(true);
  if (payload.object == nullptr) return payload.bytes;
  std::vector<std::byte>& serialised = serialised_.get();
  serialised.resize(payload.ByteSize());
  payload.Serialize(serialised.data());
  return serialised;
}

absl::StatusOr<absl::Span<const std::byte>> RawSubscriber::Receive(
    absl::Duration timeout, const KeepWaiting& keep_waiting) {
  Payload payload;
  if (absl::Status taken = Take(timeout, &payload, keep_waiting); !taken.ok()) {
    return taken;
  }
  return BytesOf(payload);
}

absl::StatusOr<std::optional<absl::Span<const std::byte>>>
RawSubscriber::TryReceive() {
  using Bytes = std::optional<absl::Span<const std::byte>>;
  if (subscription_.is_inherited()) return CheckNotForked();
  Payload payload;
  if (!TryTake(&payload)) return Bytes();
  // Made where it is returned: a copy would read it before the store of its
  // flag has arrived.
  return absl::StatusOr<Bytes>(absl::in_place, BytesOf(payload));
}

}  // namespace mycelium
