#ifndef MYCELIUM_BASE_SPIN_BACKOFF_H_
#define MYCELIUM_BASE_SPIN_BACKOFF_H_

#include <atomic>
#include <cstdint>

#include "mycelium/base/clock.h"
#include "mycelium/base/environment.h"

namespace mycelium {

// Says how long threads spin before they sleep, and makes them leave their CPU
// to others meanwhile. Where more threads spin than there are CPUs, the thread
// with the message may be the one that waits for a CPU, so:
//
// - A spinning thread gives way every kGiveWayNs. If nobody wants the CPU that
//   costs a system call; if another spinning thread wants it, the two take
//   turns of a few microseconds.
// - A thread that is off the CPU for kLostNs has met a thread that computes.
//   Between two threads that are always ready the kernel switches every few
//   milliseconds, but a thread that wakes up it lets in at once. So for
//   kRestFactor times as long nobody spins here: all sleep at once.
//
// Spinning for ever is exempt from both: it never enters the kernel.
//
// Thread safety: the members of SpinBackoff may be called from any thread; a
// Spell belongs to the thread that waits.
//
// Ownership: borrows the environment.
//
// Example:
//   SpinBackoff::Spell spell(backoff, clock.NowNs(), spin_ns, deadline);
//   while (!ready()) {
//     if (!spell.GoesOn(clock.NowNs())) return Sleep();
//   }
class SpinBackoff final {
 public:
  static constexpr int64_t kGiveWayNs = 2'000;
  static constexpr int64_t kLostNs = 200'000;
  static constexpr int64_t kRestFactor = 64;
  static constexpr int64_t kRestNsMax = 500'000'000;

  explicit SpinBackoff(Environment& environment) : environment_(environment) {}

  // One wait.
  class Spell final {
   public:
    // `spin_ns`: kNever spins until `deadline`, whatever others need.
    Spell(SpinBackoff& backoff, TimeNs now, int64_t spin_ns, TimeNs deadline);

    // Whether others need the CPU, so that it is over from the start.
    bool rests() const { return rests_; }

    // When it is over. GoesOn() may make that earlier.
    TimeNs end() const { return end_; }

    // Call after some looks that found nothing. False: it is over. Gives way
    // now and then.
    bool GoesOn(TimeNs now);

    // The thread did something else until now.
    void Resume(TimeNs now) { last_look_ = now; }

   private:
    bool Yield(TimeNs now);
    bool Lost(int64_t ns, TimeNs now);

    SpinBackoff& backoff_;
    const bool yields_;
    const bool rests_;
    TimeNs end_;
    TimeNs last_look_;
    TimeNs next_yield_;
  };

 private:
  Environment& environment_;
  // Relaxed: a hint, and of no use for a thread that does not see it yet.
  std::atomic<TimeNs> rests_until_{0};
};

}  // namespace mycelium

#endif  // MYCELIUM_BASE_SPIN_BACKOFF_H_
