#include "mycelium/routing/router.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "mycelium/routing/schema_mismatch.h"

namespace mycelium {
namespace {

bool Wants(const Origin& origin, absl::string_view service) {
  return origin.target_service.empty() || origin.target_service == service;
}

ServiceSchema SchemaOf(const v1::Subscribe& subscribe) {
  return {subscribe.service(), subscribe.service_digest()};
}

ServiceSchema SchemaOf(const Subscription& subscription) {
  return {subscription.options().service,
          subscription.options().service_digest};
}

}  // namespace

absl::Status DisconnectedError(absl::string_view topic,
                               absl::string_view node) {
  return absl::ResourceExhaustedError(
      absl::StrCat("subscription to \"", topic, "\": disconnected by ", node,
                   ": it fell behind, and its overflow is disconnect"));
}

void Router::AddPublisher(std::shared_ptr<FanOut> publisher,
                          const MessageType& type, absl::Status when_unmatched,
                          const std::string& service_digest) {
  Deferred deferred;
  {
    MutexLock lock(mutex_);
    auto entry = std::make_unique<Publisher>();
    entry->fan_out = std::move(publisher);
    entry->type = type;
    entry->schema = {entry->fan_out->origin().service, service_digest};
    entry->when_unmatched = std::move(when_unmatched);
    entry->closed = closed_;
    if (closed_) entry->fan_out->Close();
    Publisher& added = *entry;
    publishers_[added.fan_out->origin().topic].push_back(std::move(entry));
    RematchPublisher(added, &deferred);
    ForgetSome();
  }
  RunDeferred(&deferred);
}

void Router::RemovePublisher(FanOut& fan_out) {
  {
    MutexLock lock(mutex_);
    const std::string& topic = fan_out.origin().topic;
    for (const auto& publisher : PublishersTo(topic)) {
      if (publisher->fan_out.get() != &fan_out) continue;
      publisher->closed = true;
      fan_out.Close();
      for (Flow& flow : publisher->flows) {
        if (flow.until_sequence != 0) continue;
        flow.until_sequence = flow.lane->NextSequence();
        if (flow.link != nullptr) {
          TellOfEnd(*publisher, flow, flow.until_sequence);
        }
      }
      for (auto& [serial, remote] : remotes_) {
        remote.asked.erase(fan_out.options().publisher_id);
        if (remote.refused_by.erase(fan_out.options().publisher_id) == 0) {
          continue;
        }
        if (remote.refused_by.empty()) remote.told_of.clear();
        SendRefused(*publisher, remote, Refusal::kIsOver);
      }
    }
    ForgetClosed(topic);
    ForgetSome();
  }
  changed_.Notify(environment_.waiter);
}

void Router::ClosePublishers() {
  MutexLock lock(mutex_);
  closed_ = true;
  for (auto& [topic, publishers] : publishers_) {
    for (auto& publisher : publishers) {
      publisher->closed = true;
      publisher->fan_out->Close();
    }
  }
}

void Router::AddLocal(std::shared_ptr<Subscription> subscription) {
  Deferred deferred;
  {
    MutexLock lock(mutex_);
    const std::string topic = subscription->options().topic;
    locals_[topic].push_back(std::move(subscription));
    Rematch(topic, &deferred);
    ForgetSome();
  }
  RunDeferred(&deferred);
}

void Router::RemoveLocal(const Subscription& subscription) {
  Deferred deferred;
  {
    MutexLock lock(mutex_);
    const std::string& topic = subscription.options().topic;
    if (const auto known = locals_.find(topic); known != locals_.end()) {
      auto& locals = known->second;
      locals.erase(std::remove_if(locals.begin(), locals.end(),
                                  [&](const auto& local) {
                                    return local.get() == &subscription;
                                  }),
                   locals.end());
      if (locals.empty()) locals_.erase(known);
    }
    Rematch(topic, &deferred);
    SettleLocal(subscription);
    ForgetClosed(topic);
    ForgetSome();
    disconnected_.erase(subscription.options().id);
  }
  RunDeferred(&deferred);
}

void Router::Rematch(const std::string& topic, Deferred* deferred) {
  for (const auto& publisher : PublishersTo(topic)) {
    RematchPublisher(*publisher, deferred);
  }
  ForgetClosed(topic);
}

void Router::ForgetClosed(const std::string& topic) {
  const auto known = publishers_.find(topic);
  if (known == publishers_.end()) return;
  Publishers& publishers = known->second;
  bool has_closed = false;
  for (auto& publisher : publishers) {
    if (!publisher->closed) continue;
    ForgetDrained(*publisher);
    has_closed |= !publisher->flows.empty();
    if (!publisher->flows.empty()) continue;
    if (const auto unmatched = UnmatchedOf(*publisher); unmatched.has_value()) {
      ended_.FoldEnded(*unmatched);
    }
    publisher = nullptr;
  }
  publishers.erase(std::remove(publishers.begin(), publishers.end(), nullptr),
                   publishers.end());
  if (publishers.empty()) publishers_.erase(known);
  if (has_closed) {
    lingering_.insert(topic);
  } else {
    lingering_.erase(topic);
  }
}

void Router::ForgetSome() {
  // Two, where one comes or goes.
  for (int i = 0; i < 2 && !lingering_.empty(); ++i) {
    auto next = lingering_.upper_bound(last_looked_at_);
    if (next == lingering_.end()) next = lingering_.begin();
    last_looked_at_ = *next;
    ForgetClosed(last_looked_at_);
  }
}

auto Router::PublishersTo(const std::string& topic) const
    -> absl::Span<const std::unique_ptr<Publisher>> {
  const auto publishers = publishers_.find(topic);
  if (publishers == publishers_.end()) return {};
  return publishers->second;
}

void Router::RematchPublisher(Publisher& publisher, Deferred* deferred) {
  ForgetDrained(publisher);
  if (publisher.closed) return;
  const Origin& origin = publisher.fan_out->origin();
  publisher.refusals.clear();
  publisher.awaits_explanation = publisher.lacks = false;
  std::vector<PublishRoute> routes;
  const auto locals = locals_.find(origin.topic);
  for (size_t i = 0; locals != locals_.end() && i < locals->second.size();
       ++i) {
    const std::shared_ptr<Subscription>& subscription = locals->second[i];
    if (callbacks_.matches_local &&
        Wants(origin, subscription->options().service) &&
        disconnected_.count(subscription->options().id) == 0) {
      MatchLocal(publisher, subscription, &routes, deferred);
    }
  }
  // Looked up, since one peer may have thousands.
  absl::flat_hash_map<uint64_t, size_t> open_flows;
  for (size_t i = 0; i < publisher.flows.size(); ++i) {
    const Flow& flow = publisher.flows[i];
    if (flow.link != nullptr && flow.until_sequence == 0) {
      open_flows.emplace(flow.remote, i);
    }
  }
  for (auto& [serial, remote] : remotes_) {
    if (remote.subscribe.topic() == origin.topic && !remote.disconnected &&
        Wants(origin, remote.subscribe.service())) {
      const auto open = open_flows.find(serial);
      Flow* const flow =
          open == open_flows.end() ? nullptr : &publisher.flows[open->second];
      MatchRemote(publisher, remote, flow, &routes, deferred);
    }
  }
  publisher.fan_out->SetWithoutRoutes(publisher.refusals.empty()
                                          ? publisher.when_unmatched
                                          : publisher.refusals.front());
  // While the publisher stands still, so that what a flow counts and what the
  // peer takes to be its frames are the same.
  publisher.fan_out->SetRoutes(std::move(routes), [&] {
    for (Flow& flow : publisher.flows) {
      if (flow.link == nullptr || flow.until_sequence != 0) continue;
      const auto remote = remotes_.find(flow.remote);
      const bool is_matched =
          remote != remotes_.end() && !remote->second.disconnected;
      const uint64_t next = flow.lane->NextSequence();
      if (is_matched && flow.from_sequence != 0) continue;
      if (is_matched) {
        flow.from_sequence = next;
        if (!remote->second.is_orphan) TellOfFlows(publisher, {&flow});
      } else {
        flow.until_sequence = next;
        TellOfEnd(publisher, flow, next);
      }
    }
  });
}

void Router::MatchLocal(Publisher& publisher,
                        const std::shared_ptr<Subscription>& subscription,
                        std::vector<PublishRoute>* routes, Deferred* deferred) {
  const Origin& origin = publisher.fan_out->origin();
  const ServiceSchema schema = SchemaOf(*subscription);
  absl::Status ours, theirs;
  if (subscription->type().digest != origin.digest) {
    ours = SchemaMismatchError(origin.topic, publisher.type,
                               subscription->type().digest,
                               subscription->type().canonical_text, "");
    theirs =
        SchemaMismatchError(origin.topic, subscription->type(), origin.digest,
                            publisher.type.canonical_text, "");
  } else if (publisher.schema.ClashesWith(schema)) {
    ours = ServiceMismatchError(origin.topic, publisher.schema, schema, "");
    theirs = ServiceMismatchError(origin.topic, schema, publisher.schema, "");
  }
  if (!ours.ok()) {
    publisher.refusals.push_back(ours);
    const uint32_t id = publisher.fan_out->options().publisher_id;
    deferred->push_back([this, subscription, id, theirs] {
      callbacks_.on_local_refusal(*subscription, id, theirs);
    });
    return;
  }
  RouteSettings settings =
      callbacks_.settings(origin, origin.node, subscription->options().service);
  subscription->options().Override(&settings);
  const absl::StatusOr<Lane*> lane =
      subscription->LaneFor(LaneRule::Of(settings));
  if (!lane.ok()) {
    publisher.refusals.push_back(lane.status());
    return;
  }
  auto known = std::find_if(
      publisher.flows.begin(), publisher.flows.end(),
      [&](const Flow& flow) { return flow.local == subscription; });
  if (known == publisher.flows.end()) {
    Flow flow;
    flow.service = subscription->options().service;
    flow.name = subscription->options().name;
    flow.counters = std::make_shared<FlowCounters>();
    flow.local = subscription;
    flow.lane = std::shared_ptr<Lane>(subscription, *lane);
    known = publisher.flows.insert(known, std::move(flow));
  }
  PublishRoute route;
  route.subscription = subscription;
  route.lane = known->lane;
  route.flows.push_back(known->counters);
  route.handled = subscription->FlowFrom(origin).get();  // Kept there.
  route.overflow = settings.overflow;
  route.publish_timeout = settings.publish_timeout;
  routes->push_back(std::move(route));
}

RouteSettings Router::SettingsOf(const Publisher& publisher,
                                 const Remote& remote) const {
  const v1::Subscribe& subscribe = remote.subscribe;
  RouteSettings settings = callbacks_.settings(
      publisher.fan_out->origin(), remote.link->peer(), subscribe.service());
  // What the peer asks for is bounded like everything else that it says.
  const auto bounded = [](uint32_t asked, int64_t most, int64_t configured) {
    return asked == 0 ? configured : std::min<int64_t>(asked, most);
  };
  settings.overflow =
      OverflowOf(subscribe.overflow()).value_or(settings.overflow);
  settings.depth = bounded(subscribe.depth(), kDepthMax, settings.depth);
  settings.window = bounded(subscribe.window(), kWindowMax, settings.window);
  return settings;
}

absl::StatusOr<std::shared_ptr<Lane>> Router::LaneOf(
    Remote& remote, const RouteSettings& settings) {
  const LaneRule rule = LaneRule::Of(settings);
  std::shared_ptr<Lane>& lane = remote.lanes[rule];
  if (lane != nullptr) return lane;
  // What an orphan shared would be the new process's others' to read, and pass
  // the orphan's by.
  const bool is_own = rule.own ||
                      remote.subscribe.delivery() == v1::Subscribe::QUEUED ||
                      remote.is_orphan;
  Lane::Options options;
  options.capacity_bytes = static_cast<size_t>(settings.lane_bytes);
  options.lossy = rule.stage();
  options.window = rule.window;
  if (rule.lossy) options.drop_sink = remote.drops;
  // Not afterwards: the link may look at it in between.
  options.parked = remote.is_orphan;
  absl::StatusOr<std::shared_ptr<Lane>> opened = remote.link->OpenLane(
      is_own ? remote.subscribe.subscription() : 0, std::move(options));
  if (!opened.ok()) {
    remote.lanes.erase(rule);
    return opened.status();
  }
  if (!is_own) shared_lanes_[remote.link].lane = *opened;
  return lane = *std::move(opened);
}

void Router::MatchRemote(Publisher& publisher, Remote& remote, Flow* flow,
                         std::vector<PublishRoute>* routes,
                         Deferred* deferred) {
  const bool may_read = MayRead(publisher.type, remote);
  if (may_read) KeepVersion(publisher.type, remote);
  if (!may_read || publisher.schema.ClashesWith(SchemaOf(remote.subscribe))) {
    // The next process may have another type.
    if (!remote.is_orphan) Refuse(publisher, remote, deferred);
    return;
  }
  NoteVersion(publisher.type, remote, deferred);
  if (flow == nullptr) {
    if (absl::Status room = CheckRoom(publisher, remote); !room.ok()) {
      return AwaitRetry(publisher, remote, room, deferred);
    }
  }
  const RouteSettings settings = SettingsOf(publisher, remote);
  const absl::StatusOr<std::shared_ptr<Lane>> lane = LaneOf(remote, settings);
  if (!lane.ok()) {
    return AwaitRetry(publisher, remote, lane.status(), deferred);
  }
  if (flow == nullptr) flow = &OpenFlow(publisher, remote, *lane);
  for (PublishRoute& route : *routes) {
    if (route.lane == *lane) {
      route.flows.push_back(flow->counters);
      // Of those who share it one may not delay a publisher.
      if (settings.overflow == Overflow::kFail) {
        route.overflow = Overflow::kFail;
      }
      route.publish_timeout =
          std::min(route.publish_timeout, settings.publish_timeout);
      return;
    }
  }
  PublishRoute route;
  route.lane = *lane;
  route.flows.push_back(flow->counters);
  route.overflow = settings.overflow;
  route.publish_timeout = settings.publish_timeout;
  routes->push_back(std::move(route));
}

Router::Flow& Router::OpenFlow(Publisher& publisher, Remote& remote,
                               const std::shared_ptr<Lane>& lane) {
  if (++publisher.flows_on[remote.link] == 1) ++publishers_on_[remote.link];
  Flow flow;
  flow.node = remote.link->peer();
  flow.service = remote.subscribe.service();
  flow.name = remote.subscribe.name();
  flow.counters = std::make_shared<FlowCounters>();
  flow.link = remote.link;
  flow.remote = remote.serial;
  flow.subscription = remote.subscribe.subscription();
  flow.reads = remote.digest;
  flow.lane = lane;
  if (lane->stage() != nullptr) {
    flow.drops = remote.drops;
    flow.drops->Add(publisher.fan_out->options().publisher_id, flow.counters);
  }
  publisher.flows.push_back(std::move(flow));
  return publisher.flows.back();
}

void Router::EndOfSubscriptions(Link& link) {
  std::vector<uint32_t> over;
  {
    MutexLock lock(mutex_);
    for (const auto& [serial, remote] : remotes_) {
      if (remote.link == &link && !remote.is_orphan && !remote.said) {
        over.push_back(remote.subscribe.subscription());
      }
    }
  }
  for (const uint32_t subscription : over) RemoveRemote(link, subscription);
}

void Router::Refuse(Publisher& publisher, Remote& remote, Deferred* deferred) {
  const uint32_t id = publisher.fan_out->options().publisher_id;
  if (MayRead(publisher.type, remote)) {
    publisher.refusals.push_back(
        ServiceMismatchError(remote.subscribe.topic(), publisher.schema,
                             SchemaOf(remote.subscribe), remote.link->peer()));
  } else if (NeedsText(publisher.type, remote) &&
             remote.refused_by.count(id) == 0) {  // Else it was told before.
    if (remote.asked.insert(id).second) {
      SendRefused(publisher, remote, Refusal::kAsks);
    }
    return;
  } else {
    std::optional<Verdict> verdict;
    if (remote.text != nullptr) {
      verdict = remote.text->Explain(publisher.type, remote.digest);
    }
    publisher.refusals.push_back(
        SchemaMismatchError(remote.subscribe.topic(), publisher.type,
                            remote.digest, verdict, remote.link->peer()));
    publisher.awaits_explanation |= remote.explained == 0;
  }
  const absl::Status& status = publisher.refusals.back();
  if (remote.told_of.insert(std::string(status.message())).second) {
    deferred->push_back([this, status] { callbacks_.on_refusal(status); });
  }
  if (!remote.refused_by.insert(id).second) return;  // Told before.
  SendRefused(publisher, remote, Refusal::kStands);
}

void Router::ExplainRefusal(Link& link, const v1::CanonicalText& text) {
  Deferred deferred;
  {
    MutexLock lock(mutex_);
    Remote* const refused = FindRemote(link, text.subscription());
    if (refused == nullptr) return;
    Remote& remote = *refused;
    if (!remote.text_wanted) return;  // Nobody has asked.
    if (text.canonical_text().size() > kExplanationBytesMax) return;
    remote.text_wanted = false;
    SetText(remote, text.canonical_text());
    remote.asked.clear();
    // The errors are made again, now with the difference.
    Rematch(remote.subscribe.topic(), &deferred);
  }
  RunDeferred(&deferred);
}

const Router::Publisher* Router::Find(const FanOut& fan_out) const {
  const auto publishers = publishers_.find(fan_out.origin().topic);
  if (publishers == publishers_.end()) return nullptr;
  for (const auto& publisher : publishers->second) {
    if (publisher->fan_out.get() == &fan_out) return publisher.get();
  }
  return nullptr;
}

size_t Router::SubscriberCount(const FanOut& fan_out) const {
  MutexLock lock(mutex_);
  const Publisher* const publisher = Find(fan_out);
  if (publisher == nullptr) return 0;
  return static_cast<size_t>(
      std::count_if(publisher->flows.begin(), publisher->flows.end(),
                    [](const Flow& flow) { return flow.until_sequence == 0; }));
}

std::vector<absl::Status> Router::Refusals(const FanOut& fan_out) const {
  MutexLock lock(mutex_);
  const Publisher* const publisher = Find(fan_out);
  if (publisher == nullptr) return {};
  std::vector<absl::Status> refusals = publisher->refusals;
  for (const Flow& flow : publisher->flows) {
    const std::string trouble = flow.lane->reader_trouble().Get();
    if (trouble.empty() || flow.until_sequence != 0) continue;
    refusals.push_back(absl::ResourceExhaustedError(absl::StrCat(
        flow.lane->name(), ": the peer cannot read it now: ", trouble)));
  }
  return refusals;
}

bool Router::AreRefusalsExplained(const FanOut& fan_out) const {
  MutexLock lock(mutex_);
  const Publisher* const publisher = Find(fan_out);
  return publisher != nullptr && !publisher->refusals.empty() &&
         !publisher->awaits_explanation;
}

uint64_t Router::InFlight(const Publisher& publisher, const Flow& flow,
                          uint64_t from) const {
  if (flow.lane == nullptr) return 0;
  const uint64_t until = flow.until_sequence == 0
                             ? std::numeric_limits<uint64_t>::max()
                             : flow.until_sequence;
  uint64_t frames = 0;
  flow.lane->ForEachFrame(from, [&](const FrameHeader& frame) {
    frames += frame.publisher_id == publisher.fan_out->options().publisher_id &&
              frame.lane_sequence >= flow.from_sequence &&
              frame.lane_sequence < until;
  });
  return frames;
}

void Router::EndFlow(Publisher& publisher, Flow& flow) {
  if (flow.link != nullptr && --publisher.flows_on[flow.link] == 0) {
    publisher.flows_on.erase(flow.link);
    if (--publishers_on_[flow.link] == 0) publishers_on_.erase(flow.link);
  }
  if (flow.drops != nullptr) {
    flow.drops->Remove(publisher.fan_out->options().publisher_id);
  }
  flow.lane = nullptr;  // Nothing of it is in flight any more.
  ended_.FoldEnded(Report(publisher, flow));
}

void Router::ForgetDrained(Publisher& publisher) {
  auto& flows = publisher.flows;
  for (Flow& flow : flows) {
    if (flow.until_sequence == 0 || InFlight(publisher, flow) > 0) continue;
    if (flow.local != nullptr && flow.local->gate().IsRunning()) continue;
    // The peer may wait for others' frames before it forgets the match.
    if (flow.link != nullptr) TellOfEnd(publisher, flow, /*until_sequence=*/0);
    EndFlow(publisher, flow);
  }
  flows.erase(std::remove_if(flows.begin(), flows.end(),
                             [](const Flow& flow) { return !flow.lane; }),
              flows.end());
}

void Router::RunDeferred(Deferred* deferred) {
  for (const auto& run : *deferred) run();
  changed_.Notify(environment_.waiter);
}

}  // namespace mycelium
