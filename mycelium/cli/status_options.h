#ifndef MYCELIUM_CLI_STATUS_OPTIONS_H_
#define MYCELIUM_CLI_STATUS_OPTIONS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace mycelium {

// The command line of `mycelium status`.
struct StatusOptions {
  std::string topology;            // A file; empty: none was given.
  std::string socket_dir;          // Empty: as the topology says, or default.
  std::vector<std::string> nodes;  // Names or paths; empty: all.
  absl::Duration timeout = absl::Seconds(2);
  bool json = false;
};

inline constexpr absl::Duration kStatusTimeoutMin = absl::Milliseconds(10);
inline constexpr absl::Duration kStatusTimeoutMax = absl::Minutes(1);

// Options take their value as `--topology FILE` or `--topology=FILE`.
// INVALID_ARGUMENT: what is wrong with the words.
absl::StatusOr<StatusOptions> ParseStatusOptions(
    const std::vector<std::string>& words);

}  // namespace mycelium

#endif  // MYCELIUM_CLI_STATUS_OPTIONS_H_
