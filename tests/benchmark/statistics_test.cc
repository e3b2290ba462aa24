#include "tests/benchmark/statistics.h"

#include <numeric>
#include <vector>

#include "gtest/gtest.h"

namespace mycelium::bench {
namespace {

std::vector<int64_t> OneTo(int64_t last) {
  std::vector<int64_t> values(last);
  std::iota(values.begin(), values.end(), 1);
  return values;
}

TEST(PercentileTest, IsTheNearestRank) {
  EXPECT_EQ(Percentile(OneTo(100), 0.5), 50);
  EXPECT_EQ(Percentile(OneTo(100), 0.99), 99);
  EXPECT_EQ(Percentile(OneTo(1000), 0.999), 999);
  EXPECT_EQ(Percentile({10, 20, 30}, 0.5), 20);
}

TEST(PercentileTest, RoundsUpBetweenRanks) {
  EXPECT_EQ(Percentile({10, 20, 30, 40}, 0.51), 30);
  EXPECT_EQ(Percentile(OneTo(10), 0.999), 10);
}

TEST(PercentileTest, EndsAreTheSmallestAndTheLargest) {
  EXPECT_EQ(Percentile(OneTo(7), 0), 1);
  EXPECT_EQ(Percentile(OneTo(7), 1), 7);
  EXPECT_EQ(Percentile({42}, 0.5), 42);
}

TEST(PercentilesOfTest, SortsBeforeItCounts) {
  std::vector<int64_t> samples = OneTo(1000);
  std::vector<int64_t> reversed(samples.rbegin(), samples.rend());
  const Percentiles result = PercentilesOf(reversed);
  EXPECT_EQ(result.p50, 500);
  EXPECT_EQ(result.p99, 990);
  EXPECT_EQ(result.p999, 999);
  EXPECT_EQ(result.max, 1000);
}

TEST(MedianTest, IsTheMiddleOfAnOddCount) { EXPECT_EQ(Median({9, 1, 5}), 5); }

TEST(MedianTest, IsTheMeanOfTheMiddleTwoOfAnEvenCount) {
  EXPECT_EQ(Median({4, 1, 100, 2}), 3);
}

TEST(MedianTest, IgnoresOneWildRound) {
  EXPECT_EQ(Median({1.0, 1.1, 1.2, 1.1, 50.0}), 1.1);
}

}  // namespace
}  // namespace mycelium::bench
