#ifndef MYCELIUM_TESTING_DRIVEN_TIME_H_
#define MYCELIUM_TESTING_DRIVEN_TIME_H_

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"
#include "mycelium/base/environment.h"
#include "mycelium/bus/options.h"

namespace mycelium {

// Time for the tests of a program that runs on one thread. It stands still
// except for Advance(). A call that waits for something that is not there
// reaches the end of its wait at once. So a publisher that gives up after half
// a minute does so in a fraction of a second.
//
// It knows nothing of other threads, nodes or processes that would bring about
// what a call waits for. It is for the buses of one node, with inline or pulled
// subscriptions. A publisher to a queued subscription would give up before that
// subscription's thread has run. A wait without a deadline never ends, and
// MessageBus::poll_descriptor() knows the real time only.
//
// Thread safety: may be used from any thread, see above.
//
// Ownership: must outlive the buses that were made with Options().
//
// Example:
//   DrivenTime time;
//   auto bus = MessageBus::Create(time.Options());
//   ...
//   EXPECT_FALSE(publisher->Publish(tick).ok());  // Waited for room: 1 s.
//   EXPECT_EQ(time.Elapsed(), absl::Seconds(1));
class DrivenTime final {
 public:
  DrivenTime() = default;
  DrivenTime(const DrivenTime&) = delete;
  DrivenTime& operator=(const DrivenTime&) = delete;

  // The options of a bus that lives in this time: it does not spin and has no
  // thread, and MessageBus::Poll() does what is due. Do not change
  // `environment`, `poll` and `wait`: a thread that spins waits for a clock
  // that stands still. The other options may be changed.
  BusOptions Options();

  // The next Poll() does what has become due. REQUIRES: neither negative nor
  // infinite.
  void Advance(absl::Duration duration);

  // The time since this object was made.
  absl::Duration Elapsed() const;
  // The time that a message gets as its publish time.
  absl::Time Now() const;

 private:
  class World final : public Clock, public Waiter {
   public:
    TimeNs NowNs() override { return now(); }
    int64_t WallNs() override { return wall(); }
    void WaitWord(const std::atomic<uint32_t>& word, uint32_t expected,
                  TimeNs deadline) override;
    void WakeWord(const std::atomic<uint32_t>& word) override;
    int64_t WaitEpoll(int epoll_fd, epoll_event* events, int events_max,
                      TimeNs deadline) override;

    TimeNs now() const { return now_.load(); }
    int64_t wall() const;
    void MoveTo(TimeNs time);

   private:
    std::atomic<TimeNs> now_{kStartNs};
  };
  static constexpr TimeNs kStartNs = 1'000'000'000;

  World world_;
  Environment environment_{Environment::Real().sys, world_, world_};
};

}  // namespace mycelium

#endif  // MYCELIUM_TESTING_DRIVEN_TIME_H_
