#include "examples/host_monitor/host_reader.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace host_monitor {
namespace {

// The share of the time between two readings. The counters of a core may stand
// still for a tick; a core that was taken away and came back starts anew.
double BusyPercent(const CpuTicks& before, const CpuTicks& now) {
  if (now.total <= before.total || now.busy < before.busy) return 0;
  return 100.0 * static_cast<double>(now.busy - before.busy) /
         static_cast<double>(now.total - before.total);
}

// `seconds` is 0 if there is no earlier reading to compare with.
double PerSecond(uint64_t before, uint64_t now, double seconds) {
  if (seconds <= 0 || now < before) return 0;
  return static_cast<double>(now - before) / seconds;
}

}  // namespace

absl::StatusOr<HostSample> HostReader::Read(absl::Time now) {
  HostSample sample;
  sample.set_time_ns(absl::ToUnixNanos(now));
  const bool is_first = last_.time == absl::InfinitePast();
  const double seconds = is_first ? 0 : absl::ToDoubleSeconds(now - last_.time);
  Counters counters;
  counters.time = now;
  absl::Status filled = FillCpuAndProcesses(seconds, &counters, &sample);
  if (filled.ok()) filled = FillMemory(&sample);
  if (filled.ok()) filled = FillNetwork(seconds, &counters, &sample);
  if (!filled.ok()) return filled;
  last_ = std::move(counters);
  return sample;
}

absl::Status HostReader::FillCpuAndProcesses(double seconds, Counters* counters,
                                             HostSample* sample) const {
  absl::StatusOr<std::string> text = ReadFile("stat");
  if (!text.ok()) return text.status();
  absl::StatusOr<KernelStat> stat = ParseStat(*text);
  if (!stat.ok()) return stat.status();
  Cpu& cpu = *sample->mutable_cpu();
  const bool has_last = seconds > 0;
  cpu.set_total_percent(has_last ? BusyPercent(last_.stat.cpu, stat->cpu) : 0);
  for (size_t core = 0; core < stat->cores.size(); ++core) {
    const bool is_known = has_last && core < last_.stat.cores.size();
    cpu.add_core_percent(
        is_known ? BusyPercent(last_.stat.cores[core], stat->cores[core]) : 0);
  }
  Processes& processes = *sample->mutable_processes();
  processes.set_running(stat->running);
  processes.set_blocked(stat->blocked);
  processes.set_started_per_second(PerSecond(last_.stat.processes_started,
                                             stat->processes_started, seconds));
  absl::StatusOr<uint32_t> total = CountProcesses();
  if (!total.ok()) return total.status();
  processes.set_total(*total);
  absl::StatusOr<std::string> loads = ReadFile("loadavg");
  if (!loads.ok()) return loads.status();
  absl::StatusOr<double> load = ParseLoadavg(*loads);
  if (!load.ok()) return load.status();
  processes.set_load_1m(*load);
  counters->stat = *std::move(stat);
  return absl::OkStatus();
}

absl::Status HostReader::FillMemory(HostSample* sample) const {
  absl::StatusOr<std::string> text = ReadFile("meminfo");
  if (!text.ok()) return text.status();
  absl::StatusOr<MemoryInfo> info = ParseMeminfo(*text);
  if (!info.ok()) return info.status();
  Memory& memory = *sample->mutable_memory();
  memory.set_total_bytes(info->total_bytes);
  memory.set_available_bytes(info->available_bytes);
  memory.set_swap_used_bytes(info->swap_used_bytes);
  return absl::OkStatus();
}

absl::Status HostReader::FillNetwork(double seconds, Counters* counters,
                                     HostSample* sample) const {
  absl::StatusOr<std::string> text = ReadFile("net/dev");
  if (!text.ok()) return text.status();
  absl::StatusOr<std::vector<InterfaceBytes>> interfaces = ParseNetDev(*text);
  if (!interfaces.ok()) return interfaces.status();
  Network& network = *sample->mutable_network();
  double received = 0, sent = 0;
  for (const InterfaceBytes& now : *interfaces) {
    Interface& shown = *network.add_interfaces();
    shown.set_name(now.name);
    const auto before = last_.interfaces.find(now.name);
    if (before != last_.interfaces.end()) {
      shown.set_received_bytes_per_second(
          PerSecond(before->second.received, now.received, seconds));
      shown.set_sent_bytes_per_second(
          PerSecond(before->second.sent, now.sent, seconds));
    }
    if (now.name != "lo") {
      received += shown.received_bytes_per_second();
      sent += shown.sent_bytes_per_second();
    }
    counters->interfaces[now.name] = now;
  }
  network.set_received_bytes_per_second(received);
  network.set_sent_bytes_per_second(sent);
  return absl::OkStatus();
}

absl::StatusOr<std::string> HostReader::ReadFile(
    const std::string& name) const {
  const std::string path = absl::StrCat(proc_path_, "/", name);
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file || !text) {
    return absl::UnavailableError(absl::StrCat(path, ": cannot be read"));
  }
  return text.str();
}

absl::StatusOr<uint32_t> HostReader::CountProcesses() const {
  // Each process has a folder named by its number.
  std::error_code error;
  uint32_t processes = 0;
  for (auto entry = std::filesystem::directory_iterator(proc_path_, error);
       !error && entry != std::filesystem::directory_iterator();
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    processes += std::all_of(name.begin(), name.end(), absl::ascii_isdigit);
  }
  if (!error) return processes;
  return absl::UnavailableError(
      absl::StrCat(proc_path_, ": cannot be listed: ", error.message()));
}

}  // namespace host_monitor
