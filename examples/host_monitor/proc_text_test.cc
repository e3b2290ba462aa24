#include "examples/host_monitor/proc_text.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace host_monitor {
namespace {

using ::testing::HasSubstr;

// The file as a machine with two cores shows it; the long lines are cut.
constexpr char kStat[] =
    "cpu  143686 10 32537 901170 2563 7 423 120 5 0\n"
    "cpu0 69678 10 14969 454966 490 0 43 57 5 0\n"
    "cpu1 74008 0 17568 446204 2073 7 380 63 0 0\n"
    "intr 2073093 0 0 0 16 0\n"
    "ctxt 4546667\n"
    "btime 1732454821\n"
    "processes 92772\n"
    "procs_running 3\n"
    "procs_blocked 1\n"
    "softirq 1045 0 29 3\n";

constexpr char kMeminfo[] =
    "MemTotal:       24684084 kB\n"
    "MemFree:        21916836 kB\n"
    "MemAvailable:   22276728 kB\n"
    "SwapTotal:       1000 kB\n"
    "SwapFree:         400 kB\n"
    "HugePages_Total:       0\n";

constexpr char kNetDev[] =
    "Inter-|   Receive                            |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes\n"
    "    lo: 3615077   15470    0    0    0     0          0         0  3615078"
    "   15470    0    0    0     0       0          0\n"
    "  eth0:482300478   10471    0    0    0     0          0         0   "
    "511098"
    "    6562    0    0    0     0       0          0\n"
    "eth0:1: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\n";

std::string Without(std::string text, const std::string& word) {
  return text.erase(text.find(word), word.size());
}

TEST(ProcTextTest, StatGivesBusyAndTotalTicks) {
  const auto stat = ParseStat(kStat);
  ASSERT_TRUE(stat.ok()) << stat.status();
  // The first value already includes guest time, the ninth.
  EXPECT_EQ(stat->cpu.total,
            143686u + 10 + 32537 + 901170 + 2563 + 7 + 423 + 120);
  EXPECT_EQ(stat->cpu.busy, 143686u + 10 + 32537 + 7 + 423 + 120);
  ASSERT_EQ(stat->cores.size(), 2u);
  EXPECT_EQ(stat->cores[1].busy, 74008u + 17568 + 7 + 380 + 63);
  EXPECT_EQ(stat->processes_started, 92772u);
  EXPECT_EQ(stat->running, 3u);
  EXPECT_EQ(stat->blocked, 1u);
}

TEST(ProcTextTest, StatOfAnOldKernelHasFewerColumns) {
  const auto stat = ParseStat("cpu 1 2 3 4\nprocesses 5\nprocs_running 1\n");
  ASSERT_TRUE(stat.ok()) << stat.status();
  EXPECT_EQ(stat->cpu.busy, 6u);
  EXPECT_EQ(stat->cpu.total, 10u);
}

TEST(ProcTextTest, StatWithoutALineNamesIt) {
  const auto stat = ParseStat(Without(kStat, "procs_running 3\n"));
  EXPECT_EQ(stat.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(stat.status().message(), HasSubstr("procs_running"));
}

TEST(ProcTextTest, StatWithAWordForANumberNamesTheLine) {
  const auto stat = ParseStat("cpu 1 2 three 4\n");
  EXPECT_EQ(stat.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(stat.status().message(), HasSubstr("cpu 1 2 three 4"));
}

TEST(ProcTextTest, MeminfoIsInBytes) {
  const auto memory = ParseMeminfo(kMeminfo);
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_EQ(memory->total_bytes, uint64_t{24684084} * 1024);
  EXPECT_EQ(memory->available_bytes, uint64_t{22276728} * 1024);
  EXPECT_EQ(memory->swap_used_bytes, 600u * 1024);
}

TEST(ProcTextTest, MeminfoWithoutALineNamesIt) {
  const auto memory =
      ParseMeminfo(Without(kMeminfo, "MemAvailable:   22276728 kB\n"));
  EXPECT_EQ(memory.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(memory.status().message(), HasSubstr("MemAvailable"));
}

TEST(ProcTextTest, NetDevHasOneEntryForEachInterface) {
  const auto interfaces = ParseNetDev(kNetDev);
  ASSERT_TRUE(interfaces.ok()) << interfaces.status();
  ASSERT_EQ(interfaces->size(), 3u);
  EXPECT_EQ((*interfaces)[0].name, "lo");
  EXPECT_EQ((*interfaces)[0].received, 3615077u);
  EXPECT_EQ((*interfaces)[0].sent, 3615078u);
  // No blank after the colon where the number is long.
  EXPECT_EQ((*interfaces)[1].name, "eth0");
  EXPECT_EQ((*interfaces)[1].received, 482300478u);
  EXPECT_EQ((*interfaces)[1].sent, 511098u);
  EXPECT_EQ((*interfaces)[2].name, "eth0:1");
}

TEST(ProcTextTest, NetDevThatIsCutOffIsDataLoss) {
  const auto interfaces = ParseNetDev("  eth0: 48230 104 0\n");
  EXPECT_EQ(interfaces.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(interfaces.status().message(), HasSubstr("eth0"));
}

TEST(ProcTextTest, LoadavgStartsWithTheLastMinute) {
  const auto load = ParseLoadavg("1.45 1.13 0.69 3/281 28060\n");
  ASSERT_TRUE(load.ok()) << load.status();
  EXPECT_DOUBLE_EQ(*load, 1.45);
  EXPECT_EQ(ParseLoadavg("").status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace host_monitor
