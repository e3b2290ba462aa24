#ifndef MYCELIUM_TESTING_DRIVEN_TIME_H_
#define MYCELIUM_TESTING_DRIVEN_TIME_H_

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"
#include "mycelium/base/environment.h"
#include "mycelium/bus/options.h"

namespace mycelium {

// Time for the tests of a program that runs on one thread. It stands still, but
// for Advance(); and whoever waits is at the end of that wait at once, if what
// it waits for is not there. So a publisher that gives up after half a minute
// does so in a fraction of a second.
//
// It knows of nobody who would bring about on another thread, in another node
// or in another process, what is waited for: it is for the buses of one node,
// with subscriptions that are inline or pulled. The publisher to a queued one
// would give up before that one's thread has run. A wait without an end has
// none, and MessageBus::poll_descriptor() knows the real time only.
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

  // Of a bus that lives in this time: nothing of it spins or has a thread, and
  // what is due is done by MessageBus::Poll(). `environment`, `poll` and `wait`
  // have to stay: who spins waits for a clock that stands still. The others may
  // be changed.
  BusOptions Options();

  // What is due meanwhile is done by the next Poll(). REQUIRES: neither
  // negative nor infinite.
  void Advance(absl::Duration duration);

  // Since this object was made.
  absl::Duration Elapsed() const;
  // What a publish time says.
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
