#include "mycelium/routing/subscription.h"

#include <memory>
#include <set>

#include "gtest/gtest.h"

namespace mycelium {
namespace {

LaneRule RuleOfDepth(size_t depth) {
  RouteSettings settings;
  settings.overflow = Overflow::kDropOldest;
  settings.depth = static_cast<int64_t>(depth);
  return LaneRule::Of(settings);
}

// The lossless lane is one of them.
TEST(SubscriptionTest, LanesOfDifferentRulesAreMadeUpToTheLimit) {
  Subscription::Options options;
  options.service = "reader";
  options.topic = "readings";
  options.mode = DeliveryMode::kQueued;
  options.lane_bytes = 4096;
  options.frame_bytes_max = 1024;
  const std::shared_ptr<Subscription> subscription =
      *Subscription::Create(Environment::Real(), options, /*handler=*/nullptr,
                            [](LogLevel, absl::string_view) {});
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

}  // namespace
}  // namespace mycelium
