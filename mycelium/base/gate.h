#ifndef MYCELIUM_BASE_GATE_H_
#define MYCELIUM_BASE_GATE_H_

#include <atomic>
#include <cstdint>
#include <thread>

#include "mycelium/base/event_count.h"
#include "mycelium/base/waiter.h"

namespace mycelium {

// Lets one thread at a time do something, without making the others wait: a
// thread that finds the gate busy leaves its work in a queue of the caller's,
// and the thread inside does that work too before it goes. If a thread comes
// again while it is inside, that is the same case: its work is queued, not done
// recursively.
//
// Invariant: a thread that marked the gate pending is answered: the thread
// inside cannot leave before it has looked at the queue once more.
//
// Thread safety: all members may be called from any thread; Leave() by the
// thread inside only.
class Gate final {
 public:
  enum class Entry { kEntered, kBusy, kClosed };

  // kEntered: the caller is inside and must call Leave() until it is out.
  Entry TryEnter() { return TryEnterAs(kRunning); }

  // The same for a caller that begins with something else: nobody else enters,
  // but a thread that closes the gate does not wait for the caller. The caller
  // calls Start() before it begins.
  Entry TryReserve() { return TryEnterAs(kRunning | kReserved); }
  // For the caller that has reserved it. False: the gate has been closed, and
  // the caller has to leave.
  bool Start();

  // Call after queueing something. True: nobody was inside, now the caller is,
  // and must drain the queue.
  bool MarkPending() { return MarkPendingAs(kRunning); }
  // The same, as after TryReserve().
  bool MarkPendingOrReserve() { return MarkPendingAs(kRunning | kReserved); }

  enum class Exit {
    kOut,
    kOutForGood,   // It is closed, and the caller was the last one inside.
    kStillInside,  // Something was queued meanwhile: drain it and call again.
  };
  Exit Leave(Waiter& waiter) {
    return LeaveQuickly() ? Exit::kOut : LeaveSlowly(waiter);
  }

  // The two steps of Leave(). After LeaveQuickly() has returned true the gate
  // is not touched any more, so that the next thread may destroy it.
  bool LeaveQuickly() {
    owner_.store(std::thread::id(), std::memory_order_relaxed);
    uint32_t expected = kRunning;
    // Release: pairs with TryEnter().
    return state_.compare_exchange_strong(expected, kIdle,
                                          std::memory_order_acq_rel);
  }
  Exit LeaveSlowly(Waiter& waiter);

  // For the thread inside: whether leaving would find nothing to do.
  bool IsUndisturbed() const {
    // Acquire: pairs with MarkPending(), in case it is about to leave.
    return state_.load(std::memory_order_acquire) == kRunning;
  }

  // Whether the caller is inside.
  bool IsInside() const { return IsInside(std::this_thread::get_id()); }
  // The same of another thread. The caller must know in some other way that
  // that thread is not about to enter or to leave.
  bool IsInside(std::thread::id thread) const {
    return owner_.load(std::memory_order_relaxed) == thread;
  }

  // Whether somebody is inside, or has reserved it.
  bool IsRunning() const {
    return (state_.load(std::memory_order_acquire) & kRunning) != 0;
  }
  // Whether somebody is inside and may have begun.
  bool HasStarted() const {
    return HasStarted(state_.load(std::memory_order_acquire));
  }

  // After this nobody enters or starts. True: nobody has started, except
  // perhaps the caller, for which this takes effect when it leaves. False:
  // another thread has started, and left_event() is notified when it is out.
  bool Shut();
  // The same, and waits for the thread inside, however long that takes. That
  // thread may still touch the gate afterwards, in Leave(). So whatever
  // destroys the gate has to know that no thread does, for example by shared
  // ownership of what the gate belongs to.
  void Close(Waiter& waiter);
  EventCount& left_event() { return left_; }

  bool closed() const {
    return (state_.load(std::memory_order_acquire) & kClosed) != 0;
  }

 private:
  bool MarkPendingAs(uint32_t inside);
  Entry TryEnterAs(uint32_t inside) {
    uint32_t expected = kIdle;
    // Acquire: what the last one inside did happened before.
    if (state_.compare_exchange_strong(expected, inside,
                                       std::memory_order_acq_rel)) {
      owner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
      return Entry::kEntered;
    }
    return (expected & kClosed) != 0 ? Entry::kClosed : Entry::kBusy;
  }

  static constexpr uint32_t kIdle = 0;
  static constexpr uint32_t kRunning = 1;
  static constexpr uint32_t kPending = 2;
  static constexpr uint32_t kClosed = 4;
  static constexpr uint32_t kReserved = 8;  // And running.

  static bool HasStarted(uint32_t state) {
    return (state & (kRunning | kReserved)) == kRunning;
  }

  std::atomic<uint32_t> state_{kIdle};
  std::atomic<std::thread::id> owner_{};
  EventCount left_;
};

}  // namespace mycelium

#endif  // MYCELIUM_BASE_GATE_H_
