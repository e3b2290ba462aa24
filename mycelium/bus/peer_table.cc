#include "mycelium/bus/peer_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/planted_bug.h"

namespace mycelium {

PeerTable::PeerTable(Environment& environment, EventLoop& loop, Random& random,
                     Router& router, Dispatcher& dispatcher, Options options,
                     Callbacks callbacks)
    : environment_(environment),
      loop_(loop),
      random_(random),
      router_(router),
      dispatcher_(dispatcher),
      options_(std::move(options)),
      callbacks_(std::move(callbacks)),
      observers_(environment, loop, options_.limits.handshake,
                 callbacks_.status) {}

PeerTable::~PeerTable() {
  loop_.Cancel(lane_timer_);
  handshakes_.clear();
  connectors_.clear();
  for (auto& [name, peer] : peers_) {
    loop_.Cancel(peer->retain_timer);
    loop_.Cancel(peer->orphan_timer);
    CountFor(*peer, nullptr);
  }
}

PeerTable::Peer& PeerTable::PeerNamed(const std::string& name,
                                      absl::string_view transport) {
  const auto known = peers_.find(name);
  if (known != peers_.end()) return *known->second;
  FramedLink::Options options;
  options.self = options_.node;
  options.peer = name;
  options.transport = std::string(transport);
  options.incarnation = options_.incarnation;
  options.frame_bytes_max = options_.limits.frame_bytes_max;
  options.shared_memory = options_.shared_memory;
  options.drain_ns = absl::ToInt64Nanoseconds(options_.retain(name));
  auto peer = std::make_unique<Peer>();
  peer->link = std::make_shared<FramedLink>(environment_, loop_,
                                            std::move(options), *this);
  peer->since = environment_.clock.NowNs();
  MutexLock lock(mutex_);
  return *(peers_[name] = std::move(peer));
}

PeerTable::Peer& PeerTable::PeerOf(Link& link) { return *peers_[link.peer()]; }

void PeerTable::Attach(absl::string_view transport,
                       Handshake::Established established,
                       const EndpointOptions* endpoint) {
  Peer& peer = PeerNamed(established.peer.node(), transport);
  loop_.Cancel(peer.retain_timer);
  peer.retain_timer = 0;
  if (peer.link->is_up()) peer.lost_at = environment_.clock.NowNs();
  {
    MutexLock lock(mutex_);
    peer.dialled_by_us = endpoint == nullptr;
    peer.leaving = false;
    peer.last_error.clear();
  }
  peer.hello_number = established.peer.number();
  peer.our_number = established.ours.number();
  peer.identity = established.channel->peer_identity();
  peer.asked_until = 0;
  NoteSharing(peer, established);
  CountFor(peer, endpoint == nullptr ? nullptr : endpoint->stats);
  peer.link->Attach(std::move(established.channel), established.peer,
                    established.ours.resume_incarnation(),
                    established.ours.shared_memory(),
                    endpoint == nullptr ? established.peer.lane_bytes()
                                        : endpoint->lane_bytes,
                    std::move(established.unsent));
}

void PeerTable::CountFor(Peer& peer, std::shared_ptr<EndpointStats> stats) {
  if (peer.stats == stats) return;
  if (peer.stats != nullptr) peer.stats->RemoveLink(peer.link.get());
  peer.stats = std::move(stats);
  if (peer.stats == nullptr) return;
  peer.stats->AddLink(peer.link.get(), [this, link = peer.link] {
    EndpointCounts counts;
    counts.traffic = link->Traffic();
    counts.dropped = callbacks_.drops(link->peer());
    return counts;
  });
}

void PeerTable::NoteSharing(Peer& peer,
                            const Handshake::Established& established) {
  const std::string& name = established.peer.node();
  const bool is_wanted =
      established.peer.shared_memory() ||
      (options_.shares_with != nullptr && options_.shares_with(name));
  MutexLock lock(mutex_);
  peer.not_shared.clear();
  if (established.ours.shared_memory() && !established.peer.shared_memory()) {
    peer.not_shared = absl::StrCat("node ", established.peer.node(),
                                   " does not offer shared memory");
  } else if (options_.shared_memory == nullptr && is_wanted) {
    peer.not_shared =
        absl::StrCat("this node shares no memory: ", options_.no_memory);
  }
}

void PeerTable::OnLoansClosed(Link& link) { dispatcher_.OnLoansClosed(link); }

void PeerTable::OnLost(Link& link, const std::vector<LostFrames>& lost) {
  for (const auto& [lane, frames] : lost) {
    LogFailure(link.peer(),
               absl::DataLossError(absl::StrCat(
                   lane->name(), ": ", frames.size(),
                   " messages from sequence ", frames[0].lane_sequence,
                   " on are damaged in shared memory, and lost")));
    router_.CountLost(*lane, frames);
  }
}

void PeerTable::OnResuming(Link& link) {
  {
    // Lanes that go on are sent as before, so the reason for their fallback
    // stays.
    MutexLock lock(mutex_);
    Peer& peer = PeerOf(link);
    if (!peer.not_shared.empty()) peer.fallback = peer.not_shared;
  }
  router_.AwaitRepeat(link);
}

void PeerTable::OnReplaced(Link& link) {
  {
    MutexLock lock(mutex_);
    PeerOf(link).fallback = PeerOf(link).not_shared;
  }
  // What we knew was about a process that is gone. Its subscriptions may come
  // back with the new process.
  const TimeNs deadline =
      DeadlineAfter(PeerOf(link).lost_at, options_.retain(link.peer()));
  router_.Orphan(link, deadline);
  ForgetInbound(link);
  Peer& peer = PeerOf(link);
  if (peer.orphan_timer == 0) DropOrphansAt(peer, deadline);
}

void PeerTable::DropOrphansAt(Peer& peer, TimeNs deadline) {
  peer.orphan_timer = loop_.RunAt(deadline, [this, &peer, deadline] {
    peer.orphan_timer = 0;
    if (shutting_down_) return;
    // Processes that came and went meanwhile have left orphans that wait
    // longer.
    const TimeNs next = router_.DropOrphans(*peer.link, deadline);
    if (next != kNever) DropOrphansAt(peer, next);
  });
}

void PeerTable::OnDraining(Link& link) {
  // If the same process answers, nothing need wait for what it left.
  if (!shutting_down_) RedialAll(PeerOf(link));
}

void PeerTable::RedialAll(const Peer& peer) {
  if (peer.connector != nullptr) peer.connector->Redial();
  // Other connectors that reach the same peer, whose second connection was not
  // wanted.
  for (const auto& connector : connectors_) {
    if (connector.get() != peer.connector &&
        connector->peer() == peer.link->peer()) {
      connector->RedialLater();
    }
  }
}

void PeerTable::OnUp(Link& link, const v1::Hello& hello, bool resumed) {
  Peer& peer = PeerOf(link);
  callbacks_.on_up(link.peer(), resumed);
  const bool again = resumed && peer.seen;
  peer.seen = true;
  if (resumed) {
    dispatcher_.AwaitMatches(link);
    router_.Repeat(link);
  }
  peer.told_with_text.clear();
  for (const auto& subscription : dispatcher_.All()) {
    if (!subscription->closed()) SendSubscribe(peer, *subscription);
  }
  v1::Control known;
  known.mutable_subscribers_known();
  link.SendControl(known);
  if (!hello.topology_digest().empty() && !options_.topology_digest.empty() &&
      hello.topology_digest() != options_.topology_digest) {
    options_.log(
        LogLevel::kWarning,
        absl::StrCat("node ", link.peer(), " runs with another topology than ",
                     options_.node, "; see `mycelium topology check`"));
  }
  Tell(link.peer(), link.transport(),
       again ? ConnectionEvent::State::kReconnected
             : ConnectionEvent::State::kConnected,
       absl::OkStatus());
}

void PeerTable::OnDown(Link& link, const absl::Status& status) {
  if (shutting_down_) {
    parted_event_.Notify(environment_.waiter);
    return;
  }
  Peer& peer = PeerOf(link);
  peer.lost_at = environment_.clock.NowNs();
  {
    MutexLock lock(mutex_);
    peer.last_error = std::string(status.message());
  }
  if (peer.leaving) {
    GiveUp(peer, absl::UnavailableError(
                     absl::StrCat("node ", link.peer(), " has left")));
  } else {
    const absl::Duration retain = MYCELIUM_PLANTED_BUG(10)
                                      ? absl::ZeroDuration()
                                      : options_.retain(link.peer());
    peer.retain_timer =
        loop_.RunAt(DeadlineAfter(peer.lost_at, retain),
                    [this, &peer, status] { GiveUp(peer, status); });
    Tell(link.peer(), link.transport(), ConnectionEvent::State::kDisconnected,
         status);
  }
  RedialAll(peer);
}

void PeerTable::GiveUp(Peer& peer, const absl::Status& status) {
  if (!InHandshakeWith(peer.link->peer())) {
    Forget(peer, status);
    return;
  }
  // Our Hello has said that we remember the peer, so we wait for its answer. We
  // do not wait for answers to later Hellos, or a peer that never answers would
  // be remembered for as long as somebody dials it.
  peer.retain_timer = loop_.RunAt(
      DeadlineAfter(environment_.clock.NowNs(), options_.limits.handshake),
      [this, &peer, status] { Forget(peer, status); });
}

void PeerTable::Forget(Peer& peer, const absl::Status& status) {
  FramedLink& link = *peer.link;
  if (link.is_up()) return;
  AbandonHandshakesWith(link.peer());
  router_.RemoveLink(link, DropReason::kSubscriberGone);
  link.TakeOverRings();
  ForgetInbound(link);
  link.Forget();
  CountFor(peer, nullptr);
  callbacks_.on_gone(link.peer());
  peer.seen = false;
  Tell(link.peer(), link.transport(), ConnectionEvent::State::kGone, status);
  // Not now: the link may be up the stack.
  loop_.Post([this, name = link.peer()] { Erase(name); });
}

void PeerTable::ForgetInbound(Link& link) {
  for (const Dispatcher::Parted& parted : dispatcher_.RemoveLink(link)) {
    callbacks_.on_publisher_gone(parted);
  }
}

void PeerTable::Erase(const std::string& name) {
  const auto known = peers_.find(name);
  if (known == peers_.end() || shutting_down_) return;
  const Peer& peer = *known->second;
  // A peer that somebody dials is expected back, and stays in the reports.
  if (peer.connector != nullptr || peer.seen || peer.link->is_up()) return;
  loop_.Cancel(peer.orphan_timer);
  erased_.push_back(peer.link);
  {
    MutexLock lock(mutex_);
    peers_.erase(known);
  }
  erased_.erase(
      std::remove_if(erased_.begin(), erased_.end(),
                     [](const auto& link) { return link.use_count() == 1; }),
      erased_.end());
}

void PeerTable::SendSubscribe(Peer& peer, const Subscription& subscription) {
  const Subscription::Options& options = subscription.options();
  v1::Control control;
  v1::Subscribe& subscribe = *control.mutable_subscribe();
  subscribe.set_subscription(options.id);
  subscribe.set_service(options.service);
  subscribe.set_service_digest(options.service_digest);
  subscribe.set_topic(options.topic);
  subscribe.set_type(options.type.name);
  subscribe.set_type_digest(std::string(options.type.digest.bytes()));
  std::string text = options_.schema == SchemaPolicy::kCompatible
                         ? SendableCanonicalText(options.type.canonical_text)
                         : std::string();
  subscribe.set_takes_versions(!text.empty());
  if (!text.empty()) {
    std::set<uint32_t>& told = peer.told_with_text[options.type.digest];
    if (told.empty()) subscribe.set_canonical_text(std::move(text));
    told.insert(options.id);
  }
  subscribe.set_name(options.name);
  subscribe.set_delivery(options.mode == DeliveryMode::kInline
                             ? v1::Subscribe::INLINE
                             : v1::Subscribe::QUEUED);
  if (options.overflow.has_value()) {
    subscribe.set_overflow(std::string(WordOf(*options.overflow)));
  }
  subscribe.set_depth(static_cast<uint32_t>(options.depth.value_or(0)));
  subscribe.set_window(static_cast<uint32_t>(options.window.value_or(0)));
  peer.link->SendControl(control);
}

void PeerTable::Subscribe(const Subscription& subscription) {
  for (auto& [name, peer] : peers_) {
    if (peer->link->is_up()) SendSubscribe(*peer, subscription);
  }
}

void PeerTable::Unsubscribe(const Subscription& subscription) {
  v1::Control control;
  control.mutable_unsubscribe()->set_subscription(subscription.options().id);
  for (auto& [name, peer] : peers_) {
    if (!peer->link->is_up()) continue;
    peer->link->SendControl(control);
    // The peer lets go of a type's text with the last subscription of that
    // type.
    const auto told = peer->told_with_text.find(subscription.type().digest);
    if (told == peer->told_with_text.end()) continue;
    told->second.erase(subscription.options().id);
    if (told->second.empty()) peer->told_with_text.erase(told);
  }
}

void PeerTable::OpenLane(Link& link, const v1::LaneOpen& open) {
  const absl::Status opened = dispatcher_.OnLaneOpen(link, open);
  callbacks_.on_lane_waits(link.peer(), open.lane(), open.subscription(),
                           opened);
  if (opened.ok()) return;
  SayLaneWaits(link, open.lane(), opened.message());
  RetryLanesLater();
}

void PeerTable::SayLaneWaits(Link& link, uint32_t lane,
                             absl::string_view reason) {
  v1::Control control;
  control.mutable_lane_waits()->set_lane(lane);
  control.mutable_lane_waits()->set_reason(std::string(reason));
  link.SendControl(control);
}

void PeerTable::RetryLanesLater() {
  if (lane_timer_ != 0) return;
  lane_timer_ = loop_.RunAt(environment_.clock.NowNs() + kLaneRetryNs, [this] {
    lane_timer_ = 0;
    for (const auto& resumed : dispatcher_.RetryLanes()) {
      SayLaneWaits(*resumed.link, resumed.lane, "");
      callbacks_.on_lane_waits(resumed.link->peer(), resumed.lane,
                               resumed.subscription, absl::OkStatus());
    }
    if (dispatcher_.HasWaitingLanes()) RetryLanesLater();
  });
}

void PeerTable::OnControl(Link& link, const v1::Control& control) {
  switch (control.body_case()) {
    case v1::Control::kSubscribe:
      router_.AddRemote(link, control.subscribe());
      break;
    case v1::Control::kUnsubscribe:
      router_.RemoveRemote(link, control.unsubscribe().subscription());
      break;
    case v1::Control::kSubscribersKnown:
      router_.EndOfSubscriptions(link);
      dispatcher_.EndOfMatches(link);
      callbacks_.on_repeated(link.peer());
      break;
    case v1::Control::kSubscribeRefused:
      callbacks_.on_refused(
          link.peer(), control.subscribe_refused(),
          dispatcher_.HearText(link, control.subscribe_refused()));
      break;
    case v1::Control::kCanonicalText:
      router_.ExplainRefusal(link, control.canonical_text());
      break;
    case v1::Control::kPublisher:
      LogIfBad(link, dispatcher_.OnDeclare(link, control.publisher()));
      break;
    case v1::Control::kMatched:
      LogIfBad(link, dispatcher_.OnMatched(link, control.matched()));
      break;
    case v1::Control::kUnmatched:
      dispatcher_.OnUnmatched(link, control.unmatched());
      break;
    case v1::Control::kLaneOpen:
      OpenLane(link, control.lane_open());
      break;
    case v1::Control::kLaneClosed:
      if (const uint32_t waited =
              dispatcher_.OnLaneClosed(link, control.lane_closed().lane());
          waited != 0) {
        callbacks_.on_lane_waits(link.peer(), control.lane_closed().lane(),
                                 waited, absl::OkStatus());
      }
      PeerOf(link).link->CloseInbound(control.lane_closed().lane());
      if (control.lane_closed().disconnected_subscription() != 0) {
        callbacks_.on_disconnected(
            link.peer(), control.lane_closed().disconnected_subscription());
      }
      break;
    case v1::Control::kRoomAwaited:
      if (const auto queue =
              dispatcher_.QueueOf(link, control.room_awaited().lane())) {
        callbacks_.on_room_awaited(*queue, control.room_awaited());
      }
      break;
    case v1::Control::kGoodbye:
      PeerOf(link).leaving = true;
      break;
    default:
      break;
  }
}

LinkHandler::FrameOutcome PeerTable::OnFrame(Link& link, uint32_t lane,
                                             const FrameView& frame,
                                             uint64_t end) {
  return dispatcher_.OnFrame(link, lane, frame, end);
}

void PeerTable::Part() {
  shutting_down_ = true;
  handshakes_.clear();
  observers_.Close();
  {
    MutexLock lock(mutex_);
    unanswered_.clear();
  }
  connectors_.clear();
  asked_.clear();
  for (auto& [name, peer] : peers_) {
    {
      MutexLock lock(mutex_);
      peer->connector = nullptr;
    }
    loop_.Cancel(peer->retain_timer);
    peer->link->Part();
  }
}

bool PeerTable::HasParted() const {
  const auto links = Links();
  return std::none_of(links.begin(), links.end(),
                      [](const auto& link) { return link->is_up(); });
}

void PeerTable::Shutdown() {
  for (auto& [name, peer] : peers_) {
    peer->link->Detach();
    if (!MYCELIUM_PLANTED_BUG(11)) {
      router_.RemoveLink(*peer->link, DropReason::kShutdown);
    }
    (void)dispatcher_.RemoveLink(*peer->link);
    peer->link->Abandon();
    CountFor(*peer, nullptr);
  }
}

std::vector<std::shared_ptr<FramedLink>> PeerTable::Links() const {
  MutexLock lock(mutex_);
  std::vector<std::shared_ptr<FramedLink>> links;
  for (const auto& [name, peer] : peers_) links.push_back(peer->link);
  return links;
}

}  // namespace mycelium
