#ifndef MYCELIUM_TOPOLOGY_TOPOLOGY_PARSER_H_
#define MYCELIUM_TOPOLOGY_TOPOLOGY_PARSER_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mycelium/topology/environment.h"
#include "mycelium/topology/topology.h"

namespace mycelium {

// Reads and validates the text of a topology file.
//
// INVALID_ARGUMENT carries every error that the text has, one a line and in
// the order of the file, each as
//   <file_name>:<line>:<column>: <where>: <what>
// and, where a word is unknown, the nearest one that is known. A text that is
// no TOML has one error: where TOML stops making sense.
//
// `env` answers for ${VAR}; `self` decides which hosts are this machine. Both
// are used during the call only. Blocks for nothing.
absl::StatusOr<Topology> ParseTopology(absl::string_view text,
                                       absl::string_view file_name,
                                       const EnvLookup& env,
                                       const LocalIdentity& self);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_TOPOLOGY_PARSER_H_
