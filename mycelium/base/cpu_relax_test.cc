#include "mycelium/base/cpu_relax.h"

#include "gtest/gtest.h"

namespace mycelium {
namespace {

TEST(CpuRelaxTest, LongerTakesMorePauses) {
  const int in_a_microsecond = PausesIn(1'000);
  EXPECT_GE(in_a_microsecond, 1);
  // A thousand times as many, except for rounding by one.
  EXPECT_NEAR(PausesIn(1'000'000), 1'000 * in_a_microsecond, 1'000);
}

TEST(CpuRelaxTest, ItIsOnePauseAtLeast) {
  EXPECT_EQ(PausesIn(0), 1);
  EXPECT_GE(PausesIn(1), 1);
}

}  // namespace
}  // namespace mycelium
