// The part of Router that is about the lane that lossless inline subscriptions
// of a peer share, when another process has taken the peer's place.
#include <utility>

#include "mycelium/routing/router.h"

namespace mycelium {

void Router::ReleaseSharedLane(Link& link) {
  const auto entry = shared_lanes_.find(&link);
  if (entry == shared_lanes_.end() || !entry->second.parked) return;
  SharedLane& shared = entry->second;
  bool is_used = false;
  for (const auto& [serial, remote] : remotes_) {
    if (remote.link != &link) continue;
    for (const auto& [rule, lane] : remote.lanes) {
      if (lane != shared.lane) continue;
      // What is in it for that one would pass the others' handlers by.
      if (remote.is_orphan) return;
      is_used = true;
    }
  }
  // Nobody would have it sent, and who waits for it would do so for ever.
  if (!is_used) return DropSharedLane(link);
  shared.parked = false;
  TellOfLeft(link);
  link.AdoptLane(*shared.lane, 0);
}

void Router::DropSharedLane(Link& link) {
  const auto entry = shared_lanes_.find(&link);
  const std::shared_ptr<Lane> lane = std::move(entry->second.lane);
  shared_lanes_.erase(entry);
  for (auto& [topic, publishers] : publishers_) {
    for (auto& publisher : publishers) {
      EndFlows(*publisher, DropReason::kSubscriberGone,
               [&](const Flow& flow) { return flow.lane == lane; });
    }
  }
  link.DropLane(*lane);
}

void Router::NoteLeft(const Publisher& publisher, const Flow& flow) {
  const auto shared = shared_lanes_.find(flow.link);
  if (shared == shared_lanes_.end() || shared->second.lane != flow.lane) return;
  shared->second.left[publisher.fan_out->options().publisher_id] = {
      DeclarationOf(publisher), flow.lane->Mark()};
}

void Router::TellOfLeft(Link& link) {
  const auto entry = shared_lanes_.find(&link);
  if (entry == shared_lanes_.end() || entry->second.parked) return;
  SharedLane& shared = entry->second;
  for (auto left = shared.left.begin(); left != shared.left.end();) {
    if (shared.lane->IsOver(left->second.mark)) {
      left = shared.left.erase(left);
      continue;
    }
    link.SendControl(left->second.declaration);
    // With nobody, so that the peer forgets the publisher when that is over.
    v1::Control control;
    control.mutable_matched()->set_publisher(left->first);
    control.mutable_matched()->set_from_sequence(1);
    link.SendControl(control);
    control.mutable_unmatched()->set_publisher(left->first);
    control.mutable_unmatched()->set_until_sequence(
        shared.lane->NextSequence());
    link.SendControl(control);
    ++left;
  }
}

}  // namespace mycelium
