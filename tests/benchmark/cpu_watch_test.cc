#include "tests/benchmark/cpu_watch.h"

#include "gtest/gtest.h"

namespace mycelium::bench {
namespace {

constexpr char kStat[] =
    "cpu  999 999 999 999 999 999 999 999 0 0\n"
    "cpu0 10 1 20 5000 300 2 3 4 50 0\n"
    "cpu1 100 0 0 5000 0 0 0 0 0 0\n"
    "cpu10 7 0 0 0 0 0 0 0 0 0\n"
    "intr 12345\n";
constexpr int64_t kTickNs = 10'000'000;

TEST(CpuWatchTest, BusyIsEverythingButIdleAndIoWait) {
  EXPECT_EQ(BusyNs(kStat, {0}), (10 + 1 + 20 + 2 + 3 + 4) * kTickNs);
}

TEST(CpuWatchTest, CpusAreAddedAndMatchedByWholeNumber) {
  EXPECT_EQ(BusyNs(kStat, {0, 1}), 140 * kTickNs);
  EXPECT_EQ(BusyNs(kStat, {10}), 7 * kTickNs);
}

TEST(CpuWatchTest, UnknownCpuOrBadTextIsZero) {
  EXPECT_EQ(BusyNs(kStat, {3}), 0);
  EXPECT_EQ(BusyNs("cpu0 x y z\n", {0}), 0);
  EXPECT_EQ(BusyNs("", {0}), 0);
}

TEST(CpuWatchTest, DelayIsTheSecondFieldOfSchedstat) {
  EXPECT_EQ(DelayedNs("281058 1234 2\n"), 1234);
  EXPECT_EQ(DelayedNs(""), 0);
}

TEST(CpuWatchTest, ThisSystemTellsHowBusyItIs) { EXPECT_GT(BusyNsNow({0}), 0); }

}  // namespace
}  // namespace mycelium::bench
