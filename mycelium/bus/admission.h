#ifndef MYCELIUM_BUS_ADMISSION_H_
#define MYCELIUM_BUS_ADMISSION_H_

#include <string>

#include "absl/status/status.h"
#include "mycelium/bus/options.h"
#include "mycelium/topology/topology.h"
#include "mycelium/transport/remote_transport.h"

namespace mycelium {

// Whether this node may have a link over a remote transport to that peer, which
// says that it is `node`. `topology` may be null: then `options` decide, else
// the topology does. A pure function.
//   PERMISSION_DENIED  the peer's certificate is not that node's; or the peer
//                      is unknown, on another machine and was not dialled, and
//                      neither the topology nor `options` let it in
absl::Status AdmitRemote(const Topology* topology, const BusOptions& options,
                         const RemotePeer& peer, const std::string& node);

}  // namespace mycelium

#endif  // MYCELIUM_BUS_ADMISSION_H_
