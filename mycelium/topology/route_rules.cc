#include "mycelium/topology/route_rules.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "mycelium/topology/diagnostics.h"
#include "mycelium/topology/nearest_word.h"
#include "mycelium/topology/route_matching.h"

namespace mycelium {
namespace {

// The routes that match, the least specific one first.
std::vector<const Route*> MatchingRoutes(const Topology& topology,
                                         const NameIndex& index,
                                         const RouteEnd& from,
                                         const RouteEnd& to,
                                         absl::string_view topic) {
  std::vector<std::pair<Specificity, const Route*>> matching;
  for (const Route& route : topology.routes) {
    if (!Covers(index.Resolve(route.from), from)) continue;
    if (!Covers(index.Resolve(route.to), to)) continue;
    if (!route.topics.empty() &&
        std::find(route.topics.begin(), route.topics.end(), topic) ==
            route.topics.end()) {
      continue;
    }
    matching.emplace_back(SpecificityOf(route, index), &route);
  }
  std::stable_sort(
      matching.begin(), matching.end(),
      [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<const Route*> routes;
  for (const auto& [specificity, route] : matching) routes.push_back(route);
  return routes;
}

// A transport that some rule asks for.
struct Wish {
  TransportKind transport;
  std::string rule;
};

// The link between two nodes is one, whoever publishes: of two endpoints that
// differ, unix wins, which every build can do.
std::optional<Wish> EndpointWish(const Topology& topology,
                                 const TopologyNode& from,
                                 const TopologyNode& to) {
  const TopologyNode* chosen = nullptr;
  for (const TopologyNode* node : {&to, &from}) {
    // A grpc endpoint is one more way in; it changes nothing on the same host.
    if (!node->endpoint.has_value() ||
        node->endpoint->kind == TransportKind::kGrpc) {
      continue;
    }
    if (chosen == nullptr || node->endpoint->kind == TransportKind::kUnix) {
      chosen = node;
      if (node->endpoint->kind == TransportKind::kUnix) break;
    }
  }
  if (chosen == nullptr) return std::nullopt;
  return Wish{
      chosen->endpoint->kind,
      absl::StrCat("endpoint of node ", Quoted(chosen->name), " at ",
                   PositionText(topology.path, chosen->endpoint->position))};
}

// What the rules ask for between two nodes, the strongest rule first.
std::vector<Wish> WishesFor(const Topology& topology,
                            const std::vector<const ResolvedRoute*>& routes,
                            const TopologyNode& from, const TopologyNode& to) {
  std::vector<Wish> wishes;
  for (const ResolvedRoute* const route : routes) {
    const Route& of_file = *route->route;
    wishes.push_back(
        {*of_file.overrides.transport,
         absl::StrCat("routes[", &of_file - topology.routes.data(), "] at ",
                      PositionText(topology.path, of_file.position))});
  }
  if (from.place != to.place) {
    wishes.push_back({TransportKind::kGrpc, "different hosts"});
    return wishes;
  }
  std::optional<Wish> endpoint = EndpointWish(topology, from, to);
  if (endpoint.has_value()) wishes.push_back(*std::move(endpoint));
  if (topology.default_transport.has_value()) {
    wishes.push_back(
        {*topology.default_transport,
         absl::StrCat("[defaults] at ",
                      PositionText(topology.path,
                                   topology.default_transport_position))});
  }
  wishes.push_back({kSamePlaceTransport, "same host: default"});
  return wishes;
}

// Why two nodes cannot meet over a transport, or empty if they can.
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

// The connection that a wish leads to; the wish is possible.
Connection Fulfil(const Topology& topology, const Wish& wish,
                  const TopologyNode& from, const TopologyNode& to) {
  Connection connection{wish.transport, "", wish.rule};
  if (connection.transport != TransportKind::kGrpc) {
    connection.address = topology.SocketPath(to);
    return connection;
  }
  connection.address = GrpcDialAddress(to);
  if (connection.address.empty()) {
    connection.address = GrpcDialAddress(from);
    absl::StrAppend(&connection.rule, "; dialled by ", Quoted(to.name));
  }
  return connection;
}

// The connection of two different nodes, of which `routes` speak, the strongest
// first.
absl::StatusOr<Connection> Join(const Topology& topology,
                                const std::vector<const ResolvedRoute*>& routes,
                                const TopologyNode& from,
                                const TopologyNode& to) {
  std::string refused;
  for (const Wish& wish : WishesFor(topology, routes, from, to)) {
    const absl::string_view obstacle = ObstacleTo(wish.transport, from, to);
    if (obstacle.empty()) {
      Connection connection = Fulfil(topology, wish, from, to);
      connection.rule += refused;
      return connection;
    }
    absl::StrAppend(&refused, "; ", wish.rule, " asks for ",
                    WordOf(wish.transport), ", ", obstacle);
  }
  // Only a topology that nobody validated has remote nodes without ports.
  return absl::FailedPreconditionError(
      absl::StrCat(topology.path, ": no transport joins nodes ",
                   Quoted(from.name), " and ", Quoted(to.name), refused));
}

absl::StatusOr<Connection> ConnectionOf(const Topology& topology,
                                        const NameIndex& index,
                                        const TopologyNode& from,
                                        const TopologyNode& to) {
  const std::vector<ResolvedRoute> routes = TransportRoutes(topology, index);
  return Join(topology, RoutesOfLink(routes, from, to), from, to);
}

absl::Status UnknownName(const Topology& topology, const NameIndex& index,
                         absl::string_view name) {
  return absl::NotFoundError(absl::StrCat(topology.path,
                                          ": no service or node ", Quoted(name),
                                          NearestHint(name, index.Names())));
}

// The values of a setting from one node to another: that of [defaults], or of
// the routes that take its place for all of both, and those of the routes
// between them.
template <typename T>
std::vector<T> ValuesBetween(const Topology& topology, absl::string_view from,
                             absl::string_view to, T RouteSettings::*setting,
                             std::optional<T> RouteOverrides::*given) {
  // By node: a service may have the same name as another node.
  RouteEnd from_end, to_end;
  from_end.node = topology.FindNode(from);
  to_end.node = topology.FindNode(to);
  const NameIndex index(topology);
  RouteSettings settings = topology.defaults;
  for (const Route* route :
       MatchingRoutes(topology, index, from_end, to_end, "")) {
    settings = Apply(route->overrides, settings);
  }
  std::vector<T> values = {settings.*setting};
  for (const Route& route : topology.routes) {
    if ((route.overrides.*given).has_value() &&
        Overlap(index.Resolve(route.from), from_end) &&
        Overlap(index.Resolve(route.to), to_end)) {
      values.push_back(*(route.overrides.*given));
    }
  }
  return values;
}

}  // namespace

absl::StatusOr<Connection> Explain(const Topology& topology,
                                   absl::string_view from,
                                   absl::string_view to) {
  const NameIndex index(topology);
  const TopologyNode* const from_node = index.Resolve(from).node;
  const TopologyNode* const to_node = index.Resolve(to).node;
  if (from_node == nullptr) return UnknownName(topology, index, from);
  if (to_node == nullptr) return UnknownName(topology, index, to);
  if (from_node == to_node) {
    return Connection{TransportKind::kInproc, "", "same node"};
  }
  return ConnectionOf(topology, index, *from_node, *to_node);
}

absl::StatusOr<std::vector<PlannedLink>> LinksOf(const Topology& topology,
                                                 const TopologyNode& node) {
  const NameIndex index(topology);
  const std::vector<ResolvedRoute> routes = TransportRoutes(topology, index);
  std::vector<PlannedLink> links;
  for (const TopologyNode& peer : topology.nodes) {
    if (&peer == &node) continue;
    absl::StatusOr<Connection> connection =
        Join(topology, RoutesOfLink(routes, node, peer), node, peer);
    if (!connection.ok()) return connection.status();
    links.push_back({&peer, *std::move(connection)});
  }
  return links;
}

RouteSettings SettingsFor(const Topology& topology, absl::string_view from,
                          absl::string_view to, absl::string_view topic) {
  const NameIndex index(topology);
  RouteSettings settings = topology.defaults;
  for (const Route* route : MatchingRoutes(topology, index, index.Resolve(from),
                                           index.Resolve(to), topic)) {
    settings = Apply(route->overrides, settings);
  }
  return settings;
}

bool ListensLocally(const Topology& topology, const TopologyNode& node) {
  if (node.endpoint.has_value() &&
      node.endpoint->kind != TransportKind::kGrpc) {
    return true;
  }
  const absl::StatusOr<std::vector<PlannedLink>> links =
      LinksOf(topology, node);
  return links.ok() &&
         std::any_of(links->begin(), links->end(), [](const auto& link) {
           return link.connection.transport != TransportKind::kGrpc;
         });
}

bool SharesMemory(const Topology& topology, absl::string_view a,
                  absl::string_view b) {
  const TopologyNode* const from = topology.FindNode(a);
  const TopologyNode* const to = topology.FindNode(b);
  if (from == nullptr || to == nullptr || from == to) return false;
  const absl::StatusOr<Connection> connection =
      ConnectionOf(topology, NameIndex(topology), *from, *to);
  return connection.ok() && connection->transport == TransportKind::kShm;
}

absl::Duration LongestRetain(const Topology& topology, absl::string_view a,
                             absl::string_view b) {
  absl::Duration longest = absl::ZeroDuration();
  for (const auto& [from, to] : {std::make_pair(a, b), std::make_pair(b, a)}) {
    for (const absl::Duration retain :
         ValuesBetween(topology, from, to, &RouteSettings::retain,
                       &RouteOverrides::retain)) {
      longest = std::max(longest, retain);
    }
  }
  return longest;
}

std::pair<int64_t, int64_t> LaneBytesBetween(const Topology& topology,
                                             absl::string_view from,
                                             absl::string_view to) {
  const std::vector<int64_t> sizes =
      ValuesBetween(topology, from, to, &RouteSettings::lane_bytes,
                    &RouteOverrides::lane_bytes);
  const auto [least, most] = std::minmax_element(sizes.begin(), sizes.end());
  return {*least, *most};
}

}  // namespace mycelium
