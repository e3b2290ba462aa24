#ifndef MYCELIUM_CLI_HOST_VIEW_H_
#define MYCELIUM_CLI_HOST_VIEW_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "proto/mycelium/v1/status.pb.h"

namespace mycelium {

// What came of asking a node.
enum class NodeState {
  kRunning,     // It answered.
  kNotRunning,  // There is no socket of it.
  kStale,       // There is one, and nobody listens: its process died.
  kStopped,     // The process does not run (SIGSTOP, a debugger).
  kSilent,      // Somebody listens, and does not answer in time.
  kRefused,     // It said that it does not answer.
  kUnclear,     // Something else is wrong.
  kNotAsked,    // It cannot be asked on this host.
};

// "running", "not_running", "stale", ...
absl::string_view NodeStateWord(NodeState state);

struct SeenNode {
  // As it says itself; else as the topology, or the socket's file, says.
  std::string name;
  std::string path;  // Of its socket; empty if it is not asked.
  bool in_topology = false;
  std::string host;  // As the topology says; empty: this machine.
  NodeState state = NodeState::kNotRunning;
  std::string why;        // In words, unless it runs.
  int64_t pid = 0;        // Of who listens; 0: not known.
  int64_t uid = -1;       // The same; -1.
  v1::NodeStatus status;  // If it runs; else empty.

  // What it says of its link to that node; null if it has none. Valid until
  // `status` changes.
  const v1::LinkStatus* LinkTo(absl::string_view peer) const;
};

// What `mycelium status` has seen, before anything is made of it.
struct HostView {
  std::vector<SeenNode> nodes;
  std::string socket_dir;  // That was looked into.
  // Why not all that lie there are among the nodes; empty: all are.
  std::string left_out;
  // Nobody named it: another user, or environment, has another one.
  bool is_default_dir = false;
  // 32 bytes, of the file that was given; empty without one.
  std::string topology_digest;

  // What to say where nobody is found in `socket_dir`: nothing if it was named.
  absl::string_view WhyThere() const;

  // The node of that name that answered, or null. Valid until `nodes` changes.
  const SeenNode* FindRunning(absl::string_view name) const;

  // Whether a subscription of the node `subscriber` says that it gets nothing
  // from `publisher`, which may be the same node.
  bool SubscriberIsRefused(absl::string_view topic, absl::string_view publisher,
                           absl::string_view subscriber) const;
  // The same, or the publisher says so.
  bool IsRefused(absl::string_view topic, absl::string_view publisher,
                 absl::string_view subscriber) const;
};

}  // namespace mycelium

#endif  // MYCELIUM_CLI_HOST_VIEW_H_
