// The part of NodeRuntime that lets threads wait, and runs the loop on those
// that have nothing else to do.
#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/cpu_relax.h"
#include "mycelium/bus/node_runtime.h"

namespace mycelium {
namespace {

// How long a waiting thread leaves the loop to another one before it looks.
constexpr int64_t kTurnNs = 1'000'000;
// How often a spinning thread looks at its queue for each turn of the loop.
constexpr int kLooksPerTurn = 32;
// How long a thread that finds a ring full leaves it to the reader, at most:
// about as long as falling asleep and being woken takes. How long it waits
// between two looks, each of which takes a cache line from the reader. How
// often it pauses at most, in case the clock stands still.
constexpr int64_t kRestNs = 10'000;
constexpr int64_t kRestLookNs = 1'000;
constexpr int kRestPausesMax = 10'000;
// How often a thread that waits for lanes looks whether their readers can go
// on.
constexpr absl::Duration kCheckPeriod = absl::Milliseconds(200);

}  // namespace

void NodeRuntime::WakePoll() {
  if (options_.poll != PollMode::kCaller) return;
  loop_->Interrupt();
  ended_event_.Notify(environment_.waiter);
}

absl::StatusOr<bool> NodeRuntime::Poll(TimeNs deadline,
                                       const std::atomic<bool>& closed) {
  if (options_.poll != PollMode::kCaller) {
    return absl::FailedPreconditionError(
        "Poll() is for poll = kCaller; this node has a thread for it: the "
        "first bus of a node says who polls, for all of them");
  }
  if (loop_->InLoop()) {
    return absl::FailedPreconditionError(
        "Poll() was called from inside a handler that Poll() runs");
  }
  // In this order: the end of a bus that is not closed yet is an interrupt that
  // was not seen.
  const uint32_t seen = loop_->interrupts();
  if (closed.load(std::memory_order_acquire)) deadline = 0;
  while (!has_ended()) {
    const EventLoop::Ran ran = loop_->RunOnce(deadline, spin_ns_, seen);
    if (ran != EventLoop::Ran::kOtherThread) {
      // An interrupt alone is nothing that ran.
      return ran == EventLoop::Ran::kSomething && loop_->interrupts() == seen;
    }
    const TimeNs now = environment_.clock.NowNs();
    if (now >= deadline) return false;
    EventCount::Sleeper sleeper(ended_event_);
    if (has_ended()) break;
    if (loop_->interrupts() != seen) return false;
    sleeper.Until(environment_.waiter, std::min(deadline, now + kTurnNs));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("node ", node_, " has been shut down"));
}

RoomWaiter::Outcome NodeRuntime::WaitFor(EventCount& event,
                                         absl::FunctionRef<bool()> ready,
                                         TimeNs deadline) {
  while (!ready()) {
    if (loop_->InLoop()) return Outcome::kWouldDeadlock;
    const TimeNs now = environment_.clock.NowNs();
    if (now >= deadline) return Outcome::kDeadline;
    TimeNs until = deadline;
    if (HasNoThread()) {
      until = std::min(deadline, now + kTurnNs);
      const EventLoop::Ran ran = loop_->RunOnce(until, /*spin_ns=*/0);
      if (ran != EventLoop::Ran::kOtherThread) continue;
    }
    EventCount::Sleeper sleeper(event);
    if (ready()) break;
    sleeper.Until(environment_.waiter, until);
  }
  return Outcome::kReady;
}

void NodeRuntime::Rest(absl::FunctionRef<bool()> is_over, TimeNs deadline) {
  if (spin_ns_ == 0 || loop_->InLoop()) return;
  TimeNs now = environment_.clock.NowNs();
  SpinBackoff::Spell spell(receivers_backoff_, now, spin_ns_,
                           std::min(deadline, now + kRestNs));
  TimeNs look_at = now + kRestLookNs;
  for (int i = 0; i < kRestPausesMax && spell.GoesOn(now); ++i) {
    CpuRelax();
    now = environment_.clock.NowNs();
    if (now < look_at) continue;
    if (is_over()) return;
    look_at = now + kRestLookNs;
  }
}

RoomWaiter::Outcome NodeRuntime::SpinAndWaitFor(EventCount& event,
                                                absl::FunctionRef<bool()> ready,
                                                TimeNs deadline,
                                                int64_t spin_ns) {
  if (spin_ns == 0) return WaitFor(event, ready, deadline);
  SpinBackoff::Spell spell(receivers_backoff_, environment_.clock.NowNs(),
                           spin_ns, deadline);
  if (spell.rests()) return WaitFor(event, ready, deadline);
  const bool runs_loop = options_.poll == PollMode::kCaller && !loop_->InLoop();
  // A look at the queue costs some tens of nanoseconds, most of them a pause
  // that leaves the core to its sibling. The clock, and a turn of the loop with
  // its system calls, cost far more.
  const int pauses = PausesIn(kBetweenQueueLooksNs);
  for (int look = 1; !ready(); ++look) {
    CpuRelax(pauses);
    if (look % kLooksPerTurn != 0) continue;
    const bool ran = runs_loop && loop_->RunOnce(/*deadline=*/0, spin_ns) ==
                                      EventLoop::Ran::kSomething;
    const TimeNs now = environment_.clock.NowNs();
    if (ran) spell.Resume(now);
    if (!spell.GoesOn(now)) {
      return WaitFor(event, ready, deadline);
    }
  }
  return Outcome::kReady;
}

absl::StatusOr<RoomWaiter::Outcome> NodeRuntime::WaitWhile(
    const KeepWaiting& keep_waiting, EventCount& event,
    absl::FunctionRef<bool()> ready, TimeNs deadline, int64_t spin_ns) {
  if (keep_waiting == nullptr) {
    return SpinAndWaitFor(event, ready, deadline, spin_ns);
  }
  while (true) {
    const TimeNs part =
        std::min(deadline,
                 DeadlineAfter(environment_.clock.NowNs(), kKeepWaitingPeriod));
    const Outcome outcome = SpinAndWaitFor(event, ready, part, spin_ns);
    if (outcome != Outcome::kDeadline || part == deadline) return outcome;
    if (!keep_waiting()) return absl::CancelledError("the wait was ended");
  }
}

RoomWaiter::Outcome NodeRuntime::WaitPatiently(EventCount& event,
                                               absl::FunctionRef<bool()> ready,
                                               Patience& patience,
                                               TimeNs least) {
  if (patience.until > least) {
    const absl::StatusOr<Outcome> outcome = WaitWhile(
        patience.keep_waiting, event, ready, patience.until, /*spin_ns=*/0);
    if (outcome.ok()) return *outcome;
    EndPatience(patience);
  }
  return WaitFor(event, ready, std::max(patience.until, least));
}

void NodeRuntime::EndPatience(Patience& patience) {
  patience.until = environment_.clock.NowNs();
  patience.keep_waiting = nullptr;
  patience.is_ended = true;
}

absl::Status NodeRuntime::Patience::StatusOf(absl::Status ended) const {
  if (!is_ended) return ended;
  return absl::CancelledError(
      "the wait was ended: what was not handled by then is not waited for");
}

void NodeRuntime::SpinAndSleep(EventCount& event,
                               absl::FunctionRef<bool()> ready,
                               int64_t spin_ns) {
  SpinBackoff::Spell spell(receivers_backoff_,
                           spin_ns == 0 ? 0 : environment_.clock.NowNs(),
                           spin_ns, kNever);
  for (int i = 1; !ready(); ++i) {
    // The clock costs more than a look at the queue.
    if (spin_ns != 0 &&
        (i % 64 != 0 || spell.GoesOn(environment_.clock.NowNs()))) {
      continue;
    }
    EventCount::Sleeper sleeper(event);
    if (ready()) return;
    sleeper.Until(environment_.waiter, kNever);
  }
}

absl::Status NodeRuntime::CheckOutsideHandlers(absl::string_view call) const {
  if (is_inherited()) return CheckNotForked();
  bool inside = loop_->InLoop();
  // A handler that has unsubscribed itself is waited for, too.
  for (const auto& subscription : SubscriptionsAndEnded()) {
    inside = inside || subscription->IsHandledByThisThread();
  }
  if (!inside) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      call, " was called from a handler, which it would wait for"));
}

absl::Status NodeRuntime::OnLoop(absl::FunctionRef<absl::Status()> task) {
  if (loop_->InLoop()) return task();
  // The loop takes the task, or the caller takes it back: never both.
  enum class Turn { kWaits, kTaken, kDone, kTakenBack };
  const auto turn = std::make_shared<std::atomic<Turn>>(Turn::kWaits);
  absl::Status status;
  loop_->Post([this, turn, task, &status] {
    Turn seen = Turn::kWaits;
    if (!turn->compare_exchange_strong(seen, Turn::kTaken)) return;
    status = task();
    turn->store(Turn::kDone, std::memory_order_release);
    done_event_.Notify(environment_.waiter);
  });
  const auto is_done = [&] {
    return turn->load(std::memory_order_acquire) == Turn::kDone;
  };
  const TimeNs deadline = environment_.clock.NowNs() + kBusyMaxNs;
  if (WaitFor(done_event_, is_done, deadline) == Outcome::kReady) return status;
  Turn seen = Turn::kWaits;
  if (!turn->compare_exchange_strong(seen, Turn::kTakenBack)) {
    (void)WaitFor(done_event_, is_done, kNever);  // It runs.
    return status;
  }
  return absl::DeadlineExceededError(absl::StrCat(
      "the thread of node ", node_, " was busy for ",
      kBusyMaxNs / 1'000'000'000,
      " s: a handler or callback that it runs does not return, or the "
      "resolver does not answer"));
}

bool NodeRuntime::OnLoopBy(std::function<void()> task, Patience& patience,
                           TimeNs least) {
  if (loop_->InLoop()) {
    task();
    return true;
  }
  const auto done = std::make_shared<std::atomic<bool>>(false);
  loop_->Post([this, done, task = std::move(task)] {
    task();
    done->store(true, std::memory_order_release);
    done_event_.Notify(environment_.waiter);
  });
  const Outcome outcome = WaitPatiently(
      done_event_, [&] { return done->load(std::memory_order_acquire); },
      patience, least);
  return outcome == Outcome::kReady;
}

absl::Status NodeRuntime::Flush(TimeNs deadline,
                                const KeepWaiting& keep_waiting) {
  if (absl::Status outside = CheckOutsideHandlers("Flush()"); !outside.ok()) {
    return outside;
  }
  Patience patience{deadline, keep_waiting};
  return FlushAll(patience);
}

absl::Status NodeRuntime::FlushAll(Patience& patience) {
  // Lanes of links, and of subscriptions of this process.
  std::vector<std::shared_ptr<Lane>> lanes;
  for (const auto& link : peers_->Links()) {
    link->Flush();
    for (auto& lane : link->Lanes()) lanes.push_back(std::move(lane));
  }
  // A message may still be in a handler that ended its own subscription.
  for (const auto& subscription : SubscriptionsAndEnded()) {
    for (Lane* const lane : subscription->Lanes()) {
      lanes.emplace_back(subscription, lane);
    }
  }
  return WaitForLanes(lanes, patience);
}

absl::Status NodeRuntime::WaitForLanes(
    const std::vector<std::shared_ptr<Lane>>& lanes, Patience& patience) {
  std::vector<uint64_t> goals;
  for (const auto& lane : lanes) goals.push_back(lane->Mark());
  for (size_t i = 0; i < lanes.size(); ++i) {
    Lane& lane = *lanes[i];
    while (true) {
      const TimeNs check_at =
          DeadlineAfter(environment_.clock.NowNs(), kCheckPeriod);
      const absl::StatusOr<Outcome> outcome = WaitWhile(
          patience.keep_waiting, lane.room_event(),
          [&lane, goal = goals[i]] { return lane.IsOver(goal); },
          std::min(patience.until, check_at), /*spin_ns=*/0);
      if (outcome.ok() && *outcome != Outcome::kDeadline) break;
      for (size_t rest = i; rest < lanes.size(); ++rest) {
        lanes[rest]->CheckNextFrame();
      }
      if (!outcome.ok()) {
        EndPatience(patience);
        return outcome.status();
      }
      if (check_at < patience.until) continue;
      return absl::DeadlineExceededError(
          absl::StrCat(lane.name(), ": not everything was handled in time"));
    }
  }
  return absl::OkStatus();
}

absl::Status NodeRuntime::FlushService(const std::string& service,
                                       Patience& patience) {
  for (const auto& link : peers_->Links()) link->Flush();
  std::vector<std::shared_ptr<Lane>> lanes = router_->LanesOf(service);
  for (const auto& subscription : dispatcher_->All()) {
    if (subscription->options().service != service) continue;
    for (Lane* const lane : subscription->Lanes()) {
      lanes.emplace_back(subscription, lane);
    }
  }
  return WaitForLanes(lanes, patience);
}

}  // namespace mycelium
