#ifndef MYCELIUM_TOPOLOGY_TOPOLOGY_PARSER_H_
#define MYCELIUM_TOPOLOGY_TOPOLOGY_PARSER_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mycelium/topology/environment.h"
#include "mycelium/topology/topology.h"

namespace mycelium {

// Reads and validates the text of a topology file.
//
// INVALID_ARGUMENT carries every error that the text has, one per line and in
// the order of the file, each as
//   <file_name>:<line>:<column>: <where>: <what>
// and, for an unknown word, the nearest known one. A text that is not TOML has
// one error: the place from which it cannot be read as TOML.
//
// `env` gives the values for ${VAR}; `self` decides which hosts are this
// machine. Both are used during the call only. Does not block.
absl::StatusOr<Topology> ParseTopology(absl::string_view text,
                                       absl::string_view file_name,
                                       const EnvLookup& env,
                                       const LocalIdentity& self);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_TOPOLOGY_PARSER_H_
