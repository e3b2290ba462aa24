#ifndef MYCELIUM_ROUTING_GATE_STAY_H_
#define MYCELIUM_ROUTING_GATE_STAY_H_

#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "mycelium/base/gate.h"
#include "mycelium/routing/subscription.h"

namespace mycelium {

// Keeps the loop, between two frames of a row, inside the gate of the
// subscription that the last frame was for. Entering and leaving are a locked
// instruction each, which for small messages cost as much as everything else.
//
// Invariants:
// 1. A thread that finds the gate busy because of this is answered after the
//    handler that runs, or before the next one, or when the row ends, which
//    waits for nothing. So the gate's own promise holds.
// 2. Only the handler of the subscription whose gate is stayed in runs here,
//    and the handlers that this one causes, for which it is as if there were
//    no row.
//
// Thread safety: for one thread, the loop's.
//
// Ownership: borrows the subscription that it stays in. A caller that is about
// to let go of a subscription calls Leave() before.
class GateStay final {
 public:
  // Frames follow each other until End(), with nothing between them that may
  // wait. Rows may be nested.
  void Begin() { ++rows_; }
  void End() {
    --rows_;
    Leave();  // Also for an inner row: what comes next may take its time.
  }

  // Calls `run` inside the gate of `subscription`. False: another thread is
  // inside, or the gate is closed; `run` was not called, and no gate is stayed
  // in.
  // REQUIRES: `run` does not throw.
  template <typename Run>
  ABSL_ATTRIBUTE_ALWAYS_INLINE bool RunInside(Subscription& subscription,
                                              Run run) {
    if (ABSL_PREDICT_FALSE(rows_ == 0 || is_running_)) {
      Run copy = run;  // So that `run` itself can stay in registers.
      return RunAlone(subscription, copy);
    }
    if (inside_ != &subscription || !subscription.gate().IsUndisturbed()) {
      Leave();
      if (subscription.gate().TryEnter() != Gate::Entry::kEntered) {
        return false;
      }
      inside_ = &subscription;
    }
    is_running_ = true;
    run();
    is_running_ = false;
    if (!subscription.gate().IsUndisturbed()) Leave();
    return true;
  }

  // Call it before anything else than handing out a frame of the row. Runs what
  // other threads have left in the meantime.
  void Leave() {
    if (inside_ == nullptr || is_running_) return;
    is_running_ = true;  // Leaving may run handlers.
    std::exchange(inside_, nullptr)->Leave();
    is_running_ = false;
  }

 private:
  template <typename Run>
  static bool RunAlone(Subscription& subscription, Run& run) {
    if (subscription.gate().TryEnter() != Gate::Entry::kEntered) return false;
    run();
    subscription.Leave();
    return true;
  }

  int rows_ = 0;
  bool is_running_ = false;
  Subscription* inside_ = nullptr;
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_GATE_STAY_H_
