// The part of NodeRuntime that lets threads wait, and runs the loop on those
// that have nothing else to do.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "mycelium/bus/node_runtime.h"

namespace mycelium {
namespace {

// How long a waiting thread leaves the loop to another one before it looks.
constexpr int64_t kTurnNs = 1'000'000;
// How often a spinning thread looks at its queue for each turn of the loop.
constexpr int kLooksPerTurn = 16;

}  // namespace

absl::StatusOr<bool> NodeRuntime::Poll(TimeNs deadline) {
  if (options_.poll != PollMode::kCaller) {
    return absl::FailedPreconditionError(
        "Poll() is for poll = kCaller; this bus has a thread for it");
  }
  if (loop_->InLoop()) {
    return absl::FailedPreconditionError(
        "Poll() was called from inside a handler that Poll() runs");
  }
  return RunOnce(deadline, /*spin=*/true);
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

RoomWaiter::Outcome NodeRuntime::SpinAndWaitFor(EventCount& event,
                                                absl::FunctionRef<bool()> ready,
                                                TimeNs deadline,
                                                int64_t spin_ns) {
  if (spin_ns == 0) return WaitFor(event, ready, deadline);
  const TimeNs now = environment_.clock.NowNs();
  const TimeNs spin_end =
      std::min(deadline, spin_ns >= kNever - now ? kNever : now + spin_ns);
  const bool runs_loop = options_.poll == PollMode::kCaller && !loop_->InLoop();
  // A look at the queue costs a few nanoseconds; the clock, and a turn of the
  // loop with its system calls, far more.
  for (int look = 1; !ready(); ++look) {
    if (look % kLooksPerTurn != 0) continue;
    if (runs_loop) loop_->RunOnce(/*deadline=*/0, /*spin_ns=*/1);
    if (environment_.clock.NowNs() >= spin_end) {
      return WaitFor(event, ready, deadline);
    }
  }
  return Outcome::kReady;
}

void NodeRuntime::SpinAndSleep(EventCount& event,
                               absl::FunctionRef<bool()> ready,
                               int64_t spin_ns) {
  const TimeNs now = spin_ns == 0 ? 0 : environment_.clock.NowNs();
  const TimeNs spin_end = spin_ns >= kNever - now ? kNever : now + spin_ns;
  for (int i = 1; !ready(); ++i) {
    // The clock costs more than a look at the queue.
    if (spin_ns != 0 &&
        (i % 64 != 0 || environment_.clock.NowNs() < spin_end)) {
      continue;
    }
    EventCount::Sleeper sleeper(event);
    if (ready()) return;
    sleeper.Until(environment_.waiter, kNever);
  }
}

absl::Status NodeRuntime::CheckOutsideHandlers(absl::string_view call) const {
  bool inside = loop_->InLoop();
  for (const auto& subscription : dispatcher_->All()) {
    inside = inside || subscription->IsHandledByThisThread();
  }
  if (!inside) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      call, " was called from a handler, which it would wait for"));
}

}  // namespace mycelium
