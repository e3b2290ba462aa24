#ifndef MYCELIUM_CLI_NODE_FINDER_H_
#define MYCELIUM_CLI_NODE_FINDER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "mycelium/base/sys.h"
#include "mycelium/cli/host_view.h"
#include "mycelium/cli/status_options.h"
#include "mycelium/topology/environment.h"

namespace mycelium {

// Which nodes there should be on this host, and where each listens: the nodes
// of the topology, if one is given, and every socket in the directory. Sets
// only what is known of a node before it is asked; for a node that is kNotAsked
// that is everything but its status.
//
// With --node, only the nodes that it names: a node of the topology, else
// DIR/NAME.sock, or the name as a path if it has a slash.
//
// Blocks for the file and the directory.
//   PERMISSION_DENIED   the directory, or the link to it, belongs to a user
//                       that is neither this user, nor root, nor one of the
//                       file's allow_uids; root may look into any directory
//   as LoadTopology()   for the file
absl::StatusOr<HostView> FindNodes(Sys& sys, const EnvLookup& env,
                                   const StatusOptions& options);

// How many sockets of a directory are asked, besides those of the topology.
inline constexpr size_t kSocketsMax = 1024;
// How many files of a directory are looked at, sockets or not.
inline constexpr size_t kFilesMax = 64 * 1024;

}  // namespace mycelium

#endif  // MYCELIUM_CLI_NODE_FINDER_H_
