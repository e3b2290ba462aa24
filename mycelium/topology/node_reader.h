#ifndef MYCELIUM_TOPOLOGY_NODE_READER_H_
#define MYCELIUM_TOPOLOGY_NODE_READER_H_

#include "mycelium/topology/diagnostics.h"
#include "mycelium/topology/environment.h"
#include "mycelium/topology/toml_document.h"
#include "mycelium/topology/topology.h"

namespace mycelium {

// A port that was given but is no port. It keeps the validator from reporting
// the same line again; no valid topology contains it.
inline constexpr int kBadPort = -1;

// Reads one [[nodes]] table. What is wrong with it alone is reported; what is
// wrong between nodes is for the validator.
TopologyNode ReadNode(const TomlValue& table, const EnvLookup& env,
                      const LocalIdentity& self, Diagnostics& diagnostics);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_NODE_READER_H_
