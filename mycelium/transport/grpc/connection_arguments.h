#ifndef MYCELIUM_TRANSPORT_GRPC_CONNECTION_ARGUMENTS_H_
#define MYCELIUM_TRANSPORT_GRPC_CONNECTION_ARGUMENTS_H_

#include <functional>

#include "mycelium/transport/remote_transport.h"

namespace mycelium {

// Calls `set` with the arguments of both ends of a connection: the largest
// message, and pings, so that an end that is gone without a word is noticed
// within `keepalive`.
void SetConnectionArguments(
    const RemoteOptions& options,
    const std::function<void(const char* name, int value)>& set);

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_CONNECTION_ARGUMENTS_H_
