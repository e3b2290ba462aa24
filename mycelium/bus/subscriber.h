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

// A handler that is subscribed. Destroying the handle unsubscribes: after that
// no call of the handler is under way, unless the handler itself destroys the
// handle. This holds for each of several threads that unsubscribe at once. It
// does not hold for on_error and on_publisher_gone: see SubscriberOptions.
//
// Handlers may unsubscribe each other, also several of them in a circle. The
// call that would close the circle does not wait: it returns while the other
// handler is under way, which is not called again. A program that must know
// that this handler has returned calls Unsubscribe() once more, from outside
// the handlers. (HandlerWait)
//
// Thread safety: any thread may call any member, but move or destroy a handle
// only while no other call of it is under way.
class SubscriptionHandle final {
 public:
  SubscriptionHandle() = default;
  // The handle of a subscription that was just added. RESOURCE_EXHAUSTED: the
  // subscription is queued, and there is no thread for it; it has been removed.
  static absl::StatusOr<SubscriptionHandle> Start(
      std::shared_ptr<NodeRuntime> node,
      std::shared_ptr<Subscription> subscription);
  SubscriptionHandle(SubscriptionHandle&&) = default;
  SubscriptionHandle& operator=(SubscriptionHandle&& other);
  ~SubscriptionHandle() { Unsubscribe(); }

  // What is queued counts as dropped[subscriber_gone]. Idempotent.
  void Unsubscribe();
  // The same, but if another thread runs the handler, waits at most `timeout`
  // for it. False: the handler still runs, and is not called again. With an
  // infinite timeout, and unless `keep_waiting` has ended the wait, false means
  // that the handler waits for the caller in turn. May be called again to go on
  // waiting. The destructor, or Unsubscribe(), still waits, and lets go of the
  // node.
  bool UnsubscribeWithin(absl::Duration timeout,
                         const KeepWaiting& keep_waiting = nullptr);

  // OK, or why some publisher's messages do not come, as long as the reason
  // holds. If there are several reasons, one of them:
  //   FAILED_PRECONDITION  the publisher's type, or the schema digest that its
  //                        service was given, differs
  //   RESOURCE_EXHAUSTED   this subscription fell behind, and its overflow is
  //                        disconnect. Or the publisher's node has no memory
  //                        for its lane, or no lane left, and tries again. Or
  //                        that node has as many subscriptions of this node as
  //                        it takes, or takes none with names so long
  absl::Status status() const;

  // How often the handler threw; 0 for a handle that has no handler.
  uint64_t handler_errors() const {
    return subscription_ == nullptr ? 0 : subscription_->handler_errors();
  }

 private:
  // Shared by the threads that unsubscribe, and by the thread of a queued one.
  struct Shared;

  LeftInChild<std::shared_ptr<Shared>> shared_;  // Null: has no handler.
  LeftInChild<std::shared_ptr<Subscription>> subscription_;
};

// What pull subscribers of every type have in common.
//
// A received message is finished, and its room given back, at the next receive
// of the same subscriber or when the subscriber is destroyed.
//
// Thread safety: one thread at a time receives; it may be another one each
// time. The destructor waits for nothing: no receive may be under way then,
// but on_error or on_publisher_gone may still be (SubscriberOptions).
//
// A subscriber that was moved from has no messages: TryReceive() finds none. A
// receive that would wait returns FAILED_PRECONDITION, as does Descriptor().
class SubscriberBase {
 public:
  SubscriberBase(SubscriberBase&&) = default;
  SubscriberBase& operator=(SubscriberBase&& other);
  ~SubscriberBase() { Close(); }

  // A descriptor for poll() or epoll: readable once a message came after a
  // TryReceive() that found none. The subscriber keeps owning it. Under
  // poll = kCaller watch MessageBus::poll_descriptor() as well.
  absl::StatusOr<int> Descriptor();

  // As SubscriptionHandle::status().
  absl::Status status() const;

  // Finishes the last message now; the message is not valid any more. Only the
  // thread that receives may call it. Does nothing if there is no such message.
  void Finish() {
    if (is_usable()) subscription_->queue().Finish();
  }

  // Ends the subscription before the destructor does: nothing comes any more,
  // and what is queued counts as dropped[subscriber_gone]. A receive that waits
  // on another thread, and every later one, returns FAILED_PRECONDITION. The
  // last message stays valid until Finish(). Any thread, one at a time.
  void Unsubscribe() {
    // The share is taken for the reason given in Close().
    const std::shared_ptr<NodeRuntime> node = node_.get();
    if (node != nullptr) node->RemoveSubscription(subscription_.get());
  }

  // Why messages do not come, as a receive that waits says it, for a program
  // that uses TryReceive() and the descriptor. Returns each reason of status()
  // once, except those after which the node tries again. That the bus was shut
  // down (FAILED_PRECONDITION) it returns every time.
  absl::Status TakeNews();

  // Whether no message will come any more: the bus was shut down, Unsubscribe()
  // was called, or the process forked.
  bool closed() const {
    return node_ == nullptr || !is_usable() || subscription_->queue().closed();
  }

  // FAILED_PRECONDITION: the process forked.
  absl::Status CheckNotForked() const;

  // DATA_LOSS that names the last message, for a caller that fails to parse it.
  absl::Status Undecodable() const;

  // Which message the last received one is, and where it came from. Before the
  // first one it is the MessageInfo of no message.
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
  // REQUIRES: the process is the one where the subscriber was made.
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
  //   DEADLINE_EXCEEDED    none came in time; the message says status() too
  //   FAILED_PRECONDITION  none came, and a publisher was refused: its type or
  //                        schema digest differs. Returned once for each such
  //                        publisher; status() returns it as long as there is
  //                        one. Or the bus was shut down, or Unsubscribe() was
  //                        called, or the process forked; or a handler calls
  //                        this, with a timeout.
  //   RESOURCE_EXHAUSTED   none came, and this subscription was disconnected;
  //                        returned once
  //   DATA_LOSS            a message came that is not of its type; it counts
  //                        as dropped[undecodable]
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

  // Every message is parsed into it, which reuses its memory.
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

  // For a caller that parses the bytes: from now on receiving a message does
  // not count it yet, and CountLast() says what became of it.
  void LeaveCounting() { leaves_counting_ = true; }
  // Says that the last message was delivered, or dropped. REQUIRES: called
  // after LeaveCounting(), once for each message, before the next receive.
  void CountLast(MessageOutcome outcome) {
    if (is_usable()) Count(outcome);
  }

 private:
  absl::Span<const std::byte> BytesOf(const Payload& payload);

  bool leaves_counting_ = false;
  // The bytes of a message that came as an object of this process.
  LeftInChild<std::vector<std::byte>> serialised_;
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_SUBSCRIBER_H_
