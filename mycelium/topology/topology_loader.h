#ifndef MYCELIUM_TOPOLOGY_TOPOLOGY_LOADER_H_
#define MYCELIUM_TOPOLOGY_TOPOLOGY_LOADER_H_

#include <string>

#include "absl/status/statusor.h"
#include "mycelium/base/sys.h"
#include "mycelium/topology/environment.h"
#include "mycelium/topology/topology.h"

namespace mycelium {

// Reads, parses and validates the topology file at `path`. Blocks for the
// file; reads no more than kTopologyBytesMax of it.
//
// Besides the errors of ParseTopology(), each naming the path:
//   NOT_FOUND          there is no such file
//   PERMISSION_DENIED  this uid may not read it
//   INVALID_ARGUMENT   it is not a regular file, or larger than the bound
absl::StatusOr<Topology> LoadTopology(Sys& sys, const std::string& path,
                                      const EnvLookup& env);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_TOPOLOGY_LOADER_H_
