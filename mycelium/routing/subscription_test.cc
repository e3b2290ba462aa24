#include "mycelium/routing/subscription.h"

#include <pthread.h>

#include <functional>
#include <memory>
#include <set>
#include <thread>
#include <utility>

#include "gtest/gtest.h"
#include "mycelium/codec/frame_encoder.h"
#include "mycelium/routing/local_frame.h"
#include "mycelium/routing/local_lane.h"
#include "tests/support/sleeping_thread.h"

namespace mycelium {
namespace {

LaneRule RuleOfDepth(size_t depth) {
  RouteSettings settings;
  settings.overflow = Overflow::kDropOldest;
  settings.depth = static_cast<int64_t>(depth);
  return LaneRule::Of(settings);
}

std::shared_ptr<Subscription> MakeQueued(MessageHandler handler = nullptr) {
  Subscription::Options options;
  options.service = "reader";
  options.topic = "readings";
  options.mode = DeliveryMode::kQueued;
  options.lane_bytes = 4096;
  options.frame_bytes_max = 1024;
  return *Subscription::Create(Environment::Real(), options, std::move(handler),
                               [](LogLevel, absl::string_view) {});
}

// The lossless lane is one of them.
TEST(SubscriptionTest, LanesOfDifferentRulesAreMadeUpToTheLimit) {
  const std::shared_ptr<Subscription> subscription = MakeQueued();
  std::set<Lane*> lanes = {&subscription->lane()};
  for (size_t depth = 1; depth < Subscription::kLanesMax; ++depth) {
    const absl::StatusOr<Lane*> lane =
        subscription->LaneFor(RuleOfDepth(depth));
    ASSERT_TRUE(lane.ok()) << lane.status();
    EXPECT_TRUE(lanes.insert(*lane).second);
    EXPECT_EQ(*subscription->LaneFor(RuleOfDepth(depth)), *lane);
  }
  EXPECT_EQ(lanes.size(), Subscription::kLanesMax);
  EXPECT_EQ(subscription->LaneFor(RuleOfDepth(Subscription::kLanesMax))
                .status()
                .code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(*subscription->LaneFor(LaneRule()), &subscription->lane());
  subscription->Close();
}

// The next thread may get everything by which the one before was known.
TEST(SubscriptionTest, ThreadThatHasEndedTakesNoMore) {
  const std::shared_ptr<Subscription> subscription = MakeQueued();
  EXPECT_FALSE(subscription->IsConsumedByThisThread());
  pthread_t consumer;
  std::thread([&] {
    consumer = pthread_self();
    subscription->SetConsumerThread();
    EXPECT_TRUE(subscription->IsConsumedByThisThread());
  }).join();
  bool is_same = false;
  while (!is_same) {
    std::thread([&] {
      is_same = pthread_equal(consumer, pthread_self()) != 0;
      EXPECT_FALSE(subscription->IsConsumedByThisThread());
    }).join();
  }
  subscription->Close();
}

// The second thread must not think that the lanes are closed while the first is
// still about to close them: nobody would drop what comes in meanwhile.
TEST(SubscriptionTest, MessageThatIsPublishedWhileTwoCloseIsDropped) {
  const std::shared_ptr<Subscription> subscription = MakeQueued();
  const auto origin = std::make_shared<Origin>();
  const std::shared_ptr<FlowCounters> flow = subscription->FlowFrom(*origin);
  Lane& lane = subscription->lane();
  constexpr size_t kBytes = sizeof(FrameHeader) + 8;
  ASSERT_EQ(lane.TryClaim(kBytes), Lane::ClaimResult::kClaimed);
  test::SleepingThread first([&] { subscription->Shut(); });
  first.AwaitSleep();
  test::SleepingThread second([&] { subscription->Shut(); });
  second.AwaitSleep();
  FrameFields fields;
  fields.digest_prefix = OriginWord(*origin);
  (void)EncodeFrame(fields, lane.next_sequence(), 8, lane.Room());
  lane.Commit();
  first.Join();
  second.Join();
  EXPECT_TRUE(lane.empty());
  EXPECT_EQ(flow->Read().dropped_for(DropReason::kSubscriberGone), 1u);
}

// A lane of its own, which tells when its frames are released.
class WatchedFeed final : public InboundQueue::Feed {
 public:
  WatchedFeed(std::shared_ptr<LocalLane> lane, std::function<void()> on_release)
      : lane_(std::move(lane)), on_release_(std::move(on_release)) {}

  RingReader::Result Poll(FrameView* frame) override {
    return lane_->Poll(frame);
  }
  bool HasFrame() const override { return lane_->HasFrame(); }
  void Release(const FrameHeader& last) override {
    on_release_();
    lane_->Release(last);
  }

 private:
  const std::shared_ptr<LocalLane> lane_;
  const std::function<void()> on_release_;
};

// Otherwise a caller that unsubscribes would be told that the handler is done,
// and then find that its message is still in flight.
TEST(SubscriptionTest, QueuedHandlerIsNotOverBeforeItsRoomIsFree) {
  int handled = 0;
  const std::shared_ptr<Subscription> subscription =
      MakeQueued([&handled](const Payload&, const MessageInfo&) {
        ++handled;
        return MessageOutcome(true);
      });
  Lane::Options options;
  options.capacity_bytes = 4096;
  options.frame_bytes_max = 1024;
  const std::shared_ptr<LocalLane> lane = *LocalLane::Create(
      Environment::Real(), std::move(options), subscription.get());
  int released = 0;
  subscription->queue().AddFeed(std::make_shared<WatchedFeed>(lane, [&] {
    EXPECT_EQ(handled, 1);
    EXPECT_TRUE(subscription->in_handler());
    ++released;
  }));
  const auto origin = std::make_shared<Origin>();
  const std::shared_ptr<FlowCounters> flow = subscription->FlowFrom(*origin);
  ASSERT_EQ(lane->lane().TryClaim(sizeof(FrameHeader) + 8),
            Lane::ClaimResult::kClaimed);
  FrameFields fields;
  fields.digest_prefix = OriginWord(*origin);
  (void)EncodeFrame(fields, lane->lane().next_sequence(), 8,
                    lane->lane().Room());
  lane->lane().Commit();
  EXPECT_TRUE(subscription->RunNext());
  EXPECT_EQ(released, 1);
  EXPECT_FALSE(subscription->in_handler());
  EXPECT_TRUE(lane->lane().empty());
  EXPECT_EQ(flow->Read().delivered, 1u);
  subscription->Close();
}

}  // namespace
}  // namespace mycelium
