#ifndef MYCELIUM_TOPOLOGY_SERVICE_HOST_H_
#define MYCELIUM_TOPOLOGY_SERVICE_HOST_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mycelium/topology/topology.h"

namespace mycelium {

// The node that hosts the service; never null, and of the topology.
//   NOT_FOUND  there is no such service; names the nearest, or, where that is
//              the name of a node, the services of that
absl::StatusOr<const TopologyNode*> HostOf(const Topology& topology,
                                           absl::string_view service);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_SERVICE_HOST_H_
