#ifndef MYCELIUM_TOPOLOGY_ROUTE_VALIDATOR_H_
#define MYCELIUM_TOPOLOGY_ROUTE_VALIDATOR_H_

#include "mycelium/topology/diagnostics.h"
#include "mycelium/topology/topology.h"

namespace mycelium {

// Reports routes that name no known service or node, that ask for a transport
// that cannot join the two ends they name, or that contradict an equally
// specific route.
void ValidateRoutes(const Topology& topology, Diagnostics& diagnostics);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_ROUTE_VALIDATOR_H_
