#ifndef MYCELIUM_TESTING_SIMULATED_PROCESS_H_
#define MYCELIUM_TESTING_SIMULATED_PROCESS_H_

#include <atomic>
#include <cstdint>

#include "mycelium/base/clock.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/waiter.h"
#include "mycelium/testing/simulated_sys.h"
#include "mycelium/testing/simulated_world.h"

namespace mycelium {

// One process of a simulated world: the Environment of its buses. Buses have
// poll = kCaller and `wait = "block"`, since a spinning thread would wait for a
// time that stands still.
//
// When a process crashes, it is gone for all others at once. Nobody sees what
// its own threads still do on their way to their end, and its clock runs ahead
// so that no call of those threads waits.
//
// Thread safety: none.
//
// Ownership: borrows the world. Its buses go first.
class SimulatedProcess final {
 public:
  SimulatedProcess(SimulatedWorld& world, int place, int64_t pid,
                   uint64_t seed);

  Environment& environment() { return environment_; }
  SimulatedSys& sys() { return sys_; }
  int place() const { return place_; }

  // Closes everything, and runs `thread`, the process's only one, to its end.
  void Crash(SimulatedThread& thread);
  bool crashed() const { return sys_.crashed(); }

 private:
  class ProcessClock final : public Clock {
   public:
    explicit ProcessClock(SimulatedProcess& process) : process_(process) {}
    TimeNs NowNs() override;
    int64_t WallNs() override { return process_.sys_.RealtimeNs(); }

   private:
    SimulatedProcess& process_;
  };
  class ProcessWaiter final : public Waiter {
   public:
    explicit ProcessWaiter(SimulatedProcess& process) : process_(process) {}
    void WaitWord(const std::atomic<uint32_t>& word, uint32_t expected,
                  TimeNs deadline) override;
    void WakeWord(const std::atomic<uint32_t>& word) override;
    int64_t WaitEpoll(int epoll_fd, epoll_event* events, int events_max,
                      TimeNs deadline) override;

   private:
    SimulatedProcess& process_;
  };

  // After a crash: pretends that `time` has come.
  void SkipTo(TimeNs time);

  SimulatedWorld& world_;
  const int place_;
  SimulatedSys sys_;
  ProcessClock clock_;
  ProcessWaiter waiter_;
  Environment environment_;
  TimeNs skipped_to_ = 0;
};

}  // namespace mycelium

#endif  // MYCELIUM_TESTING_SIMULATED_PROCESS_H_
