#ifndef MYCELIUM_TOPOLOGY_ROUTE_MATCHING_H_
#define MYCELIUM_TOPOLOGY_ROUTE_MATCHING_H_

#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "mycelium/topology/topology.h"

namespace mycelium {

// Which routes speak about which pairs of services. The validator and the
// route rules share this, so that they cannot disagree.

// What a name stands for, in a route or in a question.
struct RouteEnd {
  bool any = false;
  const TopologyNode* node = nullptr;  // Null: any, or unknown.
  absl::string_view service;           // Empty: the whole node.

  bool unknown() const { return !any && node == nullptr; }
};

// Looks up names of services and nodes.
//
// Ownership: borrows the topology, whose nodes must not change meanwhile.
// Thread safety: const members may be called from any thread.
class NameIndex final {
 public:
  explicit NameIndex(const Topology& topology);

  // An empty name means any; a service goes before a node of the same name.
  RouteEnd Resolve(absl::string_view name) const;

  // All names of services and nodes.
  std::vector<absl::string_view> Names() const;

 private:
  absl::flat_hash_map<absl::string_view, RouteEnd> ends_;
};

// Whether a route's end covers the end of a question.
bool Covers(const RouteEnd& route_end, const RouteEnd& asked);

// Whether there is a question that both ends cover.
bool Overlap(const RouteEnd& a, const RouteEnd& b);

// Whether there is a node that has to do with both ends: services of one node
// share it.
bool NodesOverlap(const RouteEnd& a, const RouteEnd& b);

// Whether there is a topic that both lists match. The lists are sorted; an
// empty list matches all topics.
bool TopicsOverlap(const std::vector<std::string>& a,
                   const std::vector<std::string>& b);

// How much a route says about what it matches; more is more specific. First
// the number of from, to and topics that are given, then how many of the ends
// are services.
using Specificity = std::pair<int, int>;
Specificity SpecificityOf(const Route& route, const NameIndex& index);

// A route with its ends looked up.
struct ResolvedRoute {
  const Route* route;
  RouteEnd from;
  RouteEnd to;
  Specificity specificity;
};

// The routes of a topology that set `transport`, in the order of the file.
//
// Ownership: borrows the topology, and keeps nothing of the index.
std::vector<ResolvedRoute> TransportRoutes(const Topology& topology,
                                           const NameIndex& index);

// Those of `routes` that speak about the link of two nodes, the most specific
// first; of equally specific routes the later one first. See RouteOfLink().
std::vector<const ResolvedRoute*> RoutesOfLink(
    const std::vector<ResolvedRoute>& routes, const TopologyNode& a,
    const TopologyNode& b);

// The one of `routes` that decides how two nodes are joined: the most specific
// that speaks about their link; null if none does. Two nodes have one link,
// which carries every topic of every service both ways. So a route from either
// node to the other speaks about it, whichever services and topics it names.
const ResolvedRoute* RouteOfLink(const std::vector<ResolvedRoute>& routes,
                                 const TopologyNode& a, const TopologyNode& b);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_ROUTE_MATCHING_H_
