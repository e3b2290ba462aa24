#ifndef MYCELIUM_CAPI_HANDLES_H_
#define MYCELIUM_CAPI_HANDLES_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "absl/status/statusor.h"
#include "mycelium/base/mutex.h"
#include "mycelium/bus/endpoint_stats.h"
#include "mycelium/bus/loan.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/capi/endpoints.h"
#include "mycelium/capi/mycelium.h"
#include "mycelium/message/message_info.h"
#include "mycelium/message/message_type.h"
#include "mycelium/schema/digest.h"

// What is behind the handles of mycelium.h.

struct MyceliumType {
  mycelium::MessageType type;
};

struct MyceliumRuntime {
  // The publisher that mycelium_publish() uses for a type, made at its first
  // call. `service` is empty for one that reaches every subscription.
  absl::StatusOr<std::shared_ptr<mycelium::RawPublisher>> PublisherFor(
      const std::string& service, const mycelium::MessageType& type);

  std::unique_ptr<mycelium::MessageBus> bus;
  std::optional<mycelium::Digest> schema_digest;

  struct Publishers {
    using Key = std::tuple<std::string, std::string, mycelium::Digest>;
    mycelium::Mutex mutex;
    std::map<Key, std::shared_ptr<mycelium::RawPublisher>> all
        ABSL_GUARDED_BY(mutex);
  };
  // Never null. Shared by calls in which a callback may destroy the runtime.
  const std::shared_ptr<Publishers> publishers = std::make_shared<Publishers>();
  const std::shared_ptr<mycelium::Endpoints> endpoints =
      std::make_shared<mycelium::Endpoints>();
  const std::shared_ptr<mycelium::EndpointStats> endpoint_stats =
      std::make_shared<mycelium::EndpointStats>();
};

struct MyceliumPublisher {
  mycelium::RawPublisher publisher;
};

struct MyceliumLoan {
  mycelium::Loan loan;
};

struct MyceliumSubscription {
  mycelium::SubscriptionHandle handle;
};

struct MyceliumSubscriber {
  explicit MyceliumSubscriber(mycelium::RawSubscriber made)
      : subscriber(std::move(made)) {}
  ~MyceliumSubscriber() { CountLast(true); }

  // Counts the last message, unless it has been counted.
  void CountLast(bool decodable) {
    if (std::exchange(is_uncounted, false)) subscriber.CountLast(decodable);
  }

  mycelium::RawSubscriber subscriber;
  MyceliumMessage message = {};  // The last one received.
  bool leaves_counting = false;
  bool is_uncounted = false;  // `message` has not been counted yet.
};

namespace mycelium {

// Borrows both. The texts of `info` end with NUL, as all texts of an Origin do.
MyceliumMessage MessageOf(absl::Span<const std::byte> bytes,
                          const MessageInfo& info);

// INVALID_ARGUMENT: the handle is null. FAILED_PRECONDITION: the handle is from
// before the process forked.
absl::Status CheckRuntime(const MyceliumRuntime* runtime);
absl::Status CheckPublisher(const MyceliumPublisher* publisher);
absl::Status CheckLoan(const MyceliumLoan* loan);
absl::Status CheckSubscriber(const MyceliumSubscriber* subscriber);
// Checks both, for functions that make something of a runtime and a type.
absl::Status CheckEnd(const MyceliumRuntime* runtime, const MyceliumType* type);

// INVALID_ARGUMENT: no version of the struct has that size, or a number is no
// value of its enum. The bus that takes the options checks their bounds.
absl::StatusOr<BusOptions> OptionsFrom(const MyceliumRuntimeOptions* options);
absl::StatusOr<SubscriberOptions> OptionsFrom(
    const MyceliumSubscriberOptions* options);
absl::StatusOr<PublisherOptions> OptionsFrom(
    const MyceliumPublisherOptions* options);

}  // namespace mycelium

#endif  // MYCELIUM_CAPI_HANDLES_H_
