#ifndef MYCELIUM_TOPOLOGY_TOPOLOGY_FIXTURE_H_
#define MYCELIUM_TOPOLOGY_TOPOLOGY_FIXTURE_H_

#include <map>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mycelium/topology/topology_parser.h"

namespace mycelium {

// For tests: parses `text` as t.toml on the machine "here", for uid 1000, with
// the given environment.
inline absl::StatusOr<Topology> ParseHere(
    absl::string_view text, std::map<std::string, std::string> variables = {}) {
  const EnvLookup env =
      [variables = std::move(variables)](
          const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
  return ParseTopology(text, "t.toml", env, LocalIdentity{"here", 1000});
}

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_TOPOLOGY_FIXTURE_H_
