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

bool Covers(const RouteEnd& route_end, const RouteEnd& asked) {
  if (route_end.any) return true;
  if (route_end.node == nullptr || route_end.node != asked.node) return false;
  return route_end.service.empty() || route_end.service == asked.service;
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

std::vector<const ResolvedRoute*> RoutesOfLink(
    const std::vector<ResolvedRoute>& routes, const TopologyNode& a,
    const TopologyNode& b) {
  const auto joins = [](const ResolvedRoute& route, const TopologyNode& from,
                        const TopologyNode& to) {
    return (route.from.any || route.from.node == &from) &&
           (route.to.any || route.to.node == &to);
  };
  std::vector<const ResolvedRoute*> found;
  for (auto route = routes.rbegin(); route != routes.rend(); ++route) {
    if (joins(*route, a, b) || joins(*route, b, a)) found.push_back(&*route);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const ResolvedRoute* one, const ResolvedRoute* other) {
                     return other->specificity < one->specificity;
                   });
  return found;
}

const ResolvedRoute* RouteOfLink(const std::vector<ResolvedRoute>& routes,
                                 const TopologyNode& a, const TopologyNode& b) {
  const std::vector<const ResolvedRoute*> found = RoutesOfLink(routes, a, b);
  return found.empty() ? nullptr : found.front();
}

}  // namespace mycelium
