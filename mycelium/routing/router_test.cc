#include "mycelium/routing/router.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/routing/link_bounds.h"
#include "mycelium/routing/router_fixture.h"
#include "mycelium/routing/schema_mismatch.h"

namespace mycelium {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

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

TEST_F(RouterTest, PublisherDoesNotWaitWhereOneOfThoseWhoShareALaneFails) {
  for (const bool fails_first : {false, true}) {
    v1::Subscribe blocks = Inline(1), fails = Inline(2);
    blocks.set_overflow("block");
    fails.set_overflow("fail");
    fails.set_name("fails");
    FakeLink link("there");
    router_->AddRemote(link, fails_first ? fails : blocks);
    router_->AddRemote(link, fails_first ? blocks : fails);
    const auto publisher = AddPublisher(type_);
    absl::Status sent;
    while (sent.ok()) sent = Publish(*publisher);
    EXPECT_THAT(std::string(sent.message()), HasSubstr("overflow is fail"));
    router_->RemovePublisher(*publisher);
    router_->RemoveLink(link, DropReason::kSubscriberGone);
  }
}

// It may live, and not have heard that the connection is lost.
TEST_F(RouterTest, WhatIsGivenUpIsOutOfReachOfThePeerThatReadsTheLane) {
  link_.shares_lossy = true;
  v1::Subscribe subscribe = Subscribe(1, type_);
  subscribe.set_overflow("drop_oldest");
  router_->AddRemote(link_, subscribe);
  const auto publisher = AddPublisher(type_);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Publish(*publisher).ok());
  ASSERT_THAT(link_.lanes, SizeIs(1));
  LossyStage& stage = *link_.lanes[0]->stage();
  LossyRingReader reader(stage.memory(), stage.positions(), kFrameFlagsOnWire);
  FrameView frame;
  ASSERT_EQ(reader.Poll(&frame), RingReader::Result::kFrame);
  router_->RemoveLink(link_, DropReason::kSubscriberGone);
  EXPECT_EQ(reader.Poll(&frame), RingReader::Result::kEmpty);
  Ledger sum;
  const FlowReportTable table = router_->Reports();
  for (const FlowReport& flow : table.reports()) sum += flow.ledger;
  EXPECT_EQ(sum.accepted, 3u);
  EXPECT_EQ(sum.dropped_for(DropReason::kSubscriberGone), 3u);
  EXPECT_TRUE(sum.Balances());
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
  const auto explain = [&](uint32_t id) {
    text.set_subscription(id);
    text.set_canonical_text(
        std::string(kExplanationBytesMax, static_cast<char>('a' + id)));
    router_->ExplainRefusal(link_, text);
  };
  for (uint32_t id = 1; id <= kMost + 2; ++id) {
    router_->AddRemote(link_, Subscribe(id, other_type_));
    explain(id);
  }
  EXPECT_EQ(named(), "+--" + std::string(kMost, '+'));
  EXPECT_TRUE(router_->AreRefusalsExplained(*publisher));
  explain(1);
  EXPECT_EQ(named(), "+--" + std::string(kMost, '+')) << "not asked for";
  const auto second = AddPublisher(type);  // Which does, where it lacks one.
  explain(1);
  EXPECT_EQ(named(), "++--" + std::string(kMost - 1, '+'));
}

// Of subscriptions that share a lane none waits for the patience of another.
TEST_F(RouterTest, SharedLaneIsWaitedForAsTheMostImpatientSays) {
  Router::Callbacks callbacks;
  callbacks.settings = [](const Origin&, const std::string&,
                          const std::string& service) {
    RouteSettings settings;
    settings.publish_timeout =
        service == "hasty" ? absl::Milliseconds(7) : absl::Hours(1);
    return settings;
  };
  callbacks.on_refusal = [](const absl::Status&) {};
  callbacks.retry_later = [] {};
  for (const bool hasty_first : {true, false}) {
    router_.emplace(Environment::Real(), callbacks);
    FakeLink link("there");
    const auto publisher = AddPublisher(type_);
    for (uint32_t id = 1; id <= 2; ++id) {
      v1::Subscribe subscribe = Inline(id);
      subscribe.set_service((id == 1) == hasty_first ? "hasty" : "patient");
      router_->AddRemote(link, subscribe);
    }
    ASSERT_EQ(link.lanes.size(), 1u);
    absl::Status sent;
    while (sent.ok()) sent = Publish(*publisher);
    EXPECT_THAT(std::string(sent.message()), HasSubstr("waited 7ms"));
  }
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
