#ifndef MYCELIUM_TRANSPORT_GRPC_GRPC_ADDRESS_H_
#define MYCELIUM_TRANSPORT_GRPC_GRPC_ADDRESS_H_

#include <string>

#include "absl/strings/string_view.h"

namespace mycelium {

// What can be told from an address as gRPC takes it: "host:port",
// "[ipv6]:port", "dns:///host:port", "ipv4:1.2.3.4:5", "ipv6:[::1]:5",
// "unix:path", "unix:///path", "unix-abstract:name".

// Whether only this machine can be at the other end. False for an address that
// is not understood.
bool IsLoopbackAddress(absl::string_view address);

// The host without port, brackets and scheme; empty for Unix sockets.
std::string HostOfAddress(absl::string_view address);

// What is wrong with an address, for people: it has no port, or one below
// `port_min` (0 to listen, where the system then chooses one, and 1 to dial) or
// above 65535. gRPC would take another port in silence. Empty: nothing is
// wrong, or the address is not understood.
std::string AddressFault(absl::string_view address, int port_min);

// The address with another port.
std::string WithPort(absl::string_view address, int port);

// An address as gRPC reports it ("ipv6:%5B::1%5D:5"), for people and for the
// functions above.
std::string ReadableAddress(absl::string_view reported);

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_GRPC_ADDRESS_H_
