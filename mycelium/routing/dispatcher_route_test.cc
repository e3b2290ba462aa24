// Frames that go the way of the last one, without another look at where that
// leads: what must end that.
#include <memory>
#include <optional>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/routing/dispatcher_fixture.h"

namespace mycelium {
namespace {

class DispatcherRouteTest : public DispatcherTest {
 protected:
  void SetUp() override {
    ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7)).ok());
    ASSERT_TRUE(Match(7, 1, 0).ok());
    EXPECT_FALSE(dispatcher_->has_only_route());
    GoThatWay();
    ASSERT_TRUE(dispatcher_->has_only_route());
  }
  // Two frames, of which the second goes the way of the first, if the match has
  // no end yet.
  void GoThatWay(uint32_t publisher = 7, uint32_t lane = 0) {
    for (int i = 0; i < 2; ++i) {
      ASSERT_EQ(Send(publisher, lane, next_), FrameOutcome::kHandled);
      ASSERT_FALSE(handled_.empty());
      ASSERT_EQ(handled_.back(), (Handled{1, next_++}));
    }
    handled_.clear();
  }
  // The same in a lane that this handler has for itself.
  static constexpr uint32_t kLane = 3;
  void GoThroughALane() {
    ASSERT_TRUE(OpenLane(kLane, 1).ok());
    ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(8)).ok());
    ASSERT_TRUE(Match(8, 1, kLane).ok());
    GoThatWay(8, kLane);
    ASSERT_TRUE(dispatcher_->has_only_route());
  }

  uint64_t next_ = 1;
  const std::shared_ptr<Subscription> subscription_ =
      Add(1, DeliveryMode::kInline);
};

TEST_F(DispatcherRouteTest, FrameOfAnotherTypeIsCorrupt) {
  ++digest_prefix_;
  EXPECT_EQ(Send(7, 0, next_), FrameOutcome::kCorrupt);
  EXPECT_TRUE(handled_.empty());
}

TEST_F(DispatcherRouteTest, FrameOfAnotherPublisherIsCorrupt) {
  EXPECT_EQ(Send(8, 0, next_), FrameOutcome::kCorrupt);
  EXPECT_TRUE(handled_.empty());
}

TEST_F(DispatcherRouteTest, FrameOfAnotherLaneIsCorrupt) {
  EXPECT_EQ(Send(7, 3, next_), FrameOutcome::kCorrupt);
  EXPECT_TRUE(handled_.empty());
}

TEST_F(DispatcherRouteTest, FrameOfAnotherLinkIsCorrupt) {
  FakeLink other("elsewhere");
  FrameView frame;
  frame.header.publisher_id = 7;
  frame.header.digest_prefix = digest_prefix_;
  frame.header.lane_sequence = next_;
  EXPECT_EQ(dispatcher_->OnFrame(other, 0, frame, /*end=*/64),
            FrameOutcome::kCorrupt);
  EXPECT_TRUE(handled_.empty());
}

TEST_F(DispatcherRouteTest, FrameBehindTheEndOfTheMatchIsForNobody) {
  Unmatch(7, 1, next_ + 2);
  GoThatWay();
  EXPECT_EQ(Send(7, 0, next_), FrameOutcome::kHandled);
  EXPECT_TRUE(handled_.empty());
}

TEST_F(DispatcherRouteTest, MatchIsForgottenWithItsLastFrame) {
  // A frame that takes the long way, which leaves an entry for the lane.
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(8)).ok());
  ASSERT_TRUE(Match(8, 1, 0, /*from=*/99).ok());
  EXPECT_EQ(Send(8, 0, next_++), FrameOutcome::kHandled);
  GoThatWay();
  const size_t before = dispatcher_->entry_count();
  Unmatch(7, 1, next_ + 1);
  EXPECT_EQ(Send(7, 0, next_), FrameOutcome::kHandled);
  EXPECT_EQ(handled_, (std::vector<Handled>{{1, next_}}));
  EXPECT_EQ(dispatcher_->entry_count(), before - 1);
}

TEST_F(DispatcherRouteTest, MatchThatEndedBeforeAnyFrameGetsNone) {
  Unmatch(7, 1, /*until=*/0);
  EXPECT_EQ(Send(7, 0, next_), FrameOutcome::kHandled);
  EXPECT_TRUE(handled_.empty());
}

TEST_F(DispatcherRouteTest, FrameBeforeTheMatchIsForNobody) {
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(8)).ok());
  ASSERT_TRUE(Match(8, 1, 0, /*from=*/10).ok());
  EXPECT_EQ(Send(8, 0, 10), FrameOutcome::kHandled);
  EXPECT_EQ(handled_, (std::vector<Handled>{{1, 10}}));
  // No sound peer goes back, but this one may.
  EXPECT_EQ(Send(8, 0, 9), FrameOutcome::kHandled);
  EXPECT_EQ(handled_, (std::vector<Handled>{{1, 10}}));
}

TEST_F(DispatcherRouteTest, AnotherMatchGetsItToo) {
  const auto second = Add(2, DeliveryMode::kInline);
  ASSERT_TRUE(Match(7, 2, 0, next_).ok());
  EXPECT_EQ(Send(7, 0, next_), FrameOutcome::kHandled);
  EXPECT_EQ(handled_, (std::vector<Handled>{{1, next_}, {2, next_}}));
}

TEST_F(DispatcherRouteTest, FrameBehindOneThatWaitsIsReportedAfterIt) {
  const auto busy = Add(2, DeliveryMode::kInline);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(8)).ok());
  ASSERT_TRUE(Match(8, 1, 0, next_).ok());
  ASSERT_TRUE(Match(8, 2, 0, next_).ok());
  GoThatWay();
  ASSERT_EQ(busy->gate().TryEnter(), Gate::Entry::kEntered);
  const uint64_t waiting = next_++;
  EXPECT_EQ(Send(8, 0, waiting), FrameOutcome::kTaken);
  EXPECT_EQ(Send(7, 0, next_), FrameOutcome::kTaken);
  EXPECT_EQ(handled_, (std::vector<Handled>{{1, waiting}, {1, next_}}));
  EXPECT_TRUE(link_.handled.empty());
  busy->Leave();
  EXPECT_EQ(handled_.back(), (Handled{2, waiting}));
  ASSERT_FALSE(link_.handled.empty());
  EXPECT_EQ(link_.handled.back().position, 64 * next_);
}

// The frame waits for its handler while that handler runs: the way was found,
// and does not lead there.
TEST_F(DispatcherRouteTest, FrameThatFindsItsHandlerBusyIsNotOvertaken) {
  in_handler_ = [&] {
    if (handled_.size() > 1) return;
    EXPECT_EQ(Send(7, 0, next_ + 1), FrameOutcome::kTaken);
    EXPECT_EQ(Send(7, 0, next_ + 2), FrameOutcome::kTaken);
  };
  dispatcher_->BeginFrames();
  EXPECT_EQ(Send(7, 0, next_), FrameOutcome::kHandled);
  EXPECT_EQ(Send(7, 0, next_ + 3), FrameOutcome::kHandled);
  dispatcher_->EndFrames();
  EXPECT_EQ(handled_,
            (std::vector<Handled>{
                {1, next_}, {1, next_ + 1}, {1, next_ + 2}, {1, next_ + 3}}));
}

// The one that could not take it is not matched any more when it is offered
// again, so only the one that has it is left.
TEST_F(DispatcherRouteTest, FrameIsNotHandledAgainByTheOnlyOneLeft) {
  const auto busy = Add(2, DeliveryMode::kInline);
  ASSERT_TRUE(Match(7, 2, 0, next_).ok());
  ASSERT_EQ(busy->gate().TryEnter(), Gate::Entry::kEntered);
  while (Send(7, 0, next_) == FrameOutcome::kTaken) ++next_;
  ASSERT_EQ(handled_.back(), (Handled{1, next_}));
  dispatcher_->AwaitMatches(link_);
  ASSERT_TRUE(Match(7, 1, 0).ok());
  dispatcher_->EndOfMatches(link_);
  busy->Leave();
  handled_.clear();
  EXPECT_EQ(Send(7, 0, next_), FrameOutcome::kHandled);
  EXPECT_TRUE(handled_.empty());
  ++next_;
  GoThatWay();
}

TEST_F(DispatcherRouteTest, FrameForAQueueIsCorruptWhereHandlersAreCalled) {
  const auto queued = Add(2, DeliveryMode::kQueued);
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(8)).ok());
  ASSERT_TRUE(Match(8, 2, 0).ok());
  EXPECT_EQ(Send(8, 0, next_), FrameOutcome::kCorrupt);
  EXPECT_TRUE(handled_.empty());
}

TEST_F(DispatcherRouteTest, FrameOfALaneThatHasClosedIsCorrupt) {
  GoThroughALane();
  EXPECT_EQ(dispatcher_->OnLaneClosed(link_, kLane), 0u);
  EXPECT_EQ(Send(8, kLane, next_), FrameOutcome::kCorrupt);
  EXPECT_TRUE(handled_.empty());
}

// No sound peer opens a lane twice, but this one may.
TEST_F(DispatcherRouteTest, FrameOfALaneThatLeadsIntoAQueueNowIsCorrupt) {
  GoThroughALane();
  const auto queued = Add(2, DeliveryMode::kQueued);
  ASSERT_TRUE(OpenLane(kLane, 2).ok());
  EXPECT_EQ(Send(8, kLane, next_), FrameOutcome::kCorrupt);
  EXPECT_TRUE(handled_.empty());
}

TEST_F(DispatcherRouteTest, FrameOfTheSamePublisherInAnotherLaneIsForNobody) {
  GoThroughALane();
  EXPECT_EQ(Send(8, 0, next_), FrameOutcome::kHandled);
  EXPECT_TRUE(handled_.empty());
}

TEST_F(DispatcherRouteTest, PublisherThatIsDeclaredAgainIsCalledByItsNewName) {
  EXPECT_EQ(last_service_, "feed");
  ASSERT_TRUE(dispatcher_->OnDeclare(link_, Declared(7, "another")).ok());
  GoThatWay();
  EXPECT_EQ(last_service_, "another");
}

TEST_F(DispatcherRouteTest, WhoGetsFramesOfOneAmongOthersHasNoRoute) {
  const auto second = Add(2, DeliveryMode::kInline);
  ASSERT_TRUE(Match(7, 2, 0, next_).ok());
  EXPECT_EQ(Send(7, 0, next_++), FrameOutcome::kHandled);
  EXPECT_FALSE(dispatcher_->has_only_route());
}

TEST_F(DispatcherRouteTest, FrameForWhoHasUnsubscribedIsDropped) {
  subscription_->Close();
  EXPECT_EQ(Send(7, 0, next_), FrameOutcome::kHandled);
  EXPECT_TRUE(handled_.empty());
  const auto flows = subscription_->Ledgers();
  ASSERT_EQ(flows.size(), 1u);
  EXPECT_EQ(flows[0].ledger.delivered, 2u);
  EXPECT_EQ(flows[0].ledger.dropped_for(DropReason::kSubscriberGone), 1u);
}

TEST_F(DispatcherRouteTest, NothingOfALinkThatIsGoneIsTaken) {
  (void)dispatcher_->RemoveLink(link_);
  EXPECT_EQ(Send(7, 0, next_), FrameOutcome::kCorrupt);
  EXPECT_TRUE(handled_.empty());
}

}  // namespace
}  // namespace mycelium
