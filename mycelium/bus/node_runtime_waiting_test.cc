// How the thread of a queued subscription waits for its next message, how a
// thread that has found a ring full leaves it to its reader, and how a thread
// waits for the node's.
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/base/heavy_barrier.h"
#include "mycelium/base/spin_backoff.h"
#include "mycelium/bus/node_runtime.h"
#include "tests/support/notification.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kSpinNs = 50'000;
constexpr int kLooksPerClock = 64;
// No thread looks so often.
constexpr int kLooksMax = 1'000'000;

// Each look at it takes a microsecond, unless the test says otherwise.
class CountedClock final : public Clock {
 public:
  TimeNs NowNs() override {
    ++looks;
    return now += step;
  }
  int64_t WallNs() override { return now; }

  std::atomic<TimeNs> now{1'000'000};
  TimeNs step = 1'000;
  std::atomic<int> looks{0};
};

// A thread that sleeps is woken at once.
class CountedWaiter final : public Waiter {
 public:
  explicit CountedWaiter(CountedClock& clock) : clock_(clock) {}

  void WaitWord(const std::atomic<uint32_t>&, uint32_t,
                TimeNs deadline) override {
    ++sleeps;
    last_deadline = deadline;
    if (on_sleep != nullptr) on_sleep();
  }
  void WakeWord(const std::atomic<uint32_t>&) override {}
  int64_t WaitEpoll(int, epoll_event*, int, TimeNs) override {
    if (on_epoll != nullptr) on_epoll();
    return 0;
  }
  void GiveWay() override { clock_.now += away_ns; }

  std::function<void()> on_sleep;
  std::function<void()> on_epoll;  // On the thread that runs the loop.
  int64_t away_ns = 0;
  std::atomic<int> sleeps{0};
  std::atomic<TimeNs> last_deadline{0};

 private:
  CountedClock& clock_;
};

class ListeningSys final : public Sys {
 public:
  int64_t Listen(int fd, int backlog) override {
    if (on_listen != nullptr) on_listen();
    return Sys::Listen(fd, backlog);
  }

  std::function<void()> on_listen;
};

class NodeRuntimeWaitingTest : public ::testing::Test {
 protected:
  void Start(std::optional<WaitMode> wait = std::nullopt) {
    BusOptions options;
    options.poll = PollMode::kCaller;
    options.wait = wait;
    options.environment = &environment_;
    auto runtime = NodeRuntime::Create(options, "node", nullptr);
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    runtime_ = *std::move(runtime);
    clock_.looks = 0;
  }

  CountedClock clock_;
  CountedWaiter waiter_{clock_};
  ListeningSys sys_;
  Environment environment_{sys_, clock_, waiter_};
  std::shared_ptr<NodeRuntime> runtime_;
  const std::atomic<bool> no_{false};
};

class SpinAndSleepTest : public NodeRuntimeWaitingTest {
 protected:
  void SetUp() override { Start(); }

  // Waits until `ready`, which is asked with the number of the look.
  void Wait(int64_t spin_ns, const std::function<bool(int look)>& ready) {
    looks_ = 0;
    runtime_->SpinAndSleep(
        event_,
        [&] {
          if (++looks_ < kLooksMax) return ready(looks_);
          ADD_FAILURE() << "it never sleeps";
          return true;
        },
        spin_ns);
  }
  bool HasSlept() const { return waiter_.sleeps > 0; }

  EventCount event_;
  int looks_ = 0;
};

TEST_F(SpinAndSleepTest, WhoDoesNotSpinSleepsAtOnceAndReadsNoClock) {
  Wait(/*spin_ns=*/0, [this](int) { return waiter_.sleeps == 2; });
  EXPECT_EQ(waiter_.sleeps, 2);
  EXPECT_EQ(waiter_.last_deadline, kNever);
  EXPECT_EQ(looks_, 5);  // Two before each sleep.
  EXPECT_EQ(clock_.looks, 0);
}

TEST_F(SpinAndSleepTest, WhatComesWhileItSpinsIsNotSleptFor) {
  Wait(kSpinNs, [](int look) { return look == 10 * kLooksPerClock; });
  EXPECT_FALSE(HasSlept());
}

TEST_F(SpinAndSleepTest, ClockIsReadSeldom) {
  Wait(kSpinNs, [](int look) { return look == kLooksPerClock; });
  EXPECT_EQ(clock_.looks, 1);
  Wait(kSpinNs, [](int look) { return look == kLooksPerClock + 1; });
  EXPECT_EQ(clock_.looks, 3);
}

TEST_F(SpinAndSleepTest, SleepsWhenItHasSpunForLongEnough) {
  const TimeNs begin = clock_.now;
  Wait(kSpinNs, [this](int) { return HasSlept(); });
  EXPECT_EQ(waiter_.sleeps, 1);
  EXPECT_EQ(waiter_.last_deadline, kNever);
  EXPECT_GE(clock_.now - begin, kSpinNs);
  EXPECT_LE(clock_.now - begin, kSpinNs + 4'000);
}

TEST_F(SpinAndSleepTest, WhatComesOnTheWayToSleepIsNotSleptOn) {
  Wait(/*spin_ns=*/0, [](int look) { return look == 2; });
  EXPECT_FALSE(HasSlept());
}

TEST_F(SpinAndSleepTest, WakeUpForNothingIsNoReasonToSpinAgain) {
  int at_sleep = 0;
  waiter_.on_sleep = [&] {
    if (waiter_.sleeps == 1) at_sleep = looks_;
  };
  Wait(kSpinNs, [this](int) { return waiter_.sleeps == 2; });
  EXPECT_EQ(looks_ - at_sleep, kLooksPerClock + 2);
}

TEST_F(SpinAndSleepTest, WhereOthersComputeItSleepsSoon) {
  waiter_.away_ns = SpinBackoff::kLostNs;
  for (int wait = 1; wait <= 2; ++wait) {
    Wait(kSpinNs, [&](int) { return waiter_.sleeps == wait; });
  }
  EXPECT_EQ(looks_, kLooksPerClock + 2);  // The second did not spin.
}

// Without the barrier, publishers' locks are ordinary ones, which nothing else
// shows.
TEST_F(NodeRuntimeWaitingTest, ANodeAsksForTheBarrierThatItsLocksNeed) {
  Start();
  EXPECT_EQ(has_heavy_barrier(), Sys::Real().RegisterBarrier() == 0);
}

class RestTest : public NodeRuntimeWaitingTest {
 protected:
  // How many looks there are in a rest that nothing else ends.
  int LooksIn(TimeNs deadline) {
    int looks = 0;
    runtime_->Rest(
        [&looks] {
          ++looks;
          return looks == kLooksMax;
        },
        deadline);
    EXPECT_LT(looks, kLooksMax) << "it has no end";
    return looks;
  }
};

TEST_F(RestTest, IsOverWhenThatIsSeen) {
  Start();
  int looks = 0;
  runtime_->Rest([&looks] { return ++looks == 2; }, kNever);
  EXPECT_EQ(looks, 2);
  EXPECT_EQ(waiter_.sleeps, 0);
}

TEST_F(RestTest, IsShortWhereThreadsSpinForEver) {
  Start(WaitMode::kSpin);
  const TimeNs begin = clock_.now;
  EXPECT_GT(LooksIn(kNever), 1);
  EXPECT_LE(clock_.now - begin, 15'000);
  EXPECT_EQ(waiter_.sleeps, 0);
}

TEST_F(RestTest, EndsAtTheDeadline) {
  Start();
  const TimeNs begin = clock_.now;
  EXPECT_GE(LooksIn(begin + 5'000), 1);
  EXPECT_LE(clock_.now - begin, 7'000);
  EXPECT_EQ(LooksIn(clock_.now), 0);
}

TEST_F(RestTest, LooksOnceAMicrosecond) {
  Start(WaitMode::kSpin);
  clock_.step = 10;
  const int looks = LooksIn(kNever);
  EXPECT_GE(looks, 8);
  EXPECT_LE(looks, 11);
}

TEST_F(RestTest, EndsThoughTheClockStandsStill) {
  Start(WaitMode::kSpin);
  clock_.step = 0;
  EXPECT_EQ(LooksIn(kNever), 0);
}

TEST_F(RestTest, GivesWayToWhoComputes) {
  Start();
  waiter_.away_ns = SpinBackoff::kLostNs;
  EXPECT_LE(LooksIn(kNever), 3);
  EXPECT_EQ(LooksIn(kNever), 0);  // No thread spins for a while.
}

// On the real clock, by which a rest may be over before its first look.
TEST_F(RestTest, IsNoOtherWhereTheNodeHasAThread) {
  BusOptions options;
  options.wait = WaitMode::kSpin;
  auto runtime = NodeRuntime::Create(options, "node", nullptr);
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  runtime_ = *std::move(runtime);
  int looks = 0;
  for (int rest = 0; rest < 10'000 && looks == 0; ++rest) {
    looks = LooksIn(kNever);
  }
  EXPECT_GT(looks, 0);
}

TEST_F(RestTest, IsNoneWhereThreadsDoNotSpin) {
  Start(WaitMode::kBlock);
  EXPECT_EQ(LooksIn(kNever), 0);
  EXPECT_EQ(clock_.looks, 0);
}

TEST_F(RestTest, IsNoneOnTheThreadThatRunsTheLinks) {
  Start();
  int looks = -1;
  waiter_.on_epoll = [&] { looks = LooksIn(kNever); };
  EXPECT_TRUE(runtime_->Poll(clock_.now, no_).ok());
  EXPECT_EQ(looks, 0);
  waiter_.on_epoll = nullptr;
}

class BusyNodeTest : public NodeRuntimeWaitingTest {
 protected:
  void SetUp() override {
    clock_.step = 1'000'000'000;
    Start(WaitMode::kBlock);
  }
  void TearDown() override { waiter_.on_epoll = nullptr; }

  test::ShortTempDir dir_;
};

// As a handler does that waits for the thread which calls.
TEST_F(BusyNodeTest, WhoNeedsItsThreadIsToldThatItDoesNotCome) {
  test::Notification entered, go;
  waiter_.on_epoll = [&] {
    entered.Notify();
    go.WaitForNotification();
  };
  std::thread polling(
      [&] { EXPECT_TRUE(runtime_->Poll(clock_.now, /*closed=*/no_).ok()); });
  entered.WaitForNotification();
  const std::string path = dir_.file("socket");
  for (const absl::Status& status :
       {runtime_->ListenUnix(path).status(), runtime_->DialUnix(path)}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_THAT(status.message(), HasSubstr("thread of node node was busy"));
  }
  go.Notify();
  polling.join();
  waiter_.on_epoll = nullptr;
  // It was not done afterwards, either.
  EXPECT_TRUE(runtime_->ListenUnix(path).ok());
  EXPECT_TRUE(runtime_->LinkReports().empty());
}

TEST_F(BusyNodeTest, WhatHasBegunIsWaitedFor) {
  test::Notification entered, posted, listens, go;
  waiter_.on_epoll = [&] {
    entered.Notify();
    posted.WaitForNotification();
  };
  std::thread polling(
      [&] { EXPECT_TRUE(runtime_->Poll(clock_.now, /*closed=*/no_).ok()); });
  entered.WaitForNotification();
  sys_.on_listen = [&] {
    listens.Notify();
    go.WaitForNotification();
  };
  const TimeNs begin = clock_.now;
  waiter_.on_sleep = [&] {
    posted.Notify();
    listens.WaitForNotification();
    if (clock_.now - begin > 20'000'000'000) go.Notify();
  };
  EXPECT_TRUE(runtime_->ListenUnix(dir_.file("socket")).ok());
  polling.join();
  EXPECT_GT(clock_.now - begin, 20'000'000'000);
}

}  // namespace
}  // namespace mycelium
