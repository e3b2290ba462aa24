#include "mycelium/topology/service_host.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "mycelium/topology/nearest_word.h"

namespace mycelium {
namespace {

std::string HintFor(const Topology& topology, absl::string_view service) {
  std::vector<absl::string_view> services;
  if (const TopologyNode* const node = topology.FindNode(service);
      node != nullptr) {
    services.assign(node->services.begin(), node->services.end());
    return absl::StrCat("; that is a node, which hosts ",
                        services.empty() ? "none" : Listed(services));
  }
  for (const TopologyNode& node : topology.nodes) {
    services.insert(services.end(), node.services.begin(), node.services.end());
  }
  return NearestHint(service, services);
}

}  // namespace

absl::StatusOr<const TopologyNode*> HostOf(const Topology& topology,
                                           absl::string_view service) {
  const TopologyNode* const node = topology.NodeOfService(service);
  if (node != nullptr) return node;
  return absl::NotFoundError(
      absl::StrCat(topology.path, ": no node hosts service ", Quoted(service),
                   HintFor(topology, service)));
}

}  // namespace mycelium
