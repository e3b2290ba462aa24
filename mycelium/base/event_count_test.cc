#include "mycelium/base/event_count.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/base/environment.h"

namespace mycelium {
namespace {

constexpr int64_t kLongNs = 20'000'000'000;

// Sleeps until `ready`. False if nobody woke us for it in a long time.
template <typename Ready>
bool SleepUntil(EventCount& event, Ready ready) {
  Environment& environment = Environment::Real();
  const TimeNs deadline = environment.clock.NowNs() + kLongNs;
  while (!ready()) {
    EventCount::Sleeper asleep(event);
    if (ready()) break;
    asleep.Until(environment.waiter, deadline);
    if (environment.clock.NowNs() >= deadline) return false;
  }
  return true;
}

// Counts the wake-ups that enter the kernel.
class CountingWaiter final : public Waiter {
 public:
  void WaitWord(const std::atomic<uint32_t>&, uint32_t, TimeNs) override {}
  void WakeWord(const std::atomic<uint32_t>&) override { ++wakes; }
  int64_t WaitEpoll(int, epoll_event*, int, TimeNs) override { return 0; }
  int wakes = 0;
};

TEST(EventCountTest, NotifyEntersTheKernelOnlyIfSomebodySleeps) {
  CountingWaiter waiter;
  EventCount event;
  event.Notify(waiter);
  EXPECT_EQ(waiter.wakes, 0);
  {
    EventCount::Sleeper asleep(event);
    event.Notify(waiter);
    EXPECT_EQ(waiter.wakes, 1);
  }
  event.Notify(waiter);
  EXPECT_EQ(waiter.wakes, 1);
}

TEST(EventCountTest, SleepEndsAtItsDeadline) {
  Environment& environment = Environment::Real();
  EventCount event;
  EventCount::Sleeper asleep(event);
  const TimeNs deadline = environment.clock.NowNs() + 2'000'000;
  while (environment.clock.NowNs() < deadline) {
    asleep.Until(environment.waiter, deadline);
  }
}

TEST(EventCountTest, NotifyBetweenTicketAndSleepIsNotLost) {
  Environment& environment = Environment::Real();
  EventCount event;
  EventCount::Sleeper asleep(event);
  event.Notify(environment.waiter);
  const TimeNs before = environment.clock.NowNs();
  asleep.Until(environment.waiter, before + kLongNs);
  EXPECT_LT(environment.clock.NowNs() - before, kLongNs);
}

TEST(EventCountTest, NoWakeUpIsLostBetweenManyThreads) {
  constexpr int kThreads = 6;
  constexpr int kTurns = 6'000;
  Environment& environment = Environment::Real();
  EventCount event;
  std::atomic<int> turn{0};
  std::atomic<int> lost{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int mine = thread; mine < kTurns; mine += kThreads) {
        if (!SleepUntil(event, [&] { return turn.load() >= mine; })) ++lost;
        turn.store(mine + 1);
        event.Notify(environment.waiter);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(lost, 0);
  EXPECT_EQ(turn, kTurns);
}

}  // namespace
}  // namespace mycelium
