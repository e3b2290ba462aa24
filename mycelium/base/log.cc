#include "mycelium/base/log.h"

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"

namespace mycelium {
namespace {

absl::string_view LevelWord(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "log";
}

}  // namespace

LogSink StderrLog() {
  return [](LogLevel level, absl::string_view message) {
    const std::string line =
        absl::StrCat("mycelium: ", LevelWord(level), ": ", message, "\n");
    std::fwrite(line.data(), 1, line.size(), stderr);
  };
}

}  // namespace mycelium
