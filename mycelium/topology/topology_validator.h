#ifndef MYCELIUM_TOPOLOGY_TOPOLOGY_VALIDATOR_H_
#define MYCELIUM_TOPOLOGY_TOPOLOGY_VALIDATOR_H_

#include "mycelium/topology/diagnostics.h"
#include "mycelium/topology/topology.h"

namespace mycelium {

// Reports what is wrong between the parts of a topology if each part is
// well-formed by itself: names given twice, addresses that are missing or
// collide, hosts that need TLS, and routes that name no known node or service,
// cannot be, or contradict each other.
void ValidateTopology(const Topology& topology, Diagnostics& diagnostics);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_TOPOLOGY_VALIDATOR_H_
