#ifndef TESTS_FAULTS_STEPPED_WORLD_H_
#define TESTS_FAULTS_STEPPED_WORLD_H_

#include <cstdint>
#include <functional>
#include <utility>

#include "mycelium/base/clock.h"
#include "mycelium/base/sys.h"
#include "mycelium/base/waiter.h"

namespace mycelium::test {

// Time and sleep for several buses that one thread drives. A bus that waits
// runs the others meanwhile, and time goes on only when no bus has anything to
// do. So a wait costs no time, and each run does the same.
//
// A program that waits for an hour of this time is taken to hang: it says so
// and aborts.
//
// Thread safety: none.
class SteppedWorld final : public Clock, public Waiter {
 public:
  explicit SteppedWorld(Sys& sys) : sys_(sys) {}

  // Gives every bus a turn, and returns whether one had something to do.
  void SetOthers(std::function<bool()> run_others) {
    run_others_ = std::move(run_others);
  }

  TimeNs NowNs() override { return now_; }
  int64_t WallNs() override { return now_; }

  void WaitWord(const std::atomic<uint32_t>& word, uint32_t expected,
                TimeNs deadline) override;
  void WakeWord(const std::atomic<uint32_t>&) override {}
  int64_t WaitEpoll(int epoll_fd, epoll_event* events, int events_max,
                    TimeNs deadline) override;

 private:
  // Runs the other buses, or lets time pass.
  void Step(TimeNs deadline);

  static constexpr TimeNs kStartNs = 1'000'000'000;
  static constexpr TimeNs kHangNs = 3'600'000'000'000;
  static constexpr int64_t kStepNs = 1'000'000;

  Sys& sys_;
  TimeNs now_ = kStartNs;
  std::function<bool()> run_others_;
  bool running_others_ = false;
};

}  // namespace mycelium::test

#endif  // TESTS_FAULTS_STEPPED_WORLD_H_
