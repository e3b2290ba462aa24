#include "mycelium/topology/route_validator.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mycelium/topology/nearest_word.h"
#include "mycelium/topology/route_matching.h"
#include "mycelium/topology/route_reader.h"

namespace mycelium {
namespace {

// For this many unknown names the nearest known one is looked for, which takes
// long where there are thousands of both.
constexpr int kHintsMax = 16;

// What a route may call its ends, and what is said where it calls them
// something else.
class NameHints final {
 public:
  explicit NameHints(const NameIndex& index) : index_(index) {}

  std::string HintFor(absl::string_view name) {
    if (++asked_ > kHintsMax) return "";
    if (asked_ == 1) names_ = index_.Names();
    return NearestHint(name, names_);
  }

 private:
  const NameIndex& index_;
  std::vector<absl::string_view> names_;
  int asked_ = 0;
};

void CheckEnd(const std::string& name, absl::string_view key,
              SourcePosition position, const Route& route,
              const NameIndex& index, NameHints& hints,
              Diagnostics& diagnostics) {
  if (!index.Resolve(name).unknown()) return;
  diagnostics.Add(position, RouteName(route),
                  absl::StrCat(key, ": no service or node ", Quoted(name),
                               hints.HintFor(name)));
}

// A route that names both ends must be possible; one that leaves an end open
// applies where it can.
void CheckTransport(const ResolvedRoute& resolved, Diagnostics& diagnostics) {
  const Route& route = *resolved.route;
  const TopologyNode* const from = resolved.from.node;
  const TopologyNode* const to = resolved.to.node;
  if (!route.overrides.transport.has_value()) return;
  if (from == nullptr || to == nullptr) return;
  const TransportKind transport = *route.overrides.transport;
  std::string fault;
  if (from == to) {
    if (transport == TransportKind::kInproc) return;
    fault = absl::StrCat("both ends are in node ", Quoted(from->name),
                         "; known: inproc");
  } else if (transport == TransportKind::kInproc) {
    fault = "the ends are in different nodes; known: shm, unix, grpc, tcp";
  } else if (transport == TransportKind::kGrpc) {
    const bool dialled = from->port != 0 || to->port != 0 ||
                         !GrpcDialAddress(*from).empty() ||
                         !GrpcDialAddress(*to).empty();
    if (dialled) return;
    fault = "neither end has a port";
  } else if (from->place != to->place) {
    fault = "the ends are on different hosts; known: grpc, tcp";
  } else {
    return;
  }
  diagnostics.Add(route.transport_position, RouteName(route),
                  absl::StrCat("transport ", WordOf(transport), ": ", fault));
}

// How a reader waits is a matter of the whole subscription.
void CheckWait(const ResolvedRoute& resolved, Diagnostics& diagnostics) {
  const Route& route = *resolved.route;
  const bool sets_wait = route.overrides.wait.has_value();
  if (resolved.from.any || (!sets_wait && !route.overrides.spin.has_value())) {
    return;
  }
  diagnostics.Add(
      route.position, RouteName(route),
      absl::StrCat(sets_wait ? "wait" : "spin",
                   ": a subscription waits for all publishers at once; set it "
                   "in a route without `from`, or in [defaults]"));
}

template <typename T>
void CompareField(absl::string_view key, const std::optional<T>& a,
                  const std::optional<T>& b,
                  std::vector<absl::string_view>& different) {
  if (a.has_value() && b.has_value() && *a != *b) different.push_back(key);
}

// The keys but `transport` that both set, to different values.
std::vector<absl::string_view> Contradictions(const RouteOverrides& a,
                                              const RouteOverrides& b) {
  std::vector<absl::string_view> keys;
  CompareField("overflow", a.overflow, b.overflow, keys);
  CompareField("depth", a.depth, b.depth, keys);
  CompareField("window", a.window, b.window, keys);
  CompareField("lane_bytes", a.lane_bytes, b.lane_bytes, keys);
  CompareField("publish_timeout", a.publish_timeout, b.publish_timeout, keys);
  CompareField("retain", a.retain, b.retain, keys);
  CompareField("wait", a.wait, b.wait, keys);
  CompareField("spin", a.spin, b.spin, keys);
  return keys;
}

// Reports each route against the first one before it that it contradicts.
void CheckConflicts(const std::vector<ResolvedRoute>& routes,
                    Diagnostics& diagnostics) {
  for (size_t later = 1; later < routes.size(); ++later) {
    const ResolvedRoute& b = routes[later];
    for (size_t earlier = 0; earlier < later; ++earlier) {
      const ResolvedRoute& a = routes[earlier];
      if (a.specificity != b.specificity) continue;
      if (!Overlap(a.from, b.from) || !Overlap(a.to, b.to)) continue;
      const std::vector<absl::string_view> keys =
          Contradictions(a.route->overrides, b.route->overrides);
      if (keys.empty()) continue;
      if (!TopicsOverlap(a.route->topics, b.route->topics)) continue;
      diagnostics.Add(
          b.route->position, RouteName(*b.route),
          absl::StrCat("conflicting routes: lines ", a.route->position.line,
                       " and ", b.route->position.line,
                       " are equally specific and differ in ",
                       absl::StrJoin(keys, ", ")));
      break;
    }
  }
}

// The one pair of nodes that both routes speak about, if it is one.
std::optional<std::pair<const TopologyNode*, const TopologyNode*>> OnlyPair(
    const ResolvedRoute& a, const ResolvedRoute& b) {
  const TopologyNode* first = nullptr;
  const TopologyNode* second = nullptr;
  for (const RouteEnd* end : {&a.from, &a.to, &b.from, &b.to}) {
    if (end->node == nullptr || end->node == first) continue;
    (first == nullptr ? first : second) = end->node;
  }
  if (second == nullptr) return std::nullopt;
  return std::make_pair(first, second);
}

bool IsWithinOneNode(const ResolvedRoute& route) {
  return route.from.node != nullptr && route.from.node == route.to.node;
}

// Whether two routes ask for different links between the same nodes, and no
// third one decides between them.
bool LinksContradict(const ResolvedRoute& a, const ResolvedRoute& b,
                     const LinkRoutes& links) {
  if (IsWithinOneNode(a) || IsWithinOneNode(b)) return false;
  if (a.specificity != b.specificity) return false;
  if (a.route->overrides.transport == b.route->overrides.transport) {
    return false;
  }
  const bool meet =
      (NodesOverlap(a.from, b.from) && NodesOverlap(a.to, b.to)) ||
      (NodesOverlap(a.from, b.to) && NodesOverlap(a.to, b.from));
  if (!meet) return false;
  const auto pair = OnlyPair(a, b);
  if (!pair.has_value()) return true;
  const auto& [first, second] = *pair;
  for (const ResolvedRoute* const route : {&a, &b}) {
    // One that is passed over contradicts nothing.
    if (!ObstacleTo(*route->route->overrides.transport, *first, *second)
             .empty()) {
      return false;
    }
  }
  // There is one: `a` and `b` are possible.
  return links.DecidingRoute(*first, *second)->specificity == a.specificity;
}

// Two nodes have one link. A route that names both of them must get what it
// asks for; one that leaves an end open gives way to a more specific one.
void CheckLinks(const std::vector<ResolvedRoute>& routes,
                Diagnostics& diagnostics) {
  const LinkRoutes links(routes);
  for (size_t later = 0; later < routes.size(); ++later) {
    const ResolvedRoute& route = routes[later];
    if (route.from.unknown() || route.to.unknown()) continue;
    const ResolvedRoute* other = nullptr;
    for (size_t earlier = 0; earlier < later && other == nullptr; ++earlier) {
      if (LinksContradict(routes[earlier], route, links)) {
        other = &routes[earlier];
      }
    }
    const TopologyNode* const from = route.from.node;
    const TopologyNode* const to = route.to.node;
    if (other == nullptr && from != nullptr && to != nullptr && from != to) {
      other = links.DecidingRoute(*from, *to);
      // If that is a weaker one, CheckTransport() has refused this one.
      if (other != nullptr && other->specificity <= route.specificity) {
        other = nullptr;
      }
    }
    if (other == nullptr ||
        other->route->overrides.transport == route.route->overrides.transport) {
      continue;
    }
    diagnostics.Add(
        route.route->transport_position, RouteName(*route.route),
        absl::StrCat("transport ", WordOf(*route.route->overrides.transport),
                     ": line ", other->route->transport_position.line,
                     " asks for ", WordOf(*other->route->overrides.transport),
                     ", and two nodes have one link, for both directions, all "
                     "services and all topics"));
  }
}

}  // namespace

void ValidateRoutes(const Topology& topology, Diagnostics& diagnostics) {
  const NameIndex index(topology);
  NameHints hints(index);
  std::vector<ResolvedRoute> resolved;
  for (const Route& route : topology.routes) {
    CheckEnd(route.from, "from", route.from_position, route, index, hints,
             diagnostics);
    CheckEnd(route.to, "to", route.to_position, route, index, hints,
             diagnostics);
    resolved.push_back({&route, index.Resolve(route.from),
                        index.Resolve(route.to), SpecificityOf(route, index)});
    CheckTransport(resolved.back(), diagnostics);
    CheckWait(resolved.back(), diagnostics);
  }
  CheckConflicts(resolved, diagnostics);
  CheckLinks(TransportRoutes(topology, index), diagnostics);
}

}  // namespace mycelium
