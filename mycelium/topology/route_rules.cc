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
                                         const AskedEnd& from,
                                         const AskedEnd& to,
                                         absl::string_view topic) {
  std::vector<std::pair<Specificity, const Route*>> matching;
  for (const Route& route : topology.routes) {
    const std::optional<Specificity> of_from = CoverOf(route.from, from);
    const std::optional<Specificity> of_to = CoverOf(route.to, to);
    if (!of_from.has_value() || !of_to.has_value()) continue;
    if (!route.topics.empty() &&
        std::find(route.topics.begin(), route.topics.end(), topic) ==
            route.topics.end()) {
      continue;
    }
    const Specificity specificity(
        of_from->first + of_to->first + (route.topics.empty() ? 0 : 1),
        of_from->second + of_to->second);
    matching.emplace_back(specificity, &route);
  }
  std::stable_sort(
      matching.begin(), matching.end(),
      [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<const Route*> routes;
  for (const auto& [specificity, route] : matching) routes.push_back(route);
  return routes;
}

// A transport that some rule asks for. The rule is text only where it is shown:
// there can be a thousand for each of a million pairs.
struct Wish {
  TransportKind transport;
  absl::string_view rule;  // Unless one of these has it:
  const Route* route = nullptr;
  const TopologyNode* endpoint_of = nullptr;
  bool of_defaults = false;
};

std::string RuleOf(const Topology& topology, const Wish& wish) {
  if (wish.route != nullptr) {
    return absl::StrCat("routes[", wish.route - topology.routes.data(), "] at ",
                        PositionText(topology.path, wish.route->position));
  }
  if (wish.endpoint_of != nullptr) {
    return absl::StrCat(
        "endpoint of node ", Quoted(wish.endpoint_of->name), " at ",
        PositionText(topology.path, wish.endpoint_of->endpoint->position));
  }
  if (wish.of_defaults) {
    return absl::StrCat(
        "[defaults] at ",
        PositionText(topology.path, topology.default_transport_position));
  }
  return std::string(wish.rule);
}

Wish WishOf(const Route& route) {
  Wish wish{*route.overrides.transport, ""};
  wish.route = &route;
  return wish;
}

// The link between two nodes is one, whoever publishes: of two endpoints that
// differ, unix wins, which every build can do.
std::optional<Wish> EndpointWish(const TopologyNode& from,
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
  Wish wish{chosen->endpoint->kind, ""};
  wish.endpoint_of = chosen;
  return wish;
}

// What the rules other than routes ask for between two nodes, the strongest
// rule first.
std::vector<Wish> WishesBesideRoutes(const Topology& topology,
                                     const TopologyNode& from,
                                     const TopologyNode& to) {
  if (from.place != to.place) {
    return {{TransportKind::kGrpc, "different hosts"}};
  }
  std::vector<Wish> wishes;
  const std::optional<Wish> endpoint = EndpointWish(from, to);
  if (endpoint.has_value()) wishes.push_back(*endpoint);
  if (topology.default_transport.has_value()) {
    wishes.push_back({*topology.default_transport, ""});
    wishes.back().of_defaults = true;
  }
  wishes.push_back({kSamePlaceTransport, "same host: default"});
  return wishes;
}

// The connection that a wish leads to; the wish is possible.
Connection Fulfil(const Topology& topology, const Wish& wish,
                  const TopologyNode& from, const TopologyNode& to) {
  Connection connection{wish.transport, "", RuleOf(topology, wish)};
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
  std::vector<Wish> wishes;
  for (const ResolvedRoute* const route : routes) {
    wishes.push_back(WishOf(*route->route));
  }
  for (const Wish& wish : WishesBesideRoutes(topology, from, to)) {
    wishes.push_back(wish);
  }
  std::string refused;
  for (const Wish& wish : wishes) {
    const absl::string_view obstacle = ObstacleTo(wish.transport, from, to);
    if (obstacle.empty()) {
      Connection connection = Fulfil(topology, wish, from, to);
      connection.rule += refused;
      return connection;
    }
    absl::StrAppend(&refused, "; ", RuleOf(topology, wish), " asks for ",
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

bool HasSocketEndpoint(const TopologyNode& node) {
  return node.endpoint.has_value() &&
         node.endpoint->kind != TransportKind::kGrpc;
}

// Whether two different nodes of one place meet at a socket: what Join() finds,
// without its texts.
bool MeetLocally(const Topology& topology, const LinkRoutes& links,
                 const TopologyNode& from, const TopologyNode& to) {
  const ResolvedRoute* const route = links.DecidingRoute(from, to);
  if (route != nullptr) {
    return *route->route->overrides.transport != TransportKind::kGrpc;
  }
  for (const Wish& wish : WishesBesideRoutes(topology, from, to)) {
    if (ObstacleTo(wish.transport, from, to).empty()) {
      return wish.transport != TransportKind::kGrpc;
    }
  }
  return false;
}

bool HasLocalPeer(const Topology& topology, const LinkRoutes& links,
                  const TopologyNode& node) {
  return std::any_of(topology.nodes.begin(), topology.nodes.end(),
                     [&](const TopologyNode& peer) {
                       return &peer != &node && peer.place == node.place &&
                              MeetLocally(topology, links, node, peer);
                     });
}

absl::Status UnknownName(const Topology& topology, const NameIndex& index,
                         absl::string_view name) {
  return absl::NotFoundError(absl::StrCat(topology.path,
                                          ": no service or node ", Quoted(name),
                                          NearestHint(name, index.Names())));
}

// Whether the end of a route covers all of a node or one of its services.
bool IsOfNode(absl::string_view route_end, const TopologyNode* node,
              const AskedEnd& end) {
  if (CoverOf(route_end, end).has_value()) return true;
  return node != nullptr &&
         std::find(node->services.begin(), node->services.end(), route_end) !=
             node->services.end();
}

// The values of a setting from one node to another: that of [defaults], or of
// the routes that take its place for all of both, and those of the routes
// between them.
template <typename T>
std::vector<T> ValuesBetween(const Topology& topology, absl::string_view from,
                             absl::string_view to, T RouteSettings::*setting,
                             std::optional<T> RouteOverrides::*given) {
  // By node: a service may have the same name as another node.
  const TopologyNode* const from_node = topology.FindNode(from);
  const TopologyNode* const to_node = topology.FindNode(to);
  const AskedEnd from_end = EndOfNode(topology, from_node);
  const AskedEnd to_end = EndOfNode(topology, to_node);
  RouteSettings settings = topology.defaults;
  for (const Route* route : MatchingRoutes(topology, from_end, to_end, "")) {
    settings = Apply(route->overrides, settings);
  }
  std::vector<T> values = {settings.*setting};
  for (const Route& route : topology.routes) {
    if ((route.overrides.*given).has_value() &&
        IsOfNode(route.from, from_node, from_end) &&
        IsOfNode(route.to, to_node, to_end)) {
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
  RouteSettings settings = topology.defaults;
  if (topology.routes.empty()) return settings;
  for (const Route* route : MatchingRoutes(topology, EndOfName(topology, from),
                                           EndOfName(topology, to), topic)) {
    settings = Apply(route->overrides, settings);
  }
  return settings;
}

bool ListensLocally(const Topology& topology, const TopologyNode& node) {
  if (HasSocketEndpoint(node)) return true;
  const std::vector<ResolvedRoute> routes =
      TransportRoutes(topology, NameIndex(topology));
  return HasLocalPeer(topology, LinkRoutes(routes), node);
}

absl::flat_hash_set<const TopologyNode*> LocalListeners(
    const Topology& topology) {
  const std::vector<ResolvedRoute> routes =
      TransportRoutes(topology, NameIndex(topology));
  const LinkRoutes links(routes);
  absl::flat_hash_set<const TopologyNode*> listeners;
  for (const TopologyNode& node : topology.nodes) {
    if (HasSocketEndpoint(node) || HasLocalPeer(topology, links, node)) {
      listeners.insert(&node);
    }
  }
  return listeners;
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
