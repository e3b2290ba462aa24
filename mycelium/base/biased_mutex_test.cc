#include "mycelium/base/biased_mutex.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/base/mutex.h"

namespace mycelium {
namespace {

class BiasedMutexTest : public ::testing::Test {
 protected:
  void SetUp() override {
    AskForHeavyBarrier(Environment::Real().sys);
    if (!has_heavy_barrier()) GTEST_SKIP() << "the kernel has no membarrier";
  }

  // Returns whether the mutex is biased towards the caller after that.
  bool TakeInARow(uint32_t times) {
    bool is_by_bias = false;
    for (uint32_t i = 0; i < times; ++i) {
      MutexLock lock(mutex_);
      is_by_bias = mutex_.is_by_bias();
    }
    return is_by_bias;
  }
  uint64_t times_taken() {
    MutexLock lock(mutex_);
    return mutex_.times_taken();
  }

  BiasedMutex mutex_{Environment::Real()};
};

TEST_F(BiasedMutexTest, WhoTakesItManyTimesInARowGetsTheBias) {
  EXPECT_FALSE(TakeInARow(BiasedMutex::kInARowMin));
  EXPECT_TRUE(TakeInARow(1));
}

TEST_F(BiasedMutexTest, KeySaysHowItIsHeldAndEitherWayOfUnlockingWillDo) {
  const uint64_t by_mutex = mutex_.LockByKey();
  EXPECT_FALSE(mutex_.is_by_bias());
  EXPECT_EQ(by_mutex, Bias::kNobody);
  mutex_.UnlockByKey(by_mutex);
  EXPECT_TRUE(TakeInARow(BiasedMutex::kInARowMin));
  for (int i = 0; i < 2; ++i) {
    const uint64_t by_bias = mutex_.LockByKey();
    EXPECT_TRUE(mutex_.is_by_bias());
    EXPECT_NE(by_bias, Bias::kNobody);
    if (i == 0) {
      mutex_.UnlockByKey(by_bias);
    } else {
      mutex_.Unlock();
    }
    std::thread([this] { EXPECT_FALSE(TakeInARow(1)); }).join();
    EXPECT_TRUE(TakeInARow(4 * BiasedMutex::kInARowMin + 1));
  }
}

TEST_F(BiasedMutexTest, WhoeverComesTakesItAwayAndItIsWonBackLater) {
  EXPECT_TRUE(TakeInARow(BiasedMutex::kInARowMin + 1));
  std::thread([this] { EXPECT_FALSE(TakeInARow(1)); }).join();
  EXPECT_FALSE(TakeInARow(2 * BiasedMutex::kInARowMin));
  EXPECT_TRUE(TakeInARow(1));
  EXPECT_EQ(times_taken(), 1u);
}

TEST_F(BiasedMutexTest, WhoComesBackNeedsNoOtherSlot) {
  for (int i = 0; i < 6; ++i) {
    TakeInARow(BiasedMutex::kInARowMax);
    EXPECT_TRUE(TakeInARow(1));
    std::thread([this] { EXPECT_FALSE(TakeInARow(1)); }).join();
  }
  EXPECT_EQ(times_taken(), 6u);
}

TEST_F(BiasedMutexTest, ANewThreadDoesNotInheritTheBias) {
  // One after the other, so that the second may get the first one's address.
  for (int i = 0; i < 4; ++i) {
    std::thread([this] {
      EXPECT_FALSE(TakeInARow(1));
      TakeInARow(BiasedMutex::kInARowMax);
      EXPECT_TRUE(TakeInARow(1));
    }).join();
  }
  EXPECT_EQ(times_taken(), 4u);
}

// For all that the others know, the thread may be about to enter.
TEST_F(BiasedMutexTest, WhoStaysAwayKeepsASlotAndThereAreFour) {
  for (int i = 0; i < 4; ++i) {
    std::thread([this] {
      TakeInARow(2 * BiasedMutex::kInARowMax);
      EXPECT_TRUE(TakeInARow(1));
    }).join();
  }
  EXPECT_FALSE(TakeInARow(2 * BiasedMutex::kInARowMax));
}

// Says when a thread is about to sleep.
class WatchedWaiter final : public Waiter {
 public:
  void WaitWord(const std::atomic<uint32_t>& word, uint32_t expected,
                TimeNs deadline) override {
    sleeps = true;
    Environment::Real().waiter.WaitWord(word, expected, deadline);
  }
  void WakeWord(const std::atomic<uint32_t>& word) override {
    Environment::Real().waiter.WakeWord(word);
  }
  int64_t WaitEpoll(int, epoll_event*, int, TimeNs) override { return 0; }

  std::atomic<bool> sleeps{false};
};

TEST_F(BiasedMutexTest, WhoTakesTheBiasAwaySleepsUntilTheOwnerHasLeft) {
  WatchedWaiter waiter;
  Environment environment = {Environment::Real().sys, Environment::Real().clock,
                             waiter};
  BiasedMutex mutex(environment);
  for (uint32_t i = 0; i < BiasedMutex::kInARowMin; ++i) {
    MutexLock lock(mutex);
  }
  int guarded = 0;
  mutex.Lock();
  ASSERT_TRUE(mutex.is_by_bias());
  std::thread other([&] {
    MutexLock lock(mutex);
    guarded *= 2;
  });
  while (!waiter.sleeps) std::this_thread::yield();
  guarded = 3;
  mutex.Unlock();
  other.join();
  EXPECT_EQ(guarded, 6);
}

#ifndef NDEBUG
TEST_F(BiasedMutexTest, WhoTakesItTwiceByBiasIsTold) {
  EXPECT_TRUE(TakeInARow(BiasedMutex::kInARowMin + 1));
  EXPECT_DEATH(
      {
        MutexLock lock(mutex_);
        MutexLock again(mutex_);
      },
      "locked twice");
}
#endif

// A row is long enough for a bias now and then, and short enough for it to be
// taken away thousands of times, inside and outside.
TEST_F(BiasedMutexTest, NobodyIsInsideTogetherWithAnother) {
  constexpr int kThreads = 3;
  constexpr int kRounds = 60;
  uint64_t guarded = 0;
  uint64_t by_bias = 0;
  uint64_t wanted = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    for (int i = 0; i < kRounds; ++i) wanted += 500 + 700 * t + 13 * i;
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        for (int n = 0; n < 500 + 700 * t + 13 * i; ++n) {
          MutexLock lock(mutex_);
          ++guarded;
          by_bias += mutex_.is_by_bias() ? 1 : 0;
        }
        std::this_thread::yield();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(guarded, wanted);
  EXPECT_GT(by_bias, 0u);
}

}  // namespace
}  // namespace mycelium
