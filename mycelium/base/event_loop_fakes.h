#ifndef MYCELIUM_BASE_EVENT_LOOP_FAKES_H_
#define MYCELIUM_BASE_EVENT_LOOP_FAKES_H_

// What tests of EventLoop use in place of the world.

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/base/waiter.h"
#include "tests/support/driven_clock.h"

namespace mycelium::test {

// Does not sleep: where nothing is ready, time jumps to the deadline.
class DrivenWaiter final : public Waiter {
 public:
  explicit DrivenWaiter(DrivenClock& clock) : clock_(clock) {}
  void WaitWord(const std::atomic<uint32_t>&, uint32_t,
                TimeNs deadline) override {
    ++words;
    if (deadline != kNever) clock_.now = std::max(clock_.now, deadline);
  }
  void WakeWord(const std::atomic<uint32_t>&) override {}
  int64_t WaitEpoll(int epoll_fd, epoll_event* events, int events_max,
                    TimeNs deadline) override {
    deadlines.push_back(deadline);
    if (epoll_error < 0) return epoll_error;
    if (on_wait != nullptr) on_wait();
    const int64_t ready =
        Sys::Real().EpollWait(epoll_fd, events, events_max, 0);
    if (on_woken != nullptr) on_woken();
    if (ready == 0 && deadline != kNever && deadline > clock_.now) {
      clock_.now = deadline;
    }
    return ready;
  }
  void GiveWay() override {
    ++ways_given;
    clock_.now += away_ns;
  }
  std::vector<TimeNs> deadlines;
  std::function<void()> on_wait, on_woken;
  int64_t epoll_error = 0;
  int words = 0;  // Slept at.
  int ways_given = 0;
  int64_t away_ns = 0;

 private:
  DrivenClock& clock_;
};

// A descriptor that is readable, and counts how often the loop said so.
class Readable final : public EventLoop::Handler {
 public:
  Readable() {
    EXPECT_EQ(pipe(fds_), 0);
    EXPECT_EQ(write(fds_[1], "x", 1), 1);
  }
  ~Readable() override {
    close(fds_[0]);
    close(fds_[1]);
  }
  void OnReady(uint32_t events) override {
    EXPECT_NE(events & EPOLLIN, 0u);
    ++calls;
    if (on_ready != nullptr) on_ready();
  }
  bool Poll() override {
    ++polls;
    if (on_poll != nullptr) on_poll();
    return polls >= found_at_poll;
  }
  int fd() const { return fds_[0]; }
  std::function<void()> on_ready, on_poll;
  int calls = 0;
  int polls = 0;
  int found_at_poll = 1 << 30;

 private:
  int fds_[2];
};

// Work that no descriptor tells of.
class FakePoller final : public EventLoop::Poller {
 public:
  bool Poll() override {
    ++polls;
    if (on_poll != nullptr) on_poll();
    const bool ran = work > 0;
    if (ran) --work;
    return ran;
  }
  bool BeginSleep() override {
    is_armed = true;
    if (on_begin != nullptr) on_begin();
    return needs_barrier;
  }
  bool HasWork() override {
    if (on_look != nullptr) on_look();
    return work > 0;
  }
  void EndSleep() override { is_armed = false; }

  std::function<void()> on_poll, on_begin, on_look;
  int work = 0;
  int polls = 0;
  bool is_armed = false;
  bool needs_barrier = false;
};

}  // namespace mycelium::test

#endif  // MYCELIUM_BASE_EVENT_LOOP_FAKES_H_
