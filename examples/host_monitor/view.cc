#include "examples/host_monitor/view.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"

namespace host_monitor {
namespace {

constexpr int kBarWidth = 40;

std::string Bytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.*f %s", unit == 0 ? 0 : 1, bytes, kUnits[unit]);
}

std::string Bar(double percent) {
  const int filled = std::clamp(
      static_cast<int>(percent * kBarWidth / 100 + 0.5), 0, kBarWidth);
  return absl::StrCat(std::string(filled, '#'),
                      std::string(kBarWidth - filled, '.'));
}

std::string MemoryText(const Memory& memory) {
  const double total = static_cast<double>(memory.total_bytes());
  const double available = static_cast<double>(memory.available_bytes());
  return absl::StrCat(Bytes(total - available), " of ", Bytes(total));
}

std::string NetworkText(const Network& network) {
  return absl::StrCat("received ", Bytes(network.received_bytes_per_second()),
                      "/s, sent ", Bytes(network.sent_bytes_per_second()),
                      "/s");
}

std::string ProcessesText(const Processes& processes) {
  return absl::StrFormat("%d, %d running, %.0f started/s, load %.2f",
                         processes.total(), processes.running(),
                         processes.started_per_second(), processes.load_1m());
}

}  // namespace

std::string SampleLine(uint64_t samples, const HostSample& sample) {
  const std::string cores = absl::StrJoin(
      sample.cpu().core_percent(), " ", [](std::string* out, double percent) {
        absl::StrAppendFormat(out, "%.0f", percent);
      });
  return absl::StrFormat(
      "sample %d: cpu %.1f%% (%s), memory %s, network %s, processes %s\n",
      samples, sample.cpu().total_percent(), cores, MemoryText(sample.memory()),
      NetworkText(sample.network()), ProcessesText(sample.processes()));
}

std::string AnomalyLine(const Anomaly& anomaly) {
  const std::string unit =
      anomaly.unit().empty() ? "" : absl::StrCat(" ", anomaly.unit());
  return absl::StrFormat(
      "anomaly: %s %.1f%s is %s the usual %.1f%s, score %.1f\n",
      anomaly.metric(), anomaly.value(), unit,
      anomaly.score() < 0 ? "below" : "above", anomaly.usual(), unit,
      anomaly.score());
}

std::string Table(uint64_t samples, const HostSample& sample,
                  const std::deque<Anomaly>& anomalies) {
  std::string text = absl::StrFormat(
      "host monitor  %s  sample %d\n\n",
      absl::FormatTime("%H:%M:%S", absl::FromUnixNanos(sample.time_ns()),
                       absl::LocalTimeZone()),
      samples);
  const auto row = [&text](const std::string& name, const std::string& what) {
    absl::StrAppendFormat(&text, "%-10s%s\n", name, what);
  };
  const auto bar = [&row](const std::string& name, double percent) {
    row(name, absl::StrFormat("%s %5.1f%%", Bar(percent), percent));
  };
  const Cpu& cpu = sample.cpu();
  bar("cpu", cpu.total_percent());
  for (int core = 0; core < cpu.core_percent_size(); ++core) {
    bar(absl::StrCat("  core ", core), cpu.core_percent(core));
  }
  row("memory", MemoryText(sample.memory()));
  row("network", NetworkText(sample.network()));
  row("processes", ProcessesText(sample.processes()));
  text += "\n";
  for (const Anomaly& anomaly : anomalies) text += AnomalyLine(anomaly);
  return text;
}

}  // namespace host_monitor
