#ifndef MYCELIUM_ROUTING_DISPATCHER_FIXTURE_H_
#define MYCELIUM_ROUTING_DISPATCHER_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "mycelium/routing/dispatcher.h"
#include "mycelium/routing/fake_link.h"
#include "mycelium/routing/link_bounds.h"
#include "tests/support/faulty_sys.h"

namespace mycelium {

using FrameOutcome = LinkHandler::FrameOutcome;

// A dispatcher with one link that comes from nowhere.
class DispatcherTest : public testing::Test {
 protected:
  static constexpr char kTopic[] = "readings";

  std::shared_ptr<Subscription> Add(uint32_t id, DeliveryMode mode) {
    Subscription::Options options;
    options.id = id;
    options.service = "reader";
    options.topic = kTopic;
    options.type = type_;
    options.mode = mode;
    options.lane_bytes = 64 << 10;
    options.frame_bytes_max = 16 << 10;
    auto subscription = *Subscription::Create(
        Environment::Real(), options,
        [this, id](const Payload&, const MessageInfo& info) {
          handled_.push_back({id, info.sequence()});
          last_service_ = std::string(info.publisher_service());
          if (in_handler_ != nullptr) in_handler_();
          return true;
        },
        [](LogLevel, absl::string_view) {});
    dispatcher_->Add(subscription);
    return subscription;
  }

  v1::PublisherDeclare Declared(uint32_t publisher,
                                const std::string& service = "feed") {
    v1::PublisherDeclare declare;
    declare.set_publisher(publisher);
    declare.set_service(service);
    declare.set_topic(kTopic);
    declare.set_type(type_.name);
    declare.set_type_digest(std::string(type_.digest.bytes()));
    return declare;
  }

  absl::Status Match(uint32_t publisher, uint32_t subscription, uint32_t lane,
                     uint64_t from = 1) {
    v1::Matched matched;
    matched.set_publisher(publisher);
    matched.set_subscription(subscription);
    matched.set_lane(lane);
    matched.set_from_sequence(from);
    return dispatcher_->OnMatched(link_, matched);
  }

  void Unmatch(uint32_t publisher, uint32_t subscription, uint64_t until) {
    v1::Unmatched unmatched;
    unmatched.set_publisher(publisher);
    unmatched.set_subscription(subscription);
    unmatched.set_until_sequence(until);
    dispatcher_->OnUnmatched(link_, unmatched);
  }

  absl::Status OpenLane(uint32_t lane, uint32_t subscription,
                        uint64_t capacity_bytes = 64 << 10) {
    v1::LaneOpen open;
    open.set_lane(lane);
    open.set_subscription(subscription);
    open.set_capacity_bytes(capacity_bytes);
    return dispatcher_->OnLaneOpen(link_, open);
  }

  // The first publisher beyond the bound, which is refused.
  static constexpr uint32_t kBeyond = kLinkPublishersMax + 1;
  void DeclareAsManyAsThereMayBe() {
    for (uint32_t id = 1; id < kBeyond; ++id) {
      ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(id)).ok()) << id;
    }
  }

  FrameOutcome Send(uint32_t publisher, uint32_t lane, uint64_t sequence,
                    absl::Span<const std::byte> payload = {}) {
    FrameView frame;
    frame.payload = payload;
    frame.header.publisher_id = publisher;
    frame.header.digest_prefix = digest_prefix_;
    frame.header.lane_sequence = sequence;
    frame.header.publisher_sequence = sequence;
    return dispatcher_->OnFrame(link_, lane, frame, 64 * sequence);
  }

  uint64_t CountedAsGone() const {
    uint64_t count = 0;
    for (const FlowReport& report : dispatcher_->DepartedReports("here")) {
      count += report.ledger.dropped_for(DropReason::kSubscriberGone);
    }
    return count;
  }

  struct Handled {
    uint32_t subscription;
    uint64_t sequence;
    bool operator==(const Handled& other) const {
      return subscription == other.subscription && sequence == other.sequence;
    }
  };

  // Declares that many publishers, which go on, on as many links as that takes.
  void DeclareMany(
      size_t count,
      const std::function<v1::PublisherDeclare(size_t)>& declared) {
    for (size_t number = 0; number < count; ++number) {
      if (number % kLinkPublishersMax == 0) {
        others_.push_back(std::make_unique<FakeLink>("elsewhere"));
      }
      v1::PublisherDeclare declare = declared(number);
      declare.set_publisher(static_cast<uint32_t>(number));
      ASSERT_TRUE(dispatcher_->OnDeclare(*others_.back(), declare).ok())
          << number;
    }
  }

  MessageType type_ = RawMessageType("Reading", Digest::Of("Reading"));
  uint64_t digest_prefix_ = type_.digest.prefix();
  std::vector<std::unique_ptr<FakeLink>> others_;
  FakeLink link_{"there"};
  test::FaultySys sys_;
  Environment environment_{sys_, Environment::Real().clock,
                           Environment::Real().waiter};
  std::optional<Dispatcher> dispatcher_{std::in_place, environment_};
  std::vector<Handled> handled_;
  std::string last_service_;  // That published what was handled last.
  std::function<void()> in_handler_;
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_DISPATCHER_FIXTURE_H_
