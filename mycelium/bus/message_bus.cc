#include "mycelium/bus/message_bus.h"

#include <random>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "mycelium/base/random.h"
#include "mycelium/bus/node_registry.h"

namespace mycelium {
namespace {

std::string NameOrMadeUp(const std::string& name, const BusOptions& options) {
  if (!name.empty()) return name;
  Random random(SeedFrom(*options.environment));
  return absl::StrFormat("anonymous-%016x", random.Next64());
}

// Not inline: most messages are bytes already.
ABSL_ATTRIBUTE_NOINLINE void SerializeTo(std::vector<std::byte>* bytes,
                                         const Payload& payload) {
  bytes->resize(payload.ByteSize());
  payload.Serialize(bytes->data());
}

// Calls `handle` with the bytes of each message; `handle` returns what became
// of the message.
template <typename Handle>
MessageHandler WithBytes(Handle handle) {
  return
      [handle = std::move(handle),
       scratch = std::make_shared<std::vector<std::byte>>()](
          const Payload& payload, const MessageInfo& info) -> MessageOutcome {
        if (ABSL_PREDICT_FALSE(payload.object != nullptr)) {
          SerializeTo(scratch.get(), payload);
          return handle(*scratch, info);
        }
        return handle(payload.bytes, info);
      };
}

}  // namespace

absl::StatusOr<std::unique_ptr<MessageBus>> MessageBus::FromTopology(
    const std::string& path, const std::string& service,
    const BusOptions& options) {
  absl::StatusOr<std::shared_ptr<NodeRuntime>> node =
      NodeRegistry::Get().Join(path, service, options);
  if (!node.ok()) return node.status();
  if (absl::Status added = (*node)->AddService(service, options.schema_digest);
      !added.ok()) {
    return added;
  }
  std::unique_ptr<MessageBus> bus(new MessageBus(*node, service));
  if (absl::Status started = (*node)->Start(); !started.ok()) {
    // A shutdown that began meanwhile lets the node neither listen nor dial.
    return (*node)->CheckOpen().ok() ? started
                                     : NodeRuntime::Ending((*node)->node());
  }
  return bus;
}

absl::StatusOr<std::unique_ptr<MessageBus>> MessageBus::Create(
    const BusOptions& options) {
  const std::string name = NameOrMadeUp(options.node, options);
  absl::StatusOr<std::shared_ptr<NodeRuntime>> node =
      NodeRuntime::Create(options, name, nullptr);
  if (!node.ok()) return node.status();
  if (absl::Status added = (*node)->AddService(name, options.schema_digest);
      !added.ok()) {
    return added;
  }
  return std::unique_ptr<MessageBus>(new MessageBus(*node, name));
}

absl::StatusOr<std::unique_ptr<MessageBus>> MessageBus::OfProcess(
    const std::string& service, const BusOptions& options) {
  const std::string name = NameOrMadeUp(service, options);
  BusOptions named = options;
  named.node = NameOrMadeUp(options.node, options);
  absl::StatusOr<std::shared_ptr<NodeRuntime>> node =
      NodeRegistry::Get().JoinProcess(named);
  if (!node.ok()) return node.status();
  if (absl::Status added = (*node)->AddService(name, options.schema_digest);
      !added.ok()) {
    return added;
  }
  return std::unique_ptr<MessageBus>(new MessageBus(*node, name));
}

MessageBus::~MessageBus() {
  // The service of a closed bus may be another bus's by now.
  if (!closing_->has_begun.load()) node_->RemoveService(service_);
}

absl::Status MessageBus::Kept::CheckOpen() const {
  if (node->is_inherited()) return node->CheckNotForked();
  if (!closing->has_begun.load()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the bus of service ", service, " is closed"));
}

absl::Status MessageBus::CheckNamesOne(const std::string& service) {
  if (!service.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "a publisher to one service needs its name; Publisher() reaches all");
}

absl::StatusOr<std::shared_ptr<FanOut>> MessageBus::AddPublisher(
    const Kept& kept, const std::string& target_service,
    const MessageType& type, const PublisherOptions& options) {
  if (absl::Status open = kept.CheckOpen(); !open.ok()) return open;
  absl::StatusOr<std::shared_ptr<FanOut>> added =
      kept.node->AddPublisher(kept.service, target_service, type, options);
  if (!added.ok()) return added;
  // A Close() that began meanwhile has closed the publisher, or looked before
  // it was there.
  if (absl::Status open = kept.CheckOpen(); !open.ok()) {
    kept.node->RemovePublisher(**added);
    return open;
  }
  return added;
}

absl::StatusOr<std::shared_ptr<Subscription>> MessageBus::AddSubscription(
    const Kept& kept, const MessageType& type, DeliveryMode mode,
    const SubscriberOptions& options, MessageHandler handler) {
  if (absl::Status open = kept.CheckOpen(); !open.ok()) return open;
  absl::StatusOr<std::shared_ptr<Subscription>> added =
      kept.node->AddSubscription(kept.service, type, mode, options,
                                 std::move(handler));
  if (!added.ok()) return added;
  if (absl::Status open = kept.CheckOpen(); !open.ok()) {
    kept.node->RemoveSubscription(*added);
    return open;
  }
  return added;
}

absl::StatusOr<mycelium::RawPublisher> MessageBus::RawPublisher(
    const MessageType& type, const std::string& service,
    const PublisherOptions& options) {
  const Kept kept = Keep();
  auto shared_type = std::make_shared<const MessageType>(type);
  absl::StatusOr<std::shared_ptr<FanOut>> fan_out =
      AddPublisher(kept, service, *shared_type, options);
  if (!fan_out.ok()) return fan_out.status();
  return mycelium::RawPublisher(kept.node, *std::move(fan_out),
                                std::move(shared_type));
}

absl::Status MessageBus::NoHandler(const MessageType& type) {
  return absl::InvalidArgumentError(absl::StrCat(
      "subscription to \"", type.name, "\": the handler is empty"));
}

absl::StatusOr<SubscriptionHandle> MessageBus::SubscribePayload(
    const MessageType& type, MessageHandler handler,
    const SubscriberOptions& options) {
  const Kept kept = Keep();
  absl::StatusOr<std::shared_ptr<Subscription>> subscription = AddSubscription(
      kept, type, options.delivery, options, std::move(handler));
  if (!subscription.ok()) return subscription.status();
  return SubscriptionHandle::Start(kept.node, *std::move(subscription));
}

absl::StatusOr<SubscriptionHandle> MessageBus::SubscribeRaw(
    const MessageType& type,
    std::function<void(absl::Span<const std::byte>, const MessageInfo&)>
        handler,
    const SubscriberOptions& options) {
  if (handler == nullptr) return NoHandler(type);
  return SubscribePayload(type,
                          WithBytes([handler = std::move(handler)](
                                        absl::Span<const std::byte> bytes,
                                        const MessageInfo& info) {
                            handler(bytes, info);
                            return true;
                          }),
                          options);
}

absl::StatusOr<SubscriptionHandle> MessageBus::SubscribeParsing(
    const MessageType& type,
    std::function<MessageOutcome(absl::Span<const std::byte>,
                                 const MessageInfo&)>
        handler,
    const SubscriberOptions& options) {
  if (handler == nullptr) return NoHandler(type);
  return SubscribePayload(type, WithBytes(std::move(handler)), options);
}

absl::StatusOr<mycelium::RawSubscriber> MessageBus::RawSubscriber(
    const MessageType& type, const SubscriberOptions& options) {
  const Kept kept = Keep();
  absl::StatusOr<std::shared_ptr<Subscription>> subscription =
      AddSubscription(kept, type, DeliveryMode::kQueued, options, nullptr);
  if (!subscription.ok()) return subscription.status();
  return mycelium::RawSubscriber(kept.node, *std::move(subscription));
}

absl::Status MessageBus::Flush(absl::Duration timeout,
                               const KeepWaiting& keep_waiting) {
  const std::shared_ptr<NodeRuntime> node = node_;  // See Kept.
  return node->Flush(DeadlineAfter(node->environment().clock.NowNs(), timeout),
                     keep_waiting);
}

absl::Status MessageBus::Close(absl::Duration timeout,
                               const KeepWaiting& keep_waiting) {
  const Kept kept = Keep();
  NodeRuntime::Patience patience{
      DeadlineAfter(kept.node->environment().clock.NowNs(), timeout),
      keep_waiting};
  if (absl::Status outside = kept.node->CheckOutsideHandlers("Close()");
      !outside.ok()) {
    return outside;
  }
  EventCount& changed = kept.node->router().changed_event();
  if (kept.closing->has_begun.exchange(true)) {
    if (kept.node->WaitPatiently(
            changed, [&] { return kept.closing->is_done.load(); }, patience) ==
        RoomWaiter::Outcome::kReady) {
      return absl::OkStatus();
    }
    return patience.StatusOf(absl::DeadlineExceededError(absl::StrCat(
        "the bus of service ", kept.service, " is still closing")));
  }
  const absl::Status ended =
      kept.node->CloseService(kept.service, std::move(patience));
  kept.closing->is_done.store(true, std::memory_order_release);
  changed.Notify(kept.node->environment().waiter);
  kept.node->WakePoll();
  return ended;
}

absl::Status MessageBus::Shutdown(absl::Duration timeout,
                                  const KeepWaiting& keep_waiting) {
  const std::shared_ptr<NodeRuntime> node = node_;
  return node->Shutdown(
      {DeadlineAfter(node->environment().clock.NowNs(), timeout),
       keep_waiting});
}

absl::StatusOr<bool> MessageBus::Poll(absl::Duration timeout) {
  // A handler may destroy this bus; the node stays until EndPoll().
  NodeRuntime& node = *node_;
  if (node.is_inherited()) return CheckNotForked();
  // Where messages come fast, the clock is not read for each.
  if (node.PollQuickly()) {
    node.EndPoll();
    return true;
  }
  absl::StatusOr<bool> ran =
      node.Poll(timeout <= absl::ZeroDuration()
                    ? 0
                    : DeadlineAfter(node.environment().clock.NowNs(), timeout),
                closing_->is_done);
  node.EndPoll();
  return ran;
}

}  // namespace mycelium
