#ifndef EXAMPLES_HOST_MONITOR_VIEW_H_
#define EXAMPLES_HOST_MONITOR_VIEW_H_

#include <cstdint>
#include <deque>
#include <string>

#include "examples/host_monitor/host_monitor.pb.h"

namespace host_monitor {

// The texts that the reporter shows. Each ends with a line feed.

// "sample 12: cpu 8.1% (4 16), memory 1.9 of 7.8 GiB, …"
std::string SampleLine(uint64_t samples, const HostSample& sample);

// "anomaly: cpu.total 98.0 % is above the usual 12.5 %, score 7.3"
std::string AnomalyLine(const Anomaly& anomaly);

// A table with a bar for each core and, below it, the latest anomalies.
std::string Table(uint64_t samples, const HostSample& sample,
                  const std::deque<Anomaly>& anomalies);

}  // namespace host_monitor

#endif  // EXAMPLES_HOST_MONITOR_VIEW_H_
