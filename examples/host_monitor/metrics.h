#ifndef EXAMPLES_HOST_MONITOR_METRICS_H_
#define EXAMPLES_HOST_MONITOR_METRICS_H_

#include <string>
#include <vector>

#include "examples/host_monitor/host_monitor.pb.h"

namespace host_monitor {

// One figure of a sample that can be watched.
struct Metric {
  std::string name;  // "cpu.total"; the same in every sample.
  std::string unit;
  double value = 0;
  // The least usual deviation: closer values are noise. See OutlierWatch.
  double noise = 0;
};

// All figures of a sample: cpu.total, cpu.core0, …, memory.used,
// network.received, network.sent, processes.total, processes.running and
// processes.started.
std::vector<Metric> MetricsOf(const HostSample& sample);

}  // namespace host_monitor

#endif  // EXAMPLES_HOST_MONITOR_METRICS_H_
