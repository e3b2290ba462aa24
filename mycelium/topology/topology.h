#ifndef MYCELIUM_TOPOLOGY_TOPOLOGY_H_
#define MYCELIUM_TOPOLOGY_TOPOLOGY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mycelium/topology/settings.h"
#include "mycelium/topology/source_position.h"

namespace mycelium {

// What a topology file configures, as a plain value: which nodes there are,
// which services they host, how messages travel between them and which bounds
// hold. A Topology that LoadTopology() or ParseTopology() returned is valid:
// names are unique, addresses are complete, routes do not contradict. A
// Topology that is put together by hand is not checked.
//
// Thread safety: a value; any thread may read it while none writes.
//
// Reference of the file format: docs/topology.md.
//
// Example:
//   absl::StatusOr<Topology> topology =
//       LoadTopology(Sys::Real(), "topology.toml", ProcessEnvironment());
//   if (!topology.ok()) return topology.status();
//   const TopologyNode* node = topology->NodeOfService("strategy");

// How a node listens, in addition to what its place implies.
struct Endpoint {
  TransportKind kind = TransportKind::kUnix;
  // unix, shm: the socket's path, bound by the node and dialled by others.
  // grpc: the host:port to bind; others still dial the node's host:port.
  // Empty: derived from the node.
  std::string address;
  SourcePosition position;
};

// One process.
struct TopologyNode {
  std::string name;
  std::vector<std::string> services;
  std::string host;  // As written, after ${VAR}; empty: this machine.
  int port = 0;      // 0: none given.
  std::optional<Endpoint> endpoint;
  std::string certificate_name;  // As written; see CertificateNameOf().

  // The host in the form in which two nodes are compared: lower case, no
  // brackets, and empty for every way to write "this machine".
  std::string place;

  // Positions of the table itself and of its values; a missing value has the
  // position of its table.
  SourcePosition position;
  SourcePosition name_position;
  SourcePosition host_position;
  SourcePosition port_position;
  std::vector<SourcePosition> service_positions;
};

// Settings for the messages that a route matches. An empty `from` or `to` and
// an empty list of topics match everything. `from` and `to` are names of
// services or nodes.
struct Route {
  std::string from;
  std::string to;
  std::vector<std::string> topics;
  RouteOverrides overrides;

  SourcePosition position;
  SourcePosition from_position;
  SourcePosition to_position;
  SourcePosition transport_position;
  SourcePosition lane_bytes_position;
};

struct Topology {
  std::string path;        // The file, as the caller of the loader named it.
  std::string socket_dir;  // Never empty after parsing.
  bool socket_dir_configured = false;  // False: `socket_dir` is the default.
  std::vector<int64_t> allow_uids;     // May connect besides our own uid.
  SourcePosition socket_dir_position;
  SchemaPolicy schema = SchemaPolicy::kExact;
  bool insecure = false;         // Remote hosts without TLS are accepted.
  bool allow_anonymous = false;  // gRPC peers that no [[nodes]] table names.

  std::vector<TopologyNode> nodes;
  std::vector<Route> routes;
  RouteSettings defaults;
  // Between nodes of one place, where [defaults] gives one.
  std::optional<TransportKind> default_transport;
  SourcePosition default_transport_position;
  SourcePosition lane_bytes_position;  // Of [defaults].
  Limits limits;
  SourcePosition frame_bytes_max_position;
  Tls tls;

  // The node of that name, or nullptr. Valid until `nodes` changes.
  const TopologyNode* FindNode(absl::string_view name) const;
  // The node that hosts the service, or nullptr.
  const TopologyNode* NodeOfService(absl::string_view service) const;
  // The node that hosts the service of that name, else the node of that name.
  const TopologyNode* FindServiceOrNode(absl::string_view name) const;

  // The path at which a node listens for peers of its own place: the endpoint's
  // address if that is a path, else <socket_dir>/<node>.sock.
  std::string SocketPath(const TopologyNode& node) const;
};

// The name that the node's certificate must have, whichever end of a connection
// the node is: certificate_name, else the host, else the node's name.
std::string CertificateNameOf(const TopologyNode& node);

// The host:port that others dial over gRPC, with an IPv6 host in brackets. For
// a node of this machine that has no port, the endpoint's address. Else empty.
std::string GrpcDialAddress(const TopologyNode& node);

// The host:port that the node binds for gRPC: the endpoint's address if it is a
// grpc one, else the address that others dial. Empty: the node does not listen
// on gRPC.
std::string GrpcListenAddress(const TopologyNode& node);

// SHA-256, in lower-case hex, of what the topology means: nodes, routes,
// defaults, limits. Equal for two files that differ only in comments, order or
// layout; independent of the machine, of `path`, of a default `socket_dir`
// and of where certificates lie. Serves to detect drift between nodes.
std::string ContentDigest(const Topology& topology);

// The text that ContentDigest() hashes, one fact a line: comparing two of them
// explains a drift.
std::string CanonicalText(const Topology& topology);

// Bounds of a topology file; a file beyond them is refused.
inline constexpr size_t kTopologyBytesMax = 256 << 10;
inline constexpr size_t kNameBytesMax = 64;    // Of nodes and services.
inline constexpr size_t kTopicBytesMax = 255;  // Of all other names.
inline constexpr size_t kNodesMax = 1024;
inline constexpr size_t kServicesPerNodeMax = 256;
inline constexpr size_t kRoutesMax = 1024;
inline constexpr size_t kTopicsPerRouteMax = 256;
inline constexpr size_t kAllowUidsMax = 256;
inline constexpr int64_t kUidEnd = 0xFFFFFFFF;  // -1 is no uid.
// How much fits into sockaddr_un::sun_path beside its terminating NUL.
inline constexpr size_t kSocketPathBytesMax = 107;
inline constexpr int kPortMax = 65535;

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_TOPOLOGY_H_
