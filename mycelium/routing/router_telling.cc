// The part of Router that tells peers of publishers, matches and refusals.
#include <string>
#include <vector>

#include "mycelium/routing/router.h"
#include "mycelium/routing/schema_mismatch.h"

namespace mycelium {

v1::Control Router::DeclarationOf(const Publisher& publisher, bool with_text) {
  const Origin& origin = publisher.fan_out->origin();
  v1::Control control;
  v1::PublisherDeclare& declare = *control.mutable_publisher();
  declare.set_publisher(publisher.fan_out->options().publisher_id);
  declare.set_service(origin.service);
  declare.set_topic(origin.topic);
  declare.set_type(origin.type);
  declare.set_type_digest(std::string(origin.digest.bytes()));
  declare.set_target_service(origin.target_service);
  if (with_text) {
    declare.set_canonical_text(
        SendableCanonicalText(publisher.type.canonical_text));
  }
  return control;
}

void Router::TellOfFlow(const Publisher& publisher, Flow& flow) {
  flow.link->SendControl(DeclarationOf(
      publisher, /*with_text=*/flow.reads != publisher.type.digest));
  TellOfMatch(publisher, flow);
}

void Router::RepeatFlows(Publisher& publisher, const Link& link) {
  std::vector<Flow*> told;
  bool with_text = false;
  for (Flow& flow : publisher.flows) {
    if (flow.link != &link || !flow.told) continue;
    told.push_back(&flow);
    with_text |= flow.reads != publisher.type.digest;
  }
  if (told.empty()) return;
  // Once for all of them: a text may be long.
  told[0]->link->SendControl(DeclarationOf(publisher, with_text));
  for (Flow* const flow : told) TellOfMatch(publisher, *flow);
}

void Router::TellOfMatch(const Publisher& publisher, Flow& flow) {
  v1::Control control;
  v1::Matched& matched = *control.mutable_matched();
  matched.set_publisher(publisher.fan_out->options().publisher_id);
  matched.set_subscription(flow.subscription);
  matched.set_lane(flow.lane->id());
  matched.set_from_sequence(flow.from_sequence);
  flow.link->SendControl(control);
  flow.told = true;
  if (flow.until_sequence != 0) {
    TellOfEnd(publisher, flow, flow.until_sequence);
  }
}

void Router::TellOfEnd(const Publisher& publisher, const Flow& flow,
                       uint64_t until_sequence) const {
  // Another process may call another subscription the same.
  if (!flow.told) return;
  v1::Control control;
  v1::Unmatched& unmatched = *control.mutable_unmatched();
  unmatched.set_publisher(publisher.fan_out->options().publisher_id);
  unmatched.set_subscription(flow.subscription);
  unmatched.set_until_sequence(until_sequence);
  flow.link->SendControl(control);
}

void Router::SendRefused(const Publisher& publisher, const Remote& remote,
                         Refusal refusal) const {
  v1::Control control;
  v1::SubscribeRefused& refused = *control.mutable_subscribe_refused();
  refused.set_subscription(remote.subscribe.subscription());
  refused.set_publisher(publisher.fan_out->options().publisher_id);
  refused.set_over(refusal == Refusal::kIsOver);
  refused.set_asks(refusal == Refusal::kAsks);
  if (refusal == Refusal::kStands && MayRead(publisher.type, remote)) {
    refused.set_service(publisher.schema.service);
    refused.set_service_digest(publisher.schema.digest);
  } else if (refusal == Refusal::kStands) {
    refused.set_type_digest(std::string(publisher.type.digest.bytes()));
    refused.set_canonical_text(
        SendableCanonicalText(publisher.type.canonical_text));
  }
  remote.link->SendControl(control);
}

void Router::Repeat(Link& link) {
  MutexLock lock(mutex_);
  TellOfLeft(link);
  for (auto& [serial, remote] : remotes_) {
    if (remote.link != &link || remote.is_orphan) continue;
    remote.said = false;
    if (!remote.lacks.empty()) SendLacks(remote);
  }
  for (const auto& [topic, publishers] : publishers_) {
    for (const auto& publisher : publishers) {
      RepeatFlows(*publisher, link);
      const uint32_t id = publisher->fan_out->options().publisher_id;
      for (const auto& [serial, remote] : remotes_) {
        if (remote.link != &link || remote.is_orphan) continue;
        if (remote.refused_by.count(id) > 0) {
          SendRefused(*publisher, remote, Refusal::kStands);
        } else if (remote.asked.count(id) > 0) {
          SendRefused(*publisher, remote, Refusal::kAsks);
        }
      }
    }
  }
}

void Router::TellAwaited(const Lane& lane, v1::RoomAwaited awaited) {
  MutexLock lock(mutex_);
  for (const auto& [serial, remote] : remotes_) {
    if (remote.is_orphan) continue;
    for (const auto& [rule, opened] : remote.lanes) {
      // Of lane 0 no queue takes.
      if (opened.get() != &lane || lane.id() == 0) continue;
      awaited.set_lane(lane.id());
      v1::Control control;
      *control.mutable_room_awaited() = std::move(awaited);
      return remote.link->SendControl(control);
    }
  }
}

}  // namespace mycelium
