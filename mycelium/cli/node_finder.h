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

// Which nodes there should be on this host, and where each listens: those of
// the topology, if one is given, and every socket in the directory. Of the
// nodes only what is known before they are asked is set, or all but the status
// of those that are kNotAsked.
//
// With --node only those: a node of the topology, else DIR/NAME.sock, or the
// path itself where it has a slash.
//
// Blocks for the file and the directory.
//   PERMISSION_DENIED   the directory, or the link to it, belongs to somebody
//                       else than this user, root and the file's allow_uids;
//                       root looks into all of them
//   as LoadTopology()   of the file
absl::StatusOr<HostView> FindNodes(Sys& sys, const EnvLookup& env,
                                   const StatusOptions& options);

// How many sockets of a directory are asked, beside those of the topology.
inline constexpr size_t kSocketsMax = 1024;
// How many files of it are looked at, sockets or not.
inline constexpr size_t kFilesMax = 64 * 1024;

}  // namespace mycelium

#endif  // MYCELIUM_CLI_NODE_FINDER_H_
