#ifndef MYCELIUM_BUS_PUBLISHER_H_
#define MYCELIUM_BUS_PUBLISHER_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mycelium/base/fork_guard.h"
#include "mycelium/bus/loan.h"
#include "mycelium/bus/node_runtime.h"
#include "mycelium/message/payload.h"
#include "mycelium/message/protobuf_type.h"
#include "mycelium/routing/fan_out.h"

namespace mycelium {

// What publishers of every type have in common: one end of a topic.
//
// Thread safety: Publish and everything else may be called from any thread.
// Move or destroy a publisher only while no other call of it is under way.
//
// Ownership: keeps the node running. Destroying the publisher does not take
// back what it published.
//
// A publisher that was moved from has no topic and no subscribers; everything
// else that it is asked for returns FAILED_PRECONDITION.
class PublisherBase {
 public:
  PublisherBase(PublisherBase&&) = default;
  PublisherBase& operator=(PublisherBase&& other);
  ~PublisherBase() { Close(); }

  // Waits until at least `count` subscriptions get what is published.
  //   DEADLINE_EXCEEDED    there were fewer; the message says how many, and
  //                        which node is not connected, and why
  //   FAILED_PRECONDITION  a subscription was refused: its type or schema
  //                        digest differs; or the bus is shut down; or this is
  //                        called from a handler
  //   RESOURCE_EXHAUSTED   there were fewer, because one had no lane; if it is
  //                        of another node, until the end of `timeout`
  absl::Status WaitForSubscribers(size_t count, absl::Duration timeout,
                                  const KeepWaiting& keep_waiting = nullptr);

  // How many subscriptions get what is published now.
  size_t subscriber_count() const {
    if (!is_usable()) return 0;
    return node_->router().SubscriberCount(*fan_out_);
  }

  // Why subscriptions to the topic do not get what is published: one reason for
  // each such subscription, as long as the reason holds:
  //   FAILED_PRECONDITION  its type, or the schema digest that its service was
  //                        given, differs
  //   RESOURCE_EXHAUSTED   there is no memory for its lane, or no lane left; if
  //                        it is of another node, this node tries again
  std::vector<absl::Status> refusals() const {
    if (!is_usable()) return {};
    return node_->router().Refusals(*fan_out_);
  }

  // For an event loop that publishes with a publish_timeout of zero. Calls
  // `callback` once, as soon as there may be room for the last message that was
  // refused with RESOURCE_EXHAUSTED, or a subscriber for it after UNAVAILABLE;
  // at once if there is already. The callback runs on the thread that made the
  // room or matched the subscriber; it must not wait or call the bus. An
  // exception is logged and goes no further.
  void CallWhenRoom(std::function<void()> callback);

  // The same as a descriptor for poll() or epoll. After a Publish() that was
  // refused it becomes readable when there may be room, and stays readable
  // until another one is refused. The publisher keeps owning it. Under
  // poll = kCaller watch MessageBus::poll_descriptor() as well.
  absl::StatusOr<int> RoomDescriptor() {
    if (!is_usable()) return WhyUnusable();
    return fan_out_->room_notice().Descriptor();
  }

  const std::string& topic() const;

  // FAILED_PRECONDITION: the process forked.
  absl::Status CheckNotForked() const;

 protected:
  PublisherBase(std::shared_ptr<NodeRuntime> node,
                std::shared_ptr<FanOut> fan_out)
      : node_(std::move(node)), fan_out_(std::move(fan_out)) {}

  // Tests the very pointer that the caller needs next for null.
  bool moved_from() const { return fan_out_ == nullptr; }
  static absl::Status MovedFrom();
  // Not moved from, and in the process where it was made.
  bool is_usable() const { return !moved_from() && !fan_out_.is_inherited(); }
  absl::Status WhyUnusable() const;
  absl::Status CheckOpen() const;

  void Close() {
    if (node_ != nullptr) node_->RemovePublisher(*fan_out_);
    node_ = {};
  }

  LeftInChild<std::shared_ptr<NodeRuntime>> node_;
  LeftInChild<std::shared_ptr<FanOut>> fan_out_;
};

// Publishes messages of one Protobuf type. Made by MessageBus.
//
// Publish() returns OK once the message is accepted: it will be delivered to
// every subscription that is matched now, or counted with the reason why not.
// Any other status means that no subscription got it, and the call may be
// repeated:
//   RESOURCE_EXHAUSTED   a subscription has no room, and its overflow policy
//                        says so. Under `block` it had none for the whole
//                        publish_timeout. Publish() waits that long once; then
//                        calls fail at once until the subscriber has made some
//                        room. To try again, wait with CallWhenRoom() or
//                        RoomDescriptor(). Publish() does not wait on the
//                        thread that runs the links (PollMode), and so not in
//                        inline handlers of messages from other nodes, nor
//                        where only the calling thread could make room. It
//                        waits for a moment where handlers wait for each other
//                        in a circle.
//   UNAVAILABLE          a lane is full and its subscriber out of reach; or,
//                        for PublisherTo(), the service is not connected or
//                        has no such subscription; or, with
//                        require_subscriber, nobody is subscribed
//   INVALID_ARGUMENT     the message, with its header of 40 to 48 bytes, is
//                        larger than frame_bytes_max
//   FAILED_PRECONDITION  the types differ, or the bus was shut down, or was
//                        made before the process forked
// Inline handlers of this process run inside Publish(), on this thread.
template <typename Message>
class Publisher final : public PublisherBase {
 public:
  Publisher(std::shared_ptr<NodeRuntime> node, std::shared_ptr<FanOut> fan_out)
      : PublisherBase(std::move(node), std::move(fan_out)) {}

  // The message is read before the call returns, and not kept.
  absl::Status Publish(const Message& message) {
    if (moved_from()) return MovedFrom();
    return fan_out_->Publish(
        Payload::Object(MessageTypeOf<Message>(), &message, nullptr));
  }

  // Subscriptions of this process get the pointer itself. The message must not
  // change any more. The bus may be its last owner, in the middle of a call, so
  // the message's destructor, or deleter, must not call the bus.
  // INVALID_ARGUMENT: `message` is null.
  absl::Status Publish(std::shared_ptr<const Message> message) {
    if (absl::Status good = CheckShared(message); !good.ok()) return good;
    const std::shared_ptr<const void> shared = std::move(message);
    return fan_out_->Publish(
        Payload::Object(MessageTypeOf<Message>(), shared.get(), &shared));
  }

  // The same two without waiting for room: RESOURCE_EXHAUSTED at once.
  absl::Status TryPublish(const Message& message) {
    if (moved_from()) return MovedFrom();
    return fan_out_->TryPublish(
        Payload::Object(MessageTypeOf<Message>(), &message, nullptr));
  }
  absl::Status TryPublish(std::shared_ptr<const Message> message) {
    if (absl::Status good = CheckShared(message); !good.ok()) return good;
    const std::shared_ptr<const void> shared = std::move(message);
    return fan_out_->TryPublish(
        Payload::Object(MessageTypeOf<Message>(), shared.get(), &shared));
  }

 private:
  absl::Status CheckShared(const std::shared_ptr<const Message>& message) {
    if (moved_from()) return MovedFrom();
    if (message != nullptr) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("publisher of \"", topic(), "\": no message: null"));
  }
};

// Publishes bytes that the bus does not look into. See Publisher.
class RawPublisher final : public PublisherBase {
 public:
  RawPublisher(std::shared_ptr<NodeRuntime> node,
               std::shared_ptr<FanOut> fan_out,
               std::shared_ptr<const MessageType> type)
      : PublisherBase(std::move(node), std::move(fan_out)),
        type_(std::move(type)) {}

  // The bytes are read before the call returns, and not kept.
  absl::Status Publish(absl::Span<const std::byte> bytes) {
    if (moved_from()) return MovedFrom();
    return fan_out_->Publish(Payload::Bytes(*type_, bytes));
  }

  // The same, but never waits for room: RESOURCE_EXHAUSTED at once.
  absl::Status TryPublish(absl::Span<const std::byte> bytes) {
    if (moved_from()) return MovedFrom();
    return fan_out_->TryPublish(Payload::Bytes(*type_, bytes));
  }

  // As Publish(), with fewer copies of a message that several subscriptions
  // read. From kSharedBytesMin on it makes one copy for all of them, in a loan,
  // instead of one in each lane, if two or more queues can have a share of it:
  // queues of this process, or of others that read in shared memory. Takes
  // memory as Loan() does.
  absl::Status PublishShared(absl::Span<const std::byte> bytes);
  // The same, but never waits for room: RESOURCE_EXHAUSTED at once. Makes no
  // copy while there is still no room for the last message that was refused.
  absl::Status TryPublishShared(absl::Span<const std::byte> bytes);
  // Below this a second copy is cheaper than a loan.
  static constexpr size_t kSharedBytesMin = 16 << 10;

  // Room for a message of that size.
  // INVALID_ARGUMENT: no lane takes a message that large.
  absl::StatusOr<mycelium::Loan> Loan(size_t bytes) {
    if (!is_usable()) return WhyUnusable();
    if (absl::Status fits = node_->CheckPayloadBytes(bytes); !fits.ok()) {
      return fits;
    }
    return mycelium::Loan(node_.get(), fan_out_.get(), type_,
                          TakeMemory(bytes));
  }

 private:
  bool IsWorthSharing(size_t bytes) const {
    return bytes >= kSharedBytesMin && fan_out_->sharer_count() >= 2;
  }
  absl::StatusOr<mycelium::Loan> CopyOf(absl::Span<const std::byte> bytes);
  std::shared_ptr<LoanPool::Memory> TakeMemory(size_t bytes);

  std::shared_ptr<const MessageType> type_;
  LeftInChild<std::shared_ptr<LoanPool>> loans_ = std::make_shared<LoanPool>();
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_PUBLISHER_H_
