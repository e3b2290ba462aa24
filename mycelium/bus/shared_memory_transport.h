#ifndef MYCELIUM_BUS_SHARED_MEMORY_TRANSPORT_H_
#define MYCELIUM_BUS_SHARED_MEMORY_TRANSPORT_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mycelium/bus/endpoint_stats.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/shm_endpoint.h"
#include "mycelium/schema/digest.h"

namespace mycelium {

// Shared memory between the process that creates it and those that open it:
// a bus of its own with one endpoint, for programs that need no topology.
//
// Both ends publish and subscribe. A message goes to the other end only: no end
// gets its own back, and a publisher and a subscriber of one object do not hear
// each other. If several processes open the same path, each of them talks with
// the one that created it, and they do not hear each other either.
//
// Either end may start first. A process that opens a path before it was
// created, or whose creator dies, waits for the next creator, and its
// publishers and subscribers go on with that one. Likewise the creator goes on
// with the next process that opens the path. What is published while nobody
// subscribes counts as dropped[no_subscriber], so call WaitForSubscribers()
// first. A process that was killed leaves no file but the socket `path`, which
// the next Create() replaces.
//
// If a creator dies, what it had not handled goes to the next Create() of the
// path, provided that comes within BusOptions::settings.retain. The same holds
// for an opener that has a name, BusOptions::node, and comes back under it.
//
// Thread safety: all members may be called from any thread.
//
// Ownership: publishers, subscribers and handles keep what they need of the bus
// alive. The destructor does not wait for what is in flight: call Shutdown().
//
// Example:
//   auto transport = mycelium::SharedMemoryTransport::Open(path, digest);
//   auto features = (*transport)->Subscriber<Features>();
//   auto predictions = (*transport)->Publisher<Prediction>();
//   absl::StatusOr<const Features*> next = features->Receive(absl::Seconds(1));
class SharedMemoryTransport final {
 public:
  // Listens at `path`. For `digest`, `capacity` and the statuses see
  // BindShmEndpoint(), for `options` MessageBus::Create(). Of the options this
  // call itself sets `delivers_locally`, `schema_digest` if `digest` is given,
  // and `node`, to "shm:PATH", if it is empty.
  static absl::StatusOr<std::unique_ptr<SharedMemoryTransport>> Create(
      const std::string& path, std::optional<Digest> digest = std::nullopt,
      size_t capacity = kShmCapacity, BusOptions options = BusOptions());

  // Connects to the process that has created `path`, now or later. Returns at
  // once; WaitForPeer() says whether it has connected. For `capacity` and the
  // statuses see DialShmEndpoint().
  static absl::StatusOr<std::unique_ptr<SharedMemoryTransport>> Open(
      const std::string& path, std::optional<Digest> digest = std::nullopt,
      size_t capacity = 0, BusOptions options = BusOptions());

  ~SharedMemoryTransport();

  // See MessageBus for these.
  template <typename Message>
  absl::StatusOr<mycelium::Publisher<Message>> Publisher(
      const PublisherOptions& options = PublisherOptions()) {
    return bus_->Publisher<Message>(options);
  }
  template <typename Message>
  absl::StatusOr<mycelium::Subscriber<Message>> Subscriber(
      const SubscriberOptions& options = SubscriberOptions()) {
    return bus_->Subscriber<Message>(options);
  }
  template <typename Message>
  absl::StatusOr<SubscriptionHandle> Subscribe(
      std::function<void(const Message&, const MessageInfo&)> handler,
      const SubscriberOptions& options = SubscriberOptions()) {
    return bus_->Subscribe<Message>(std::move(handler), options);
  }
  absl::Status Flush(absl::Duration timeout) { return bus_->Flush(timeout); }
  absl::Status Shutdown(absl::Duration timeout) {
    return bus_->Shutdown(timeout);
  }

  // Waits until another process is connected.
  //   DEADLINE_EXCEEDED    none was; the message says why the last try failed
  //   FAILED_PRECONDITION  the creator has another digest or capacity. If it
  //                        refuses for another reason, the code is the one for
  //                        that reason. Returned once; the path is dialled
  //                        again, in case the next creator does not refuse. Or:
  //                        a handler calls this.
  absl::Status WaitForPeer(absl::Duration timeout);

  // What the endpoint has counted; nothing for an object from Open().
  EndpointCounts Stats() const { return stats_->Read(); }

  const std::string& path() const { return path_; }
  // Everything else: raw messages, reports, polling. Valid as long as this.
  MessageBus& bus() { return *bus_; }

 private:
  class PeerWatch;

  SharedMemoryTransport(std::string path, std::unique_ptr<MessageBus> bus,
                        std::shared_ptr<PeerWatch> watch);
  static absl::StatusOr<std::unique_ptr<SharedMemoryTransport>> Make(
      const std::string& path, std::optional<Digest> digest,
      BusOptions options);

  const std::string path_;
  const std::unique_ptr<MessageBus> bus_;
  const std::shared_ptr<PeerWatch> watch_;
  const std::shared_ptr<EndpointStats> stats_ =
      std::make_shared<EndpointStats>();
  std::optional<ShmEndpointHandle> endpoint_;  // Only from Create().
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_SHARED_MEMORY_TRANSPORT_H_
