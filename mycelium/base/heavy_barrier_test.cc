#include "mycelium/base/heavy_barrier.h"

#include <cerrno>
#include <thread>

#include "gtest/gtest.h"
#include "mycelium/base/biased_mutex.h"
#include "mycelium/base/mutex.h"

namespace mycelium {
namespace {

// A kernel that offers the barrier, until a sandbox forbids it.
class SandboxedSys final : public Sys {
 public:
  int64_t RegisterBarrier() override { return ++asked_, 0; }
  int64_t BarrierInAllThreads() override { return refuses ? -EPERM : 0; }

  int asked() const { return asked_; }
  bool refuses = false;

 private:
  int asked_ = 0;
};

// One test, since what a process was offered holds for all of it.
TEST(HeavyBarrierTest, IsOfferedOnceAndNoLongerWhenItFailed) {
  EXPECT_FALSE(has_heavy_barrier());
  SandboxedSys sys;
  SystemWaiter waiter(sys, Environment::Real().clock);
  Environment environment = {sys, Environment::Real().clock, waiter};
  AskForHeavyBarrier(sys);
  AskForHeavyBarrier(sys);
  EXPECT_EQ(sys.asked(), 1);
  EXPECT_TRUE(has_heavy_barrier());
  HeavyBarrier(sys);
  EXPECT_TRUE(has_heavy_barrier());

  // A thread that has begun to rely on the barrier goes on when that is safe,
  // and no thread begins to.
  BiasedMutex mutex(environment);
  const auto take_in_a_row = [&mutex] {
    for (uint32_t i = 0; i < 2 * BiasedMutex::kInARowMax; ++i) {
      MutexLock lock(mutex);
    }
    MutexLock lock(mutex);
    return mutex.is_by_bias();
  };
  EXPECT_TRUE(take_in_a_row());
  sys.refuses = true;
  const TimeNs before = environment.clock.NowNs();
  std::thread([&] { EXPECT_FALSE(take_in_a_row()); }).join();
  EXPECT_GE(environment.clock.NowNs() - before, 10'000'000);
  EXPECT_FALSE(has_heavy_barrier());
  EXPECT_FALSE(take_in_a_row());
  AskForHeavyBarrier(sys);
  EXPECT_FALSE(has_heavy_barrier());
}

}  // namespace
}  // namespace mycelium
