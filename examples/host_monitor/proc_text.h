#ifndef EXAMPLES_HOST_MONITOR_PROC_TEXT_H_
#define EXAMPLES_HOST_MONITOR_PROC_TEXT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// The texts that Linux shows under /proc, as numbers; see proc(5). Each
// function takes the content of one file. DATA_LOSS: a line that must be there
// is missing or is not as documented; the message names it.

namespace host_monitor {

// Clock ticks since the machine started.
struct CpuTicks {
  uint64_t busy = 0;
  uint64_t total = 0;
};

// /proc/stat
struct KernelStat {
  CpuTicks cpu;
  std::vector<CpuTicks> cores;
  uint64_t processes_started = 0;  // Since the machine started.
  uint32_t running = 0;
  uint32_t blocked = 0;
};
absl::StatusOr<KernelStat> ParseStat(absl::string_view text);

// /proc/meminfo
struct MemoryInfo {
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;
  uint64_t swap_used_bytes = 0;
};
absl::StatusOr<MemoryInfo> ParseMeminfo(absl::string_view text);

// /proc/net/dev: one entry for each interface.
struct InterfaceBytes {
  std::string name;
  uint64_t received = 0;
  uint64_t sent = 0;
};
absl::StatusOr<std::vector<InterfaceBytes>> ParseNetDev(absl::string_view text);

// /proc/loadavg: the load of the last minute.
absl::StatusOr<double> ParseLoadavg(absl::string_view text);

}  // namespace host_monitor

#endif  // EXAMPLES_HOST_MONITOR_PROC_TEXT_H_
