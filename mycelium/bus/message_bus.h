#ifndef MYCELIUM_BUS_MESSAGE_BUS_H_
#define MYCELIUM_BUS_MESSAGE_BUS_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mycelium/bus/node_runtime.h"
#include "mycelium/bus/options.h"
#include "mycelium/bus/publisher.h"
#include "mycelium/bus/subscriber.h"
#include "mycelium/routing/flow_report.h"

namespace mycelium {

// One service's end of the bus: it publishes and subscribes; the topology
// decides how each message travels.
//
// Thread safety: all members may be called from any thread. A handler may call
// any of them except those that wait for the handlers. Each of those says so,
// and returns FAILED_PRECONDITION when a handler calls it.
//
// Ownership: publishers, subscribers and handles keep what they need of the
// node alive, so the bus may be destroyed before them. A handler may destroy
// the last of them: the node then ends when that handler has returned. The
// bus's destructor does not wait for what is in flight: call Close() or
// Shutdown() first.
//
// fork(): the child can use no object from before the fork. There a call of
// such an object returns FAILED_PRECONDITION, which names the node and the
// process, or does nothing. Destroying the object neither disturbs the parent
// and its peers nor waits, and does not free its memory. The child must not
// look at messages and loans from before the fork. It may make buses of its
// own, over gRPC only if the parent had not used gRPC. A child that was forked
// in a handler or another callback must not return from it: it ends by exit()
// or _exit(), or execs.
//
// Example:
//   auto bus = mycelium::MessageBus::FromTopology("topology.toml", "strategy");
//   if (!bus.ok()) return bus.status();
//   auto quotes = (*bus)->Subscribe<Quote>(
//       [](const Quote& quote, const mycelium::MessageInfo&) { Use(quote); });
//   auto orders = (*bus)->PublisherTo<Order>("execution");
//   absl::Status sent = orders->Publish(order);
class MessageBus final {
 public:
  // The bus of one service of a topology. Buses of one process whose services
  // belong to one node share that node: they exchange pointers, and the options
  // of the first bus apply to all of them, except `schema_digest`, which each
  // has for itself. An empty `path` stands for the file that MYCELIUM_TOPOLOGY
  // names.
  //   INVALID_ARGUMENT     the file has errors, and the message lists all of
  //                        them. Or an option is given that the file sets, and
  //                        the message names the first. Or there is neither a
  //                        path nor MYCELIUM_TOPOLOGY
  //   PERMISSION_DENIED    the file may not be read, or its socket_dir belongs
  //                        to another user or is a symbolic link
  //   RESOURCE_EXHAUSTED   no file descriptor or no thread was available, or
  //                        the names of the node's services are too long
  //   NOT_FOUND            no such file; or the topology has no such service,
  //                        and the message names the nearest one
  //   ALREADY_EXISTS       another process listens as that node, or another
  //                        bus of this process is that service
  //   FAILED_PRECONDITION  the file has changed since this process first
  //                        loaded it, or others may write to its socket_dir
  //   UNAVAILABLE          the node of this process is ending: a Shutdown(), or
  //                        the Close() of its last bus, is under way; or its
  //                        last object is being destroyed, or was destroyed in
  //                        a handler that has not returned. Or a callback of
  //                        the node makes this call while another call starts
  //                        the node. Try again when that is over.
  //   DEADLINE_EXCEEDED    the node of this process was to be started, and a
  //                        handler has kept its thread for 10 s
  static absl::StatusOr<std::unique_ptr<MessageBus>> FromTopology(
      const std::string& path, const std::string& service,
      const BusOptions& options = BusOptions());

  // A bus without a topology: within the process, plus the endpoints that are
  // bound or dialled by hand.
  //   INVALID_ARGUMENT    a limit or setting is out of bounds, or the lanes
  //                       are too small for the largest frame
  //   RESOURCE_EXHAUSTED  no file descriptor or no thread was available
  static absl::StatusOr<std::unique_ptr<MessageBus>> Create(
      const BusOptions& options = BusOptions());

  // A bus without a topology on the one node that all such buses of this
  // process share: how a program and the Python that it embeds meet. The
  // options of the first bus apply to all of them, except `schema_digest`. For
  // an empty `service` a name is made up. ALREADY_EXISTS: another bus of the
  // node is that service. UNAVAILABLE: a Shutdown() of the node, or the Close()
  // of its last bus, is under way.
  static absl::StatusOr<std::unique_ptr<MessageBus>> OfProcess(
      const std::string& service, const BusOptions& options = BusOptions());

  ~MessageBus();

  // Publishes to every subscription of the topic. While there is none, a
  // message counts as dropped[no_subscriber].
  template <typename Message>
  absl::StatusOr<mycelium::Publisher<Message>> Publisher(
      const PublisherOptions& options = PublisherOptions()) {
    return MakePublisher<Message>("", options);
  }

  // Publishes to the subscriptions of one service.
  //   NOT_FOUND         the topology has no such service. The message names the
  //                     nearest one or, if `service` is the name of a node, the
  //                     services of that node
  //   INVALID_ARGUMENT  `service` cannot be the name of a service; it is empty,
  //                     for example
  template <typename Message>
  absl::StatusOr<mycelium::Publisher<Message>> PublisherTo(
      const std::string& service,
      const PublisherOptions& options = PublisherOptions()) {
    if (absl::Status named = CheckNamesOne(service); !named.ok()) return named;
    return MakePublisher<Message>(service, options);
  }

  // The same for bytes; see RawMessageType(). With an empty `service` it
  // publishes to every service.
  absl::StatusOr<mycelium::RawPublisher> RawPublisher(
      const MessageType& type, const std::string& service = "",
      const PublisherOptions& options = PublisherOptions());

  // Calls `handler` for every message, never on two threads at once.
  // SubscriberOptions::delivery says where it runs. An exception that it throws
  // is caught, counted and logged. INVALID_ARGUMENT: `handler` is null.
  // RESOURCE_EXHAUSTED: there is no memory for its lane or, if it is queued, no
  // thread for it.
  template <typename Message>
  absl::StatusOr<SubscriptionHandle> Subscribe(
      std::function<void(const Message&, const MessageInfo&)> handler,
      const SubscriberOptions& options = SubscriberOptions()) {
    if (handler == nullptr) return NoHandler(MessageTypeOf<Message>());
    return SubscribePayload(
        MessageTypeOf<Message>(),
        // Every message is parsed into `scratch`, which reuses its memory.
        [handler = std::move(handler), scratch = std::make_shared<Message>()](
            const Payload& payload, const MessageInfo& info) {
          if (payload.object != nullptr) {
            handler(*static_cast<const Message*>(payload.object), info);
            return true;
          }
          if (!MessageTypeOf<Message>().parse(payload.bytes, scratch.get())) {
            return false;
          }
          handler(*scratch, info);
          return true;
        },
        options);
  }

  // The same for bytes, which are valid during the call of the handler.
  absl::StatusOr<SubscriptionHandle> SubscribeRaw(
      const MessageType& type,
      std::function<void(absl::Span<const std::byte>, const MessageInfo&)>
          handler,
      const SubscriberOptions& options = SubscriberOptions());

  // The same for a handler that parses the bytes. It returns false if it could
  // not: the message counts as dropped[undecodable]. If it returns a
  // DropReason, the message counts as dropped for that reason.
  absl::StatusOr<SubscriptionHandle> SubscribeParsing(
      const MessageType& type,
      std::function<MessageOutcome(absl::Span<const std::byte>,
                                   const MessageInfo&)>
          handler,
      const SubscriberOptions& options = SubscriberOptions());

  // A queue that the caller takes messages from.
  template <typename Message>
  absl::StatusOr<mycelium::Subscriber<Message>> Subscriber(
      const SubscriberOptions& options = SubscriberOptions()) {
    const Kept kept = Keep();
    absl::StatusOr<std::shared_ptr<Subscription>> subscription =
        AddSubscription(kept, MessageTypeOf<Message>(), DeliveryMode::kQueued,
                        options, nullptr);
    if (!subscription.ok()) return subscription.status();
    return mycelium::Subscriber<Message>(kept.node, *std::move(subscription));
  }
  absl::StatusOr<mycelium::RawSubscriber> RawSubscriber(
      const MessageType& type,
      const SubscriberOptions& options = SubscriberOptions());

  // Waits until everything that this node has published so far was handled.
  // Not from a handler. DEADLINE_EXCEEDED: the message names a lane that still
  // has messages.
  absl::Status Flush(absl::Duration timeout,
                     const KeepWaiting& keep_waiting = nullptr);

  // Waits for what this service published and what came for it, then ends its
  // publishers and subscriptions. From then on their calls, and calls that make
  // new ones, return FAILED_PRECONDITION, and another bus may be this service.
  // When the last open bus of the node in this process is closed, the node ends
  // too, as by Shutdown(). Not from a handler.
  // DEADLINE_EXCEEDED: some messages were not handled in time and count as
  // dropped; or a handler had not returned, and its message counts when it has.
  // The bus is closed all the same, but the thread that destroys the node's
  // last object then waits for that handler. CANCELLED: `keep_waiting` returned
  // false, and Close() did at once what it does at the end of `timeout`. A
  // second call waits for the end of the first, so `keep_waiting` must not make
  // one.
  absl::Status Close(absl::Duration timeout,
                     const KeepWaiting& keep_waiting = nullptr);
  // Whether Close() is done. Shutdown(), which ends the node, does not set it.
  bool closed() const {
    return closing_->is_done.load(std::memory_order_acquire);
  }

  // Waits for what is in flight, says goodbye to the peers and ends the node,
  // for every service of it in this process. What is not handled in time counts
  // as dropped. Not from a handler. For CANCELLED and a second call see
  // Close().
  absl::Status Shutdown(absl::Duration timeout,
                        const KeepWaiting& keep_waiting = nullptr);

  // Under poll = kCaller: runs what has arrived, or arrives within `timeout`.
  // Returns whether there was something; false also when another thread has
  // closed a bus meanwhile. FAILED_PRECONDITION: poll is not kCaller, or a
  // handler that Poll() runs calls it, or the node has ended.
  absl::StatusOr<bool> Poll(absl::Duration timeout);
  // Readable when Poll() would find something, a timer that is due included.
  // For a thread that sleeps in an epoll of its own; a thread that calls Poll()
  // with a timeout does better without it. The bus owns and closes it.
  int poll_descriptor() const { return node_->poll_descriptor(); }

  // FAILED_PRECONDITION: the calling process is a child that was forked after
  // the bus was made.
  absl::Status CheckNotForked() const { return node_->CheckNotForked(); }

  // What this node counted, for each publisher and subscription.
  std::vector<FlowReport> FlowReports() const { return node_->FlowReports(); }
  // The other nodes, how they are reached and whether their links are up.
  std::vector<LinkReport> LinkReports() const { return node_->LinkReports(); }

  const std::string& service() const { return service_; }
  const std::string& node() const { return node_->node(); }
  const std::shared_ptr<NodeRuntime>& runtime() const { return node_; }

 private:
  MessageBus(std::shared_ptr<NodeRuntime> node, std::string service)
      : node_(std::move(node)), service_(std::move(service)) {}

  struct Closing {
    std::atomic<bool> has_begun{false};
    std::atomic<bool> is_done{false};
  };
  // A call that waits may run handlers, and a call that adds something may run
  // an on_error; either may destroy the bus. Such a call therefore has shares
  // of its own of what it still needs afterwards. Poll() has none, because it
  // is called for each message; it calls EndPoll() instead.
  struct Kept {
    absl::Status CheckOpen() const;

    std::shared_ptr<NodeRuntime> node;
    std::string service;
    std::shared_ptr<Closing> closing;
  };
  Kept Keep() const { return {node_, service_, closing_}; }
  // A caller that means one service but passes an empty name does not mean all.
  static absl::Status CheckNamesOne(const std::string& service);
  template <typename Message>
  absl::StatusOr<mycelium::Publisher<Message>> MakePublisher(
      const std::string& service, const PublisherOptions& options) {
    const Kept kept = Keep();
    absl::StatusOr<std::shared_ptr<FanOut>> fan_out =
        AddPublisher(kept, service, MessageTypeOf<Message>(), options);
    if (!fan_out.ok()) return fan_out.status();
    return mycelium::Publisher<Message>(kept.node, *std::move(fan_out));
  }

  static absl::StatusOr<std::shared_ptr<FanOut>> AddPublisher(
      const Kept& kept, const std::string& target_service,
      const MessageType& type, const PublisherOptions& options);
  static absl::StatusOr<std::shared_ptr<Subscription>> AddSubscription(
      const Kept& kept, const MessageType& type, DeliveryMode mode,
      const SubscriberOptions& options, MessageHandler handler);
  static absl::Status NoHandler(const MessageType& type);
  absl::StatusOr<SubscriptionHandle> SubscribePayload(
      const MessageType& type, MessageHandler handler,
      const SubscriberOptions& options);

  const std::shared_ptr<NodeRuntime> node_;
  const std::string service_;
  const std::shared_ptr<Closing> closing_ = std::make_shared<Closing>();
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_MESSAGE_BUS_H_
