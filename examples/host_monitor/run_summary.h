#ifndef EXAMPLES_HOST_MONITOR_RUN_SUMMARY_H_
#define EXAMPLES_HOST_MONITOR_RUN_SUMMARY_H_

#include <string>

#include "absl/status/status.h"
#include "examples/host_monitor/run_report.pb.h"
#include "mycelium/bus/message_bus.h"

namespace host_monitor {

// How the node of `bus` was connected and what became of its messages. The
// summary is final after MessageBus::Shutdown().
RunReport ReportOf(const mycelium::MessageBus& bus);

// The same summary for people: a line for each link and each flow.
std::string ToText(const RunReport& report);

// Writes the summary as JSON. UNAVAILABLE: the file cannot be written.
absl::Status WriteJson(const RunReport& report, const std::string& path);

}  // namespace host_monitor

#endif  // EXAMPLES_HOST_MONITOR_RUN_SUMMARY_H_
