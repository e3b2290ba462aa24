#ifndef MYCELIUM_CLI_HOST_VIEW_H_
#define MYCELIUM_CLI_HOST_VIEW_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "proto/mycelium/v1/status.pb.h"

namespace mycelium {

// The result of asking a node.
enum class NodeState {
  kRunning,     // It answered.
  kNotRunning,  // It has no socket.
  kStale,       // It has one, but no process listens: its process died.
  kStopped,     // The process does not run (SIGSTOP, a debugger).
  kSilent,      // A process listens, but does not answer in time.
  kRefused,     // It said that it does not answer.
  kUnclear,     // Something else is wrong.
  kNotAsked,    // It cannot be asked on this host.
};

// "running", "not_running", "stale", ...
absl::string_view NodeStateWord(NodeState state);

struct SeenNode {
  // As the node says itself; else as the topology, or the socket's file, says.
  std::string name;
  std::string path;  // Of its socket; empty if the node is not asked.
  bool in_topology = false;
  std::string host;  // As the topology says; empty: this machine.
  NodeState state = NodeState::kNotRunning;
  std::string why;        // In words, unless it runs.
  int64_t pid = 0;        // Of the process that listens; 0: not known.
  int64_t uid = -1;       // Of the same process; -1: not known.
  v1::NodeStatus status;  // If it runs; else empty.

  // What the node says of its link to `peer`; null if it has none. Valid until
  // `status` changes.
  const v1::LinkStatus* LinkTo(absl::string_view peer) const;
};

// What `mycelium status` has seen, before it draws any conclusion.
struct HostView {
  std::vector<SeenNode> nodes;
  std::string socket_dir;  // The directory that was searched.
  // Why not all sockets in it are among the nodes; empty: all are.
  std::string left_out;
  // It is the default: another user, or environment, has another one.
  bool is_default_dir = false;
  // 32 bytes, of the topology file that was given; empty without one.
  std::string topology_digest;

  // What to add if no node is found in `socket_dir`: nothing if the directory
  // was given.
  absl::string_view WhyThere() const;

  // The node of that name that answered, or null. Valid until `nodes` changes.
  const SeenNode* FindRunning(absl::string_view name) const;

  // Whether a subscription of the node `subscriber` says that it gets nothing
  // from the node `publisher`, which may be the same node.
  bool SubscriberIsRefused(absl::string_view topic, absl::string_view publisher,
                           absl::string_view subscriber) const;
  // The same, or the publisher's node says so.
  bool IsRefused(absl::string_view topic, absl::string_view publisher,
                 absl::string_view subscriber) const;
};

}  // namespace mycelium

#endif  // MYCELIUM_CLI_HOST_VIEW_H_
