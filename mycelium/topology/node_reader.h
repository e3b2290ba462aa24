#ifndef MYCELIUM_TOPOLOGY_NODE_READER_H_
#define MYCELIUM_TOPOLOGY_NODE_READER_H_

#include "mycelium/topology/diagnostics.h"
#include "mycelium/topology/environment.h"
#include "mycelium/topology/toml_document.h"
#include "mycelium/topology/topology.h"

namespace mycelium {

// Stands for a port that was given but is not a valid port. It keeps the
// validator from reporting the same line again; no valid topology contains it.
inline constexpr int kBadPort = -1;

// Reads one [[nodes]] table. Reports what is wrong within the table; errors
// between nodes are for the validator.
TopologyNode ReadNode(const TomlValue& table, const EnvLookup& env,
                      const LocalIdentity& self, Diagnostics& diagnostics);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_NODE_READER_H_
