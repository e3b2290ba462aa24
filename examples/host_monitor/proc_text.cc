#include "examples/host_monitor/proc_text.h"

#include <map>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace host_monitor {
namespace {

constexpr uint64_t kBytesPerKilobyte = 1024;

absl::Status Unexpected(absl::string_view file, absl::string_view what) {
  return absl::DataLossError(absl::StrCat("/proc/", file, ": ", what));
}

std::vector<absl::string_view> Words(absl::string_view line) {
  return absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
}

// "cpu0 user nice system idle iowait irq softirq steal guest guest_nice". The
// first two already include the last two.
bool ParseCpuLine(const std::vector<absl::string_view>& words, CpuTicks* cpu) {
  constexpr size_t kIdle = 4, kIowait = 5, kSteal = 8;
  if (words.size() <= kIdle) return false;
  for (size_t i = 1; i < words.size() && i <= kSteal; ++i) {
    uint64_t ticks;
    if (!absl::SimpleAtoi(words[i], &ticks)) return false;
    cpu->total += ticks;
    if (i != kIdle && i != kIowait) cpu->busy += ticks;
  }
  return true;
}

}  // namespace

absl::StatusOr<KernelStat> ParseStat(absl::string_view text) {
  KernelStat stat;
  bool has_cpu = false, has_running = false, has_started = false;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> words = Words(line);
    if (words.size() < 2) continue;
    bool is_good = true;
    if (words[0] == "cpu") {
      has_cpu = is_good = ParseCpuLine(words, &stat.cpu);
    } else if (absl::StartsWith(words[0], "cpu")) {
      is_good = ParseCpuLine(words, &stat.cores.emplace_back());
    } else if (words[0] == "processes") {
      has_started = is_good =
          absl::SimpleAtoi(words[1], &stat.processes_started);
    } else if (words[0] == "procs_running") {
      has_running = is_good = absl::SimpleAtoi(words[1], &stat.running);
    } else if (words[0] == "procs_blocked") {
      is_good = absl::SimpleAtoi(words[1], &stat.blocked);
    }
    if (!is_good) return Unexpected("stat", absl::StrCat("\"", line, "\""));
  }
  if (!has_cpu) return Unexpected("stat", "no line \"cpu\"");
  if (!has_started) return Unexpected("stat", "no line \"processes\"");
  if (!has_running) return Unexpected("stat", "no line \"procs_running\"");
  return stat;
}

absl::StatusOr<MemoryInfo> ParseMeminfo(absl::string_view text) {
  std::map<absl::string_view, uint64_t> bytes;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> words = Words(line);
    if (words.size() < 2) continue;
    uint64_t kilobytes;
    if (!absl::SimpleAtoi(words[1], &kilobytes)) {
      return Unexpected("meminfo", absl::StrCat("\"", line, "\""));
    }
    bytes[absl::StripSuffix(words[0], ":")] = kilobytes * kBytesPerKilobyte;
  }
  for (const char* name : {"MemTotal", "MemAvailable"}) {
    if (bytes.count(name) == 0) {
      return Unexpected("meminfo", absl::StrCat("no line \"", name, "\""));
    }
  }
  MemoryInfo info;
  info.total_bytes = bytes["MemTotal"];
  info.available_bytes = bytes["MemAvailable"];
  info.swap_used_bytes = bytes["SwapTotal"] - bytes["SwapFree"];
  return info;
}

absl::StatusOr<std::vector<InterfaceBytes>> ParseNetDev(
    absl::string_view text) {
  constexpr size_t kReceived = 0, kSent = 8;
  std::vector<InterfaceBytes> interfaces;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    // Two lines of headings have bars; an interface's name ends with a colon.
    const size_t colon = line.rfind(':');
    if (colon == absl::string_view::npos) continue;
    InterfaceBytes interface;
    interface.name =
        std::string(absl::StripAsciiWhitespace(line.substr(0, colon)));
    const std::vector<absl::string_view> words = Words(line.substr(colon + 1));
    if (words.size() <= kSent ||
        !absl::SimpleAtoi(words[kReceived], &interface.received) ||
        !absl::SimpleAtoi(words[kSent], &interface.sent)) {
      return Unexpected("net/dev", absl::StrCat("\"", line, "\""));
    }
    interfaces.push_back(std::move(interface));
  }
  return interfaces;
}

absl::StatusOr<double> ParseLoadavg(absl::string_view text) {
  const std::vector<absl::string_view> words = Words(text);
  double load = 0;
  if (words.empty() || !absl::SimpleAtod(words[0], &load)) {
    return Unexpected("loadavg", absl::StrCat("\"", text, "\""));
  }
  return load;
}

}  // namespace host_monitor
