#include "mycelium/bus/line_limit.h"

#include "gtest/gtest.h"

namespace mycelium {
namespace {

TEST(LineLimitTest, LinesBeyondTheLimitAreCountedUntilThePeriodIsOver) {
  LineLimit limit(10);
  uint64_t left_out = 0;
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(limit.Allows(1, &left_out));
    EXPECT_EQ(left_out, 0u);
  }
  EXPECT_FALSE(limit.Allows(1, &left_out));
  EXPECT_FALSE(limit.Allows(LineLimit::kPeriodNs, &left_out));
  EXPECT_TRUE(limit.Allows(LineLimit::kPeriodNs + 1, &left_out));
  EXPECT_EQ(left_out, 2u);
  EXPECT_TRUE(limit.Allows(LineLimit::kPeriodNs + 1, &left_out));
  EXPECT_EQ(left_out, 0u);
}

}  // namespace
}  // namespace mycelium
