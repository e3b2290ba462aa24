#include "tests/benchmark/cpu_watch.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace mycelium::bench {
namespace {

std::string ReadAll(const char* path) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  std::string text;
  char chunk[8192];
  ssize_t count;
  while ((count = read(fd, chunk, sizeof chunk)) > 0) text.append(chunk, count);
  close(fd);
  return text;
}

// The busy ticks of a line "cpuN user nice system idle iowait irq softirq steal
// guest ...". User time already includes guest time.
int64_t BusyTicks(absl::string_view line) {
  constexpr size_t kIdle = 4;
  constexpr size_t kIoWait = 5;
  constexpr size_t kSteal = 8;
  const std::vector<absl::string_view> fields =
      absl::StrSplit(line, ' ', absl::SkipEmpty());
  int64_t busy = 0;
  for (size_t i = 1; i < fields.size() && i <= kSteal; ++i) {
    int64_t ticks = 0;
    if (i == kIdle || i == kIoWait) continue;
    if (!absl::SimpleAtoi(fields[i], &ticks)) return 0;
    busy += ticks;
  }
  return busy;
}

}  // namespace

int64_t BusyNs(absl::string_view proc_stat, const std::vector<int>& cpus) {
  static const int64_t ns_per_tick = 1'000'000'000 / sysconf(_SC_CLK_TCK);
  int64_t ticks = 0;
  for (absl::string_view line : absl::StrSplit(proc_stat, '\n')) {
    for (const int cpu : cpus) {
      if (absl::StartsWith(line, absl::StrCat("cpu", cpu, " "))) {
        ticks += BusyTicks(line);
      }
    }
  }
  return ticks * ns_per_tick;
}

int64_t BusyNsNow(const std::vector<int>& cpus) {
  return BusyNs(ReadAll("/proc/stat"), cpus);
}

int64_t DelayedNs(absl::string_view schedstat) {
  const size_t first_space = schedstat.find(' ');
  if (first_space == absl::string_view::npos) return 0;
  schedstat.remove_prefix(first_space + 1);
  int64_t delayed_ns = 0;
  if (!absl::SimpleAtoi(schedstat.substr(0, schedstat.find(' ')),
                        &delayed_ns)) {
    return 0;
  }
  return delayed_ns;
}

int64_t DelayedNsNow() {
  // This function must not allocate, so it does not call ReadAll().
  const int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[128];
  const ssize_t count = read(fd, text, sizeof text);
  close(fd);
  if (count <= 0) return 0;
  return DelayedNs(absl::string_view(text, static_cast<size_t>(count)));
}

}  // namespace mycelium::bench
