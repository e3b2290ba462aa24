#ifndef MYCELIUM_BASE_WAITER_H_
#define MYCELIUM_BASE_WAITER_H_

#include <atomic>
#include <cstdint>

#include "mycelium/base/clock.h"
#include "mycelium/base/sys.h"

namespace mycelium {

// How a thread sleeps. Everything in Mycelium that waits does it through this
// interface, so that a simulation can run the world instead of sleeping.
//
// Thread safety: all members may be called from any thread.
class Waiter {
 public:
  virtual ~Waiter() = default;

  // Sleeps until `word` differs from `expected`, somebody wakes the word, or
  // `deadline` has passed. May return early; the caller looks again.
  virtual void WaitWord(const std::atomic<uint32_t>& word, uint32_t expected,
                        TimeNs deadline) = 0;

  // Wakes every thread that sleeps on `word`.
  virtual void WakeWord(const std::atomic<uint32_t>& word) = 0;

  // Sleeps until a descriptor of `epoll_fd` is ready or `deadline` has passed.
  // Returns how many of `events` were filled in, 0 after the deadline or a
  // signal, or a negated errno.
  virtual int64_t WaitEpoll(int epoll_fd, epoll_event* events, int events_max,
                            TimeNs deadline) = 0;

  // Whether deadlines pass as the kernel's time does, so that a timer's
  // descriptor in the epoll may stand for one.
  virtual bool is_real_time() const { return false; }

  // Lets another thread have the CPU, if one waits for it. Where nobody
  // competes for a CPU there is nothing to do.
  virtual void GiveWay() {}
};

// Sleeps in the kernel.
class SystemWaiter final : public Waiter {
 public:
  SystemWaiter(Sys& sys, Clock& clock) : sys_(sys), clock_(clock) {}

  void WaitWord(const std::atomic<uint32_t>& word, uint32_t expected,
                TimeNs deadline) override;
  void WakeWord(const std::atomic<uint32_t>& word) override;
  int64_t WaitEpoll(int epoll_fd, epoll_event* events, int events_max,
                    TimeNs deadline) override;
  bool is_real_time() const override { return true; }
  void GiveWay() override;

 private:
  // The time left, in the form that Sys takes: -1 for ever.
  int64_t LeftNs(TimeNs deadline);

  Sys& sys_;
  Clock& clock_;
};

}  // namespace mycelium

#endif  // MYCELIUM_BASE_WAITER_H_
