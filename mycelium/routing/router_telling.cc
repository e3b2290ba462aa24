// The part of Router that tells peers of publishers, matches and refusals.
#include <algorithm>
#include <string>
#include <vector>

#include "mycelium/routing/router.h"
#include "mycelium/routing/schema_mismatch.h"

namespace mycelium {

v1::Control Router::DeclarationOf(const Publisher& publisher) {
  const Origin& origin = publisher.fan_out->origin();
  v1::Control control;
  v1::PublisherDeclare& declare = *control.mutable_publisher();
  declare.set_publisher(publisher.fan_out->options().publisher_id);
  declare.set_service(origin.service);
  declare.set_topic(origin.topic);
  declare.set_type(origin.type);
  declare.set_type_digest(std::string(origin.digest.bytes()));
  declare.set_target_service(origin.target_service);
  return control;
}

std::string Router::TextFor(const Link& link, const MessageType& type) {
  if (resuming_.count(&link) > 0) {  // It may be lost, or be said again.
    return SendableCanonicalText(type.canonical_text);
  }
  ConnectionTexts& said = texts_said_[&link];
  if (said.Has(type.digest)) return "";
  std::string text = SendableCanonicalText(type.canonical_text);
  if (!text.empty()) said.Send(type.digest, text.size());
  return text;
}

void Router::ForgetTexts(const Link& link) {
  texts_said_.erase(&link);
  resuming_.erase(&link);
}

void Router::AwaitRepeat(const Link& link) {
  MutexLock lock(mutex_);
  ForgetTexts(link);
  resuming_.insert(&link);
}

void Router::TellOfFlows(const Publisher& publisher,
                         absl::Span<Flow* const> flows) {
  Link& link = *flows[0]->link;
  v1::Control control = DeclarationOf(publisher);
  if (std::any_of(flows.begin(), flows.end(), [&](const Flow* flow) {
        return flow->reads != publisher.type.digest;
      })) {
    control.mutable_publisher()->set_canonical_text(
        TextFor(link, publisher.type));
  }
  link.SendControl(control);
  for (Flow* const flow : flows) TellOfMatch(publisher, *flow);
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

void Router::SendRefused(const Publisher& publisher, Remote& remote,
                         Refusal refusal) {
  const bool has_text = remote.text != nullptr || remote.text_wanted;
  if (refusal == Refusal::kAsks && has_text) return;  // The answer is for all.
  const bool differs =
      refusal == Refusal::kStands && !MayRead(publisher.type, remote);
  if (differs || refusal == Refusal::kAsks) {
    remote.text_wanted = remote.text == nullptr;
  }
  v1::Control control;
  v1::SubscribeRefused& refused = *control.mutable_subscribe_refused();
  refused.set_subscription(remote.subscribe.subscription());
  refused.set_publisher(publisher.fan_out->options().publisher_id);
  refused.set_over(refusal == Refusal::kIsOver);
  refused.set_asks(refusal == Refusal::kAsks);
  if (differs) {
    refused.set_has_text(has_text);
    refused.set_type_digest(std::string(publisher.type.digest.bytes()));
    refused.set_canonical_text(TextFor(*remote.link, publisher.type));
  } else if (refusal == Refusal::kStands) {
    refused.set_service(publisher.schema.service);
    refused.set_service_digest(publisher.schema.digest);
  }
  remote.link->SendControl(control);
}

void Router::Repeat(Link& link) {
  MutexLock lock(mutex_);
  ForgetTexts(link);
  TellOfLeft(link);
  for (auto& [serial, remote] : remotes_) {
    if (remote.link != &link || remote.is_orphan) continue;
    remote.said = false;
    remote.text_wanted = false;
    if (!remote.lacks.empty()) SendLacks(remote);
  }
  for (const auto& [topic, publishers] : publishers_) {
    for (const auto& publisher : publishers) {
      std::vector<Flow*> told;
      for (Flow& flow : publisher->flows) {
        if (flow.link == &link && flow.told) told.push_back(&flow);
      }
      if (!told.empty()) TellOfFlows(*publisher, told);
      const uint32_t id = publisher->fan_out->options().publisher_id;
      for (auto& [serial, remote] : remotes_) {
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
