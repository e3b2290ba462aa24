#ifndef MYCELIUM_ROUTING_LANE_RULE_H_
#define MYCELIUM_ROUTING_LANE_RULE_H_

#include <cstddef>
#include <optional>
#include <tuple>

#include "mycelium/topology/settings.h"
#include "mycelium/transport/lane/lossy_stage.h"

namespace mycelium {

// What decides into which lane of a subscription a publisher's messages go:
// publishers with equal rules share one.
struct LaneRule {
  bool own = false;  // Shares no lane with other subscriptions.
  bool lossy = false;
  bool drop_newest = false;
  size_t depth = 0;   // Of a lossy lane.
  size_t window = 0;  // Of a lossy lane that a link sends.

  static LaneRule Of(const RouteSettings& settings) {
    LaneRule rule;
    switch (settings.overflow) {
      case Overflow::kBlock:
      case Overflow::kFail:
        return rule;
      case Overflow::kDisconnect:
        rule.own = true;
        return rule;
      case Overflow::kDropNewest:
      case Overflow::kDropOldest:
        rule.depth = static_cast<size_t>(settings.depth);
        rule.window = static_cast<size_t>(settings.window);
        break;
      case Overflow::kLatest:  // More frames on their way would be older ones.
        rule.depth = rule.window = 1;
        break;
    }
    rule.lossy = rule.own = true;
    rule.drop_newest = settings.overflow == Overflow::kDropNewest;
    return rule;
  }

  std::optional<LossyStage::Options> stage() const {
    if (!lossy) return std::nullopt;
    LossyStage::Options options;
    options.depth = depth;
    options.drop_newest = drop_newest;
    return options;
  }

  bool operator<(const LaneRule& other) const {
    return std::tie(own, lossy, drop_newest, depth, window) <
           std::tie(other.own, other.lossy, other.drop_newest, other.depth,
                    other.window);
  }
  bool operator==(const LaneRule& other) const {
    return !(*this < other) && !(other < *this);
  }
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_LANE_RULE_H_
