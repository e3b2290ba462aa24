#include "mycelium/base/biased_mutex.h"

#include <algorithm>

namespace mycelium {

void BiasedMutex::LockSlowly() {
  mutex_.lock();
  if (bias_.owner() != Bias::kNobody) TakeBias();
  key_ = Bias::kNobody;
  const uint64_t thread = EnsureThreadNumber();
  bias_.NoteReturned(thread);
  if (thread != last_thread_) {
    last_thread_ = thread;
    in_a_row_ = 0;
  }
  if (++in_a_row_ < in_a_row_wanted_ || !has_heavy_barrier()) return;
  in_a_row_ = 0;
  // This time the thread has the mutex as well, and a thread that waits for the
  // mutex takes the bias.
  (void)bias_.Give(thread);
}

void BiasedMutex::TakeBias() {
  ++times_taken_;
  in_a_row_wanted_ = std::min(2 * in_a_row_wanted_, kInARowMax);
  bias_.Take([this] { HeavyBarrier(environment_.sys); },
             [this](uint64_t key) {
               EventCount::Sleeper sleeper(left_);
               if (!bias_.IsInside(key)) return;
               sleeper.Until(environment_.waiter, kNever);
             });
}

}  // namespace mycelium
