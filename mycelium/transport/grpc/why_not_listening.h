#ifndef MYCELIUM_TRANSPORT_GRPC_WHY_NOT_LISTENING_H_
#define MYCELIUM_TRANSPORT_GRPC_WHY_NOT_LISTENING_H_

#include <string>

#include "absl/status/status.h"
#include "mycelium/base/sys.h"

namespace mycelium {

// gRPC says that it does not listen at an address, but not why. This tries to
// take the address in its place, and lets go of it again.
//   ALREADY_EXISTS       somebody listens there
//   PERMISSION_DENIED    this user may not listen at that port
//   FAILED_PRECONDITION  it is no address of this machine
//   INVALID_ARGUMENT     the host is no name that is known
//   UNAVAILABLE          any other reason; or the reason is gone by now
// Never OK. May wait for the answer of a name server.
absl::Status WhyNotListening(Sys& sys, const std::string& address);

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_WHY_NOT_LISTENING_H_
