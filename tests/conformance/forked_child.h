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

// One object of each kind that a bus makes, and what a child may do with them.
struct ForkedThings {
  // Makes the objects of that bus. `dir`: where endpoints are bound.
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
//  - calls everything, and expects FAILED_PRECONDITION that names the node;
//  - makes buses of its own, whose messages arrive within the process, over a
//    Unix socket, over shared memory and over gRPC; but if the parent has used
//    gRPC, the buses say why they cannot use it;
//  - destroys everything, and leaves by exit().
// Returns what was wrong, or an empty string. REQUIRES: no other thread uses
// `things`, except its bus and the objects that others made of that bus.
std::string UseInForkedChild(std::unique_ptr<ForkedThings>& things,
                             const std::string& dir, bool parent_used_grpc);

}  // namespace mycelium::test

#endif  // TESTS_CONFORMANCE_FORKED_CHILD_H_
