#ifndef EXAMPLES_HOST_MONITOR_HOST_READER_H_
#define EXAMPLES_HOST_MONITOR_HOST_READER_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "examples/host_monitor/host_monitor.pb.h"
#include "examples/host_monitor/proc_text.h"

namespace host_monitor {

// Reads this machine's figures from /proc. The kernel counts from the start of
// the machine; a sample shows the difference from the previous sample, so the
// first sample has no rates.
//
// Thread safety: none; one thread reads.
//
// Example:
//   HostReader reader("/proc");
//   absl::StatusOr<HostSample> sample = reader.Read(absl::Now());
class HostReader final {
 public:
  explicit HostReader(std::string proc_path)
      : proc_path_(std::move(proc_path)) {}

  // `now` must not go back from one call to the next; if it does, the rates of
  // that sample are zero.
  //   UNAVAILABLE  a file cannot be read
  //   DATA_LOSS    a file is not as documented
  absl::StatusOr<HostSample> Read(absl::Time now);

 private:
  // The kernel's counts up to one moment.
  struct Counters {
    absl::Time time = absl::InfinitePast();
    KernelStat stat;
    std::map<std::string, InterfaceBytes> interfaces;
  };

  absl::StatusOr<std::string> ReadFile(const std::string& name) const;
  absl::StatusOr<uint32_t> CountProcesses() const;

  absl::Status FillCpuAndProcesses(double seconds, Counters* counters,
                                   HostSample* sample) const;
  absl::Status FillMemory(HostSample* sample) const;
  absl::Status FillNetwork(double seconds, Counters* counters,
                           HostSample* sample) const;

  const std::string proc_path_;
  Counters last_;
};

}  // namespace host_monitor

#endif  // EXAMPLES_HOST_MONITOR_HOST_READER_H_
