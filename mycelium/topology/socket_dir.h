#ifndef MYCELIUM_TOPOLOGY_SOCKET_DIR_H_
#define MYCELIUM_TOPOLOGY_SOCKET_DIR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "mycelium/base/sys.h"
#include "mycelium/topology/environment.h"

namespace mycelium {

// The directory for sockets where a file gives none:
// $XDG_RUNTIME_DIR/mycelium, else /tmp/mycelium-UID.
std::string DefaultSocketDir(const EnvLookup& env, int64_t uid);

// Makes sure that `path` is a directory of our own into which no other user can
// put a socket: creates it with mode 0700, or 0711 if `allow_uids` is not
// empty (other users then reach a socket whose name they know, and cannot list
// the directory). A directory that exists keeps its mode, since another program
// may need it, with one exception: 0700 becomes 0711 if `allow_uids` is not
// empty. Missing parents are created with mode 0755.
//   PERMISSION_DENIED    it belongs to another uid, or is a symbolic link
//   FAILED_PRECONDITION  it is not a directory; or it exists and others may
//                        write there, or the users of `allow_uids` cannot pass
//                        through it
//   others               as the system call says
absl::Status PrepareSocketDir(Sys& sys, const std::string& path,
                              const std::vector<int64_t>& allow_uids);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_SOCKET_DIR_H_
