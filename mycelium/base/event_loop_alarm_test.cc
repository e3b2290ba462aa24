// How a loop sleeps until a time: by a kernel timer that stays set.
#include <atomic>
#include <cerrno>
#include <memory>
#include <thread>

#include "gtest/gtest.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/base/event_loop_fakes.h"
#include "tests/support/faulty_sys.h"

namespace mycelium {
namespace {

using Ran = EventLoop::Ran;

using ::mycelium::test::FaultySys;
using ::mycelium::test::Readable;

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kLongNs = 20'000 * kMs;

class EventLoopAlarmTest : public ::testing::Test {
 protected:
  TimeNs Now() { return clock_.NowNs(); }
  uint64_t CountOf(const std::string& call) { return sys_.counts()[call]; }

  FaultySys sys_;
  SystemClock clock_{sys_};
  SystemWaiter waiter_{sys_, clock_};
  Environment environment_{sys_, clock_, waiter_};
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create(environment_);
  int runs_ = 0;
};

TEST_F(EventLoopAlarmTest, ManySleepsHaveOneTimer) {
  Readable readable;
  ASSERT_TRUE(loop_->Watch(readable.fd(), EPOLLIN, readable).ok());
  const uint64_t before = CountOf("timerfd_set");
  for (int i = 0; i < 10; ++i) {
    // Each later than the one before.
    EXPECT_EQ(loop_->RunOnce(Now() + kLongNs, 0), Ran::kSomething);
  }
  EXPECT_EQ(CountOf("timerfd_set") - before, 1u);
}

TEST_F(EventLoopAlarmTest, TimerRunsWhenItsTimeHasCome) {
  const TimeNs due = Now() + 3 * kMs;
  loop_->RunAt(due, [this] { ++runs_; });
  EXPECT_EQ(loop_->RunOnce(kNever, 0), Ran::kSomething);
  EXPECT_EQ(runs_, 1);
  EXPECT_GE(Now(), due);
  // And an earlier time than the one that the kernel has.
  loop_->RunAt(Now() + kLongNs, [this] { ++runs_; });
  EXPECT_EQ(loop_->RunOnce(Now() + kMs, 0), Ran::kNothing);
  loop_->RunAt(Now() + kMs, [this] { ++runs_; });
  EXPECT_EQ(loop_->RunOnce(kNever, 0), Ran::kSomething);
  EXPECT_EQ(runs_, 2);
}

TEST_F(EventLoopAlarmTest, SleepGoesOnWhereItsTimerRingsTooEarly) {
  const TimeNs begin = Now();
  const uint64_t cancelled = loop_->RunAt(begin + 5 * kMs, [] {});
  {
    Readable readable;
    ASSERT_TRUE(loop_->Watch(readable.fd(), EPOLLIN, readable).ok());
    EXPECT_EQ(loop_->RunOnce(kNever, 0), Ran::kSomething);
    loop_->Unwatch(readable.fd());
  }
  loop_->Cancel(cancelled);
  const bool rings_later = Now() < begin + 5 * kMs;  // As it mostly does.
  const TimeNs end = begin + 20 * kMs;
  const uint64_t before = CountOf("epoll_wait");
  EXPECT_EQ(loop_->RunOnce(end, 0), Ran::kNothing);
  EXPECT_GE(Now(), end);
  EXPECT_EQ(CountOf("epoll_wait") - before, rings_later ? 2u : 1u);
}

TEST_F(EventLoopAlarmTest, WhatHasRungEndsNoSleepAgain) {
  loop_->RunAt(Now() + kMs, [this] { ++runs_; });
  EXPECT_EQ(loop_->RunOnce(kNever, 0), Ran::kSomething);
  EXPECT_EQ(runs_, 1);
  const uint64_t before = CountOf("epoll_wait");
  std::thread other([&] {
    // Once the loop sleeps without an end.
    while (CountOf("epoll_wait") == before) std::this_thread::yield();
    loop_->Post([this] { ++runs_; });
  });
  EXPECT_EQ(loop_->RunOnce(kNever, 0), Ran::kSomething);
  EXPECT_EQ(runs_, 2);
  EXPECT_EQ(CountOf("epoll_wait") - before, 1u);
  other.join();
}

TEST_F(EventLoopAlarmTest, DeadlineIsTheSleepsOwnWhereTheTimerCannotBeSet) {
  sys_.Fail("timerfd_set", {-EINVAL});
  loop_->RunAt(Now() + kMs, [this] { ++runs_; });
  EXPECT_EQ(loop_->RunOnce(kNever, 0), Ran::kSomething);
  EXPECT_EQ(runs_, 1);
  // The next sleep does not take the timer for set, either.
  loop_->RunAt(Now() + kMs, [this] { ++runs_; });
  EXPECT_EQ(loop_->RunOnce(kNever, 0), Ran::kSomething);
  EXPECT_EQ(runs_, 2);
}

// The loop's timer shows something else from then on.
TEST_F(EventLoopAlarmTest, SleepEndsThoughTheDescriptorIsAskedForMeanwhile) {
  const uint64_t before = CountOf("epoll_wait");
  const TimeNs end = Now() + 50 * kMs;
  std::atomic<bool> is_over{false};
  std::thread other([&] {
    while (Now() < end) loop_->RunOnce(end, 0);
    is_over = true;
  });
  while (CountOf("epoll_wait") == before) std::this_thread::yield();
  (void)loop_->descriptor();
  while (!is_over && Now() < end + kLongNs) std::this_thread::yield();
  EXPECT_TRUE(is_over);
  if (!is_over) loop_->Wake();
  other.join();
}

}  // namespace
}  // namespace mycelium
