#include "mycelium/routing/dispatcher.h"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mycelium/codec/frame_encoder.h"
#include "mycelium/routing/dispatcher_fixture.h"
#include "mycelium/routing/link_bounds.h"
#include "mycelium/routing/link_publishers.h"

namespace mycelium {
namespace {

TEST_F(DispatcherTest, FrameReachesTheSubscriptionsInWhoseRangeItIs) {
  const auto first = Add(1, DeliveryMode::kInline);
  const auto second = Add(2, DeliveryMode::kInline);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  ASSERT_TRUE(Match(7, 1, 0).ok());
  EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kHandled);
  ASSERT_TRUE(Match(7, 2, 0, /*from=*/2).ok());
  EXPECT_EQ(Send(7, 0, 2), FrameOutcome::kHandled);
  v1::Unmatched unmatched;
  unmatched.set_publisher(7);
  unmatched.set_subscription(1);
  unmatched.set_until_sequence(3);
  link_.next_sequences[0] = 3;
  dispatcher_->OnUnmatched(link_, unmatched);
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
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
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

TEST_F(DispatcherTest, CorruptFrameBehindOneThatWaitsIsNotReported) {
  const auto busy = Add(1, DeliveryMode::kInline);
  (void)Add(2, DeliveryMode::kQueued);
  for (const uint32_t publisher : {1, 2}) {
    ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(publisher)).ok());
    ASSERT_TRUE(Match(publisher, /*subscription=*/publisher, 0).ok());
  }
  ASSERT_EQ(busy->gate().TryEnter(), Gate::Entry::kEntered);
  ASSERT_EQ(Send(1, 0, 1), FrameOutcome::kTaken);
  // A queue has a lane of its own.
  EXPECT_EQ(Send(2, 0, 2), FrameOutcome::kCorrupt);
  busy->Leave();
  ASSERT_EQ(link_.handled.size(), 1u);
  EXPECT_EQ(link_.handled[0].position, 64u) << "the end of the first one";
}

// A frame that waits for a handler runs when the row leaves its gate, and is
// not in the row itself.
TEST_F(DispatcherTest, WhatWaitsForAHandlerComesBeforeTheNextFrameOfTheRow) {
  const auto first = Add(1, DeliveryMode::kInline);
  const auto second = Add(2, DeliveryMode::kInline);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(8)).ok());
  ASSERT_TRUE(OpenLane(3, 2).ok());
  ASSERT_TRUE(Match(7, 1, 0).ok());
  ASSERT_TRUE(Match(8, 2, 3).ok());
  in_handler_ = [&] {
    const Handled now = handled_.back();
    if (now == Handled{1, 1}) {
      EXPECT_EQ(Send(7, 0, 2), FrameOutcome::kTaken);
    } else if (now == Handled{1, 2}) {
      EXPECT_EQ(Send(8, 3, 3), FrameOutcome::kHandled);
      EXPECT_FALSE(second->gate().IsRunning());
      EXPECT_TRUE(first->gate().IsInside());
    }
  };
  dispatcher_->BeginFrames();
  EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kHandled);
  EXPECT_EQ(handled_, (std::vector<Handled>{{1, 1}, {1, 2}, {2, 3}}));
  EXPECT_FALSE(first->gate().IsRunning());
  EXPECT_EQ(Send(7, 0, 4), FrameOutcome::kHandled);
  EXPECT_TRUE(first->gate().IsInside());
  dispatcher_->EndFrames();
  EXPECT_FALSE(first->gate().IsRunning());
}

// The handler runs for one of two subscriptions that a frame is for.
TEST_F(DispatcherTest, ARowWithinAHandlerThatIsNotInOneLeavesItsGates) {
  const auto first = Add(1, DeliveryMode::kInline);
  const auto second = Add(2, DeliveryMode::kInline);
  const auto third = Add(3, DeliveryMode::kInline);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(8)).ok());
  ASSERT_TRUE(OpenLane(3, 3).ok());
  ASSERT_TRUE(Match(7, 1, 0).ok());
  ASSERT_TRUE(Match(7, 2, 0).ok());
  ASSERT_TRUE(Match(8, 3, 3).ok());
  in_handler_ = [&] {
    if (handled_.back().subscription == 3) return;
    dispatcher_->BeginFrames();
    EXPECT_EQ(Send(8, 3, 1), FrameOutcome::kHandled);
    dispatcher_->EndFrames();
    EXPECT_FALSE(third->gate().IsRunning());
  };
  dispatcher_->BeginFrames();
  EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kHandled);
  EXPECT_FALSE(first->gate().IsRunning() || second->gate().IsRunning());
  dispatcher_->EndFrames();
  EXPECT_EQ(handled_, (std::vector<Handled>{{1, 1}, {3, 1}, {2, 1}, {3, 1}}));
}

TEST_F(DispatcherTest, AFrameForSeveralFindsTheGateOfTheOneBeforeOpen) {
  const auto first = Add(1, DeliveryMode::kInline);
  const auto second = Add(2, DeliveryMode::kInline);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(8)).ok());
  ASSERT_TRUE(Match(7, 1, 0).ok());
  ASSERT_TRUE(Match(8, 1, 0).ok());
  ASSERT_TRUE(Match(8, 2, 0).ok());
  dispatcher_->BeginFrames();
  EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kHandled);
  EXPECT_EQ(Send(8, 0, 2), FrameOutcome::kHandled) << "not kTaken";
  EXPECT_EQ(handled_, (std::vector<Handled>{{1, 1}, {1, 2}, {2, 2}}));
  dispatcher_->EndFrames();
}

TEST_F(DispatcherTest, FramesForAQueueLeaveTheGate) {
  const auto called = Add(1, DeliveryMode::kInline);
  const auto queued = Add(2, DeliveryMode::kQueued);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(8)).ok());
  ASSERT_TRUE(OpenLane(3, 2).ok());
  ASSERT_TRUE(Match(7, 1, 0).ok());
  ASSERT_TRUE(Match(8, 2, 3).ok());
  dispatcher_->BeginFrames();
  EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kHandled);
  EXPECT_TRUE(called->gate().IsInside());
  EXPECT_EQ(Send(8, 3, 1), FrameOutcome::kTaken);
  EXPECT_FALSE(called->gate().IsRunning());
  dispatcher_->EndFrames();
  EXPECT_TRUE(queued->RunNext());
}

TEST_F(DispatcherTest, ARowIsInterruptedByWhatMayEndMatches) {
  auto subscription = Add(1, DeliveryMode::kInline);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  ASSERT_TRUE(Match(7, 1, 0).ok());
  const auto expect_left = [&](const std::function<void()>& what) {
    EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kHandled);
    EXPECT_TRUE(subscription->gate().IsInside());
    what();
    EXPECT_FALSE(subscription->gate().IsRunning());
  };
  dispatcher_->BeginFrames();
  expect_left([&] { dispatcher_->InterruptFrames(); });
  expect_left([&] { dispatcher_->AwaitMatches(link_); });
  expect_left([&] { Unmatch(7, 1, /*until=*/9); });
  expect_left([&] { (void)dispatcher_->RemoveLink(link_); });
  dispatcher_->EndFrames();
}

TEST_F(DispatcherTest, QueuedFrameIsHandledWhenItsConsumerIsDone) {
  const auto subscription = Add(1, DeliveryMode::kQueued);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  ASSERT_TRUE(OpenLane(3, 1).ok());
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

// A peer that has not heard of the end goes on sending, into the room of what
// was reported as handled.
TEST_F(DispatcherTest, NothingComesToLieWhereSomebodyReadsAfterTheEnd) {
  const auto subscription = Add(1, DeliveryMode::kQueued);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  ASSERT_TRUE(OpenLane(3, 1, /*capacity_bytes=*/4096).ok());
  ASSERT_TRUE(Match(7, 1, 3).ok());
  std::vector<std::byte> payload(100, std::byte{1});
  ASSERT_EQ(Send(7, 3, 1, payload), FrameOutcome::kTaken);
  const FrameView* const read = subscription->queue().Take();
  ASSERT_NE(read, nullptr);
  subscription->Close();
  subscription->queue().ReportTaken();
  for (uint64_t sequence = 2; sequence < 500; ++sequence) {
    payload.assign(payload.size(), static_cast<std::byte>(sequence));
    ASSERT_EQ(Send(7, 3, sequence, payload), FrameOutcome::kHandled);
  }
  payload.assign(payload.size(), std::byte{1});
  EXPECT_EQ(read->payload, absl::MakeConstSpan(payload));
  subscription->queue().Finish();
  uint64_t gone = 0;
  for (const auto& flow : subscription->Ledgers()) {
    gone += flow.ledger.dropped_for(DropReason::kSubscriberGone);
  }
  EXPECT_EQ(gone, 498u);
}

TEST_F(DispatcherTest, WhatIsHeldKeepsItsRoomThoughAnotherIsMatchedToTheEnded) {
  const auto subscription = Add(1, DeliveryMode::kQueued);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(8)).ok());
  ASSERT_TRUE(OpenLane(3, 1).ok());
  ASSERT_TRUE(Match(7, 1, 3).ok());
  ASSERT_EQ(Send(7, 3, 1), FrameOutcome::kTaken);
  ASSERT_NE(subscription->queue().Take(), nullptr);
  subscription->Close();
  dispatcher_->Remove(1);
  // The peer has not heard of it yet.
  ASSERT_TRUE(Match(8, 1, 3, 2).ok());
  EXPECT_EQ(Send(8, 3, 2), FrameOutcome::kTaken);
  EXPECT_TRUE(link_.handled.empty()) << "its bytes are still read";
  subscription->queue().Finish();
  ASSERT_EQ(link_.handled.size(), 1u);
  EXPECT_EQ(link_.handled[0].position, 128u) << "with the one behind it";
  uint64_t gone = 0;
  for (const auto& flow : subscription->Ledgers()) {
    gone += flow.ledger.dropped_for(DropReason::kSubscriberGone);
  }
  EXPECT_EQ(gone, 1u);
}

TEST_F(DispatcherTest, MoreThanTheLaneHoldsIsCorrupt) {
  const auto subscription = Add(1, DeliveryMode::kQueued);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  ASSERT_TRUE(OpenLane(3, 1, 4096).ok());
  ASSERT_TRUE(Match(7, 1, 3).ok());
  uint64_t sent = 0;
  while (sent < 4096 && Send(7, 3, sent + 1) == FrameOutcome::kTaken) ++sent;
  EXPECT_GE(sent, 4096 / sizeof(FrameHeader));
  EXPECT_LE(sent, 2 * 4096 / sizeof(FrameHeader));
  EXPECT_EQ(Send(7, 3, sent + 1), FrameOutcome::kCorrupt);
}

TEST_F(DispatcherTest, MessageForASubscriptionThatHasEndedIsCounted) {
  const auto subscription = Add(1, DeliveryMode::kInline);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  dispatcher_->Remove(1);
  ASSERT_TRUE(Match(7, 1, 0).ok());
  EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kHandled);
  const std::vector<FlowReport> reports = dispatcher_->DepartedReports("here");
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].subscriber_node, "here");
  EXPECT_EQ(reports[0].publisher_service, "feed");
  EXPECT_EQ(reports[0].ledger.dropped_for(DropReason::kSubscriberGone), 1u);
}

TEST_F(DispatcherTest, MessageForASubscriptionThatIsForgottenIsCounted) {
  for (uint32_t id = 1; id <= 4098; ++id) {
    Add(id, DeliveryMode::kInline);
    dispatcher_->Remove(id);
  }
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  ASSERT_TRUE(Match(7, 1, 0).ok());
  EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kHandled);
  EXPECT_EQ(CountedAsGone(), 1u);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(8)).ok());
  ASSERT_TRUE(OpenLane(3, 1).ok());
  ASSERT_TRUE(Match(8, 1, 3).ok());
  EXPECT_EQ(Send(8, 3, 1), FrameOutcome::kHandled);
  EXPECT_EQ(CountedAsGone(), 2u);
  // The peer has counted what it says to be for subscription 0.
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(9)).ok());
  ASSERT_TRUE(Match(9, 0, 0).ok());
  EXPECT_EQ(Send(9, 0, 2), FrameOutcome::kHandled);
  EXPECT_EQ(CountedAsGone(), 2u);
}

TEST_F(DispatcherTest, MessagesOfManyForForgottenSubscriptionsAreCounted) {
  for (uint32_t id = 1; id <= 1000; ++id) {
    const v1::PublisherDeclare declare = Declared(id, std::to_string(id));
    ASSERT_TRUE(dispatcher_->OnDeclare(link_, declare).ok());
    ASSERT_TRUE(Match(id, 1, 0, id).ok());
    EXPECT_EQ(Send(id, 0, id), FrameOutcome::kHandled);
    // Some go on.
    if (id % 4 != 0) Unmatch(id, 1, id);
  }
  EXPECT_EQ(CountedAsGone(), 1000u);
}

TEST_F(DispatcherTest, OnePublisherBeyondTheLimitIsRefusedUnlessSomeAreIdle) {
  const auto subscription = Add(1, DeliveryMode::kInline);
  constexpr uint32_t kMost = kLinkPublishersMax;
  for (uint32_t id = 1; id <= kMost; ++id) {
    ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(id)).ok()) << id;
  }
  EXPECT_EQ(dispatcher_->OnDeclare(link_, Declared(kMost + 1)).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(dispatcher_->OnDeclare(link_, Declared(kMost)).ok()) << "known";
  ASSERT_TRUE(Match(5, 1, 0).ok());
  v1::Unmatched unmatched;
  unmatched.set_publisher(5);
  unmatched.set_subscription(1);
  unmatched.set_until_sequence(1);
  link_.next_sequences[0] = 1;
  dispatcher_->OnUnmatched(link_, unmatched);
  EXPECT_TRUE(dispatcher_->OnDeclare(link_, Declared(kMost + 1)).ok());
}

TEST_F(DispatcherTest, FrameOfARefusedPublisherIsDroppedAndCounted) {
  const auto subscription = Add(1, DeliveryMode::kInline);
  DeclareAsManyAsThereMayBe();
  ASSERT_TRUE(Match(7, 1, 0).ok());
  EXPECT_EQ(Send(kBeyond, 0, 1), FrameOutcome::kCorrupt) << "not refused yet";
  ASSERT_FALSE(dispatcher_->OnDeclare(link_, Declared(kBeyond)).ok());
  ASSERT_TRUE(Match(kBeyond, 1, 0).ok());
  EXPECT_EQ(Send(kBeyond, 0, 1), FrameOutcome::kHandled);
  EXPECT_EQ(Send(7, 0, 2), FrameOutcome::kHandled) << "the others go on";
  EXPECT_EQ(handled_, (std::vector<Handled>{{1, 2}}));
  // While another frame waits for its handler, this one is not acknowledged
  // before that.
  ASSERT_EQ(subscription->gate().TryEnter(), Gate::Entry::kEntered);
  EXPECT_EQ(Send(7, 0, 3), FrameOutcome::kTaken);
  EXPECT_EQ(Send(kBeyond, 0, 4), FrameOutcome::kTaken);
  EXPECT_TRUE(link_.handled.empty());
  subscription->Leave();
  ASSERT_EQ(link_.handled.size(), 1u);
  EXPECT_EQ(link_.handled[0].position, 4 * 64u);
  const std::vector<FlowReport> reports = dispatcher_->DepartedReports("here");
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].publisher_node, "there");
  EXPECT_EQ(reports[0].ledger.dropped_for(DropReason::kRefused), 2u);
}

TEST_F(DispatcherTest, LaneOfItsOwnTakesARefusedPublisherWithoutNames) {
  const auto subscription = Add(1, DeliveryMode::kQueued);
  DeclareAsManyAsThereMayBe();
  ASSERT_TRUE(OpenLane(3, 1).ok());
  ASSERT_FALSE(dispatcher_->OnDeclare(link_, Declared(kBeyond)).ok());
  const auto called = Add(2, DeliveryMode::kInline);
  ASSERT_TRUE(Match(7, 2, 0).ok());
  dispatcher_->BeginFrames();
  EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kHandled);
  handled_.clear();
  EXPECT_EQ(Send(kBeyond, 3, 1), FrameOutcome::kTaken);
  EXPECT_FALSE(called->gate().IsRunning()) << "a row is interrupted";
  dispatcher_->EndFrames();
  EXPECT_EQ(Send(kBeyond, 4, 1), FrameOutcome::kCorrupt) << "no such lane";
  EXPECT_TRUE(subscription->RunNext());
  EXPECT_EQ(handled_, (std::vector<Handled>{{1, 1}}));
  const auto ledgers = subscription->Ledgers();
  ASSERT_EQ(ledgers.size(), 1u);
  EXPECT_EQ(ledgers[0].origin->topic, kTopic);
  EXPECT_EQ(ledgers[0].origin->service, "");
}

TEST_F(DispatcherTest, FrameOfAnotherTypeIsCorruptThoughOthersAreRefused) {
  const auto subscription = Add(1, DeliveryMode::kQueued);
  DeclareAsManyAsThereMayBe();
  ASSERT_TRUE(OpenLane(3, 1).ok());
  ASSERT_FALSE(dispatcher_->OnDeclare(link_, Declared(kBeyond)).ok());
  digest_prefix_ ^= 1;
  EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kCorrupt);
  EXPECT_EQ(Send(kBeyond, 3, 1), FrameOutcome::kCorrupt);
}

// The publishing node knows that the messages are over, whatever this node
// waits for.
TEST_F(DispatcherTest, PublisherWhoseLastMessageIsOverMakesRoom) {
  const auto subscription = Add(1, DeliveryMode::kInline);
  DeclareAsManyAsThereMayBe();
  ASSERT_TRUE(Match(7, 1, 0).ok());
  link_.next_sequences[0] = 1;
  Unmatch(7, 1, /*until=*/1000);
  EXPECT_FALSE(dispatcher_->OnDeclare(link_, Declared(kBeyond)).ok());
  Unmatch(7, 1, /*until=*/0);
  EXPECT_TRUE(dispatcher_->OnDeclare(link_, Declared(kBeyond)).ok());
}

TEST_F(DispatcherTest, MatchThatIsNotRepeatedYetMakesRoomUntilItIs) {
  const auto subscription = Add(1, DeliveryMode::kInline);
  DeclareAsManyAsThereMayBe();
  ASSERT_TRUE(Match(7, 1, 0).ok());
  EXPECT_FALSE(dispatcher_->OnDeclare(link_, Declared(kBeyond)).ok());
  dispatcher_->AwaitMatches(link_);
  EXPECT_TRUE(dispatcher_->OnDeclare(link_, Declared(kBeyond)).ok());
  ASSERT_TRUE(Match(kBeyond, 1, 0).ok());
  EXPECT_FALSE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  Unmatch(kBeyond, 1, /*until=*/0);
  EXPECT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  ASSERT_TRUE(Match(7, 1, 0).ok());
  dispatcher_->EndOfMatches(link_);
  EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kHandled);
  EXPECT_EQ(handled_, (std::vector<Handled>{{1, 1}}));
}

// Unmatched may be lost with its connection.
TEST_F(DispatcherTest, MatchThatIsNotRepeatedIsOver) {
  const auto repeated = Add(1, DeliveryMode::kInline);
  const auto other = Add(2, DeliveryMode::kInline);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  ASSERT_TRUE(Match(7, 1, 0).ok());
  ASSERT_TRUE(Match(7, 2, 0).ok());
  dispatcher_->AwaitMatches(link_);
  ASSERT_TRUE(Match(7, 1, 0).ok());
  dispatcher_->EndOfMatches(link_);
  EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kHandled);
  EXPECT_EQ(handled_, (std::vector<Handled>{{1, 1}}));
}

TEST_F(DispatcherTest, LaneWithoutMemoryWaitsUntilThereIsSome) {
  const auto subscription = Add(1, DeliveryMode::kQueued);
  const auto other = Add(2, DeliveryMode::kInline);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  sys_.Fail("map", {-ENOMEM, -ENOMEM});
  EXPECT_EQ(OpenLane(3, 1).code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(Match(7, 1, 3).ok());
  ASSERT_TRUE(Match(7, 2, 0).ok());
  EXPECT_EQ(Send(7, 3, 1), FrameOutcome::kLaneWaits);
  EXPECT_EQ(Send(7, 0, 1), FrameOutcome::kHandled);
  EXPECT_TRUE(dispatcher_->RetryLanes().empty());
  EXPECT_TRUE(dispatcher_->HasWaitingLanes());
  EXPECT_EQ(Send(7, 3, 1), FrameOutcome::kLaneWaits);
  const auto resumed = dispatcher_->RetryLanes();
  ASSERT_EQ(resumed.size(), 1u);
  EXPECT_EQ(resumed[0].subscription, 1u);
  EXPECT_EQ(link_.resumed, (std::vector<uint32_t>{3}));
  EXPECT_FALSE(dispatcher_->HasWaitingLanes());
  EXPECT_EQ(Send(7, 3, 1), FrameOutcome::kTaken);
  EXPECT_TRUE(subscription->RunNext());
  EXPECT_EQ(handled_, (std::vector<Handled>{{2, 1}, {1, 1}}));
}

TEST_F(DispatcherTest, LaneThatIsClosedWaitsNoLonger) {
  const auto subscription = Add(1, DeliveryMode::kQueued);
  sys_.Fail("map", {-ENOMEM});
  EXPECT_FALSE(OpenLane(3, 1).ok());
  EXPECT_EQ(dispatcher_->OnLaneClosed(link_, 3), 1u);
  EXPECT_EQ(dispatcher_->OnLaneClosed(link_, 3), 0u);
  EXPECT_FALSE(dispatcher_->HasWaitingLanes());
}

TEST_F(DispatcherTest, LaneOfASubscriptionThatEndsWaitsForNoMemory) {
  const auto subscription = Add(1, DeliveryMode::kQueued);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  sys_.Fail("map", {-ENOMEM, -ENOMEM});
  EXPECT_FALSE(OpenLane(3, 1).ok());
  ASSERT_TRUE(Match(7, 1, 3).ok());
  subscription->Close();
  dispatcher_->Remove(1);
  EXPECT_EQ(dispatcher_->RetryLanes().size(), 1u);
  EXPECT_EQ(Send(7, 3, 1), FrameOutcome::kHandled);
  ASSERT_EQ(subscription->Ledgers().size(), 1u);
  EXPECT_EQ(subscription->Ledgers()[0].ledger.dropped_total(), 1u);
}

TEST_F(DispatcherTest, PublishersOfAQueueThatAreGoneMakeRoomForOthers) {
  const auto subscription = Add(1, DeliveryMode::kQueued);
  ASSERT_TRUE(OpenLane(3, 1).ok());
  for (uint32_t id = 1; id <= 2 * kLinkPublishersMax; ++id) {
    ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(id)).ok()) << id;
    ASSERT_TRUE(Match(id, 1, 3, id).ok());
    v1::Unmatched unmatched;
    unmatched.set_publisher(id);
    unmatched.set_subscription(1);
    unmatched.set_until_sequence(id + 1);
    // Its one frame comes after that.
    dispatcher_->OnUnmatched(link_, unmatched);
    link_.next_sequences[3] = id + 1;
  }
}

TEST_F(DispatcherTest, OriginsBeyondTheLimitAreToldApartByTopicOnly) {
  const auto subscription = Add(1, DeliveryMode::kInline);
  DeclareMany(Dispatcher::kOriginsMax, [&](size_t number) {
    return Declared(0, std::to_string(number));
  });
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(1, "one more")).ok());
  ASSERT_TRUE(Match(1, 1, 0).ok());
  EXPECT_EQ(Send(1, 0, 1), FrameOutcome::kHandled);
  EXPECT_EQ(handled_.size(), 1u);
  const auto ledgers = subscription->Ledgers();
  ASSERT_EQ(ledgers.size(), 1u);
  EXPECT_EQ(ledgers[0].origin->topic, kTopic);
  EXPECT_EQ(ledgers[0].origin->service, "");
  EXPECT_EQ(ledgers[0].ledger.delivered, 1u);
}

TEST_F(DispatcherTest, TopicBeyondTheLimitThatNobodyHasIsTaken) {
  v1::PublisherDeclare declare = Declared(1);
  DeclareMany(Dispatcher::kOriginsMax, [&](size_t number) {
    declare.set_topic(std::to_string(number));
    return declare;
  });
  declare = Declared(1);
  declare.set_topic("one more");
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, declare).ok());
  dispatcher_->Remove(Add(1, DeliveryMode::kInline)->options().id);
  ASSERT_TRUE(Match(1, 1, 0).ok());
  EXPECT_EQ(Send(1, 0, 1), FrameOutcome::kHandled);
  const std::vector<FlowReport> reports = dispatcher_->DepartedReports("here");
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].topic, "");
  EXPECT_EQ(reports[0].ledger.dropped_for(DropReason::kSubscriberGone), 1u);
}

TEST_F(DispatcherTest, PublishersThatAreOverLeaveNothing) {
  const auto subscription = Add(1, DeliveryMode::kInline);
  const auto use = [&](uint32_t id) {
    v1::PublisherDeclare declare = Declared(id);
    declare.set_service(std::to_string(id));
    ASSERT_TRUE(dispatcher_->OnDeclare(link_, declare).ok());
    v1::Matched matched;
    matched.set_publisher(id);
    matched.set_subscription(2);  // Gone long ago.
    matched.set_lane(3);
    matched.set_from_sequence(id);
    ASSERT_TRUE(dispatcher_->OnMatched(link_, matched).ok());
    v1::Unmatched unmatched;
    unmatched.set_publisher(id);
    unmatched.set_subscription(2);
    unmatched.set_until_sequence(id + 1);
    dispatcher_->OnUnmatched(link_, unmatched);
    link_.next_sequences[3] = id + 1;
  };
  for (uint32_t id = 1; id <= 1000; ++id) use(id);
  const size_t then = dispatcher_->entry_count();
  for (uint32_t id = 1001; id <= 20'000; ++id) use(id);
  EXPECT_LE(dispatcher_->entry_count(), then + 200);
  EXPECT_LT(then, 500u);
}

TEST_F(DispatcherTest, FrameForAnotherQueueThanItsLaneFeedsIsCorrupt) {
  const auto first = Add(1, DeliveryMode::kQueued);
  const auto second = Add(2, DeliveryMode::kQueued);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  ASSERT_TRUE(OpenLane(3, 1).ok());
  ASSERT_TRUE(Match(7, 2, 3).ok());
  EXPECT_EQ(Send(7, 3, 1), FrameOutcome::kCorrupt);
}

TEST_F(DispatcherTest, QueuedFrameKeepsTheOriginThatItCameWith) {
  const auto subscription = Add(1, DeliveryMode::kQueued);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7, "before")).ok());
  ASSERT_TRUE(OpenLane(3, 1).ok());
  ASSERT_TRUE(Match(7, 1, 3).ok());
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7, "after")).ok());
  EXPECT_EQ(Send(7, 3, 1), FrameOutcome::kTaken);
  (void)dispatcher_->RemoveLink(link_);
  ASSERT_TRUE(subscription->RunNext());
  std::vector<std::string> services;
  for (const auto& flow : subscription->Ledgers()) {
    services.push_back(flow.origin->service);
    EXPECT_EQ(flow.ledger.delivered, flow.origin->service == "after");
  }
  std::sort(services.begin(), services.end());
  EXPECT_EQ(services, (std::vector<std::string>{"after", "before"}));
}

TEST_F(DispatcherTest, OneMatchBeyondTheLimitIsRefused) {
  const auto subscription = Add(1, DeliveryMode::kInline);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
  for (uint64_t from = 1; from <= kPublisherMatchesMax; ++from) {
    ASSERT_TRUE(Match(7, 1, 0, from).ok());
  }
  EXPECT_EQ(Match(7, 1, 0, kPublisherMatchesMax + 1).code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(DispatcherTest, NameBeyondTheLimitIsRefused) {
  const std::string longest(LinkPublishers::kNameBytesMax, 's');
  EXPECT_TRUE(dispatcher_->OnDeclare(link_, Declared(7, longest)).ok());
  EXPECT_EQ(dispatcher_->OnDeclare(link_, Declared(8, longest + "s")).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(DispatcherTest, FrameThatOneCouldNotTakeIsHandledOnceByTheOthers) {
  (void)Add(1, DeliveryMode::kInline);
  const auto busy = Add(2, DeliveryMode::kInline);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(1)).ok());
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(2)).ok());
  ASSERT_TRUE(OpenLane(7, 2).ok());
  for (const uint32_t subscription : {1, 2}) {
    ASSERT_TRUE(Match(1, subscription, /*lane=*/0).ok());
  }
  ASSERT_TRUE(Match(2, 2, /*lane=*/7).ok());
  ASSERT_EQ(busy->gate().TryEnter(), Gate::Entry::kEntered);
  uint64_t sequence = 0;
  while (Send(1, /*lane=*/0, ++sequence) == FrameOutcome::kTaken) continue;
  // Offered again and again, as lanes are that wait for others too.
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(Send(1, /*lane=*/0, sequence), FrameOutcome::kNotNow);
  }
  // A frame of another lane, which does not wait for the first.
  EXPECT_EQ(Send(2, /*lane=*/7, 1), FrameOutcome::kNotNow);
  EXPECT_EQ(link_.resumes, 0);
  busy->Leave();
  EXPECT_EQ(link_.resumes, 2) << "once for each lane";
  ASSERT_EQ(link_.handled.size(), 1u);
  EXPECT_EQ(link_.handled[0].position, 64 * (sequence - 1));
  EXPECT_NE(Send(1, /*lane=*/0, sequence), FrameOutcome::kNotNow);
  EXPECT_NE(Send(2, /*lane=*/7, 1), FrameOutcome::kNotNow);
  const auto times = [this](uint32_t subscription) {
    return static_cast<uint64_t>(std::count_if(
        handled_.begin(), handled_.end(),
        [&](const Handled& h) { return h.subscription == subscription; }));
  };
  EXPECT_EQ(times(1), sequence);
  EXPECT_EQ(times(2), sequence + 1);
}

}  // namespace
}  // namespace mycelium
