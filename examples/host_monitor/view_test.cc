#include "examples/host_monitor/view.h"

#include <string>
#include <vector>

#include "examples/host_monitor/metrics.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace host_monitor {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

HostSample MakeSample() {
  HostSample sample;
  sample.mutable_cpu()->set_total_percent(50);
  sample.mutable_cpu()->add_core_percent(100);
  sample.mutable_cpu()->add_core_percent(0);
  sample.mutable_memory()->set_total_bytes(4ull << 30);
  sample.mutable_memory()->set_available_bytes(3ull << 30);
  sample.mutable_network()->set_received_bytes_per_second(1536);
  sample.mutable_network()->set_sent_bytes_per_second(10);
  Processes& processes = *sample.mutable_processes();
  processes.set_total(123);
  processes.set_running(4);
  processes.set_started_per_second(5);
  processes.set_load_1m(0.75);
  return sample;
}

Anomaly MakeAnomaly(double value, double score) {
  Anomaly anomaly;
  anomaly.set_metric("cpu.total");
  anomaly.set_unit("%");
  anomaly.set_value(value);
  anomaly.set_usual(12.5);
  anomaly.set_score(score);
  return anomaly;
}

TEST(ViewTest, SampleIsOneLine) {
  EXPECT_EQ(SampleLine(7, MakeSample()),
            "sample 7: cpu 50.0% (100 0), memory 1.0 GiB of 4.0 GiB, network "
            "received 1.5 KiB/s, sent 10 B/s, processes 123, 4 running, 5 "
            "started/s, load 0.75\n");
}

TEST(ViewTest, AnomalySaysWhichWayItWent) {
  EXPECT_EQ(AnomalyLine(MakeAnomaly(98, 7.25)),
            "anomaly: cpu.total 98.0 % is above the usual 12.5 %, score 7.2\n");
  EXPECT_THAT(AnomalyLine(MakeAnomaly(1, -4)), HasSubstr("is below"));
}

TEST(ViewTest, TableHasABarForEachCoreAndTheAnomalies) {
  const std::string table = Table(7, MakeSample(), {MakeAnomaly(98, 7)});
  EXPECT_THAT(table, HasSubstr("cpu       " + std::string(20, '#') +
                               std::string(20, '.') + "  50.0%\n"));
  EXPECT_THAT(table, HasSubstr("  core 0  " + std::string(40, '#')));
  EXPECT_THAT(table, HasSubstr("  core 1  " + std::string(40, '.')));
  EXPECT_THAT(table, HasSubstr("anomaly: cpu.total"));
}

TEST(MetricsTest, EachFigureHasAName) {
  std::vector<std::string> names;
  for (const Metric& metric : MetricsOf(MakeSample())) {
    names.push_back(metric.name);
    EXPECT_GT(metric.noise, 0) << metric.name;
  }
  EXPECT_THAT(names,
              ElementsAre("cpu.total", "cpu.core0", "cpu.core1", "memory.used",
                          "network.received", "network.sent", "processes.total",
                          "processes.running", "processes.started"));
}

TEST(MetricsTest, MemoryIsThePartThatIsUsed) {
  for (const Metric& metric : MetricsOf(MakeSample())) {
    if (metric.name == "memory.used") {
      EXPECT_DOUBLE_EQ(metric.value, 25);
    }
  }
}

}  // namespace
}  // namespace host_monitor
