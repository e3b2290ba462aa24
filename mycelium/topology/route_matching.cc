#include "mycelium/topology/route_matching.h"

#include <algorithm>
#include <string>

namespace mycelium {

NameIndex::NameIndex(const Topology& topology) {
  for (const TopologyNode& node : topology.nodes) {
    for (const std::string& service : node.services) {
      if (service.empty()) continue;
      ends_.try_emplace(service, RouteEnd{false, &node, service});
    }
  }
  for (const TopologyNode& node : topology.nodes) {
    if (node.name.empty()) continue;
    ends_.try_emplace(node.name, RouteEnd{false, &node, {}});
  }
}

RouteEnd NameIndex::Resolve(absl::string_view name) const {
  if (name.empty()) return RouteEnd{true, nullptr, {}};
  const auto found = ends_.find(name);
  return found == ends_.end() ? RouteEnd{} : found->second;
}

std::vector<absl::string_view> NameIndex::Names() const {
  std::vector<absl::string_view> names;
  for (const auto& [name, end] : ends_) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

bool Overlap(const RouteEnd& a, const RouteEnd& b) {
  if (a.any || b.any) return true;
  if (a.node == nullptr || a.node != b.node) return false;
  return a.service.empty() || b.service.empty() || a.service == b.service;
}

bool NodesOverlap(const RouteEnd& a, const RouteEnd& b) {
  return a.any || b.any || (a.node != nullptr && a.node == b.node);
}

bool TopicsOverlap(const std::vector<std::string>& a,
                   const std::vector<std::string>& b) {
  if (a.empty() || b.empty()) return true;
  auto i = a.begin();
  auto j = b.begin();
  while (i != a.end() && j != b.end()) {
    const int order = i->compare(*j);
    if (order == 0) return true;
    if (order < 0) {
      ++i;
    } else {
      ++j;
    }
  }
  return false;
}

Specificity SpecificityOf(const Route& route, const NameIndex& index) {
  const RouteEnd from = index.Resolve(route.from);
  const RouteEnd to = index.Resolve(route.to);
  return {
      (from.any ? 0 : 1) + (to.any ? 0 : 1) + (route.topics.empty() ? 0 : 1),
      (from.service.empty() ? 0 : 1) + (to.service.empty() ? 0 : 1)};
}

std::vector<ResolvedRoute> TransportRoutes(const Topology& topology,
                                           const NameIndex& index) {
  std::vector<ResolvedRoute> routes;
  for (const Route& route : topology.routes) {
    if (!route.overrides.transport.has_value()) continue;
    routes.push_back({&route, index.Resolve(route.from),
                      index.Resolve(route.to), SpecificityOf(route, index)});
  }
  return routes;
}

namespace {

// Whether `a` goes before `b` where both speak about a link.
bool GoesBefore(const ResolvedRoute& a, const ResolvedRoute& b) {
  if (a.specificity != b.specificity) return b.specificity < a.specificity;
  return b.route < a.route;
}

}  // namespace

std::vector<const ResolvedRoute*> RoutesOfLink(
    const std::vector<ResolvedRoute>& routes, const TopologyNode& a,
    const TopologyNode& b) {
  const auto joins = [](const ResolvedRoute& route, const TopologyNode& from,
                        const TopologyNode& to) {
    return (route.from.any || route.from.node == &from) &&
           (route.to.any || route.to.node == &to);
  };
  std::vector<const ResolvedRoute*> found;
  for (const ResolvedRoute& route : routes) {
    if (joins(route, a, b) || joins(route, b, a)) found.push_back(&route);
  }
  std::sort(found.begin(), found.end(),
            [](const ResolvedRoute* one, const ResolvedRoute* other) {
              return GoesBefore(*one, *other);
            });
  return found;
}

absl::string_view ObstacleTo(TransportKind transport, const TopologyNode& from,
                             const TopologyNode& to) {
  switch (transport) {
    case TransportKind::kInproc:
      return "which needs one node";
    case TransportKind::kShm:
    case TransportKind::kUnix:
      return from.place == to.place ? "" : "which needs one host";
    case TransportKind::kGrpc:
      return GrpcDialAddress(from).empty() && GrpcDialAddress(to).empty()
                 ? "but neither node has a port"
                 : "";
  }
  return "";
}

LinkRoutes::LinkRoutes(const std::vector<ResolvedRoute>& routes) {
  for (const ResolvedRoute& route : routes) {
    if (route.from.unknown() || route.to.unknown()) continue;
    const ResolvedRoute*& strongest =
        strongest_[Ends(route.from.node, route.to.node)]
                  [static_cast<size_t>(*route.route->overrides.transport)];
    if (strongest == nullptr || GoesBefore(route, *strongest)) {
      strongest = &route;
    }
  }
}

const ResolvedRoute* LinkRoutes::DecidingRoute(const TopologyNode& a,
                                               const TopologyNode& b) const {
  const ResolvedRoute* deciding = nullptr;
  for (const Ends& ends :
       {Ends(&a, &b), Ends(&b, &a), Ends(&a, nullptr), Ends(nullptr, &a),
        Ends(&b, nullptr), Ends(nullptr, &b), Ends(nullptr, nullptr)}) {
    const auto found = strongest_.find(ends);
    if (found == strongest_.end()) continue;
    for (const ResolvedRoute* const route : found->second) {
      if (route == nullptr) continue;
      if (deciding != nullptr && !GoesBefore(*route, *deciding)) continue;
      if (ObstacleTo(*route->route->overrides.transport, a, b).empty()) {
        deciding = route;
      }
    }
  }
  return deciding;
}

AskedEnd EndOfName(const Topology& topology, absl::string_view name) {
  if (name.empty()) return {};
  const TopologyNode* const host = topology.NodeOfService(name);
  if (host != nullptr) return {name, EndOfNode(topology, host).node_name};
  return topology.FindNode(name) != nullptr ? AskedEnd{{}, name} : AskedEnd{};
}

AskedEnd EndOfNode(const Topology& topology, const TopologyNode* node) {
  if (node == nullptr) return {};
  const bool is_named = std::any_of(
      topology.routes.begin(), topology.routes.end(), [&](const Route& route) {
        return route.from == node->name || route.to == node->name;
      });
  // Where a service has the name too, routes mean the service.
  if (!is_named || topology.NodeOfService(node->name) != nullptr) return {};
  return {{}, node->name};
}

std::optional<Specificity> CoverOf(absl::string_view route_end,
                                   const AskedEnd& asked) {
  if (route_end.empty()) return Specificity(0, 0);
  if (route_end == asked.service) return Specificity(1, 1);
  if (route_end == asked.node_name) return Specificity(1, 0);
  return std::nullopt;
}

}  // namespace mycelium
