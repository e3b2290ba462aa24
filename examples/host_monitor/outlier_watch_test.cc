#include "examples/host_monitor/outlier_watch.h"

#include <limits>

#include "gtest/gtest.h"

namespace host_monitor {
namespace {

OutlierWatch::Options SmallWindow() {
  OutlierWatch::Options options;
  options.window = 8;
  options.warm_up = 4;
  options.run = 2;
  return options;
}

// 1, 2, 3, 4, 1, 2, … — the median is 2.5 and the MAD is 1.
void Fill(OutlierWatch& watch) {
  for (int i = 0; i < 8; ++i) {
    EXPECT_FALSE(watch.Add(1 + i % 4).has_value()) << i;
  }
}

TEST(OutlierWatchTest, ScoreIsTheModifiedZScore) {
  // {1, 2, 3, 4, 100}: the median is 3, the deviations 2 1 0 1 97, the MAD 1.
  OutlierWatch watch(SmallWindow());
  for (double value : {1, 2, 3, 4, 100}) (void)watch.Add(value);
  EXPECT_DOUBLE_EQ(watch.Judge(3).score, 0);
  EXPECT_DOUBLE_EQ(watch.Judge(13).score, 6.745);
  EXPECT_DOUBLE_EQ(watch.Judge(-7).score, -6.745);
  EXPECT_DOUBLE_EQ(watch.Judge(13).median, 3);
}

TEST(OutlierWatchTest, EvenNumberOfValuesHasItsMedianBetweenTwo) {
  OutlierWatch watch(SmallWindow());
  Fill(watch);
  EXPECT_DOUBLE_EQ(watch.Judge(9).median, 2.5);
  EXPECT_DOUBLE_EQ(watch.Judge(9).score, 0.6745 * 6.5);
}

TEST(OutlierWatchTest, SaysNothingBeforeItIsWarm) {
  OutlierWatch watch(SmallWindow());
  for (double value : {1, 1, 1}) {
    EXPECT_FALSE(watch.is_warm());
    EXPECT_FALSE(watch.Add(value).has_value());
  }
  EXPECT_FALSE(watch.Add(1000).has_value());
  EXPECT_TRUE(watch.is_warm());
}

TEST(OutlierWatchTest, RunOfOutliersIsOneEvent) {
  OutlierWatch watch(SmallWindow());
  Fill(watch);
  EXPECT_FALSE(watch.Add(50).has_value());
  const auto event = watch.Add(50);
  ASSERT_TRUE(event.has_value());
  EXPECT_GT(event->score, 3.5);
  EXPECT_FALSE(watch.Add(50).has_value());
}

TEST(OutlierWatchTest, LoneOutlierIsNoEvent) {
  OutlierWatch watch(SmallWindow());
  Fill(watch);
  EXPECT_FALSE(watch.Add(50).has_value());
  EXPECT_FALSE(watch.Add(2).has_value());
  EXPECT_FALSE(watch.Add(50).has_value());
  EXPECT_FALSE(watch.Add(3).has_value());
}

TEST(OutlierWatchTest, EventComesAgainAfterAValueWithinTheBounds) {
  OutlierWatch watch(SmallWindow());
  Fill(watch);
  (void)watch.Add(50);
  EXPECT_TRUE(watch.Add(50).has_value());
  for (double value : {1, 2, 3, 4, 1, 2}) (void)watch.Add(value);
  (void)watch.Add(50);
  EXPECT_TRUE(watch.Add(50).has_value());
}

TEST(OutlierWatchTest, FallIsAnEventWithANegativeScore) {
  OutlierWatch watch(SmallWindow());
  Fill(watch);
  (void)watch.Add(-50);
  const auto event = watch.Add(-50);
  ASSERT_TRUE(event.has_value());
  EXPECT_LT(event->score, -3.5);
}

TEST(OutlierWatchTest, NewLevelIsUsualAfterHalfAWindow) {
  OutlierWatch watch(SmallWindow());
  Fill(watch);
  for (int i = 0; i < 5; ++i) (void)watch.Add(50 + i % 2);
  EXPECT_LT(watch.Judge(50).score, 3.5);
  EXPECT_GE(watch.Judge(50).median, 50);
}

TEST(OutlierWatchTest, ValuesLeaveTheWindow) {
  OutlierWatch watch(SmallWindow());
  for (int i = 0; i < 100; ++i) (void)watch.Add(1000);
  for (int i = 0; i < 8; ++i) (void)watch.Add(1 + i % 4);
  EXPECT_DOUBLE_EQ(watch.Judge(0).median, 2.5);
}

TEST(OutlierWatchTest, LeastDeviationKeepsAStandingFigureQuiet) {
  OutlierWatch::Options options = SmallWindow();
  options.mad_min = 2;
  OutlierWatch watch(options);
  for (int i = 0; i < 8; ++i) (void)watch.Add(7);
  EXPECT_DOUBLE_EQ(watch.Judge(17).score, 0.6745 * 10 / 2);
  EXPECT_FALSE(watch.Add(17).has_value());
  EXPECT_FALSE(watch.Add(17).has_value());
}

TEST(OutlierWatchTest, WithoutOneAnyChangeOfAStandingFigureIsInfinite) {
  OutlierWatch watch(SmallWindow());
  for (int i = 0; i < 8; ++i) (void)watch.Add(7);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(watch.Judge(7).score, 0);
  EXPECT_EQ(watch.Judge(7.1).score, kInfinity);
  EXPECT_EQ(watch.Judge(6.9).score, -kInfinity);
}

}  // namespace
}  // namespace host_monitor
