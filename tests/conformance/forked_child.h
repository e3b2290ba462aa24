#ifndef TESTS_CONFORMANCE_FORKED_CHILD_H_
#define TESTS_CONFORMANCE_FORKED_CHILD_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mycelium/bus/endpoint_handle.h"
#include "mycelium/bus/endpoint_stats.h"
#include "mycelium/bus/loan.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/shared_memory_transport.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::test {

// One of everything that a bus makes, and what a child may do with it.
struct ForkedThings {
  // Of that bus. `dir`: where endpoints are bound.
  static absl::StatusOr<std::unique_ptr<ForkedThings>> Make(
      std::unique_ptr<MessageBus> bus, const std::string& dir);

  std::unique_ptr<MessageBus> bus;
  std::optional<Publisher<Note>> publisher;
  std::optional<RawPublisher> raw_publisher;
  std::optional<Loan> loan;
  std::optional<Subscriber<Note>> subscriber;
  std::optional<RawSubscriber> raw_subscriber;
  std::optional<SubscriptionHandle> in_line;
  std::optional<SubscriptionHandle> queued;
  std::shared_ptr<EndpointStats> stats;
  std::optional<EndpointHandle> endpoint;
  std::unique_ptr<SharedMemoryTransport> transport;
  std::unique_ptr<SharedMemoryTransport> opened;  // The other end of that.
};

// Forks, and in the child:
//  - calls everything, each of which says FAILED_PRECONDITION, naming the node;
//  - makes buses of its own, whose messages arrive within the process, over a
//    Unix socket, over shared memory and over gRPC; but if the parent has used
//    that, they say why they cannot;
//  - destroys everything, and leaves by exit().
// Returns what was not as it should be, or nothing. REQUIRES: `things` is not
// used by another thread, but for its bus and what others made of that.
std::string UseInForkedChild(std::unique_ptr<ForkedThings>& things,
                             const std::string& dir, bool parent_used_grpc);

}  // namespace mycelium::test

#endif  // TESTS_CONFORMANCE_FORKED_CHILD_H_
