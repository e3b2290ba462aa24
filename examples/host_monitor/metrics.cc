#include "examples/host_monitor/metrics.h"

#include "absl/strings/str_cat.h"

namespace host_monitor {
namespace {

// With the threshold 3.5, an outlier is more than 5.2 MADs from the median.
constexpr double kCpuNoisePercent = 4;
constexpr double kMemoryNoisePercent = 0.5;
constexpr double kNetworkNoiseBytes = 64 * 1024;
constexpr double kProcessesNoise = 3;
constexpr double kRunningNoise = 1.5;
constexpr double kStartedNoise = 20;

}  // namespace

std::vector<Metric> MetricsOf(const HostSample& sample) {
  std::vector<Metric> metrics;
  const Cpu& cpu = sample.cpu();
  metrics.push_back({"cpu.total", "%", cpu.total_percent(), kCpuNoisePercent});
  for (int core = 0; core < cpu.core_percent_size(); ++core) {
    metrics.push_back({absl::StrCat("cpu.core", core), "%",
                       cpu.core_percent(core), 2 * kCpuNoisePercent});
  }
  const Memory& memory = sample.memory();
  if (memory.total_bytes() > 0) {
    const double available = static_cast<double>(memory.available_bytes()) /
                             static_cast<double>(memory.total_bytes());
    metrics.push_back(
        {"memory.used", "%", 100 * (1 - available), kMemoryNoisePercent});
  }
  const Network& network = sample.network();
  metrics.push_back({"network.received", "B/s",
                     network.received_bytes_per_second(), kNetworkNoiseBytes});
  metrics.push_back({"network.sent", "B/s", network.sent_bytes_per_second(),
                     kNetworkNoiseBytes});
  const Processes& processes = sample.processes();
  metrics.push_back({"processes.total", "",
                     static_cast<double>(processes.total()), kProcessesNoise});
  metrics.push_back({"processes.running", "",
                     static_cast<double>(processes.running()), kRunningNoise});
  metrics.push_back({"processes.started", "/s", processes.started_per_second(),
                     kStartedNoise});
  return metrics;
}

}  // namespace host_monitor
