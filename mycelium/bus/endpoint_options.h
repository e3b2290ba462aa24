#ifndef MYCELIUM_BUS_ENDPOINT_OPTIONS_H_
#define MYCELIUM_BUS_ENDPOINT_OPTIONS_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "mycelium/bus/endpoint_stats.h"
#include "mycelium/schema/digest.h"

namespace mycelium {

// What holds for the links that are accepted at one endpoint.
struct EndpointOptions {
  // If given, a node with a service that was given another digest is refused.
  std::optional<Digest> schema_digest;
  // How large lanes are, in both directions; 0: as each side is configured.
  uint64_t lane_bytes = 0;
  std::shared_ptr<EndpointStats> stats;  // May be null.
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_ENDPOINT_OPTIONS_H_
