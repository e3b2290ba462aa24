#ifndef MYCELIUM_BUS_UNIX_ENDPOINT_H_
#define MYCELIUM_BUS_UNIX_ENDPOINT_H_

#include <cstdint>
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

// Unix sockets by hand, for a bus without a topology. Both ends publish and
// subscribe; no end gets its own messages back over a link.
//
// Example:
//   auto endpoint = mycelium::BindUnixEndpoint("/run/app/worker.sock", *bus);
//   ...
//   absl::Status dialled = mycelium::DialUnixEndpoint(path, *other_bus);

using UnixEndpointHandle = EndpointHandle;

// Accepts links at `path`. `stats`: counts what happens here; may be null.
//   ALREADY_EXISTS       another socket listens there, or the file at `path` is
//                        no socket
//   INVALID_ARGUMENT     the path is empty or longer than 107 bytes
//   FAILED_PRECONDITION  the bus was shut down
//   PERMISSION_DENIED    this user may not listen there
//   RESOURCE_EXHAUSTED   no file descriptor was available, or other processes
//                        keep the directory locked
//   UNAVAILABLE          no such directory
//   DEADLINE_EXCEEDED    a handler has kept the node's thread for 10 s; nothing
//                        was done
inline absl::StatusOr<UnixEndpointHandle> BindUnixEndpoint(
    const std::string& path, MessageBus& bus,
    std::shared_ptr<EndpointStats> stats = nullptr) {
  EndpointOptions options;
  options.stats = std::move(stats);
  // A handler that runs meanwhile may destroy the bus.
  const std::shared_ptr<NodeRuntime> node = bus.runtime();
  absl::StatusOr<uint64_t> listener =
      node->ListenUnix(path, std::move(options));
  if (!listener.ok()) return listener.status();
  return UnixEndpointHandle(node, *listener, path);
}

// Keeps a link to the process that listens at `path`, now or later, until the
// bus is shut down. Does not wait for a connection, only for what the node's
// thread is running at the moment; BusOptions::on_connection tells what becomes
// of the link. To dial the same path again adds no link, but tries at once if
// no connection is up. If the node that answers there has its link by another
// address, that call is also what it takes to reach another node that has taken
// this path.
//   INVALID_ARGUMENT     the path is empty or longer than 107 bytes
//   FAILED_PRECONDITION  the bus was shut down
//   DEADLINE_EXCEEDED    a handler has kept the node's thread for 10 s; nothing
//                        was done
inline absl::Status DialUnixEndpoint(const std::string& path, MessageBus& bus) {
  const std::shared_ptr<NodeRuntime> node = bus.runtime();
  return node->DialUnix(path);
}

}  // namespace mycelium

#endif  // MYCELIUM_BUS_UNIX_ENDPOINT_H_
