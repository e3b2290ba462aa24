#include "mycelium/base/gate.h"

namespace mycelium {

bool Gate::MarkPendingAs(uint32_t inside) {
  uint32_t state = state_.load(std::memory_order_relaxed);
  while (true) {
    if ((state & kClosed) != 0) return false;
    const bool is_free = (state & kRunning) == 0;
    const uint32_t next = is_free ? inside : state | kPending;
    // Release: pairs with LeaveSlowly(), which then sees what was queued.
    if (state_.compare_exchange_weak(state, next, std::memory_order_acq_rel)) {
      if (is_free) {
        owner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
        return true;
      }
      return false;
    }
  }
}

Gate::Exit Gate::LeaveSlowly(Waiter& waiter) {
  uint32_t state = state_.load(std::memory_order_relaxed);
  while (true) {
    if ((state & kClosed) != 0) {
      state_.store(kClosed, std::memory_order_release);
      left_.Notify(waiter);
      return Exit::kOutForGood;
    }
    // Acquire: pairs with MarkPending().
    const uint32_t next = (state & kPending) != 0 ? kRunning : kIdle;
    if (state_.compare_exchange_weak(state, next, std::memory_order_acq_rel)) {
      if (next == kIdle) return Exit::kOut;
      owner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
      return Exit::kStillInside;
    }
  }
}

bool Gate::Start() {
  uint32_t state = state_.load(std::memory_order_relaxed);
  do {
    if ((state & kClosed) != 0) return false;
    // Release: pairs with Shut(), one of which comes first.
  } while (!state_.compare_exchange_weak(state, state & ~kReserved,
                                         std::memory_order_acq_rel));
  return true;
}

bool Gate::Shut() {
  const uint32_t before = state_.fetch_or(kClosed, std::memory_order_acq_rel);
  return !HasStarted(before) || IsInside();
}

void Gate::Close(Waiter& waiter) {
  if (Shut()) return;
  while (HasStarted()) {
    EventCount::Sleeper sleeper(left_);
    if (!HasStarted()) break;
    sleeper.Until(waiter, kNever);
  }
}

}  // namespace mycelium
