#ifndef MYCELIUM_BUS_SHM_ENDPOINT_H_
#define MYCELIUM_BUS_SHM_ENDPOINT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mycelium/bus/endpoint_handle.h"
#include "mycelium/bus/endpoint_options.h"
#include "mycelium/bus/endpoint_stats.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/schema/digest.h"

namespace mycelium {

// Shared memory by hand, for a bus without a topology. The path is that of a
// Unix socket, over which two processes meet, tell each other of subscriptions,
// and wake each other; the messages lie in anonymous memory that both map.
// Nothing else appears in a file system. Both ends publish and subscribe; no
// end gets its own messages back over a link.
//
// Example:
//   auto endpoint = mycelium::BindShmEndpoint("/run/app/worker.shm", *bus);
//   ...
//   absl::Status dialled = mycelium::DialShmEndpoint(path, *other_bus);

// The size of a lane if no other is given. Each lane has that much memory,
// reserved when the lane is made. There is one lane in each direction for what
// inline handlers get under `block` or `fail`, and one for each subscription
// that is queued, pulled, lossy or under `disconnect`; such a subscription has
// more where routes give its publishers different rules. A lossy lane has at
// least four times its largest frame: 4 MiB here.
inline constexpr size_t kShmCapacity = 1 << 20;

using ShmEndpointHandle = EndpointHandle;

// Accepts links at `path`.
//
// `digest`: a node with a service that was given another schema digest is
// refused; both sides get FAILED_PRECONDITION in on_connection.
//
// `capacity`: bytes of each lane of these links, in both directions, whatever
// the two buses are configured to; rounded up to a power of two. 0: as each bus
// is configured. A frame, which is a message and its header, takes at most half
// of it. To publish a larger message that one of these links should carry is
// INVALID_ARGUMENT, which names the lane and both sizes, and no subscription
// gets it.
//
// `stats`: counts what happens here; may be null.
//
// Waits for what the node's thread is running at the moment; under
// poll = kCaller it may run handlers itself. May be called from any thread, and
// from handlers too. The handle keeps the node alive.
//
//   ALREADY_EXISTS       another socket listens there, or the file at `path` is
//                        no socket
//   INVALID_ARGUMENT     the path is empty or longer than 107 bytes, or the
//                        capacity is less than 4 KiB or more than 1 GiB
//   FAILED_PRECONDITION  the bus itself was given another digest, or was shut
//                        down
//   PERMISSION_DENIED    this user may not listen there
//   RESOURCE_EXHAUSTED   no file descriptor was available, or other processes
//                        keep the directory locked
//   UNAVAILABLE          no such directory; or this node could share no memory
//                        when it was made, because the kernel lacks what that
//                        needs or had run out of something. BindUnixEndpoint()
//                        needs no shared memory
//   DEADLINE_EXCEEDED    a handler has kept the node's thread for 10 s; nothing
//                        was done
inline absl::StatusOr<ShmEndpointHandle> BindShmEndpoint(
    const std::string& path, MessageBus& bus,
    std::optional<Digest> digest = std::nullopt, size_t capacity = kShmCapacity,
    std::shared_ptr<EndpointStats> stats = nullptr) {
  EndpointOptions options;
  options.schema_digest = digest;
  options.lane_bytes = capacity;
  options.stats = std::move(stats);
  // A handler that runs meanwhile may destroy the bus.
  const std::shared_ptr<NodeRuntime> node = bus.runtime();
  absl::StatusOr<uint64_t> listener =
      node->ListenShm(path, bus.service(), std::move(options));
  if (!listener.ok()) return listener.status();
  return ShmEndpointHandle(node, *listener, path);
}

// Keeps a link to the process that listens at `path`, now or later, until the
// bus is shut down. Does not wait for a connection, only as BindShmEndpoint()
// does; BusOptions::on_connection tells what becomes of the link. If one side
// cannot share memory, the link goes over the socket, and LinkReport::fallback
// says why. The digest that is compared is the one in BusOptions. To dial the
// same path again adds no link, but tries at once if no connection is up. If
// the node that answers there has its link by another address, that call is
// also what it takes to reach another node that has taken this path.
//
// `capacity`: the side that listens decides. If a number is given here too, a
// listener that was given another one is refused. 0: any will do, up to 64 MiB.
//
//   INVALID_ARGUMENT     the path is empty or longer than 107 bytes, or the
//                        capacity is less than 4 KiB or more than 1 GiB
//   FAILED_PRECONDITION  the bus was shut down
//   DEADLINE_EXCEEDED    a handler has kept the node's thread for 10 s; nothing
//                        was done
inline absl::Status DialShmEndpoint(const std::string& path, MessageBus& bus,
                                    size_t capacity = 0) {
  const std::shared_ptr<NodeRuntime> node = bus.runtime();
  return node->DialShm(path, capacity);
}

}  // namespace mycelium

#endif  // MYCELIUM_BUS_SHM_ENDPOINT_H_
