#include "examples/host_monitor/host_reader.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace host_monitor {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);

// A folder with the files of /proc, with the contents that the test gives them.
class HostReaderTest : public testing::Test {
 protected:
  HostReaderTest() {
    const std::string name =
        testing::UnitTest::GetInstance()->current_test_info()->name();
    proc_ = testing::TempDir() + "/" + name;
    std::filesystem::create_directories(proc_ + "/net");
    Write("meminfo", "MemTotal: 100 kB\nMemAvailable: 40 kB\n");
    Write("loadavg", "0.50 0.25 0.10 1/2 3\n");
    WriteStat("100 0 0 900", "100 0 0 900", 50);
    WriteNetDev(1000, 2000);
    for (const char* process : {"/1", "/22", "/self"}) {
      std::filesystem::create_directories(proc_ + process);
    }
  }

  void Write(const std::string& file, const std::string& text) {
    std::ofstream(proc_ + "/" + file, std::ios::trunc) << text;
  }

  void WriteStat(const std::string& cpu, const std::string& core, int started) {
    Write("stat", "cpu " + cpu + "\ncpu0 " + core + "\nprocesses " +
                      std::to_string(started) +
                      "\nprocs_running 2\nprocs_blocked 1\n");
  }

  void WriteNetDev(int received, int sent) {
    const std::string counts = std::to_string(received) + " 0 0 0 0 0 0 0 " +
                               std::to_string(sent) + " 0 0 0 0 0 0 0\n";
    Write("net/dev", "lo: " + counts + "eth0: " + counts + "eth1: " + counts);
  }

  HostSample Read(HostReader& reader, absl::Time now) {
    absl::StatusOr<HostSample> sample = reader.Read(now);
    EXPECT_TRUE(sample.ok()) << sample.status();
    return *std::move(sample);
  }

  std::string proc_;
};

TEST_F(HostReaderTest, FirstSampleHasLevelsAndNoRates) {
  HostReader reader(proc_);
  const HostSample sample = Read(reader, kStart);
  EXPECT_EQ(sample.time_ns(), absl::ToUnixNanos(kStart));
  EXPECT_EQ(sample.memory().total_bytes(), 100u * 1024);
  EXPECT_EQ(sample.memory().available_bytes(), 40u * 1024);
  EXPECT_EQ(sample.processes().total(), 2u);
  EXPECT_EQ(sample.processes().running(), 2u);
  EXPECT_EQ(sample.processes().blocked(), 1u);
  EXPECT_DOUBLE_EQ(sample.processes().load_1m(), 0.5);
  EXPECT_DOUBLE_EQ(sample.cpu().total_percent(), 0);
  EXPECT_THAT(sample.cpu().core_percent(), ElementsAre(0.0));
  EXPECT_DOUBLE_EQ(sample.network().sent_bytes_per_second(), 0);
}

TEST_F(HostReaderTest, RatesAreOfTheTimeBetweenTwoSamples) {
  HostReader reader(proc_);
  Read(reader, kStart);
  WriteStat("125 0 0 975", "150 0 0 900", 60);
  WriteNetDev(1500, 2100);
  const HostSample sample = Read(reader, kStart + absl::Milliseconds(500));
  EXPECT_DOUBLE_EQ(sample.cpu().total_percent(), 25);
  EXPECT_THAT(sample.cpu().core_percent(), ElementsAre(100.0));
  EXPECT_DOUBLE_EQ(sample.processes().started_per_second(), 20);
  // Two interfaces; the loopback is shown and not part of the sum.
  EXPECT_DOUBLE_EQ(sample.network().received_bytes_per_second(), 2000);
  EXPECT_DOUBLE_EQ(sample.network().sent_bytes_per_second(), 400);
  ASSERT_EQ(sample.network().interfaces_size(), 3);
  EXPECT_EQ(sample.network().interfaces(0).name(), "lo");
  EXPECT_DOUBLE_EQ(sample.network().interfaces(0).received_bytes_per_second(),
                   1000);
}

TEST_F(HostReaderTest, CountersThatGoBackGiveNoRate) {
  HostReader reader(proc_);
  Read(reader, kStart);
  WriteNetDev(10, 20);  // As if the interfaces had been made anew.
  WriteStat("10 0 0 90", "10 0 0 90", 50);
  const HostSample sample = Read(reader, kStart + absl::Seconds(1));
  EXPECT_DOUBLE_EQ(sample.network().received_bytes_per_second(), 0);
  EXPECT_DOUBLE_EQ(sample.cpu().total_percent(), 0);
}

TEST_F(HostReaderTest, ClockThatGoesBackGivesNoRate) {
  HostReader reader(proc_);
  Read(reader, kStart);
  WriteNetDev(1500, 2100);
  const HostSample sample = Read(reader, kStart - absl::Seconds(1));
  EXPECT_DOUBLE_EQ(sample.network().received_bytes_per_second(), 0);
}

TEST_F(HostReaderTest, MissingFileIsUnavailableAndNamed) {
  std::filesystem::remove(proc_ + "/meminfo");
  HostReader reader(proc_);
  const auto sample = reader.Read(kStart);
  EXPECT_EQ(sample.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(sample.status().message(), HasSubstr("meminfo"));
}

TEST_F(HostReaderTest, ReadsThisMachine) {
  HostReader reader("/proc");
  const HostSample sample = Read(reader, kStart);
  EXPECT_GT(sample.cpu().core_percent_size(), 0);
  EXPECT_GT(sample.memory().total_bytes(), sample.memory().available_bytes());
  EXPECT_GT(sample.processes().total(), 0u);
  EXPECT_GT(sample.processes().running(), 0u);
}

}  // namespace
}  // namespace host_monitor
