#ifndef MYCELIUM_TOPOLOGY_ROUTE_MATCHING_H_
#define MYCELIUM_TOPOLOGY_ROUTE_MATCHING_H_

#include <array>
#include <cstddef>
#include <optional>
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
// first; of equally specific routes the later one first. See LinkRoutes.
std::vector<const ResolvedRoute*> RoutesOfLink(
    const std::vector<ResolvedRoute>& routes, const TopologyNode& a,
    const TopologyNode& b);

// Why two different nodes cannot meet over a transport, or empty if they can.
absl::string_view ObstacleTo(TransportKind transport, const TopologyNode& from,
                             const TopologyNode& to);

// Finds the route that decides how two nodes are joined. Two nodes have one
// link, which carries every topic of every service both ways. So a route from
// either node to the other speaks about it, whichever services and topics it
// names. The time that a look takes does not grow with the routes.
//
// Ownership: borrows the routes and what they point to.
// Thread safety: const members may be called from any thread.
class LinkRoutes final {
 public:
  explicit LinkRoutes(const std::vector<ResolvedRoute>& routes);

  // The first of RoutesOfLink() that is possible between the two; null if there
  // is none.
  const ResolvedRoute* DecidingRoute(const TopologyNode& a,
                                     const TopologyNode& b) const;

 private:
  using Ends = std::pair<const TopologyNode*, const TopologyNode*>;
  static constexpr size_t kTransports =
      static_cast<size_t>(TransportKind::kGrpc) + 1;
  // By transport.
  using Strongest = std::array<const ResolvedRoute*, kTransports>;

  // A null node means any.
  absl::flat_hash_map<Ends, Strongest> strongest_;
};

// An end of a question about the settings. Many questions are asked one at a
// time, so this costs no index of all names.
struct AskedEnd {
  absl::string_view service;    // Empty: any, unknown, or the whole node.
  absl::string_view node_name;  // Empty if no route means the node by it.
};

// As NameIndex::Resolve(). Valid as long as `name` and the topology.
AskedEnd EndOfName(const Topology& topology, absl::string_view name);

// The whole node; null is a node that no route names.
AskedEnd EndOfNode(const Topology& topology, const TopologyNode* node);

// How specific the end of a route is, as its part of the Specificity; nothing
// if it does not cover `asked`.
std::optional<Specificity> CoverOf(absl::string_view route_end,
                                   const AskedEnd& asked);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_ROUTE_MATCHING_H_
