#ifndef MYCELIUM_BASE_EVENT_COUNT_H_
#define MYCELIUM_BASE_EVENT_COUNT_H_

#include <atomic>
#include <cstdint>

#include "mycelium/base/waiter.h"

namespace mycelium {

// Lets threads sleep until a condition that others change may have become
// true, without a lock around the condition. A thread that changes the
// condition calls Notify(), which enters the kernel only if some thread sleeps.
//
// Thread safety: all members may be called from any thread.
//
// Example:
//   while (!ready()) {
//     EventCount::Sleeper sleeper(count);
//     if (ready()) break;             // Look again: a wake-up is not lost.
//     sleeper.Until(waiter, deadline);
//   }
class EventCount {
 public:
  // Announces, for its lifetime, that a thread is about to sleep.
  class Sleeper {
   public:
    explicit Sleeper(EventCount& count) : count_(count) {
      // Pairs with the read-modify-write in Notify(): whichever comes second
      // in the order of `sleepers_` sees what the other stored before.
      count_.sleepers_.fetch_add(1, std::memory_order_acq_rel);
      ticket_ = count_.epoch_.load(std::memory_order_acquire);
    }
    ~Sleeper() { count_.sleepers_.fetch_sub(1, std::memory_order_relaxed); }
    Sleeper(const Sleeper&) = delete;
    Sleeper& operator=(const Sleeper&) = delete;

    // Sleeps until a Notify() after the construction, or `deadline`.
    void Until(Waiter& waiter, TimeNs deadline) {
      waiter.WaitWord(count_.epoch_, ticket_, deadline);
    }

   private:
    EventCount& count_;
    uint32_t ticket_;
  };

  // Wakes all that sleep, and returns whether there is a Sleeper, asleep or
  // not. Costs one atomic operation if there is none.
  bool Notify(Waiter& waiter) {
    if (sleepers_.fetch_add(0, std::memory_order_acq_rel) == 0) return false;
    epoch_.fetch_add(1, std::memory_order_release);
    waiter.WakeWord(epoch_);
    return true;
  }

 private:
  std::atomic<uint32_t> epoch_{0};
  std::atomic<uint32_t> sleepers_{0};
};

}  // namespace mycelium

#endif  // MYCELIUM_BASE_EVENT_COUNT_H_
