#include "mycelium/routing/router.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/routing/fake_link.h"
#include "mycelium/routing/link_bounds.h"
#include "mycelium/routing/schema_mismatch.h"

namespace mycelium {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kTopic[] = "readings";

class NeverWaits final : public RoomWaiter {
 public:
  Outcome WaitFor(EventCount&, absl::FunctionRef<bool()>, TimeNs) override {
    return Outcome::kDeadline;
  }
};

class RouterTest : public testing::Test {
 protected:
  RouterTest() {
    Router::Callbacks callbacks;
    callbacks.settings = [](const Origin&, const std::string&,
                            const std::string&) { return RouteSettings(); };
    callbacks.on_local_refusal = [this](Subscription&, uint32_t publisher,
                                        const absl::Status& status) {
      local_refusals_.push_back({publisher, status});
    };
    callbacks.on_refusal = [this](const absl::Status& status) {
      refusals_.push_back(status);
    };
    callbacks.retry_later = [] {};
    router_.emplace(Environment::Real(), std::move(callbacks));
  }

  static MessageType TypeNamed(const std::string& name) {
    return RawMessageType(name, Digest::Of(name));
  }

  std::shared_ptr<FanOut> AddPublisher(const MessageType& type,
                                       const std::string& target = "") {
    origins_.push_back(std::make_unique<Origin>());
    Origin& origin = *origins_.back();
    origin.node = "here";
    origin.topic = kTopic;
    origin.type = type.name;
    origin.digest = type.digest;
    origin.target_service = target;
    FanOut::Options options;
    options.origin = &origin;
    options.publisher_id = static_cast<uint32_t>(origins_.size());
    auto publisher =
        std::make_shared<FanOut>(Environment::Real(), never_waits_, options);
    router_->AddPublisher(publisher, type, absl::OkStatus());
    return publisher;
  }

  static v1::Subscribe Subscribe(uint32_t id, const MessageType& type,
                                 const std::string& service = "reader") {
    v1::Subscribe subscribe;
    subscribe.set_subscription(id);
    subscribe.set_service(service);
    subscribe.set_topic(kTopic);
    subscribe.set_type(type.name);
    subscribe.set_type_digest(std::string(type.digest.bytes()));
    subscribe.set_delivery(v1::Subscribe::QUEUED);
    return subscribe;
  }

  v1::Subscribe Inline(uint32_t id) const {
    v1::Subscribe subscribe = Subscribe(id, type_);
    subscribe.set_delivery(v1::Subscribe::INLINE);
    return subscribe;
  }

  absl::Status Publish(FanOut& publisher) {
    const std::byte bytes[8] = {};
    return publisher.Publish(Payload::Bytes(type_, bytes));
  }

  const MessageType type_ = TypeNamed("Reading");
  const MessageType other_type_ = TypeNamed("OtherReading");
  std::vector<std::unique_ptr<Origin>> origins_;
  std::vector<std::pair<uint32_t, absl::Status>> local_refusals_;
  std::vector<absl::Status> refusals_;
  NeverWaits never_waits_;
  FakeLink link_{"there"};
  std::optional<Router> router_;
};

TEST_F(RouterTest, TypeOfAPublisherMayEndBeforeIt) {
  auto type = std::make_unique<MessageType>(type_);
  const auto publisher = AddPublisher(*type);
  type->name = "gone";
  type = nullptr;
  router_->AddRemote(link_, Subscribe(1, other_type_));
  ASSERT_THAT(refusals_, SizeIs(1));
  EXPECT_THAT(std::string(refusals_[0].message()), HasSubstr("type Reading"));
  EXPECT_EQ(link_.Sent(v1::Control::kSubscribeRefused)[0]
                .subscribe_refused()
                .type_digest(),
            type_.digest.bytes());
}

TEST_F(RouterTest, RefusalOfAPeerEndsWithItsLink) {
  const auto publisher = AddPublisher(type_);
  router_->AddRemote(link_, Subscribe(1, other_type_));
  EXPECT_THAT(router_->Refusals(*publisher), SizeIs(1));
  EXPECT_EQ(Publish(*publisher).code(), absl::StatusCode::kFailedPrecondition);
  router_->RemoveLink(link_, DropReason::kSubscriberGone);
  EXPECT_THAT(router_->Refusals(*publisher), IsEmpty());
  EXPECT_TRUE(Publish(*publisher).ok());
}

TEST_F(RouterTest, RefusalIsSaidOnceOnEachConnectionUntilItsPublisherEnds) {
  const auto publisher = AddPublisher(type_);
  router_->AddRemote(link_, Subscribe(1, other_type_));
  router_->AddRemote(link_, Subscribe(2, type_));  // Matches again.
  EXPECT_THAT(link_.Sent(v1::Control::kSubscribeRefused), SizeIs(1));
  router_->Repeat(link_);
  EXPECT_THAT(link_.Sent(v1::Control::kSubscribeRefused), SizeIs(2));
  router_->RemovePublisher(*publisher);
  const auto said = link_.Sent(v1::Control::kSubscribeRefused);
  ASSERT_THAT(said, SizeIs(3));
  EXPECT_FALSE(said[1].subscribe_refused().over());
  EXPECT_TRUE(said[2].subscribe_refused().over());
  EXPECT_EQ(said[2].subscribe_refused().publisher(), 1u);
  router_->Repeat(link_);
  EXPECT_THAT(link_.Sent(v1::Control::kSubscribeRefused), SizeIs(3));
}

TEST_F(RouterTest, RefusedSubscriptionIsNotKeptForTheNextProcess) {
  const auto publisher = AddPublisher(type_);
  router_->AddRemote(link_, Subscribe(1, other_type_));
  router_->Orphan(link_, kNever);
  EXPECT_THAT(router_->Refusals(*publisher), IsEmpty());
  EXPECT_TRUE(Publish(*publisher).ok());
}

TEST_F(RouterTest, NextProcessIsToldOfRefusalsUnderItsOwnNumbers) {
  const auto matching = AddPublisher(type_);
  router_->AddRemote(link_, Subscribe(1, type_));
  router_->Orphan(link_, kNever);
  const auto refusing = AddPublisher(other_type_);
  EXPECT_THAT(link_.Sent(v1::Control::kSubscribeRefused), IsEmpty());
  router_->AddRemote(link_, Subscribe(9, type_));
  const auto said = link_.Sent(v1::Control::kSubscribeRefused);
  ASSERT_THAT(said, SizeIs(1));
  EXPECT_EQ(said[0].subscribe_refused().subscription(), 9u);
  EXPECT_EQ(said[0].subscribe_refused().publisher(), 2u);
}

// Of two subscriptions that share a lane the second came later.
TEST_F(RouterTest, FramesTooLargeForTheNextProcessAreDroppedOfEachThatHadThem) {
  const auto publisher = AddPublisher(type_);
  const auto publish = [&](size_t bytes) {
    const std::vector<std::byte> payload(bytes);
    return publisher->Publish(Payload::Bytes(type_, payload));
  };
  router_->AddRemote(link_, Inline(1));
  for (const size_t bytes : {100, 9000, 100}) {
    ASSERT_TRUE(publish(bytes).ok());
  }
  v1::Subscribe later = Inline(2);
  later.set_name("later");
  router_->AddRemote(link_, later);
  for (const size_t bytes : {9000, 100}) ASSERT_TRUE(publish(bytes).ok());

  link_.frame_bytes_max_now = 8 << 10;
  router_->Orphan(link_, kNever);
  EXPECT_EQ(publish(9000).code(), absl::StatusCode::kInvalidArgument);
  link_.sent.clear();
  router_->AddRemote(link_, Inline(11));
  later.set_subscription(12);
  router_->AddRemote(link_, later);
  // What is left has the sequences 3 to 5, and the last one is for both.
  const auto matched = link_.Sent(v1::Control::kMatched);
  ASSERT_THAT(matched, SizeIs(2));
  EXPECT_EQ(matched[0].matched().from_sequence(), 3u);
  EXPECT_EQ(matched[1].matched().from_sequence(), 5u);
  EXPECT_EQ(link_.lanes[0]->SequenceAt(link_.lanes[0]->released()), 3u);
  std::vector<Ledger> ledgers;
  const FlowReportTable table = router_->Reports();
  for (const FlowReport& report : table.reports()) {
    ledgers.push_back(report.ledger);
  }
  ASSERT_THAT(ledgers, SizeIs(2));
  EXPECT_EQ(ledgers[0].accepted, 5u);
  EXPECT_EQ(ledgers[0].dropped_for(DropReason::kTooLarge), 2u);
  EXPECT_EQ(ledgers[0].in_flight, 3u);
  EXPECT_EQ(ledgers[1].accepted, 2u);
  EXPECT_EQ(ledgers[1].dropped_for(DropReason::kTooLarge), 1u);
  EXPECT_EQ(ledgers[1].in_flight, 1u);
}

TEST_F(RouterTest, OneSubscriptionBeyondTheLimitIsRefused) {
  uint32_t id = 0;
  while (++id <= Router::kRemotesMax) {
    router_->AddRemote(link_, Subscribe(id, type_));
  }
  EXPECT_THAT(link_.Sent(v1::Control::kSubscribeRefused), IsEmpty());
  router_->AddRemote(link_, Subscribe(id, type_));
  const auto sent = link_.Sent(v1::Control::kSubscribeRefused);
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].subscribe_refused().subscription(), id);
  EXPECT_EQ(sent[0].subscribe_refused().publisher(), Router::kAllPublishers);
  EXPECT_THAT(sent[0].subscribe_refused().reason(), HasSubstr("4096"));
  router_->AddRemote(link_, Subscribe(1, type_));  // Known, so not one more.
  FakeLink other("elsewhere");
  router_->AddRemote(other, Subscribe(1, type_));
  router_->RemoveRemote(link_, 1);
  router_->AddRemote(link_, Subscribe(id, type_));
  EXPECT_THAT(link_.Sent(v1::Control::kSubscribeRefused), SizeIs(1));
  EXPECT_THAT(other.sent, IsEmpty());
}

TEST_F(RouterTest, SubscriptionOfTheLargestSizeIsTakenAndOneByteMoreIsNot) {
  v1::Subscribe subscribe = Subscribe(1, type_);
  // Of a newer peer, say; the tag and the size of it take three bytes each.
  constexpr int kUnknown = 1000;
  auto& unknown = *subscribe.GetReflection()->MutableUnknownFields(&subscribe);
  std::string& added = *unknown.AddLengthDelimited(kUnknown);
  added.resize(2000);
  added.resize(2000 + Router::kSubscribeBytesMax - subscribe.ByteSizeLong());
  ASSERT_EQ(subscribe.ByteSizeLong(), Router::kSubscribeBytesMax);
  router_->AddRemote(link_, subscribe);
  EXPECT_THAT(link_.Sent(v1::Control::kSubscribeRefused), IsEmpty());
  subscribe.set_subscription(2);
  added += "+";
  router_->AddRemote(link_, subscribe);
  const auto sent = link_.Sent(v1::Control::kSubscribeRefused);
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].subscribe_refused().subscription(), 2u);
  EXPECT_THAT(sent[0].subscribe_refused().reason(),
              HasSubstr("4097 bytes; at most 4096"));
}

TEST_F(RouterTest, SubscriptionWithoutALaneIsToldWhyUntilItHasOne) {
  const auto publisher = AddPublisher(type_);
  link_.lane_error = absl::ResourceExhaustedError("no more lanes");
  router_->AddRemote(link_, Subscribe(1, type_));
  router_->RetryLanes();
  auto sent = link_.Sent(v1::Control::kSubscribeRefused);
  ASSERT_THAT(sent, SizeIs(1)) << "and is told once";
  EXPECT_EQ(sent[0].subscribe_refused().reason(), "no more lanes");
  EXPECT_EQ(sent[0].subscribe_refused().publisher(), Router::kAllPublishers);
  EXPECT_THAT(refusals_, SizeIs(1));
  router_->Repeat(link_);  // On another connection.
  sent = link_.Sent(v1::Control::kSubscribeRefused);
  ASSERT_THAT(sent, SizeIs(2));
  EXPECT_EQ(sent[1].subscribe_refused().reason(), "no more lanes");
  link_.lane_error = absl::OkStatus();
  router_->RetryLanes();
  sent = link_.Sent(v1::Control::kSubscribeRefused);
  ASSERT_THAT(sent, SizeIs(3));
  EXPECT_TRUE(sent[2].subscribe_refused().over());
  EXPECT_TRUE(Publish(*publisher).ok());
}

TEST_F(RouterTest, OnePublisherBeyondTheMostIsMatchedWhenAnotherIsOver) {
  router_->AddRemote(link_, Inline(1));
  std::vector<std::shared_ptr<FanOut>> publishers;
  while (publishers.size() < kLinkPublishersMax) {
    publishers.push_back(AddPublisher(type_));
  }
  const std::shared_ptr<FanOut> beyond[] = {AddPublisher(type_),
                                            AddPublisher(type_)};
  const absl::Status refused = Publish(*beyond[0]);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("16384 already"));
  EXPECT_THAT(refusals_, SizeIs(1));
  auto sent = link_.Sent(v1::Control::kSubscribeRefused);
  ASSERT_THAT(sent, SizeIs(1)) << "once for all of them";
  EXPECT_EQ(sent[0].subscribe_refused().reason(), refused.message());
  EXPECT_THAT(link_.Sent(v1::Control::kPublisher), SizeIs(kLinkPublishersMax));
  EXPECT_TRUE(Publish(*publishers[0]).ok());
  router_->RemovePublisher(*publishers[0]);
  router_->RetryLanes();
  EXPECT_FALSE(Publish(*beyond[0]).ok()) << "its message is in the lane";
  link_.lanes[0]->Release(link_.lanes[0]->committed());
  router_->RetryLanes();
  EXPECT_TRUE(Publish(*beyond[0]).ok());
  EXPECT_FALSE(Publish(*beyond[1]).ok());
  router_->RemovePublisher(*publishers[1]);
  router_->RetryLanes();
  EXPECT_TRUE(Publish(*beyond[1]).ok());
  sent = link_.Sent(v1::Control::kSubscribeRefused);
  ASSERT_THAT(sent, SizeIs(2));
  EXPECT_TRUE(sent[1].subscribe_refused().over());
  EXPECT_THAT(refusals_, SizeIs(1)) << "which was no news all the time";
}

TEST_F(RouterTest, OneMatchOfAPublisherBeyondTheMostWaitsForAnotherToEnd) {
  for (uint32_t id = 1; id <= kPublisherMatchesMax; ++id) {
    router_->AddRemote(link_, Inline(id));
  }
  const auto publisher = AddPublisher(type_);
  ASSERT_TRUE(Publish(*publisher).ok());
  EXPECT_EQ(router_->SubscriberCount(*publisher), kPublisherMatchesMax);
  router_->RemoveRemote(link_, 1);  // Its message is in the lane still.
  EXPECT_THAT(link_.Sent(v1::Control::kSubscribeRefused), IsEmpty());
  router_->AddRemote(link_, Inline(kPublisherMatchesMax + 1));
  const auto sent = link_.Sent(v1::Control::kSubscribeRefused);
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_THAT(sent[0].subscribe_refused().reason(), HasSubstr("4096"));
  link_.lanes[0]->Release(link_.lanes[0]->committed());
  router_->RetryLanes();
  EXPECT_EQ(router_->SubscriberCount(*publisher), kPublisherMatchesMax);
}

TEST_F(RouterTest, PeerIsToldWhenAllMessagesOfAMatchAreOver) {
  router_->AddRemote(link_, Inline(1));
  const auto publisher = AddPublisher(type_), other = AddPublisher(type_);
  ASSERT_TRUE(Publish(*publisher).ok());
  router_->RemovePublisher(*publisher);
  auto sent = link_.Sent(v1::Control::kUnmatched);
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].unmatched().until_sequence(), 2u);
  link_.lanes[0]->Release(link_.lanes[0]->committed());
  router_->RemovePublisher(*other);  // A look at all of them.
  sent = link_.Sent(v1::Control::kUnmatched);
  ASSERT_THAT(sent, SizeIs(4));
  EXPECT_EQ(sent[2].unmatched().publisher(), 1u);
  EXPECT_EQ(sent[2].unmatched().until_sequence(), 0u);
  EXPECT_EQ(sent[3].unmatched().publisher(), 2u);
  EXPECT_EQ(sent[3].unmatched().until_sequence(), 0u);
}

TEST_F(RouterTest, LaneThatThePeerCannotReadIsARefusal) {
  router_->AddRemote(link_, Inline(1));
  const auto publisher = AddPublisher(type_);
  link_.lanes[0]->reader_trouble().Set("no memory");
  ASSERT_THAT(router_->Refusals(*publisher), SizeIs(1));
  EXPECT_THAT(std::string(router_->Refusals(*publisher)[0].message()),
              HasSubstr("the peer cannot read it now: no memory"));
  EXPECT_TRUE(Publish(*publisher).ok());
  link_.lanes[0]->reader_trouble().Set("");
  EXPECT_THAT(router_->Refusals(*publisher), IsEmpty());
}

TEST_F(RouterTest, ExplanationsOfALinkBeyondTheLimitPushTheOldestOut) {
  MessageType type = type_;
  type.canonical_text = "message Reading\n";
  const auto publisher = AddPublisher(type);
  FakeLink other("elsewhere");
  router_->AddRemote(other, Subscribe(1, other_type_));
  v1::CanonicalText text;
  text.set_subscription(1);
  text.set_canonical_text("message OtherReading\n");
  router_->ExplainRefusal(other, text);
  const auto named = [&] {
    std::string names;
    for (const absl::Status& refusal : router_->Refusals(*publisher)) {
      const auto mismatch = SchemaMismatchOf(refusal);
      names +=
          mismatch.has_value() && !mismatch->difference().empty() ? '+' : '-';
    }
    return names;
  };
  EXPECT_EQ(named(), "+");
  constexpr size_t kMost = Router::kExplanationsBytesMax / kExplanationBytesMax;
  text.set_canonical_text(std::string(kExplanationBytesMax, 't'));
  for (uint32_t id = 1; id <= kMost + 2; ++id) {
    router_->AddRemote(link_, Subscribe(id, other_type_));
    text.set_subscription(id);
    router_->ExplainRefusal(link_, text);
  }
  EXPECT_EQ(named(), "+--" + std::string(kMost, '+'));
  EXPECT_TRUE(router_->AreRefusalsExplained(*publisher));
  text.set_subscription(1);
  router_->ExplainRefusal(link_, text);
  EXPECT_EQ(named(), "++--" + std::string(kMost - 1, '+'));
}

TEST_F(RouterTest, TopicsWithoutPublishersAndSubscriptionsAreForgotten) {
  for (int round = 0; round < 2; ++round) {
    const auto publisher = AddPublisher(type_);
    router_->AddRemote(link_, Subscribe(1, type_));
    EXPECT_GT(router_->entry_count(), 0u);
    ASSERT_TRUE(Publish(*publisher).ok());
    router_->RemovePublisher(*publisher);
    if (round == 0) router_->RemoveRemote(link_, 1);
    EXPECT_GT(router_->entry_count(), 0u) << "one message is on its way";
    router_->RemoveLink(link_, DropReason::kSubscriberGone);
    EXPECT_EQ(router_->entry_count(), 0u);
  }
}

TEST_F(RouterTest, PublisherThatComesAfterTheEndIsClosed) {
  router_->ClosePublishers();
  const auto publisher = AddPublisher(type_);
  router_->AddRemote(link_, Subscribe(1, type_));
  EXPECT_EQ(Publish(*publisher).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(router_->Reports().reports(), IsEmpty());
}

}  // namespace
}  // namespace mycelium
