#include "mycelium/transport/shm/memory_limit.h"

#include <fcntl.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mycelium/base/fd.h"

namespace mycelium {
namespace {

// What is left free for everything else in the cgroup.
constexpr int64_t kHeadroomBytes = 4 * 1024 * 1024;

std::optional<std::string> ReadSmallFile(Sys& sys, const std::string& path) {
  const int64_t opened = sys.Open(path.c_str(), O_RDONLY, 0);
  if (opened < 0) return std::nullopt;
  const Fd fd(sys, static_cast<int>(opened));
  char bytes[4096];
  const int64_t got = sys.Read(fd.get(), bytes, sizeof bytes);
  if (got < 0) return std::nullopt;
  return std::string(bytes, static_cast<size_t>(got));
}

std::optional<int64_t> ReadNumber(Sys& sys, const std::string& path) {
  const std::optional<std::string> text = ReadSmallFile(sys, path);
  int64_t number;
  if (!text.has_value() ||
      !absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &number)) {
    return std::nullopt;  // "max", among others.
  }
  return number;
}

// The process's group below `root`. /proc/self/cgroup has lines
// "number:controllers:group", and the one with that controller counts; version
// 2 names none.
std::optional<std::string> GroupOf(const std::string& groups,
                                   absl::string_view controller,
                                   absl::string_view root) {
  for (const absl::string_view line : absl::StrSplit(groups, '\n')) {
    const std::vector<absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() < 3) continue;
    for (const absl::string_view named : absl::StrSplit(parts[1], ',')) {
      if (named != controller) continue;
      return absl::StrCat(root, parts[2] == "/" ? "" : parts[2]);
    }
  }
  return std::nullopt;
}

// How much of what counts as used the kernel takes back when it needs it: files
// that were read and that nobody uses.
int64_t Reclaimable(Sys& sys, const std::string& group,
                    absl::string_view name) {
  const std::optional<std::string> stat =
      ReadSmallFile(sys, absl::StrCat(group, "/memory.stat"));
  if (!stat.has_value()) return 0;
  for (absl::string_view line : absl::StrSplit(*stat, '\n')) {
    int64_t bytes;
    if (absl::ConsumePrefix(&line, name) && absl::ConsumePrefix(&line, " ") &&
        absl::SimpleAtoi(line, &bytes)) {
      return bytes;
    }
  }
  return 0;
}

struct Names {
  absl::string_view controller, root, limit, used, reclaimable;
};
constexpr Names kVersions[] = {
    {"", "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"},
    {"memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes",
     "memory.usage_in_bytes", "total_inactive_file"},
};

}  // namespace

absl::Status CheckMemoryLimit(Sys& sys, size_t bytes) {
  const std::optional<std::string> groups =
      ReadSmallFile(sys, "/proc/self/cgroup");
  if (!groups.has_value()) return absl::OkStatus();
  for (const Names& names : kVersions) {
    std::optional<std::string> group =
        GroupOf(*groups, names.controller, names.root);
    while (group.has_value() && group->size() >= names.root.size()) {
      const auto limit =
          ReadNumber(sys, absl::StrCat(*group, "/", names.limit));
      const auto counted =
          ReadNumber(sys, absl::StrCat(*group, "/", names.used));
      const int64_t used =
          counted.value_or(0) - Reclaimable(sys, *group, names.reclaimable);
      if (limit.has_value() && counted.has_value() &&
          *limit - used < static_cast<int64_t>(bytes) + kHeadroomBytes) {
        return absl::ResourceExhaustedError(absl::StrCat(
            "memory cgroup ", *group, " has used ", used, " of ", *limit,
            " bytes; ", bytes, " more would leave less than ", kHeadroomBytes));
      }
      group->resize(group->rfind('/'));
    }
  }
  return absl::OkStatus();
}

}  // namespace mycelium
