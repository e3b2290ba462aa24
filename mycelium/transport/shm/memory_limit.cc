#include "mycelium/transport/shm/memory_limit.h"

#include <fcntl.h>

#include <cstdint>
#include <optional>
#include <string>

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

// The process's group below `root`, by the line of /proc/self/cgroup that
// starts so.
std::optional<std::string> GroupOf(const std::string& groups,
                                   absl::string_view line_start,
                                   absl::string_view root) {
  for (absl::string_view line : absl::StrSplit(groups, '\n')) {
    if (line_start == "0::" ? !absl::ConsumePrefix(&line, "0::")
                            : line.find(line_start) == line.npos) {
      continue;
    }
    if (line_start != "0::") line.remove_prefix(line.rfind(':') + 1);
    return absl::StrCat(root, line == "/" ? "" : line);
  }
  return std::nullopt;
}

struct Names {
  absl::string_view line_start, root, limit, used;
};
constexpr Names kVersions[] = {
    {"0::", "/sys/fs/cgroup", "memory.max", "memory.current"},
    {":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes",
     "memory.usage_in_bytes"},
};

}  // namespace

absl::Status CheckMemoryLimit(Sys& sys, size_t bytes) {
  const std::optional<std::string> groups =
      ReadSmallFile(sys, "/proc/self/cgroup");
  if (!groups.has_value()) return absl::OkStatus();
  for (const Names& names : kVersions) {
    std::optional<std::string> group =
        GroupOf(*groups, names.line_start, names.root);
    while (group.has_value() && group->size() >= names.root.size()) {
      const auto limit =
          ReadNumber(sys, absl::StrCat(*group, "/", names.limit));
      const auto used = ReadNumber(sys, absl::StrCat(*group, "/", names.used));
      if (limit.has_value() && used.has_value() &&
          *limit - *used < static_cast<int64_t>(bytes) + kHeadroomBytes) {
        return absl::ResourceExhaustedError(absl::StrCat(
            "memory cgroup ", *group, " has used ", *used, " of ", *limit,
            " bytes; ", bytes, " more would leave less than ", kHeadroomBytes));
      }
      group->resize(group->rfind('/'));
    }
  }
  return absl::OkStatus();
}

}  // namespace mycelium
