#ifndef MYCELIUM_BUS_SUBSCRIBER_H_
#define MYCELIUM_BUS_SUBSCRIBER_H_

#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mycelium/base/fork_guard.h"
#include "mycelium/bus/node_runtime.h"
#include "mycelium/message/message_info.h"
#include "mycelium/message/payload.h"
#include "mycelium/message/protobuf_type.h"
#include "mycelium/routing/subscription.h"

namespace mycelium {

// A handler that is subscribed. Destroying the handle unsubscribes: no call of
// the handler is under way after that, unless it is the handler that does it.
// That holds for each of several threads that unsubscribe at once. It does not
// hold for on_error and on_publisher_gone: see SubscriberOptions.
//
// Handlers may unsubscribe each other, also in a circle of several. The last of
// them does not wait then: its call returns while the other handler is under
// way, which is not called again. Who has to know that it has returned calls
// Unsubscribe() once more, from outside the handlers. (HandlerWait)
//
// Thread safety: any thread, but moving and destroying like any object.
class SubscriptionHandle final {
 public:
  SubscriptionHandle() = default;
  // Of a subscription that was just added. RESOURCE_EXHAUSTED: it is queued,
  // and there is no thread for it; it has been removed.
  static absl::StatusOr<SubscriptionHandle> Start(
      std::shared_ptr<NodeRuntime> node,
      std::shared_ptr<Subscription> subscription);
  SubscriptionHandle(SubscriptionHandle&&) = default;
  SubscriptionHandle& operator=(SubscriptionHandle&& other);
  ~SubscriptionHandle() { Unsubscribe(); }

  // What is queued counts as dropped[subscriber_gone]. Idempotent.
  void Unsubscribe();
  // The same, waiting at most `timeout` for the handler where another thread
  // runs it. False: it still runs, and is not called again; where the timeout
  // is infinite and `keep_waiting` has not ended the wait, it waits for the
  // caller in turn. May be called again to wait on. The destructor, or
  // Unsubscribe(), still waits, and lets go of the node.
  bool UnsubscribeWithin(absl::Duration timeout,
                         const KeepWaiting& keep_waiting = nullptr);

  // OK, or why some publisher's messages do not come, as long as that holds;
  // one reason of several:
  //   FAILED_PRECONDITION  its type, or the schema digest that its service was
  //                        given, differs
  //   RESOURCE_EXHAUSTED   this one fell behind, and its overflow is
  //                        disconnect; or the publisher's node has no memory
  //                        for its lane, or no lane left, and tries again; or
  //                        has as many subscriptions of this node as it takes,
  //                        or takes none with so long names
  absl::Status status() const;

  // How often the handler threw; 0 for a handle that has none.
  uint64_t handler_errors() const {
    return subscription_ == nullptr ? 0 : subscription_->handler_errors();
  }

 private:
  struct Shared;  // By who unsubscribes, and the thread of a queued one.

  LeftInChild<std::shared_ptr<Shared>> shared_;  // Null: has no handler.
  LeftInChild<std::shared_ptr<Subscription>> subscription_;
};

// What pull subscribers of every type have in common.
//
// A received message is finished, and its room given back, at the next receive
// of the same subscriber or when the subscriber is destroyed.
//
// Thread safety: one thread at a time receives; it may be another one each
// time. Destroying waits for nobody: no receive may be under way, and on_error
// or on_publisher_gone may be (SubscriberOptions).
//
// One that was moved from has no messages: TryReceive() finds none, and a
// receive that would wait is FAILED_PRECONDITION, as is Descriptor().
class SubscriberBase {
 public:
  SubscriberBase(SubscriberBase&&) = default;
  SubscriberBase& operator=(SubscriberBase&& other);
  ~SubscriberBase() { Close(); }

  // A descriptor for poll() or epoll: readable once a message came after a
  // TryReceive() that found none. It stays the subscriber's. Under
  // poll = kCaller watch MessageBus::poll_descriptor() as well.
  absl::StatusOr<int> Descriptor();

  // As SubscriptionHandle::status().
  absl::Status status() const;

  // Finishes the last message now; it is not valid any more. For the thread
  // that receives. Does nothing if there is none.
  void Finish() {
    if (is_usable()) subscription_->queue().Finish();
  }

  // Ends the subscription before its destructor does: nothing comes any more,
  // and what is queued counts as dropped[subscriber_gone]. A receive that waits
  // on another thread, and every later one, is FAILED_PRECONDITION. The last
  // message stays valid until Finish(). Any thread, one at a time.
  void Unsubscribe() {
    // As in Close().
    const std::shared_ptr<NodeRuntime> node = node_.get();
    if (node != nullptr) node->RemoveSubscription(subscription_.get());
  }

  // Why messages do not come, each reason of status() once, but those that are
  // tried again, as a receive that waits says it; every time, that the bus was
  // shut down (FAILED_PRECONDITION). For who uses TryReceive() and the
  // descriptor.
  absl::Status TakeNews();

  // Whether no message will come any more: the bus was shut down, Unsubscribe()
  // was called, or the process forked.
  bool closed() const {
    return node_ == nullptr || !is_usable() || subscription_->queue().closed();
  }

  // FAILED_PRECONDITION: the process forked.
  absl::Status CheckNotForked() const;

  // DATA_LOSS that names the last message, for who parses it and cannot.
  absl::Status Undecodable() const;

  // Where messages come from and which they are; of the last one received.
  // Before that, of nobody.
  const MessageInfo& info() const { return info_; }

 protected:
  SubscriberBase(std::shared_ptr<NodeRuntime> node,
                 std::shared_ptr<Subscription> subscription)
      : node_(std::move(node)), subscription_(std::move(subscription)) {}

  // Not moved from, and in the process where it was made.
  bool is_usable() const {
    return subscription_ != nullptr && !subscription_.is_inherited();
  }
  // The next message; false if there is none now. Finishes the last one.
  // REQUIRES: in the process where it was made.
  bool TryTake(Payload* payload);
  // The same, waiting for one.
  absl::Status Take(absl::Duration timeout, Payload* payload,
                    const KeepWaiting& keep_waiting = nullptr);
  static absl::Status MovedFrom();
  void Count(MessageOutcome outcome);
  void Close();

  LeftInChild<std::shared_ptr<NodeRuntime>> node_;
  LeftInChild<std::shared_ptr<Subscription>> subscription_;
  MessageInfo info_;
  const Origin* origin_ = nullptr;  // Of the last message.
};

// Receives messages of one Protobuf type when it is asked to. Made by
// MessageBus.
//
// Example:
//   absl::StatusOr<const Quote*> quote = quotes.Receive(absl::Seconds(1));
//   if (quote.ok()) Use(**quote);
template <typename Message>
class Subscriber final : public SubscriberBase {
 public:
  Subscriber(std::shared_ptr<NodeRuntime> node,
             std::shared_ptr<Subscription> subscription)
      : SubscriberBase(std::move(node), std::move(subscription)) {}

  // The next message, valid until the next receive.
  //   DEADLINE_EXCEEDED    none came in time; says status() too
  //   FAILED_PRECONDITION  none came, and a publisher was refused: its type or
  //                        schema digest differs. Said once for each; status()
  //                        says it as long as there is one. Or the bus was
  //                        shut down, or Unsubscribe() was called, or the
  //                        process forked; or a handler calls this, with a
  //                        timeout.
  //   RESOURCE_EXHAUSTED   none came, and this was disconnected; said once
  //   DATA_LOSS            a message came that is not of its type; counted as
  //                        dropped[undecodable]
  absl::StatusOr<const Message*> Receive(
      absl::Duration timeout, const KeepWaiting& keep_waiting = nullptr) {
    Payload payload;
    if (absl::Status taken = Take(timeout, &payload, keep_waiting);
        !taken.ok()) {
      return taken;
    }
    return Decode(payload);
  }

  // The next message, or nullptr at once if there is none.
  //   FAILED_PRECONDITION  the process forked
  //   DATA_LOSS            as Receive()
  absl::StatusOr<const Message*> TryReceive() {
    if (subscription_.is_inherited()) return CheckNotForked();
    Payload payload;
    if (!TryTake(&payload)) return nullptr;
    return Decode(payload);
  }

 private:
  absl::StatusOr<const Message*> Decode(const Payload& payload) {
    if (payload.object != nullptr) {
      Count(true);
      return static_cast<const Message*>(payload.object);
    }
    const bool decoded =
        MessageTypeOf<Message>().parse(payload.bytes, &*message_);
    Count(decoded);
    if (!decoded) return Undecodable();
    return &*message_;
  }

  // Parsed into again and again, which reuses its memory.
  LeftInChild<std::unique_ptr<Message>> message_ = std::make_unique<Message>();
};

// Receives bytes. See Subscriber.
class RawSubscriber final : public SubscriberBase {
 public:
  RawSubscriber(std::shared_ptr<NodeRuntime> node,
                std::shared_ptr<Subscription> subscription)
      : SubscriberBase(std::move(node), std::move(subscription)) {}

  // The bytes are valid until the next receive.
  absl::StatusOr<absl::Span<const std::byte>> Receive(
      absl::Duration timeout, const KeepWaiting& keep_waiting = nullptr);
  absl::StatusOr<std::optional<absl::Span<const std::byte>>> TryReceive();

  // For who parses the bytes: from now on a message that is received counts as
  // nothing yet, and CountLast() says what became of it.
  void LeaveCounting() { leaves_counting_ = true; }
  // The last message was delivered, or dropped. REQUIRES: after
  // LeaveCounting(), once for each message, before the next receive.
  void CountLast(MessageOutcome outcome) {
    if (is_usable()) Count(outcome);
  }

 private:
  absl::Span<const std::byte> BytesOf(const Payload& payload);

  bool leaves_counting_ = false;
  // Of an object of this process.
  LeftInChild<std::vector<std::byte>> serialised_;
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_SUBSCRIBER_H_
