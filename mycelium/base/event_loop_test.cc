#include "mycelium/base/event_loop.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/base/event_loop_fakes.h"
#include "tests/support/driven_clock.h"

namespace mycelium {
namespace {

using Ran = EventLoop::Ran;

using ::testing::EndsWith;
using ::testing::StartsWith;

using ::mycelium::test::DrivenClock;
using ::mycelium::test::DrivenWaiter;
using ::mycelium::test::FakePoller;
using ::mycelium::test::Readable;

class EventLoopTest : public ::testing::Test {
 protected:
  DrivenClock clock_;
  DrivenWaiter waiter_{clock_};
  Environment environment_{Sys::Real(), clock_, waiter_};
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create(environment_);
  std::string log_;
};

TEST_F(EventLoopTest, TimersRunInOrderOfTimeAndThenOfAge) {
  loop_->RunAt(3000, [&] { log_ += "c"; });
  loop_->RunAt(2000, [&] { log_ += "a"; });
  loop_->RunAt(2000, [&] { log_ += "b"; });
  EXPECT_EQ(loop_->RunOnce(1500, 0), Ran::kNothing);
  EXPECT_EQ(log_, "");
  EXPECT_EQ(loop_->RunOnce(kNever, 0), Ran::kSomething);
  EXPECT_EQ(log_, "ab");
  EXPECT_EQ(clock_.now, 2000);
  EXPECT_EQ(loop_->RunOnce(kNever, 0), Ran::kSomething);
  EXPECT_EQ(log_, "abc");
}

// Of two threads that take turns, the first has taken the wake-up.
TEST_F(EventLoopTest, AnInterruptIsSeenByEachThreadOnce) {
  const uint32_t seen = loop_->interrupts();
  loop_->Interrupt();
  for (int turn = 0; turn < 2; ++turn) {
    (void)loop_->RunOnce(5000, 0, seen);
    EXPECT_LT(clock_.now, 5000);
  }
  EXPECT_EQ(loop_->RunOnce(5000, 0), Ran::kNothing);
  EXPECT_EQ(clock_.now, 5000);
}

TEST_F(EventLoopTest, CancelledTimerDoesNotRun) {
  const uint64_t first = loop_->RunAt(2000, [&] { log_ += "a"; });
  uint64_t second = 0;
  loop_->RunAt(2000, [&] {
    log_ += "b";
    loop_->Cancel(second);
  });
  second = loop_->RunAt(2000, [&] { log_ += "c"; });
  loop_->RunAt(2500, [&] { log_ += "d"; });
  EXPECT_NE(first, 0u);
  loop_->Cancel(first);
  loop_->Cancel(first);
  loop_->Cancel(0);
  loop_->Cancel(4711);
  while (clock_.now < 2500) loop_->RunOnce(kNever, 0);
  EXPECT_EQ(log_, "bd");
}

TEST_F(EventLoopTest, CancellingTheFirstTimerWaitsForTheNext) {
  const uint64_t first = loop_->RunAt(2000, [] {});
  loop_->RunAt(9000, [&] { log_ += "x"; });
  loop_->Cancel(first);
  loop_->RunOnce(kNever, 0);
  EXPECT_EQ(waiter_.deadlines.back(), 9000);
  EXPECT_EQ(log_, "x");
}

TEST_F(EventLoopTest, PostedTasksRunInOrderAndTheirOwnPostsLater) {
  loop_->Post([&] {
    log_ += "a";
    loop_->Post([&] { log_ += "c"; });
  });
  loop_->Post([&] { log_ += "b"; });
  EXPECT_EQ(loop_->RunOnce(kNever, 0), Ran::kSomething);
  EXPECT_EQ(log_, "abc");
}

TEST_F(EventLoopTest, LoopWithoutWorkWaitsUntilTheDeadline) {
  EXPECT_EQ(loop_->RunOnce(5000, 0), Ran::kNothing);
  EXPECT_EQ(clock_.now, 5000);
}

TEST_F(EventLoopTest, LoopThatTheKernelTellsNothingSaysSoAndSleeps) {
  auto loop = *EventLoop::Create(environment_,
                                 [this](LogLevel, absl::string_view text) {
                                   absl::StrAppend(&log_, text, "\n");
                                 });
  Readable readable;
  ASSERT_TRUE(loop->Watch(readable.fd(), EPOLLIN, readable).ok());
  waiter_.epoll_error = -EPERM;
  const TimeNs begin = clock_.now;
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(loop->RunOnce(kNever, 0), Ran::kNothing);
  }
  EXPECT_EQ(waiter_.words, 5);
  EXPECT_EQ(clock_.now, begin + 5'000'000);
  EXPECT_THAT(log_, StartsWith("event loop: wait by epoll: "));
  EXPECT_EQ(absl::c_count(log_, '\n'), 1);
  // A task is run nevertheless, and no sleep delays a call that only looks.
  bool ran = false;
  loop->Post([&] { ran = true; });
  EXPECT_EQ(loop->RunOnce(kNever, 0), Ran::kSomething);
  EXPECT_TRUE(ran);
  EXPECT_EQ(loop->RunOnce(0, 0), Ran::kNothing);
  EXPECT_EQ(waiter_.words, 5);
  waiter_.epoll_error = 0;
  EXPECT_EQ(loop->RunOnce(kNever, 0), Ran::kSomething);
  EXPECT_EQ(readable.calls, 1);
  EXPECT_THAT(log_, EndsWith("\nevent loop: hears its sockets again\n"));
  loop->Unwatch(readable.fd());
}

TEST_F(EventLoopTest, HandlerThatAnEarlierOneUnwatchedIsNotCalled) {
  Readable a, b;
  a.on_ready = [&] { loop_->Unwatch(b.fd()); };
  b.on_ready = [&] { loop_->Unwatch(a.fd()); };
  ASSERT_TRUE(loop_->Watch(a.fd(), EPOLLIN, a).ok());
  ASSERT_TRUE(loop_->Watch(b.fd(), EPOLLIN, b).ok());
  EXPECT_EQ(loop_->RunOnce(0, 0), Ran::kSomething);
  EXPECT_EQ(a.calls + b.calls, 1) << "both were ready in one batch";
}

TEST_F(EventLoopTest, RewatchedDescriptorIsToldOnlyOfWhatIsWanted) {
  Readable a;
  ASSERT_TRUE(loop_->Watch(a.fd(), EPOLLIN, a).ok());
  ASSERT_TRUE(loop_->Rewatch(a.fd(), 0).ok());
  loop_->RunOnce(0, 0);
  EXPECT_EQ(a.calls, 0);
  ASSERT_TRUE(loop_->Rewatch(a.fd(), EPOLLIN).ok());
  loop_->RunOnce(0, 0);
  EXPECT_EQ(a.calls, 1);
  loop_->Unwatch(a.fd());
  loop_->Unwatch(a.fd());
  EXPECT_FALSE(loop_->Rewatch(a.fd(), EPOLLIN).ok());
}

TEST_F(EventLoopTest, SpinningLooksAtHandlersUntilOneFindsWork) {
  Readable a;
  a.found_at_poll = 5;
  ASSERT_TRUE(loop_->Watch(a.fd(), 0, a).ok());
  EXPECT_EQ(loop_->RunOnce(kNever, kNever), Ran::kSomething);
  EXPECT_EQ(a.polls, 5);
}

TEST_F(EventLoopTest, SpinningForEverAsksTheKernelOnceAMillisecond) {
  Readable a;  // Its Poll() never finds what the kernel knows of.
  a.found_at_poll = 100'000;
  a.on_poll = [&] { clock_.now += 1000; };
  ASSERT_TRUE(loop_->Watch(a.fd(), EPOLLIN, a).ok());
  for (int turn = 1; turn <= 3; ++turn) {
    EXPECT_EQ(loop_->RunOnce(kNever, kNever), Ran::kSomething);
    EXPECT_EQ(a.calls, turn);
    EXPECT_LE(a.polls, turn * 1010);
  }
  EXPECT_GE(a.polls, 3 * 900) << "and not more often";
}

TEST_F(EventLoopTest, SpinningAsksTheKernelAtOnceIfAHandlerWantsIt) {
  Readable a;
  a.on_poll = [&] {
    clock_.now += 1000;
    if (a.polls == 3) loop_->AskKernel();
  };
  ASSERT_TRUE(loop_->Watch(a.fd(), EPOLLIN, a).ok());
  EXPECT_EQ(loop_->RunOnce(kNever, kNever), Ran::kSomething);
  EXPECT_EQ(a.calls, 1);
  EXPECT_LE(a.polls, 4);
  // And no more often than it was asked to.
  EXPECT_EQ(loop_->RunOnce(kNever, kNever), Ran::kSomething);
  EXPECT_EQ(a.calls, 2);
  EXPECT_GE(a.polls, 900);
}

TEST_F(EventLoopTest, SpinningEndsInASleepWhenItsTimeIsOver) {
  Readable a;
  a.on_poll = [&] { clock_.now += 1000; };
  ASSERT_TRUE(loop_->Watch(a.fd(), 0, a).ok());
  EXPECT_EQ(loop_->RunOnce(9'000'000, 2'500'000), Ran::kNothing);
  EXPECT_EQ(clock_.now, 9'000'000);
  EXPECT_EQ(waiter_.deadlines, (std::vector<TimeNs>{0, 0, 9'000'000}));
}

TEST_F(EventLoopTest, SpinningGivesWayToOthersUnlessItIsForEver) {
  Readable a;
  a.on_poll = [&] { clock_.now += 1000; };
  ASSERT_TRUE(loop_->Watch(a.fd(), 0, a).ok());
  loop_->RunOnce(clock_.now + 9'000'000, 500'000);
  EXPECT_GE(waiter_.ways_given, 50) << "of 500 looks, once in eight";
  waiter_.ways_given = 0;
  a.found_at_poll = a.polls + 500;
  loop_->RunOnce(kNever, kNever);
  EXPECT_EQ(waiter_.ways_given, 0);
}

TEST_F(EventLoopTest, LoopThatGaveWayForLongSleepsInsteadOfSpinning) {
  Readable a;
  a.on_poll = [&] { clock_.now += 1000; };
  waiter_.away_ns = 4'000'000;  // Another thread computes.
  ASSERT_TRUE(loop_->Watch(a.fd(), 0, a).ok());
  EXPECT_EQ(loop_->RunOnce(clock_.now + 9'000'000, 2'500'000), Ran::kNothing);
  EXPECT_EQ(waiter_.ways_given, 1);
  EXPECT_EQ(waiter_.deadlines.size(), 1u) << "it sleeps at once";
  // The next time it does not spin, except for one look.
  const int polls = a.polls;
  EXPECT_EQ(loop_->RunOnce(clock_.now + 9'000'000, 2'500'000), Ran::kNothing);
  EXPECT_EQ(a.polls, polls + 1);
  EXPECT_EQ(waiter_.ways_given, 1);
  EXPECT_EQ(waiter_.deadlines.size(), 2u);
}

TEST_F(EventLoopTest, SlowHandlersOfASpinningLoopDoNotKeepTheKernelWaiting) {
  Readable busy, other;
  busy.found_at_poll = other.polls = 0;
  busy.on_poll = [&] { clock_.now += 10'000'000; };
  ASSERT_TRUE(loop_->Watch(busy.fd(), 0, busy).ok());
  ASSERT_TRUE(loop_->Watch(other.fd(), EPOLLIN, other).ok());
  for (int turn = 0; turn < 3; ++turn) loop_->RunOnce(kNever, kNever);
  EXPECT_GE(other.calls, 1);
}

TEST_F(EventLoopTest, SpinningLooksAtEveryHandlerInTurn) {
  Readable a, b, c;
  for (Readable* readable : {&a, &b, &c}) {
    readable->found_at_poll = 0;
    ASSERT_TRUE(loop_->Watch(readable->fd(), 0, *readable).ok());
  }
  for (int turn = 0; turn < 9; ++turn) loop_->RunOnce(kNever, kNever);
  EXPECT_EQ(a.polls, 3);
  EXPECT_EQ(b.polls, 3);
  EXPECT_EQ(c.polls, 3);
}

TEST_F(EventLoopTest, OnlyTheRunningThreadIsInTheLoop) {
  EXPECT_FALSE(loop_->InLoop());
  loop_->Post([&] {
    EXPECT_TRUE(loop_->InLoop());
    std::thread([&] {
      EXPECT_FALSE(loop_->InLoop());
      EXPECT_EQ(loop_->RunOnce(0, 0), Ran::kOtherThread);
    }).join();
  });
  EXPECT_EQ(loop_->RunOnce(0, 0), Ran::kSomething);
  EXPECT_FALSE(loop_->InLoop());
}

TEST_F(EventLoopTest, OnlyASleepingLoopThatLendsIsLent) {
  bool lent = true;
  const auto try_elsewhere = [&] {
    std::thread([&] {
      lent = loop_->TryBorrow();
      if (!lent) return;
      EXPECT_TRUE(loop_->InLoop());
      EXPECT_FALSE(loop_->TryBorrow()) << "it is lent";
      loop_->GiveBack();
      EXPECT_FALSE(loop_->InLoop());
    }).join();
  };
  waiter_.on_wait = try_elsewhere;
  loop_->RunOnce(clock_.now + 1, 0);
  EXPECT_FALSE(lent) << "it does not lend";
  loop_->SetLending();
  loop_->RunOnce(clock_.now + 1, 0);
  EXPECT_TRUE(lent);
  loop_->RunOnce(/*deadline=*/0, 0);
  EXPECT_FALSE(lent) << "it does not sleep";
  try_elsewhere();
  EXPECT_FALSE(lent) << "nobody runs it";
  loop_->Post([&] {
    try_elsewhere();
    EXPECT_FALSE(lent) << "it runs";
  });
  waiter_.on_wait = nullptr;
  loop_->RunOnce(clock_.now + 1, 0);
}

TEST_F(EventLoopTest, WhatABorrowerWatchesIsNotToldOfItsNumbersLastOwner) {
  loop_->SetLending();
  auto first = std::make_unique<Readable>();
  ASSERT_TRUE(loop_->Watch(first->fd(), EPOLLIN, *first).ok());
  std::unique_ptr<Readable> second;
  // The kernel has told, and the loop has not looked.
  waiter_.on_woken = [&] {
    if (second != nullptr) return;
    ASSERT_TRUE(loop_->TryBorrow());
    const int number = first->fd();
    loop_->Unwatch(number);
    first.reset();
    second = std::make_unique<Readable>();
    ASSERT_EQ(second->fd(), number);
    ASSERT_TRUE(loop_->Watch(number, EPOLLIN, *second).ok());
    loop_->GiveBack();
  };
  loop_->RunOnce(clock_.now + 1, 0);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->calls, 0);
  EXPECT_EQ(loop_->RunOnce(0, 0), Ran::kSomething);
  EXPECT_EQ(second->calls, 1);
  loop_->Unwatch(second->fd());
}

TEST(EventLoopConcurrentTest, BorrowersAndTheLoopAreNeverInItAtOnce) {
  constexpr int kRounds = 3'000;
  auto loop = *EventLoop::Create(Environment::Real());
  loop->SetLending();
  int inside = 0;  // Unguarded: this is what the loop is for.
  int64_t posted = 0;
  const auto enter = [&] {
    EXPECT_EQ(inside++, 0);
    EXPECT_TRUE(loop->InLoop());
    EXPECT_EQ(--inside, 0);
  };
  bool stop = false;
  std::thread running([&] {
    while (!stop) loop->RunOnce(kNever, 0);
  });
  std::vector<std::thread> borrowers;
  for (int i = 0; i < 2; ++i) {
    borrowers.emplace_back([&] {
      for (int lent = 0; lent < kRounds;) {
        if (!loop->TryBorrow()) continue;
        ++lent;
        enter();
        // Wakes the sleeper, which then waits for this borrower.
        loop->Post([&] {
          enter();
          ++posted;
        });
        loop->GiveBack();
      }
    });
  }
  for (std::thread& borrower : borrowers) borrower.join();
  loop->Post([&] { stop = true; });
  running.join();
  EXPECT_EQ(posted, 2 * kRounds);
}

// Otherwise timers and tasks would wait for as long as borrowers follow each
// other.
TEST(EventLoopConcurrentTest, WhoWaitsForABorrowerIsNext) {
  auto loop = *EventLoop::Create(Environment::Real());
  loop->SetLending();
  std::atomic<bool> may_go_on{false};
  bool stop = false;
  std::thread running([&] {
    while (!stop) loop->RunOnce(kNever, 0);
  });
  while (!loop->TryBorrow()) std::this_thread::yield();
  loop->Post([&] {
    while (!may_go_on) std::this_thread::yield();
  });
  while (!loop->IsAwaited()) std::this_thread::yield();
  loop->GiveBack();
  const bool is_lent = loop->TryBorrow();
  EXPECT_FALSE(is_lent);
  if (is_lent) loop->GiveBack();
  may_go_on = true;
  loop->Post([&] { stop = true; });
  running.join();
}

TEST(EventLoopConcurrentTest, NoPostIsLeftToASleepingLoop) {
  // Each post waits for the one before, so that a lost wake-up stops the test.
  constexpr int kPosts = 20'000;
  Environment& environment = Environment::Real();
  auto loop = *EventLoop::Create(environment);
  std::atomic<int> ran{0};
  std::thread posting([&] {
    for (int i = 0; i < kPosts; ++i) {
      if (i % 2 == 0) {
        loop->Post([&] { ++ran; });
      } else {
        loop->RunAt(environment.clock.NowNs(), [&] { ++ran; });
      }
      while (ran.load() <= i) std::this_thread::yield();
    }
  });
  const TimeNs deadline = environment.clock.NowNs() + 20'000'000'000;
  while (ran < kPosts && environment.clock.NowNs() < deadline) {
    loop->RunOnce(deadline, 0);
  }
  EXPECT_EQ(ran, kPosts);
  posting.join();
}

bool IsReadable(int fd, int timeout_ms) {
  pollfd watched = {fd, POLLIN, 0};
  return poll(&watched, 1, timeout_ms) == 1;
}

constexpr int kLongMs = 20'000;

class EventLoopDescriptorTest : public testing::Test {
 protected:
  Environment environment_ = Environment::Real();
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create(environment_);
  int runs_ = 0;
};

TEST_F(EventLoopDescriptorTest, ShowsATaskUntilItHasRun) {
  loop_->Post([this] { ++runs_; });
  EXPECT_TRUE(IsReadable(loop_->descriptor(), 0));
  loop_->RunOnce(0, 0);
  EXPECT_EQ(runs_, 1);
  EXPECT_FALSE(IsReadable(loop_->descriptor(), 0));
  // A task that is posted by a task, and one that comes later.
  loop_->Post([this] { loop_->Post([this] { ++runs_; }); });
  EXPECT_TRUE(IsReadable(loop_->descriptor(), 0));
  while (IsReadable(loop_->descriptor(), 0)) loop_->RunOnce(0, 0);
  EXPECT_EQ(runs_, 2);
}

TEST_F(EventLoopDescriptorTest, ShowsATimerThatIsDue) {
  const TimeNs now = environment_.clock.NowNs();
  loop_->RunAt(now + 2'000'000, [this] { ++runs_; });
  const int descriptor = loop_->descriptor();
  loop_->RunAt(now + 1'000'000, [this] { ++runs_; });
  for (int due = 1; due <= 2; ++due) {
    while (runs_ < due) {
      ASSERT_TRUE(IsReadable(descriptor, kLongMs));
      loop_->RunOnce(0, 0);
    }
  }
  EXPECT_FALSE(IsReadable(descriptor, 0));
}

TEST_F(EventLoopDescriptorTest, ForgetsATimerThatIsCancelled) {
  const int descriptor = loop_->descriptor();
  loop_->RunOnce(0, 0);  // The descriptor asks for a turn when it is asked for.
  const TimeNs now = environment_.clock.NowNs();
  const uint64_t cancelled = loop_->RunAt(now, [this] { ++runs_; });
  ASSERT_TRUE(IsReadable(descriptor, kLongMs));
  loop_->Cancel(cancelled);
  EXPECT_FALSE(IsReadable(descriptor, 0));
}

// The kernel has told of the descriptor that had the number before.
TEST(EventLoopNumbersTest, HandlerOfANumberThatIsNewIsNotCalledForTheOld) {
  class Counts final : public EventLoop::Handler {
   public:
    void OnReady(uint32_t) override {
      ++calls;
      if (on_ready != nullptr) std::exchange(on_ready, nullptr)();
    }
    int calls = 0;
    std::function<void()> on_ready;
  };
  auto loop = *EventLoop::Create(Environment::Real());
  int first[2], second[2], silent[2];
  for (int* const ends : {first, second, silent}) ASSERT_EQ(pipe(ends), 0);
  Counts handlers[2], next;
  // The handler that runs first gives the other's number to a silent
  // descriptor.
  for (int i = 0; i < 2; ++i) {
    const int* const ends = i == 0 ? first : second;
    const int other = i == 0 ? second[0] : first[0];
    ASSERT_EQ(write(ends[1], "x", 1), 1);
    ASSERT_TRUE(loop->Watch(ends[0], EPOLLIN, handlers[i]).ok());
    handlers[i].on_ready = [&, other] {
      loop->Unwatch(other);
      ASSERT_EQ(dup2(silent[0], other), other);
      ASSERT_TRUE(loop->Watch(other, EPOLLIN, next).ok());
    };
  }
  loop->RunOnce(0, 0);
  EXPECT_EQ(handlers[0].calls + handlers[1].calls, 1);
  EXPECT_EQ(next.calls, 0);
  ASSERT_EQ(write(silent[1], "x", 1), 1);
  loop->RunOnce(0, 0);
  EXPECT_EQ(next.calls, 1);
  for (const int* const ends : {first, second, silent}) {
    close(ends[0]);
    close(ends[1]);
  }
}

TEST_F(EventLoopTest, PollerWithWorkKeepsTheLoopAwake) {
  FakePoller poller;
  loop_->AddPoller(poller);
  poller.work = 2;
  EXPECT_EQ(loop_->RunOnce(kNever, 0), Ran::kSomething);
  EXPECT_EQ(waiter_.deadlines.back(), 0);
  EXPECT_EQ(loop_->RunOnce(kNever, 0), Ran::kSomething);
  EXPECT_EQ(poller.work, 0);
}

TEST_F(EventLoopTest, PollerIsArmedWhileTheLoopSleepsAndOnlyThen) {
  FakePoller poller;
  loop_->AddPoller(poller);
  bool was_armed = false;
  waiter_.on_wait = [&] { was_armed = poller.is_armed; };
  loop_->RunOnce(clock_.now + 100, 0);
  EXPECT_TRUE(was_armed);
  EXPECT_FALSE(poller.is_armed);
}

// Runs no barrier, and says when it would have.
class BarrierNotingSys final : public Sys {
 public:
  explicit BarrierNotingSys(std::string& log) : log_(log) {}
  int64_t BarrierInAllProcesses() override { return log_ += "B", 0; }

 private:
  std::string& log_;
};

// Between what the pollers tell the peers and their last look; one for all.
TEST_F(EventLoopTest, BarrierThatAPollerNeedsIsRunBeforeAnybodyLooks) {
  BarrierNotingSys sys(log_);
  Environment environment = {sys, clock_, waiter_};
  const auto loop = *EventLoop::Create(environment);
  FakePoller pollers[3];
  for (FakePoller& poller : pollers) {
    loop->AddPoller(poller);
    poller.on_begin = [&] { log_ += "b"; };
    poller.on_look = [&] { log_ += "l"; };
  }
  loop->RunOnce(clock_.now + 100, 0);
  EXPECT_EQ(std::exchange(log_, ""), "bbblll");
  pollers[0].needs_barrier = pollers[1].needs_barrier = true;
  loop->RunOnce(clock_.now + 100, 0);
  EXPECT_EQ(std::exchange(log_, ""), "bbbBlll");
  loop->RunOnce(0, 0);
  EXPECT_EQ(log_, "") << "it did not sleep";
}

TEST_F(EventLoopTest, WorkThatComesWhileTheLoopFallsAsleepIsFound) {
  FakePoller poller;
  loop_->AddPoller(poller);
  // Between the last look and the sleep: the thread that makes the work wakes
  // the loop.
  waiter_.on_wait = [&] {
    if (poller.work > 0 || poller.polls > 1) return;
    poller.work = 1;
    loop_->WakeIfAsleep();
  };
  EXPECT_EQ(loop_->RunOnce(kNever, 0), Ran::kSomething);
  EXPECT_EQ(poller.work, 0);
}

TEST_F(EventLoopTest, PollerThatIsRemovedIsNotLookedAt) {
  FakePoller poller;
  loop_->AddPoller(poller);
  loop_->RemovePoller(poller);
  loop_->RunOnce(0, 0);
  EXPECT_FALSE(loop_->RunQuickly());
  EXPECT_EQ(poller.polls, 0);
}

TEST_F(EventLoopTest, QuickTurnsLeaveAFullOneItsTurn) {
  FakePoller poller;
  loop_->AddPoller(poller);
  poller.work = 1'000;
  int quick = 0;
  while (loop_->RunQuickly()) ++quick;
  EXPECT_GT(quick, 0);
  EXPECT_LT(quick, 1'000);
  EXPECT_EQ(loop_->RunOnce(0, 0), Ran::kSomething);
  EXPECT_TRUE(loop_->RunQuickly());
}

TEST_F(EventLoopTest, HandlerThatDoesNotSpinIsOnlyToldByTheKernel) {
  Readable readable;
  ASSERT_TRUE(loop_->Watch(readable.fd(), EPOLLIN, readable).ok());
  FakePoller poller;
  poller.on_poll = [&] { clock_.now += 100; };
  loop_->AddPoller(poller);
  loop_->SetSpinning(readable.fd(), EventLoop::Spinning::kNot);
  EXPECT_EQ(loop_->RunOnce(clock_.now + 10'000, 5'000), Ran::kSomething);
  EXPECT_EQ(readable.polls, 0);
  EXPECT_EQ(readable.calls, 1);
  loop_->Unwatch(readable.fd());
  // Watched again, the descriptor is like any other.
  ASSERT_TRUE(loop_->Watch(readable.fd(), 0, readable).ok());
  loop_->RunOnce(clock_.now + 10'000, 5'000);
  EXPECT_GT(readable.polls, 0);
}

// A caller that asks for the descriptor after the loop has run has not missed
// anything.
TEST(PolledEventLoopTest, FirstDescriptorTellsOfAPollersWork) {
  auto loop = *EventLoop::Create(Environment::Real());
  FakePoller poller;
  loop->AddPoller(poller);
  loop->RunOnce(0, 0);
  poller.work = 1;  // The poller was not asked to tell of it.
  pollfd polled = {loop->descriptor(), POLLIN, 0};
  ASSERT_EQ(poll(&polled, 1, 0), 1);
  loop->RunOnce(0, 0);
  EXPECT_EQ(poller.work, 0);
  while (poll(&polled, 1, 0) > 0) loop->RunOnce(0, 0);
  EXPECT_TRUE(poller.is_armed);
}

TEST(PolledEventLoopTest, DescriptorTellsOfAPollersWork) {
  auto loop = *EventLoop::Create(Environment::Real());
  FakePoller poller;
  loop->AddPoller(poller);
  pollfd polled = {loop->descriptor(), POLLIN, 0};
  loop->RunOnce(0, 0);
  while (poll(&polled, 1, 0) > 0) loop->RunOnce(0, 0);
  EXPECT_TRUE(poller.is_armed) << "somebody else's epoll waits";
  poller.work = 1;
  loop->WakeIfAsleep();
  EXPECT_EQ(poll(&polled, 1, 10'000), 1);
  loop->RunOnce(0, 0);
  EXPECT_EQ(poller.work, 0);
}

}  // namespace
}  // namespace mycelium
