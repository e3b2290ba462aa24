#ifndef MYCELIUM_BUS_GRPC_ENDPOINT_H_
#define MYCELIUM_BUS_GRPC_ENDPOINT_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mycelium/bus/endpoint_handle.h"
#include "mycelium/bus/endpoint_options.h"
#include "mycelium/bus/endpoint_stats.h"
#include "mycelium/bus/message_bus.h"

namespace mycelium {

// Connections between hosts by hand, for a bus without a topology. Both ends
// publish and subscribe; no end gets its own messages back over a link.
//
// Addresses are as gRPC takes them: "host:port", "[::1]:9001",
// "dns:///name:port", "unix:///path". Beyond this machine they need
// BusOptions::tls, or BusOptions::insecure.
//
// Example:
//   auto endpoint = mycelium::BindGrpcEndpoint("127.0.0.1:0", *bus);
//   ...
//   absl::Status dialled =
//       mycelium::DialGrpcEndpoint(endpoint->address(), *other_bus);

using GrpcEndpointHandle = EndpointHandle;

// Accepts links at `address`. `stats`: counts what happens here; may be null.
// An address without a host, such as ":9000", stands for all interfaces. Port 0
// stands for any free port. Of a name with several addresses, all that this
// machine has are taken, or none; with port 0 those at which the port that was
// chosen is free. A name is looked up on the node's thread, which handles
// nothing until the system's resolver has an answer or gives up.
//   ALREADY_EXISTS       another socket listens there
//   FAILED_PRECONDITION  it is no address of this machine, or what goes beyond
//                        this machine would be in the clear
//   INVALID_ARGUMENT     the address has no port, or none from 0 to 65535, or
//                        there is no such host; or BusOptions::tls names a file
//                        that cannot be read
//   PERMISSION_DENIED    this user may not listen there
//   UNAVAILABLE          gRPC cannot listen there, as the message says
//   DEADLINE_EXCEEDED    a handler has kept the node's thread for 10 s; nothing
//                        was done
inline absl::StatusOr<GrpcEndpointHandle> BindGrpcEndpoint(
    const std::string& address, MessageBus& bus,
    std::shared_ptr<EndpointStats> stats = nullptr) {
  EndpointOptions options;
  options.stats = std::move(stats);
  // A handler that runs meanwhile may destroy the bus.
  const std::shared_ptr<NodeRuntime> node = bus.runtime();
  absl::StatusOr<NodeRuntime::BoundListener> listener =
      node->ListenRemote(address, std::move(options));
  if (!listener.ok()) return listener.status();
  return GrpcEndpointHandle(node, listener->id, std::move(listener->address));
}

// Keeps a link to the process that listens at `address`, now or later, until
// the bus is shut down. Does not wait for a connection, only for what the
// node's thread is running at the moment. BusOptions::on_connection tells what
// becomes of the link, also if it is refused because it would be in the clear
// beyond this machine. To dial the same address again adds no link, but tries
// at once if no connection is up. If the node that answers there has its link
// by another address, that call is also what it takes to reach another node
// that has taken this address.
//   INVALID_ARGUMENT     the address has no port, or none from 1 to 65535
//   FAILED_PRECONDITION  the bus was shut down
//   DEADLINE_EXCEEDED    a handler has kept the node's thread for 10 s; nothing
//                        was done
inline absl::Status DialGrpcEndpoint(const std::string& address,
                                     MessageBus& bus) {
  const std::shared_ptr<NodeRuntime> node = bus.runtime();
  return node->DialRemote(address);
}

}  // namespace mycelium

#endif  // MYCELIUM_BUS_GRPC_ENDPOINT_H_
