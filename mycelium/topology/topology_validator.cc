#include "mycelium/topology/topology_validator.h"

#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
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
  using Address = std::pair<absl::string_view, std::string>;
  absl::flat_hash_map<Address, const TopologyNode*> node_of_port;
  absl::flat_hash_map<Address, const TopologyNode*> node_of_address;
  for (const TopologyNode& node : topology.nodes) {
    if (!node.place.empty() && node.port == 0) {
      diagnostics.Add(node.host_position, NodeName(node),
                      absl::StrCat("host ", Quoted(node.host),
                                   " is remote, and there is no port to dial"));
    }
    if (node.port > 0) {
      const auto [first, is_new] = node_of_port.try_emplace(
          Address(node.place, absl::StrCat(node.port)), &node);
      if (!is_new) {
        diagnostics.Add(
            node.port_position, NodeName(node),
            absl::StrCat("port ", node.port, " of ", OfPlace(node),
                         " is taken by ", NodeName(*first->second)));
      }
    }
    if (node.endpoint.has_value() && !node.endpoint->address.empty()) {
      const auto [first, is_new] = node_of_address.try_emplace(
          Address(node.place, node.endpoint->address), &node);
      if (!is_new) {
        diagnostics.Add(
            node.endpoint->position, NodeName(node),
            absl::StrCat("addr ", Quoted(node.endpoint->address),
                         " is taken by ", NodeName(*first->second)));
      }
    }
  }
}

bool HasAddress(const TopologyNode& node, bool of_grpc) {
  return node.endpoint.has_value() && !node.endpoint->address.empty() &&
         (node.endpoint->kind == TransportKind::kGrpc) == of_grpc;
}

// An `addr` at which another node of the place listens without having one: at
// the socket of its name, or at its port.
void CheckAddresses(const Topology& topology, Diagnostics& diagnostics) {
  using Place = std::pair<absl::string_view, std::string>;
  absl::flat_hash_map<Place, const TopologyNode*> node_of_socket;
  absl::flat_hash_map<Place, const TopologyNode*> node_of_port;
  for (const TopologyNode& node : topology.nodes) {
    if (!HasAddress(node, false)) {
      node_of_socket.try_emplace(Place(node.place, topology.SocketPath(node)),
                                 &node);
    }
    if (!HasAddress(node, true) && node.port > 0) {
      node_of_port.try_emplace(Place(node.place, absl::StrCat(node.port)),
                               &node);
    }
  }
  for (const TopologyNode& node : topology.nodes) {
    const auto taken = [&](const TopologyNode& other, absl::string_view where) {
      diagnostics.Add(node.endpoint->position, NodeName(node),
                      absl::StrCat("addr ", Quoted(node.endpoint->address),
                                   " is ", where, " of ", NodeName(other),
                                   " in line ", other.name_position.line));
    };
    if (HasAddress(node, false)) {
      const auto found =
          node_of_socket.find(Place(node.place, node.endpoint->address));
      if (found != node_of_socket.end()) taken(*found->second, "the socket");
    }
    std::string host;
    int port;
    if (HasAddress(node, true) &&
        SplitHostPort(node.endpoint->address, &host, &port)) {
      const auto found =
          node_of_port.find(Place(node.place, absl::StrCat(port)));
      if (found == node_of_port.end()) continue;
      // Several addresses of a machine have a port each.
      const std::string dialled =
          found->second->host.empty() ? "127.0.0.1" : found->second->host;
      const bool is_any = host.empty() || host == "0.0.0.0" || host == "::";
      if (is_any || host == dialled) taken(*found->second, "the port");
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

// Only nodes of this machine: the paths of others are theirs to shorten.
void CheckSocketPaths(const Topology& topology, Diagnostics& diagnostics) {
  for (const TopologyNode& node : topology.nodes) {
    const std::string path = topology.SocketPath(node);
    if (!node.place.empty() || path.size() <= kSocketPathBytesMax) continue;
    const bool own =
        node.endpoint.has_value() && node.endpoint->address == path;
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
  CheckAddresses(topology, diagnostics);
  CheckFrames(topology, diagnostics);
  CheckSocketPaths(topology, diagnostics);
  CheckEncryption(topology, diagnostics);
  CheckDefaultTransport(topology, diagnostics);
  ValidateRoutes(topology, diagnostics);
}

}  // namespace mycelium
