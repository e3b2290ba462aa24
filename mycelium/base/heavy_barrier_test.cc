#include "mycelium/base/heavy_barrier.h"

#include <unistd.h>

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
  int64_t RegisterBarrier() override { return ++asked, 0; }
  int64_t BarrierInAllThreads() override { return refuses ? -EPERM : 0; }
  int64_t RegisterSharedBarrier() override {
    return ++shared_asked, knows_shared ? 0 : -EINVAL;
  }
  int64_t BarrierInAllProcesses() override {
    return ++shared_run, refuses_shared ? -EPERM : 0;
  }

  int asked = 0;
  bool refuses = false;
  bool knows_shared = true;
  int shared_asked = 0;
  int shared_run = 0;
  bool refuses_shared = false;
};

// In a process of its own.
void ExpectNoShared(SandboxedSys sys, bool takes) {
  EXPECT_EXIT(
      {
        AskForHeavyBarrier(sys);
        const bool is_right = has_heavy_barrier() &&
                              takes_shared_heavy_barriers() == takes &&
                              !has_shared_heavy_barrier();
        _exit(is_right ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST(HeavyBarrierDeathTest, OneThatReachesNoOtherProcessIsNotShared) {
  SandboxedSys old;
  old.knows_shared = false;
  ExpectNoShared(old, /*takes=*/false);
  SandboxedSys refusing;
  refusing.refuses_shared = true;
  ExpectNoShared(refusing, /*takes=*/true);
}

// One test, since what a process was offered holds for all of it.
TEST(HeavyBarrierTest, IsOfferedOnceAndNoLongerWhenItFailed) {
  EXPECT_FALSE(has_heavy_barrier());
  SandboxedSys sys;
  SystemWaiter waiter(sys, Environment::Real().clock);
  Environment environment = {sys, Environment::Real().clock, waiter};
  AskForHeavyBarrier(sys);
  AskForHeavyBarrier(sys);
  EXPECT_EQ(sys.asked, 1);
  EXPECT_EQ(sys.shared_asked, 1);
  EXPECT_TRUE(has_heavy_barrier());
  EXPECT_TRUE(has_shared_heavy_barrier());
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

  // The other one is its own matter.
  const int run = sys.shared_run;
  SharedHeavyBarrier(sys);
  EXPECT_EQ(sys.shared_run, run + 1);
  EXPECT_TRUE(has_shared_heavy_barrier());
  sys.refuses_shared = true;
  const TimeNs refused = environment.clock.NowNs();
  SharedHeavyBarrier(sys);
  EXPECT_GE(environment.clock.NowNs() - refused, 10'000'000);
  EXPECT_FALSE(has_shared_heavy_barrier());
  EXPECT_TRUE(takes_shared_heavy_barriers()) << "those of others";
}

}  // namespace
}  // namespace mycelium
