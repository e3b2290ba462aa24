#ifndef MYCELIUM_MESSAGE_MESSAGE_INFO_H_
#define MYCELIUM_MESSAGE_MESSAGE_INFO_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "mycelium/schema/digest.h"

namespace mycelium {

// Where messages come from: one publisher of one service, as its subscribers
// know it.
struct Origin : std::enable_shared_from_this<Origin> {
  // A share of it, for a caller that needs it beyond a call; null if it is not
  // shared.
  std::shared_ptr<const Origin> Keep() const { return weak_from_this().lock(); }

  std::string node;
  std::string service;
  std::string topic;
  std::string type;
  Digest digest;
  // Only subscriptions of this service get the messages. Empty: all do.
  std::string target_service;
  // How the messages come here: "inproc", "unix", ….
  std::string transport;
};

// What a subscriber learns of a message besides its payload. Valid for the call
// that it is passed to; what the strings point at lives as long as the
// subscription.
class MessageInfo final {
 public:
  // Describes no message.
  MessageInfo() = default;
  MessageInfo(const Origin& origin, uint64_t sequence, int64_t publish_time_ns,
              uint64_t lost_before = 0, bool redelivered = false)
      : origin_(&origin),
        sequence_(sequence),
        publish_time_ns_(publish_time_ns),
        lost_before_(lost_before),
        redelivered_(redelivered) {}

  absl::string_view topic() const { return Text(&Origin::topic); }
  absl::string_view type() const { return Text(&Origin::type); }
  absl::string_view publisher_node() const { return Text(&Origin::node); }
  absl::string_view publisher_service() const { return Text(&Origin::service); }

  // Counts the messages of that publisher: 1, 2, 3, …
  uint64_t sequence() const { return sequence_; }

  // Nanoseconds since the Unix epoch, or 0: publishers stamp the time only
  // where PublisherOptions::publish_time asks for it.
  int64_t publish_time_ns() const { return publish_time_ns_; }

  // How many messages the overflow policy of this subscription dropped since
  // the previous message that came the same way: from publishers of the same
  // node. 0 unless the subscription is lossy.
  uint64_t lost_before() const { return lost_before_; }

  // Whether an earlier process of this node may have handled the message and
  // died before it could say so.
  bool redelivered() const { return redelivered_; }

 private:
  absl::string_view Text(std::string Origin::*member) const {
    return origin_ == nullptr ? absl::string_view() : origin_->*member;
  }

  const Origin* origin_ = nullptr;
  uint64_t sequence_ = 0;
  int64_t publish_time_ns_ = 0;
  uint64_t lost_before_ = 0;
  bool redelivered_ = false;
};

}  // namespace mycelium

#endif  // MYCELIUM_MESSAGE_MESSAGE_INFO_H_
