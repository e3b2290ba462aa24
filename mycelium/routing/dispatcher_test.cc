#include "mycelium/routing/dispatcher.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/codec/frame_encoder.h"
#include "mycelium/routing/fake_link.h"

namespace mycelium {
namespace {

using FrameOutcome = LinkHandler::FrameOutcome;

constexpr char kTopic[] = "readings";

class DispatcherTest : public testing::Test {
 protected:
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
          if (in_handler_ != nullptr) in_handler_();
          return true;
        },
        [](LogLevel, absl::string_view) {});
    dispatcher_.Add(subscription);
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
    return dispatcher_.OnMatched(link_, matched);
  }

  FrameOutcome Send(uint32_t publisher, uint32_t lane, uint64_t sequence) {
    FrameView frame;
    frame.header.publisher_id = publisher;
    frame.header.digest_prefix = type_.digest.prefix();
    frame.header.lane_sequence = sequence;
    frame.header.publisher_sequence = sequence;
    return dispatcher_.OnFrame(link_, lane, frame, 64 * sequence);
  }

  struct Handled {
    uint32_t subscription;
    uint64_t sequence;
    bool operator==(const Handled& other) const {
      return subscription == other.subscription && sequence == other.sequence;
    }
  };

  const MessageType type_ = RawMessageType("Reading", Digest::Of("Reading"));
  FakeLink link_{"there"};
  Dispatcher dispatcher_{Environment::Real()};
  std::vector<Handled> handled_;
  std::function<void()> in_handler_;
};

TEST_F(DispatcherTest, FrameReachesTheSubscriptionsInWhoseRangeItIs) {
  const auto first = Add(1, DeliveryMode::kInline);
  const auto second = Add(2, DeliveryMode::kInline);
  ASSERT_TRUE(dispatcher_.OnDeclare(link_, Declared(7)).ok());
  ASSERT_TRUE(Match(7, 1, 0).ok());
  EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kHandled);
  ASSERT_TRUE(Match(7, 2, 0, /*from=*/2).ok());
  EXPECT_EQ(Send(7, 0, 2), FrameOutcome::kHandled);
  v1::Unmatched unmatched;
  unmatched.set_publisher(7);
  unmatched.set_subscription(1);
  unmatched.set_until_sequence(3);
  link_.next_sequences[0] = 3;
  dispatcher_.OnUnmatched(link_, unmatched);
  EXPECT_EQ(Send(7, 0, 3), FrameOutcome::kHandled);
  EXPECT_EQ(handled_, (std::vector<Handled>{{1, 1}, {1, 2}, {2, 2}, {2, 3}}));
}

TEST_F(DispatcherTest, FrameOfAnUndeclaredPublisherIsCorrupt) {
  EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kCorrupt);
  ASSERT_TRUE(Match(7, 1, 0).ok());
  EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kCorrupt);
}

TEST_F(DispatcherTest, FrameForABusyHandlerIsTakenUntilTheHandlerHasRun) {
  const auto subscription = Add(1, DeliveryMode::kInline);
  ASSERT_TRUE(dispatcher_.OnDeclare(link_, Declared(7)).ok());
  ASSERT_TRUE(Match(7, 1, 0).ok());
  ASSERT_EQ(subscription->gate().TryEnter(), Gate::Entry::kEntered);
  EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kTaken);
  EXPECT_TRUE(handled_.empty());
  EXPECT_TRUE(link_.handled.empty());
  subscription->Leave();
  EXPECT_EQ(handled_, (std::vector<Handled>{{1, 1}}));
  ASSERT_EQ(link_.handled.size(), 1u);
  EXPECT_EQ(link_.handled[0].position, 64u);
}

TEST_F(DispatcherTest, QueuedFrameIsHandledWhenItsConsumerIsDone) {
  const auto subscription = Add(1, DeliveryMode::kQueued);
  ASSERT_TRUE(dispatcher_.OnDeclare(link_, Declared(7)).ok());
  v1::LaneOpen open;
  open.set_lane(3);
  open.set_subscription(1);
  open.set_capacity_bytes(64 << 10);
  ASSERT_TRUE(dispatcher_.OnLaneOpen(link_, open).ok());
  ASSERT_TRUE(Match(7, 1, 3).ok());
  EXPECT_EQ(Send(7, 3, 1), FrameOutcome::kTaken);
  EXPECT_TRUE(link_.handled.empty());
  EXPECT_TRUE(subscription->RunNext());
  EXPECT_FALSE(subscription->RunNext());
  EXPECT_EQ(handled_, (std::vector<Handled>{{1, 1}}));
  ASSERT_EQ(link_.handled.size(), 1u);
  EXPECT_EQ(link_.handled[0].lane, 3u);
  EXPECT_EQ(link_.handled[0].position, 64u);
}

TEST_F(DispatcherTest, MessageForASubscriptionThatHasEndedIsCounted) {
  const auto subscription = Add(1, DeliveryMode::kInline);
  ASSERT_TRUE(dispatcher_.OnDeclare(link_, Declared(7)).ok());
  dispatcher_.Remove(1);
  ASSERT_TRUE(Match(7, 1, 0).ok());
  EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kHandled);
  const std::vector<FlowReport> reports = dispatcher_.DepartedReports("here");
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].subscriber_node, "here");
  EXPECT_EQ(reports[0].publisher_service, "feed");
  EXPECT_EQ(reports[0].ledger.dropped_for(DropReason::kSubscriberGone), 1u);
}

TEST_F(DispatcherTest, OnePublisherBeyondTheLimitIsRefusedUnlessSomeAreIdle) {
  const auto subscription = Add(1, DeliveryMode::kInline);
  constexpr uint32_t kMost = Dispatcher::kPublishersMax;
  for (uint32_t id = 1; id <= kMost; ++id) {
    ASSERT_TRUE(dispatcher_.OnDeclare(link_, Declared(id)).ok()) << id;
  }
  EXPECT_EQ(dispatcher_.OnDeclare(link_, Declared(kMost + 1)).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(dispatcher_.OnDeclare(link_, Declared(kMost)).ok()) << "known";
  ASSERT_TRUE(Match(5, 1, 0).ok());
  v1::Unmatched unmatched;
  unmatched.set_publisher(5);
  unmatched.set_subscription(1);
  unmatched.set_until_sequence(1);
  link_.next_sequences[0] = 1;
  dispatcher_.OnUnmatched(link_, unmatched);
  EXPECT_TRUE(dispatcher_.OnDeclare(link_, Declared(kMost + 1)).ok());
}

TEST_F(DispatcherTest, PublishersOfAQueueThatAreGoneMakeRoomForOthers) {
  const auto subscription = Add(1, DeliveryMode::kQueued);
  v1::LaneOpen open;
  open.set_lane(3);
  open.set_subscription(1);
  open.set_capacity_bytes(64 << 10);
  ASSERT_TRUE(dispatcher_.OnLaneOpen(link_, open).ok());
  for (uint32_t id = 1; id <= 2 * Dispatcher::kPublishersMax; ++id) {
    ASSERT_TRUE(dispatcher_.OnDeclare(link_, Declared(id)).ok()) << id;
    ASSERT_TRUE(Match(id, 1, 3, id).ok());
    v1::Unmatched unmatched;
    unmatched.set_publisher(id);
    unmatched.set_subscription(1);
    unmatched.set_until_sequence(id + 1);
    // Its one frame comes after that.
    dispatcher_.OnUnmatched(link_, unmatched);
    link_.next_sequences[3] = id + 1;
  }
}

TEST_F(DispatcherTest, OriginsBeyondTheLimitAreToldApartByTopicOnly) {
  const auto subscription = Add(1, DeliveryMode::kInline);
  for (size_t made = 0; made < Dispatcher::kOriginsMax + 2; ++made) {
    ASSERT_TRUE(
        dispatcher_.OnDeclare(link_, Declared(1, std::to_string(made))).ok());
  }
  ASSERT_TRUE(Match(1, 1, 0).ok());
  EXPECT_EQ(Send(1, 0, 1), FrameOutcome::kHandled);
  EXPECT_EQ(handled_.size(), 1u);
  const auto ledgers = subscription->Ledgers();
  ASSERT_EQ(ledgers.size(), 1u);
  EXPECT_EQ(ledgers[0].origin->topic, kTopic);
  EXPECT_EQ(ledgers[0].origin->service, "");
  EXPECT_EQ(ledgers[0].ledger.delivered, 1u);
}

TEST_F(DispatcherTest, OneTopicBeyondTheLimitIsRefused) {
  constexpr size_t kMost =
      Dispatcher::kOriginsMax + Dispatcher::kNamelessOriginsMax;
  v1::PublisherDeclare declare = Declared(1);
  for (size_t made = 0; made < kMost; ++made) {
    declare.set_topic(std::to_string(made));
    ASSERT_TRUE(dispatcher_.OnDeclare(link_, declare).ok()) << made;
  }
  declare.set_topic("one more");
  EXPECT_EQ(dispatcher_.OnDeclare(link_, declare).code(),
            absl::StatusCode::kResourceExhausted);
  declare.set_topic("0");
  EXPECT_TRUE(dispatcher_.OnDeclare(link_, declare).ok()) << "known";
}

TEST_F(DispatcherTest, OneMatchBeyondTheLimitIsRefused) {
  const auto subscription = Add(1, DeliveryMode::kInline);
  ASSERT_TRUE(dispatcher_.OnDeclare(link_, Declared(7)).ok());
  for (uint64_t from = 1; from <= Dispatcher::kMatchesMax; ++from) {
    ASSERT_TRUE(Match(7, 1, 0, from).ok());
  }
  EXPECT_EQ(Match(7, 1, 0, Dispatcher::kMatchesMax + 1).code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(DispatcherTest, NameBeyondTheLimitIsRefused) {
  const std::string longest(Dispatcher::kNameBytesMax, 's');
  EXPECT_TRUE(dispatcher_.OnDeclare(link_, Declared(7, longest)).ok());
  EXPECT_EQ(dispatcher_.OnDeclare(link_, Declared(8, longest + "s")).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace mycelium
