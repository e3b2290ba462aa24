#ifndef MYCELIUM_TRANSPORT_GRPC_WHY_NOT_LISTENING_H_
#define MYCELIUM_TRANSPORT_GRPC_WHY_NOT_LISTENING_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "mycelium/base/sys.h"

namespace mycelium {

// What gRPC is told to listen at, in place of `address`. Of the addresses of a
// name, gRPC is content with any that it can take, and nobody would be told of
// the rest, at which somebody else listens. So a name with several becomes all
// of them that this machine has, as numbers. All else is returned as it is:
// also port 0, which has to be chosen once for all addresses of a name, as gRPC
// does, and a name that is not known. May wait for the answer of a name server.
std::vector<std::string> AddressesToListenAt(Sys& sys,
                                             const std::string& address);

// gRPC says that it does not listen at an address, but not why. This tries to
// take the address in its place, and lets go of it again.
//   ALREADY_EXISTS       somebody listens there
//   PERMISSION_DENIED    this user may not listen at that port
//   FAILED_PRECONDITION  it is no address of this machine
//   INVALID_ARGUMENT     the host is no name that is known
//   UNAVAILABLE          any other reason; or the reason is gone by now
// Never OK. Of a name with several addresses, those that this machine does not
// have count only if it has none of them. May wait for the answer of a name
// server.
absl::Status WhyNotListening(Sys& sys, const std::string& address);

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_WHY_NOT_LISTENING_H_
