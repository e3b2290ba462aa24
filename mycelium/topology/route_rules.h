#ifndef MYCELIUM_TOPOLOGY_ROUTE_RULES_H_
#define MYCELIUM_TOPOLOGY_ROUTE_RULES_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
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
// setting. A route is more specific the more of from, to and topics it gives,
// then the more of its ends are services. The validator refuses ties that
// contradict.
//
// The transport belongs to the link, and two nodes have one link: any route
// between the two matches, in either direction, whichever of their services and
// topics it names. For the other settings a route that names a service does not
// match its whole node, and an empty `topic` matches only routes without
// topics.
//
// Thread safety: pure functions of their arguments.

// Nodes of the same place meet over this transport unless the file says
// otherwise.
inline constexpr TransportKind kSamePlaceTransport = TransportKind::kShm;

struct Connection {
  TransportKind transport = TransportKind::kInproc;
  // The address to dial: a socket's path, a host:port, or empty within one
  // process.
  std::string address;
  // The rule that decided, for people: "routes[2] at topology.toml:14:1",
  // "same node", "same host: default", "different hosts".
  std::string rule;
};

// The connection for messages from `from` to `to`, of any topic.
//   NOT_FOUND  a name is neither a service nor a node; the message names the
//              nearest one
absl::StatusOr<Connection> Explain(const Topology& topology,
                                   absl::string_view from,
                                   absl::string_view to);

// The link of a node to another one.
struct PlannedLink {
  const TopologyNode* peer;  // Never null; of the topology.
  Connection connection;     // Its address is the peer's, or empty if none.
};

// The links of `node`, which must be one of the topology's, to each of the
// other nodes, in the order of the file. Both ends of a link get the same
// transport.
//   FAILED_PRECONDITION  no transport joins two nodes; a validated topology
//                        has no such nodes
absl::StatusOr<std::vector<PlannedLink>> LinksOf(const Topology& topology,
                                                 const TopologyNode& node);

// The settings for messages from `from` to `to`, of `topic`. A name that the
// topology does not have matches only routes that leave that end open.
RouteSettings SettingsFor(const Topology& topology, absl::string_view from,
                          absl::string_view to, absl::string_view topic = "");

// Whether the node listens at its SocketPath(): because it has peers that it
// does not reach over grpc, or an endpoint of kind unix or shm.
bool ListensLocally(const Topology& topology, const TopologyNode& node);

// The nodes of the topology that do: cheaper than to ask about each of them.
absl::flat_hash_set<const TopologyNode*> LocalListeners(
    const Topology& topology);

// Whether the link between two nodes, given by name, goes over shm; false if
// the topology lacks one of them.
bool SharesMemory(const Topology& topology, absl::string_view a,
                  absl::string_view b);

// How long the link between two nodes keeps what it has for a process that is
// lost: the longest `retain` among that of [defaults], or of the routes that
// replace it for all of both nodes, and those of the routes between them.
absl::Duration LongestRetain(const Topology& topology, absl::string_view a,
                             absl::string_view b);

// The least and the greatest `lane_bytes` from one node to another. Where
// publishers and subscriptions share a lane, the first pair that matches
// decides its size.
std::pair<int64_t, int64_t> LaneBytesBetween(const Topology& topology,
                                             absl::string_view from,
                                             absl::string_view to);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_ROUTE_RULES_H_
