#include "mycelium/topology/topology.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "mycelium/topology/place.h"

namespace mycelium {

const TopologyNode* Topology::FindNode(absl::string_view name) const {
  for (const TopologyNode& node : nodes) {
    if (node.name == name) return &node;
  }
  return nullptr;
}

const TopologyNode* Topology::NodeOfService(absl::string_view service) const {
  for (const TopologyNode& node : nodes) {
    if (std::find(node.services.begin(), node.services.end(), service) !=
        node.services.end()) {
      return &node;
    }
  }
  return nullptr;
}

const TopologyNode* Topology::FindServiceOrNode(absl::string_view name) const {
  const TopologyNode* const node = NodeOfService(name);
  return node != nullptr ? node : FindNode(name);
}

std::string Topology::SocketPath(const TopologyNode& node) const {
  if (node.endpoint.has_value() &&
      node.endpoint->kind != TransportKind::kGrpc &&
      !node.endpoint->address.empty()) {
    return node.endpoint->address;
  }
  const bool slash = !socket_dir.empty() && socket_dir.back() == '/';
  return absl::StrCat(socket_dir, slash ? "" : "/", node.name, ".sock");
}

std::string CertificateNameOf(const TopologyNode& node) {
  if (!node.certificate_name.empty()) return node.certificate_name;
  if (node.host.empty()) return node.name;
  absl::string_view host = node.host;
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  return std::string(host);
}

namespace {

bool HasGrpcAddress(const TopologyNode& node) {
  return node.endpoint.has_value() &&
         node.endpoint->kind == TransportKind::kGrpc &&
         !node.endpoint->address.empty();
}

}  // namespace

std::string GrpcDialAddress(const TopologyNode& node) {
  if (node.port > 0) {
    return JoinHostPort(node.host.empty() ? "127.0.0.1" : node.host, node.port);
  }
  std::string host;
  int port;
  if (!HasGrpcAddress(node) ||
      !SplitHostPort(node.endpoint->address, &host, &port)) {
    return "";
  }
  // "All interfaces" can be bound, not dialled.
  if (IsWildcard(host)) {
    const bool is_ipv4 =
        absl::StrContains(host, '.') || !absl::StrContains(host, ':');
    host = is_ipv4 ? "127.0.0.1" : "::1";
  }
  return JoinHostPort(host, port);
}

std::string GrpcListenAddress(const TopologyNode& node) {
  return HasGrpcAddress(node) ? node.endpoint->address : GrpcDialAddress(node);
}

}  // namespace mycelium
