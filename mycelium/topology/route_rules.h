#ifndef MYCELIUM_TOPOLOGY_ROUTE_RULES_H_
#define MYCELIUM_TOPOLOGY_ROUTE_RULES_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mycelium/topology/topology.h"

namespace mycelium {

// Which transport carries messages from one service to another, with which
// settings, and which rule of the file says so.
//
// `from` and `to` are names of services or of nodes (a service goes first
// where one name is both).
//
// Of the routes that match, the most specific one wins, separately for each
// setting: more of from, to, topics given is more specific, then a service
// more than a node. The validator refuses ties that contradict.
//
// The transport is that of the link, of which two nodes have one: any route
// between the two matches, in either direction, whichever of their services and
// topics it names. For the other settings a route that names a service does not
// match its whole node, and an empty `topic` matches only routes without
// topics.
//
// Thread safety: pure functions of their arguments.

// Same-place nodes meet over this transport unless the file says otherwise.
inline constexpr TransportKind kSamePlaceTransport = TransportKind::kShm;

struct Connection {
  TransportKind transport = TransportKind::kInproc;
  // What is dialled: a socket's path, a host:port, or empty in one process.
  std::string address;
  // The rule that chose, for people: "routes[2] at topology.toml:14:1",
  // "same node", "same host: default", "different hosts".
  std::string rule;
};

// The connection for messages from `from` to `to`, of whatever topic.
//   NOT_FOUND  a name is neither a service nor a node; names the nearest
absl::StatusOr<Connection> Explain(const Topology& topology,
                                   absl::string_view from,
                                   absl::string_view to);

// The link of a node to another one.
struct PlannedLink {
  const TopologyNode* peer;  // Never null; of the topology.
  Connection connection;     // Its address is the peer's, or empty if none.
};

// The links of `node`, which is of the topology, to each of its other nodes, in
// the order of the file. Both ends of a link come to the same transport.
//   FAILED_PRECONDITION  no transport joins two nodes, which a topology that
//                        was validated excludes
absl::StatusOr<std::vector<PlannedLink>> LinksOf(const Topology& topology,
                                                 const TopologyNode& node);

// The settings for messages from `from` to `to`, of `topic`. A name that the
// topology does not have matches only routes that leave that end open.
RouteSettings SettingsFor(const Topology& topology, absl::string_view from,
                          absl::string_view to, absl::string_view topic = "");

// Whether the node listens at its SocketPath(): for peers that it does not
// reach over grpc, or because it has an endpoint of kind unix or shm.
bool ListensLocally(const Topology& topology, const TopologyNode& node);

// Whether the link between two nodes, by name, goes over shm; no if the
// topology does not have either.
bool SharesMemory(const Topology& topology, absl::string_view a,
                  absl::string_view b);

// How long the link between two nodes keeps what it has for a process that is
// lost: the longest of `retain` of [defaults], or of the routes that take its
// place for all of both, and of the routes between them.
absl::Duration LongestRetain(const Topology& topology, absl::string_view a,
                             absl::string_view b);

// The least and the most of `lane_bytes` from one node to another. Of
// publishers and subscriptions that share a lane, the first that match decide.
std::pair<int64_t, int64_t> LaneBytesBetween(const Topology& topology,
                                             absl::string_view from,
                                             absl::string_view to);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_ROUTE_RULES_H_
