#ifndef MYCELIUM_TOPOLOGY_SERVICE_HOST_H_
#define MYCELIUM_TOPOLOGY_SERVICE_HOST_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mycelium/topology/topology.h"

namespace mycelium {

// The node of the topology that hosts the service; never null.
//   NOT_FOUND  there is no such service; the message names the nearest one, or,
//              if `service` is the name of a node, the services of that node
absl::StatusOr<const TopologyNode*> HostOf(const Topology& topology,
                                           absl::string_view service);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_SERVICE_HOST_H_
