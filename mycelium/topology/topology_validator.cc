#include "mycelium/topology/topology_validator.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "mycelium/topology/nearest_word.h"
#include "mycelium/topology/place.h"
#include "mycelium/topology/route_reader.h"
#include "mycelium/topology/route_validator.h"
#include "mycelium/topology/setting_bounds.h"

namespace mycelium {
namespace {

std::string NodeName(const TopologyNode& node) {
  return absl::StrCat("node ", Quoted(node.name));
}

std::string OfPlace(const TopologyNode& node) {
  return node.place.empty() ? "this machine" : Quoted(node.host);
}

std::string PortOf(const TopologyNode& node) {
  return absl::StrCat("port ", node.port, " of ", OfPlace(node));
}

void CheckNames(const Topology& topology, Diagnostics& diagnostics) {
  absl::flat_hash_map<absl::string_view, int> line_of_node;
  absl::flat_hash_map<absl::string_view, const TopologyNode*> node_of_service;
  for (const TopologyNode& node : topology.nodes) {
    const auto [first, is_new] =
        line_of_node.try_emplace(node.name, node.name_position.line);
    if (!is_new && !node.name.empty()) {
      diagnostics.Add(
          node.name_position, NodeName(node),
          absl::StrCat("name is taken by the node of line ", first->second));
    }
    for (size_t i = 0; i < node.services.size(); ++i) {
      const std::string& service = node.services[i];
      const auto [owner, is_first] =
          node_of_service.try_emplace(service, &node);
      if (is_first || service.empty()) continue;
      diagnostics.Add(
          node.service_positions[i], NodeName(node),
          owner->second == &node
              ? absl::StrCat("service ", Quoted(service), " is listed twice")
              : absl::StrCat("service ", Quoted(service), " is in ",
                             NodeName(*owner->second), " already"));
    }
  }
}

void CheckPorts(const Topology& topology, Diagnostics& diagnostics) {
  using PlaceAndPort = std::pair<absl::string_view, int>;
  absl::flat_hash_map<PlaceAndPort, const TopologyNode*> node_of_port;
  for (const TopologyNode& node : topology.nodes) {
    if (!node.place.empty() && node.port == 0) {
      diagnostics.Add(node.host_position, NodeName(node),
                      absl::StrCat("host ", Quoted(node.host),
                                   " is remote, and there is no port to dial"));
    }
    if (node.port <= 0) continue;
    const auto [first, is_new] =
        node_of_port.try_emplace(PlaceAndPort(node.place, node.port), &node);
    if (!is_new) {
      diagnostics.Add(node.port_position, NodeName(node),
                      absl::StrCat(PortOf(node), " is taken by ",
                                   NodeName(*first->second)));
    }
  }
}

bool HasAddress(const TopologyNode& node, bool of_grpc) {
  return node.endpoint.has_value() && !node.endpoint->address.empty() &&
         (node.endpoint->kind == TransportKind::kGrpc) == of_grpc;
}

// The interface at which a bound host listens, to compare it with others;
// empty: all of them.
std::string InterfaceOf(const std::string& host) {
  if (IsWildcard(host)) return "";
  const std::string name = ComparableHost(host);
  return name == "localhost" ? "127.0.0.1" : name;
}

// Two nodes of a place can listen for gRPC at one port only if each has an
// interface of its own.
void CheckListeners(const Topology& topology, Diagnostics& diagnostics) {
  struct Listener {
    const TopologyNode* node;
    std::string interface;
  };
  using PlaceAndPort = std::pair<absl::string_view, int>;
  absl::flat_hash_map<PlaceAndPort, std::vector<Listener>> listeners;
  for (const TopologyNode& node : topology.nodes) {
    std::string host;
    int port;
    if (!SplitHostPort(GrpcListenAddress(node), &host, &port)) continue;
    const std::string interface = InterfaceOf(host);
    std::vector<Listener>& others = listeners[{node.place, port}];
    const auto other = std::find_if(
        others.begin(), others.end(), [&](const Listener& listener) {
          return interface.empty() || listener.interface.empty() ||
                 interface == listener.interface;
        });
    if (other == others.end()) {
      others.push_back({&node, interface});
      continue;
    }
    const bool has_address = HasAddress(node, true);
    // CheckPorts() reports two nodes that are dialled at one port.
    if (!has_address && !HasAddress(*other->node, true)) continue;
    diagnostics.Add(
        has_address ? node.endpoint->position : node.port_position,
        NodeName(node),
        absl::StrCat(
            has_address ? absl::StrCat("addr ", Quoted(node.endpoint->address))
                        : PortOf(node),
            " is taken by ", NodeName(*other->node), ", which listens at ",
            Quoted(GrpcListenAddress(*other->node))));
  }
}

// A path that the kernel takes for the same one, to compare it with others.
std::string ComparablePath(absl::string_view path) {
  return absl::StrJoin(absl::StrSplit(path, '/',
                                      [](absl::string_view part) {
                                        return !part.empty() && part != ".";
                                      }),
                       "/");
}

// An `addr` at which another node of the place listens, because it has the same
// one or because it is the socket of that node's name.
void CheckSockets(const Topology& topology, Diagnostics& diagnostics) {
  using PlaceAndPath = std::pair<absl::string_view, std::string>;
  absl::flat_hash_map<PlaceAndPath, const TopologyNode*> node_of_name;
  absl::flat_hash_map<PlaceAndPath, const TopologyNode*> node_of_address;
  const auto key = [&](const TopologyNode& node) {
    return PlaceAndPath(node.place, ComparablePath(topology.SocketPath(node)));
  };
  for (const TopologyNode& node : topology.nodes) {
    if (!HasAddress(node, false)) node_of_name.try_emplace(key(node), &node);
  }
  for (const TopologyNode& node : topology.nodes) {
    if (!HasAddress(node, false)) continue;
    const auto taken = [&](absl::string_view by) {
      diagnostics.Add(
          node.endpoint->position, NodeName(node),
          absl::StrCat("addr ", Quoted(node.endpoint->address), by));
    };
    const auto [first, is_new] = node_of_address.try_emplace(key(node), &node);
    if (!is_new) {
      taken(absl::StrCat(" is taken by ", NodeName(*first->second)));
    }
    const auto named = node_of_name.find(key(node));
    if (named != node_of_name.end()) {
      taken(absl::StrCat(" is the socket of ", NodeName(*named->second),
                         " in line ", named->second->name_position.line));
    }
  }
}

// A lane that could not take the largest frame would refuse it, or lose it.
void CheckFrames(const Topology& topology, Diagnostics& diagnostics) {
  const int64_t largest = topology.limits.frame_bytes_max;
  const auto check = [&](int64_t lane_bytes, SourcePosition position,
                         const std::string& where) {
    if (largest <= FrameBytesFor(lane_bytes)) return;
    const auto size = [](int64_t bytes) {
      return FormatSetting(SettingUnit::kBytes, bytes);
    };
    diagnostics.Add(
        position, where,
        absl::StrCat("lane_bytes ", size(lane_bytes),
                     " takes frames of at most ",
                     size(FrameBytesFor(lane_bytes)),
                     ", but frame_bytes_max of [limits] is ", size(largest)));
  };
  const bool has_lanes = topology.lane_bytes_position.line > 0;
  check(topology.defaults.lane_bytes,
        has_lanes ? topology.lane_bytes_position
                  : topology.frame_bytes_max_position,
        has_lanes ? "[defaults]" : "[limits]");
  for (const Route& route : topology.routes) {
    if (!route.overrides.lane_bytes.has_value()) continue;
    check(*route.overrides.lane_bytes, route.lane_bytes_position,
          RouteName(route));
  }
}

// Nodes that meet at a path: those of this machine, and those of another that
// are not alone there. What the default directory is there is not known here.
void CheckSocketPaths(const Topology& topology, Diagnostics& diagnostics) {
  absl::flat_hash_map<absl::string_view, int> nodes_at;
  for (const TopologyNode& node : topology.nodes) ++nodes_at[node.place];
  for (const TopologyNode& node : topology.nodes) {
    const std::string path = topology.SocketPath(node);
    if (path.size() <= kSocketPathBytesMax) continue;
    const bool own =
        node.endpoint.has_value() && node.endpoint->address == path;
    const bool is_known = own || topology.socket_dir_configured;
    if (!node.place.empty() && (!is_known || nodes_at[node.place] == 1)) {
      continue;
    }
    diagnostics.Add(
        own                              ? node.endpoint->position
        : topology.socket_dir_configured ? topology.socket_dir_position
                                         : node.name_position,
        NodeName(node),
        absl::StrCat("socket path ", Quoted(path), " has ", path.size(),
                     " bytes; at most ", kSocketPathBytesMax));
  }
}

// Listening beyond this machine, or dialling there, needs TLS or the author's
// word. Reported once: the cure is one.
void CheckEncryption(const Topology& topology, Diagnostics& diagnostics) {
  if (topology.insecure) return;
  constexpr absl::string_view kCure =
      "; add a certificate in [tls], or insecure = true to send in the clear";
  for (const TopologyNode& node : topology.nodes) {
    const bool reachable = !node.place.empty() || node.port > 0;
    // A node that listens needs a certificate. One on another machine has it in
    // a file of its own.
    const bool encrypts = node.place.empty() ? !topology.tls.certificate.empty()
                                             : topology.tls.enabled();
    if (!encrypts && reachable && !node.host.empty() &&
        !IsLoopback(node.host)) {
      diagnostics.Add(
          node.host_position, NodeName(node),
          absl::StrCat("host ", Quoted(node.host), " without TLS", kCure));
      return;
    }
    std::string host;
    int port;
    if (!encrypts && node.endpoint.has_value() &&
        SplitHostPort(node.endpoint->address, &host, &port) &&
        !IsLoopback(host)) {
      diagnostics.Add(
          node.endpoint->position, NodeName(node),
          absl::StrCat("addr ", Quoted(node.endpoint->address),
                       " listens beyond this machine without TLS", kCure));
      return;
    }
  }
}

// Without an explicit address, grpc on one host has nothing to dial.
void CheckDefaultTransport(const Topology& topology, Diagnostics& diagnostics) {
  if (topology.default_transport != TransportKind::kGrpc) return;
  absl::flat_hash_map<absl::string_view, const TopologyNode*> without_port;
  for (const TopologyNode& node : topology.nodes) {
    if (node.port != 0 || !GrpcDialAddress(node).empty()) continue;
    const auto [other, is_first] = without_port.try_emplace(node.place, &node);
    if (is_first) continue;
    diagnostics.Add(
        topology.default_transport_position, "default transport",
        absl::StrCat("grpc needs a port at ", NodeName(*other->second), " or ",
                     NodeName(node)));
    return;
  }
}

}  // namespace

void ValidateTopology(const Topology& topology, Diagnostics& diagnostics) {
  if (topology.nodes.empty()) {
    // After another error this one may be its consequence ([[node]]).
    if (diagnostics.empty()) {
      diagnostics.Add({1, 1}, "top level",
                      "no nodes; a topology has at least one [[nodes]]");
    }
    return;
  }
  CheckNames(topology, diagnostics);
  CheckPorts(topology, diagnostics);
  CheckListeners(topology, diagnostics);
  CheckSockets(topology, diagnostics);
  CheckFrames(topology, diagnostics);
  CheckSocketPaths(topology, diagnostics);
  CheckEncryption(topology, diagnostics);
  CheckDefaultTransport(topology, diagnostics);
  ValidateRoutes(topology, diagnostics);
}

}  // namespace mycelium
