#ifndef MYCELIUM_BUS_ADMISSION_H_
#define MYCELIUM_BUS_ADMISSION_H_

#include <string>

#include "absl/status/status.h"
#include "mycelium/bus/options.h"
#include "mycelium/topology/topology.h"
#include "mycelium/transport/remote_transport.h"

namespace mycelium {

// Whether that peer, who says that he is `node`, may be linked to from another
// host. `topology` may be null: then `options` say who may, which a topology
// does otherwise. A pure function.
//   PERMISSION_DENIED  his certificate is not that node's; or nobody knows him,
//                      he is on another machine and was not dialled
absl::Status AdmitRemote(const Topology* topology, const BusOptions& options,
                         const RemotePeer& peer, const std::string& node);

}  // namespace mycelium

#endif  // MYCELIUM_BUS_ADMISSION_H_
