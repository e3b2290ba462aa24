// The part of Router that is about subscriptions of peers: how they come, what
// becomes of their lanes when their process dies, and how they end.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/planted_bug.h"
#include "mycelium/routing/router.h"
#include "mycelium/transport/lane/refit.h"

namespace mycelium {

Router::Remote* Router::FindRemote(const Link& link, uint32_t subscription) {
  for (auto& [serial, remote] : remotes_) {
    if (remote.link == &link && !remote.is_orphan &&
        remote.subscribe.subscription() == subscription) {
      return &remote;
    }
  }
  return nullptr;
}

void Router::AddRemote(Link& link, const v1::Subscribe& subscribe) {
  if (const size_t bytes =
          subscribe.ByteSizeLong() - subscribe.canonical_text().size();
      bytes > kSubscribeBytesMax) {
    return Refuse(link, subscribe,
                  absl::StrCat("its names and what else it asks for have ",
                               bytes, " bytes; at most ", kSubscribeBytesMax));
  }
  Deferred deferred;
  {
    MutexLock lock(mutex_);
    if (Remote* const known = FindRemote(link, subscribe.subscription())) {
      known->said = true;  // Again, on another connection.
      return;
    }
    bool is_adopted = false;
    for (auto& [serial, remote] : remotes_) {
      if (remote.link != &link || !remote.is_orphan ||
          remote.subscribe.service() != subscribe.service() ||
          remote.subscribe.topic() != subscribe.topic() ||
          remote.subscribe.name() != subscribe.name()) {
        continue;
      }
      if (Adopt(remote, subscribe)) {
        Rematch(subscribe.topic(), &deferred);
        is_adopted = true;
      } else {
        EndRemote(serial, DropReason::kSubscriberGone, &deferred);
      }
      ReleaseSharedLane(link);
      break;
    }
    if (!is_adopted && HasTooMany(link)) {
      Refuse(link, subscribe,
             absl::StrCat("there are ", kRemotesMax,
                          " subscriptions of this node already, which is the "
                          "most"));
    } else if (!is_adopted) {
      AddNewRemote(link, subscribe, &deferred);
    }
  }
  RunDeferred(&deferred);
}

bool Router::HasTooMany(const Link& link) const {
  size_t count = 0;
  for (const auto& [serial, remote] : remotes_) count += remote.link == &link;
  return count >= kRemotesMax;
}

// Only the peer is told, whose doing it is.
void Router::Refuse(Link& link, const v1::Subscribe& subscribe,
                    const std::string& reason) {
  v1::Control control;
  v1::SubscribeRefused& refused = *control.mutable_subscribe_refused();
  refused.set_subscription(subscribe.subscription());
  refused.set_publisher(kAllPublishers);
  refused.set_reason(reason);
  link.SendControl(control);
}

void Router::AddNewRemote(Link& link, const v1::Subscribe& subscribe,
                          Deferred* deferred) {
  Remote& remote = remotes_[next_remote_];
  remote.serial = next_remote_++;
  remote.link = &link;
  SetSubscribe(remote, subscribe);
  remote.drops = std::make_shared<FlowTable>(callbacks_.on_drop);
  Rematch(subscribe.topic(), deferred);
}

bool Router::Adopt(Remote& orphan, const v1::Subscribe& subscribe) {
  // What lies in the lanes must be what the new process would ask for.
  const v1::Subscribe& old = orphan.subscribe;
  if (!MayReadWhatIsKept(orphan, subscribe) ||
      old.service_digest() != subscribe.service_digest() ||
      old.delivery() != subscribe.delivery() ||
      old.overflow() != subscribe.overflow() ||
      old.depth() != subscribe.depth() || old.window() != subscribe.window()) {
    return false;
  }
  orphan.is_orphan = false;
  orphan.said = true;
  SetSubscribe(orphan, subscribe);
  orphan.refused_by.clear();
  orphan.asked.clear();
  for (auto& publisher : PublishersTo(subscribe.topic())) {
    for (Flow& flow : publisher->flows) {
      if (flow.remote != orphan.serial) continue;
      flow.subscription = subscribe.subscription();
      flow.reads = orphan.digest;
      TellOfFlows(*publisher, {&flow});
    }
  }
  for (const auto& [rule, lane] : orphan.lanes) {
    if (lane->id() != 0) {
      orphan.link->AdoptLane(*lane, subscribe.subscription());
    }
  }
  return true;
}

void Router::EndRemote(uint64_t serial, DropReason reason, Deferred* deferred) {
  const auto entry = remotes_.find(serial);
  Link& link = *entry->second.link;
  const std::string topic = entry->second.subscribe.topic();
  const auto lanes = std::move(entry->second.lanes);
  remotes_.erase(entry);
  Rematch(topic, deferred);  // No route leads there any more.
  for (auto& publisher : PublishersTo(topic)) {
    EndFlows(*publisher, reason,
             [serial](const Flow& flow) { return flow.remote == serial; });
  }
  ForgetClosed(topic);
  for (const auto& [rule, lane] : lanes) {
    if (lane->id() != 0) link.DropLane(*lane);
  }
}

void Router::Orphan(Link& link, TimeNs deadline) {
  Deferred deferred;
  {
    MutexLock lock(mutex_);
    ForgetTexts(link);
    std::set<uint64_t> kept;
    std::vector<std::shared_ptr<Lane>> over;
    for (auto entry = remotes_.begin(); entry != remotes_.end();) {
      Remote& remote = (entry++)->second;
      if (remote.link != &link) continue;
      if (remote.disconnected) {  // It was not to get any more.
        for (const auto& [rule, lane] : remote.lanes) over.push_back(lane);
        remotes_.erase(remote.serial);
        continue;
      }
      kept.insert(remote.serial);
      // One that was opened since the link has parked the others.
      for (const auto& [rule, lane] : remote.lanes) link.ParkLane(*lane);
      if (remote.is_orphan) continue;  // Since an earlier process.
      remote.is_orphan = true;
      remote.deadline = deadline;
      remote.refused_by.clear();  // Nobody is there to hear that it is over.
      remote.asked.clear();
      remote.lacks.clear();
    }
    // Of subscriptions that had ended: nobody will ask for what they had left.
    for (auto entry = publishers_.begin(); entry != publishers_.end();) {
      const std::string topic = entry->first;
      const auto& publishers = (entry++)->second;  // It may be forgotten.
      for (const auto& publisher : publishers) {
        for (Flow& flow : publisher->flows) flow.told &= flow.link != &link;
        EndFlows(*publisher, DropReason::kSubscriberGone,
                 [&](const Flow& flow) {
                   return flow.link == &link && kept.count(flow.remote) == 0;
                 });
      }
      Rematch(topic, &deferred);
    }
    for (const auto& lane : over) {
      if (lane->id() != 0) link.DropLane(*lane);
    }
    if (const auto shared = shared_lanes_.find(&link);
        shared != shared_lanes_.end()) {
      shared->second.parked = true;
    }
    ReleaseSharedLane(link);
    DropPoison(link);
    DropTooLarge(link);
  }
  RunDeferred(&deferred);
}

TimeNs Router::DropOrphans(Link& link, TimeNs now) {
  Deferred deferred;
  TimeNs next = kNever;
  {
    MutexLock lock(mutex_);
    std::vector<uint64_t> over;
    for (const auto& [serial, remote] : remotes_) {
      if (remote.link != &link || !remote.is_orphan) continue;
      if (remote.deadline <= now) {
        over.push_back(serial);
      } else {
        next = std::min(next, remote.deadline);
      }
    }
    for (const uint64_t serial : over) {
      EndRemote(serial, DropReason::kSubscriberGone, &deferred);
    }
    ReleaseSharedLane(link);
  }
  RunDeferred(&deferred);
  return next;
}

void Router::DropPoison(Link& link) {
  std::vector<Lane*> lanes;
  for (const auto& [serial, remote] : remotes_) {
    if (remote.link != &link) continue;
    for (const auto& [rule, lane] : remote.lanes) lanes.push_back(lane.get());
  }
  for (Lane* const lane : lanes) {
    FrameHeader poison;
    if (!lane->TakePoison(callbacks_.redeliver_max, &poison)) continue;
    CountOneDropped(*lane, poison, DropReason::kPoison);
    if (callbacks_.on_drop != nullptr) callbacks_.on_drop();
  }
}

void Router::DropTooLarge(Link& link) {
  // A lane that goes on has no frame that the process which is there now does
  // not take, so that none is sent to it in vain, again and again.
  for (const auto& [serial, remote] : remotes_) {
    if (remote.link != &link) continue;
    for (const auto& [rule, lane] : remote.lanes) {
      const std::vector<FrameHeader> taken_out =
          lane->Refit(link.frame_bytes_max());
      if (!taken_out.empty()) CountTakenOut(*lane, taken_out);
    }
  }
}

void Router::CountLost(const Lane& lane,
                       const std::vector<FrameHeader>& frames) {
  MutexLock lock(mutex_);
  for (const FrameHeader& frame : frames) {
    CountOneDropped(lane, frame, DropReason::kUndecodable);
  }
  if (callbacks_.on_drop != nullptr) callbacks_.on_drop();
}

void Router::CountOneDropped(const Lane& lane, const FrameHeader& frame,
                             DropReason reason) {
  // Each flow of its publisher has accepted it. If no publisher there has its
  // number, which may be damaged, it is taken for another one's.
  std::vector<Flow*> of_another;
  bool is_known = false;
  for (auto& [topic, publishers] : publishers_) {
    for (auto& publisher : publishers) {
      const bool is_its =
          publisher->fan_out->options().publisher_id == frame.publisher_id;
      std::vector<Flow*> flows;
      for (Flow& flow : publisher->flows) {
        if (flow.lane.get() == &lane && flow.Has(frame.lane_sequence)) {
          flows.push_back(&flow);
        }
      }
      if (flows.empty()) continue;
      is_known |= is_its;
      if (is_its) {
        for (Flow* const flow : flows) flow->counters->CountDropped(reason, 1);
      } else {
        of_another = std::move(flows);
      }
    }
  }
  if (is_known) return;
  for (Flow* const flow : of_another) flow->counters->CountDropped(reason, 1);
}

void Router::CountTakenOut(const Lane& lane,
                           const std::vector<FrameHeader>& taken_out) {
  for (auto& [topic, publishers] : publishers_) {
    for (auto& publisher : publishers) {
      const uint32_t id = publisher->fan_out->options().publisher_id;
      for (Flow& flow : publisher->flows) {
        if (flow.lane.get() != &lane) continue;
        const auto lost = std::count_if(
            taken_out.begin(), taken_out.end(), [&](const FrameHeader& frame) {
              return frame.publisher_id == id && flow.Has(frame.lane_sequence);
            });
        flow.counters->CountDropped(DropReason::kTooLarge,
                                    static_cast<uint64_t>(lost));
        if (flow.lane->stage() != nullptr) continue;
        for (uint64_t* const bound :
             {&flow.from_sequence, &flow.until_sequence}) {
          if (*bound != 0) *bound = SequenceAfterRefit(taken_out, *bound);
        }
      }
    }
  }
  if (callbacks_.on_drop != nullptr) callbacks_.on_drop();
}

void Router::RemoveRemote(Link& link, uint32_t subscription) {
  Deferred deferred;
  {
    MutexLock lock(mutex_);
    Remote* const remote = FindRemote(link, subscription);
    if (remote == nullptr) return;
    const std::string topic = remote->subscribe.topic();
    const auto lanes = std::move(remote->lanes);
    remotes_.erase(remote->serial);
    Rematch(topic, &deferred);  // Nothing is accepted for it from here on.
    for (const auto& [rule, lane] : lanes) {
      if (lane->id() != 0) link.CloseLane(*lane);
    }
  }
  RunDeferred(&deferred);
}

void Router::Disconnect(const Lane& lane) {
  Deferred deferred;
  {
    MutexLock lock(mutex_);
    for (auto& [serial, remote] : remotes_) {
      for (const auto& [rule, opened] : remote.lanes) {
        if (opened.get() != &lane || remote.disconnected) continue;
        remote.disconnected = true;
        Rematch(remote.subscribe.topic(), &deferred);
        remote.link->CloseLane(lane, remote.subscribe.subscription());
      }
    }
    for (auto& [topic, locals] : locals_) {
      for (const auto& local : locals) {
        const std::vector<Lane*> lanes = local->Lanes();
        if (std::count(lanes.begin(), lanes.end(), &lane) == 0) continue;
        if (!disconnected_.insert(local->options().id).second) continue;
        Rematch(topic, &deferred);
        SettleLocal(*local);
        deferred.push_back([this, local = local] {
          callbacks_.on_local_refusal(
              *local, /*publisher=*/0,
              DisconnectedError(local->options().topic, "this node"));
        });
      }
    }
  }
  RunDeferred(&deferred);
}

void Router::SettleLocal(const Subscription& subscription) {
  // No route leads there any more, so nothing is accepted from here on. What
  // a handler still has may be counted later.
  for (auto& publisher : PublishersTo(subscription.options().topic)) {
    for (Flow& flow : publisher->flows) {
      if (flow.local.get() != &subscription || flow.until_sequence != 0) {
        continue;
      }
      flow.until_sequence = flow.lane->NextSequence();
    }
    ForgetDrained(*publisher);
  }
}

void Router::RemoveLink(Link& link, DropReason reason) {
  Deferred deferred;
  {
    MutexLock lock(mutex_);
    ForgetTexts(link);
    std::set<std::string> topics;  // Refusals end, too.
    for (auto entry = remotes_.begin(); entry != remotes_.end();) {
      if (entry->second.link != &link) {
        ++entry;
        continue;
      }
      topics.insert(entry->second.subscribe.topic());
      entry = remotes_.erase(entry);
    }
    for (const auto& [topic, publishers] : publishers_) {
      for (const auto& publisher : publishers) {
        for (const Flow& flow : publisher->flows) {
          if (flow.link == &link) topics.insert(topic);
        }
      }
    }
    for (const std::string& topic : topics) {
      Rematch(topic, &deferred);
      // No route leads there any more, so what is in the lanes is all.
      for (const auto& publisher : PublishersTo(topic)) {
        EndFlows(*publisher, reason,
                 [&](const Flow& flow) { return flow.link == &link; });
      }
      ForgetClosed(topic);
    }
    shared_lanes_.erase(&link);
  }
  RunDeferred(&deferred);
}

void Router::EndFlows(Publisher& publisher, DropReason reason,
                      absl::FunctionRef<bool(const Flow&)> which) {
  auto& flows = publisher.flows;
  for (Flow& flow : flows) {
    if (!which(flow)) continue;
    // Of one that is away, but lives, and may read on.
    flow.lane->Recall();
    // What the peer has taken over is its to count.
    uint64_t lost = InFlight(publisher, flow, flow.link->TakenOver(*flow.lane));
    if (MYCELIUM_PLANTED_BUG(3) && lost > 0) --lost;
    flow.counters->CountDropped(reason, lost);
    if (lost > 0 && callbacks_.on_drop != nullptr) callbacks_.on_drop();
    if (lost > 0) NoteLeft(publisher, flow);
    TellOfEnd(publisher, flow, /*until_sequence=*/0);
    EndFlow(publisher, flow);
  }
  flows.erase(std::remove_if(flows.begin(), flows.end(),
                             [](const Flow& flow) { return !flow.lane; }),
              flows.end());
}

}  // namespace mycelium
