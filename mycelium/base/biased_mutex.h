#ifndef MYCELIUM_BASE_BIASED_MUTEX_H_
#define MYCELIUM_BASE_BIASED_MUTEX_H_

#include <cassert>
#include <cstdint>
#include <mutex>

#include "absl/base/optimization.h"
#include "absl/base/thread_annotations.h"
#include "mycelium/base/bias.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/event_count.h"
#include "mycelium/base/thread_number.h"

namespace mycelium {

// A mutex for what one thread does nearly always and others must not do
// meanwhile, such as publishing. The thread that has taken it many times in a
// row gets a bias towards itself. It then takes the mutex without a locked
// instruction, which would have to wait for all that the thread has stored
// before. Another thread that comes takes the bias away, which costs that
// thread some microseconds. From then on this is an ordinary mutex until one
// thread has taken it many times in a row again, twice as many as before.
// docs/adr/0039-publishers-own-their-locks.md has the figures.
//
// Where has_heavy_barrier() is false it is an ordinary mutex.
//
// Thread safety: any thread. Not recursive. The thread that locks unlocks.
//
// Ownership: borrows the environment. Must outlive each Unlock(). To outlive
// only the moment at which another thread can have it, as would do for
// std::mutex, is not enough.
class ABSL_LOCKABLE BiasedMutex final {
 public:
  // How many times in a row a thread takes the mutex before it gets the bias,
  // at first and at most.
  static constexpr uint32_t kInARowMin = 64;
  static constexpr uint32_t kInARowMax = 16'384;

  explicit BiasedMutex(Environment& environment) : environment_(environment) {}
  BiasedMutex(const BiasedMutex&) = delete;
  BiasedMutex& operator=(const BiasedMutex&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { (void)LockByKey(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { UnlockByKey(key_); }

  // The same for code so short that it counts to look once how the mutex is
  // held: UnlockByKey() gets what LockByKey() returned. Unlock() would do, too.
  [[nodiscard]] uint64_t LockByKey() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    const uint64_t key = bias_.owner();
    if (ABSL_PREDICT_TRUE(Bias::IsKeyOf(key, ThreadNumber()))) {
      assert(!bias_.IsInside(key) && "locked twice by one thread");
      if (ABSL_PREDICT_TRUE(bias_.TryEnter(key))) {
        key_ = key;
        return key;
      }
      LeaveBias(key);
    }
    LockSlowly();
    return Bias::kNobody;
  }
  void UnlockByKey(uint64_t key) ABSL_UNLOCK_FUNCTION() {
    assert(key == key_ && "another key than LockByKey() returned");
    if (ABSL_PREDICT_TRUE(key != Bias::kNobody)) {
      LeaveBias(key);
    } else {
      mutex_.unlock();
    }
  }

  // How often a bias was taken away. With the lock.
  uint64_t times_taken() const { return times_taken_; }
  // Whether the caller, who has the lock, has it by bias.
  bool is_by_bias() const { return key_ != Bias::kNobody; }

 private:
  void LeaveBias(uint64_t key) {
    if (ABSL_PREDICT_FALSE(bias_.Leave(key))) {
      left_.Notify(environment_.waiter);
    }
  }
  void LockSlowly();
  void TakeBias();

  Bias bias_;
  uint64_t key_ = Bias::kNobody;  // By which the lock is held.
  // Guards what follows, up to `times_taken_`.
  std::mutex mutex_;
  uint64_t last_thread_ = Bias::kNobody;
  uint32_t in_a_row_ = 0;
  uint32_t in_a_row_wanted_ = kInARowMin;
  uint64_t times_taken_ = 0;
  EventCount left_;
  Environment& environment_;
};

}  // namespace mycelium

#endif  // MYCELIUM_BASE_BIASED_MUTEX_H_
