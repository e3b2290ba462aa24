#include "mycelium/routing/dispatcher.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "mycelium/base/planted_bug.h"
#include "mycelium/codec/frame_encoder.h"
#include "mycelium/routing/schema_mismatch.h"

namespace mycelium {
namespace {

Digest DigestOf(const v1::PublisherDeclare& declare) {
  absl::StatusOr<Digest> digest = Digest::FromBytes(declare.type_digest());
  return digest.ok() ? *digest : Digest();
}

}  // namespace

void Dispatcher::Add(std::shared_ptr<Subscription> subscription) {
  MutexLock lock(mutex_);
  const uint32_t id = subscription->options().id;
  subscriptions_[id] = std::move(subscription);
}

void Dispatcher::Remove(uint32_t subscription) {
  MutexLock lock(mutex_);
  const auto entry = subscriptions_.find(subscription);
  if (entry == subscriptions_.end()) return;
  // First, so that a thread that does not find it here finds it there.
  departed_.Add(*entry->second);
  subscriptions_.erase(entry);
}

std::vector<FlowReport> Dispatcher::DepartedReports(
    const std::string& node) const {
  std::vector<FlowReport> reports = departed_.Reports();
  for (FlowReport& report : reports) report.subscriber_node = node;
  return reports;
}

std::shared_ptr<Subscription> Dispatcher::Find(uint32_t subscription) const {
  MutexLock lock(mutex_);
  const auto entry = subscriptions_.find(subscription);
  return entry == subscriptions_.end() ? nullptr : entry->second;
}

std::vector<std::shared_ptr<Subscription>> Dispatcher::All() const {
  MutexLock lock(mutex_);
  std::vector<std::shared_ptr<Subscription>> all;
  for (const auto& [id, subscription] : subscriptions_) {
    all.push_back(subscription);
  }
  return all;
}

Dispatcher::Inbox& Dispatcher::InboxOf(Link& link) {
  stay_.Leave();  // What comes now may end matches.
  only_.link = nullptr;
  return inboxes_.try_emplace(&link, link).first->second;
}

absl::Status Dispatcher::OnDeclare(Link& link,
                                   const v1::PublisherDeclare& declare) {
  Inbox& inbox = InboxOf(link);
  const Digest digest = DigestOf(declare);
  inbox.texts.Take(digest, declare.canonical_text());
  absl::StatusOr<Publisher*> declared = inbox.publishers.Declare(declare);
  if (!declared.ok()) return declared.status();
  Publisher& publisher = **declared;
  if (!publisher.matches.empty() && publisher.digest != digest) {
    return absl::InvalidArgumentError(
        absl::StrCat("publisher ", declare.publisher(),
                     " is declared again with another type; that is ignored"));
  }
  publisher.origin = OriginOf(link, inbox, declare);
  publisher.digest = digest;
  // The publisher may have come back over another transport, which is part of
  // its origin.
  for (const Match& match : publisher.matches) {
    if (match.subscription != nullptr) {
      (void)match.subscription->FlowFrom(*publisher.origin);
    }
  }
  return absl::OkStatus();
}

std::shared_ptr<const Origin> Dispatcher::OriginOf(
    const Link& link, Inbox& inbox, const v1::PublisherDeclare& declare) {
  Origin origin;
  origin.node = link.peer();
  origin.service = declare.service();
  origin.topic = declare.topic();
  origin.type = declare.type();
  origin.target_service = declare.target_service();
  origin.transport = std::string(link.transport());
  origin.digest = DigestOf(declare);
  if (auto interned = origins_.Intern(std::move(origin), kOriginsMax)) {
    return interned;
  }
  // There are too many origins. The publisher's messages are worth more than
  // its names.
  for (const auto& subscription : All()) {
    if (subscription->options().topic == declare.topic() &&
        MayRead(inbox, *subscription, DigestOf(declare))) {
      return NamelessOrigin(link, subscription.get());
    }
  }
  return NamelessOrigin(link, nullptr);
}

std::shared_ptr<const Origin> Dispatcher::NamelessOrigin(
    const Link& link, const Subscription* subscription) {
  Origin origin;
  origin.transport = std::string(link.transport());
  if (subscription != nullptr) {
    origin.topic = subscription->options().topic;
    origin.type = subscription->type().name;
    origin.digest = subscription->type().digest;
  }
  return Intern(std::move(origin));
}

PeerText* Dispatcher::HearText(Link& link,
                               const v1::SubscribeRefused& refused) {
  absl::StatusOr<Digest> digest = Digest::FromBytes(refused.type_digest());
  if (!digest.ok()) return nullptr;
  ConnectionTexts& texts = InboxOf(link).texts;
  texts.Take(*digest, refused.canonical_text());
  return texts.TextOf(*digest);
}

bool Dispatcher::MayRead(const Inbox& inbox, const Subscription& subscription,
                         const Digest& digest) const {
  if (subscription.type().digest == digest) return true;
  if (schema_ == SchemaPolicy::kExact ||
      subscription.type().canonical_text.empty()) {
    return false;
  }
  // The peer has found the types compatible, but it is we who would misread a
  // message.
  PeerText* const text = inbox.texts.TextOf(digest);
  return text != nullptr && text->digest() == digest &&
         text->Against(subscription.type()).kind == Verdict::Kind::kCompatible;
}

void Dispatcher::NoteVersion(Inbox& inbox, const Subscription& subscription,
                             const Publisher& publisher) {
  if (subscription.type().digest == publisher.digest) return;
  PeerText& text = *inbox.texts.TextOf(publisher.digest);  // MayRead() saw it.
  const Origin& origin = *publisher.origin;
  std::string note =
      OtherVersionNote(origin.topic, origin.type, origin.node,
                       text.Against(subscription.type()).difference);
  if (on_other_version_ != nullptr && note != inbox.last_note) {
    on_other_version_(note);
  }
  inbox.last_note = std::move(note);
}

absl::Status Dispatcher::OnMatched(Link& link, const v1::Matched& matched) {
  Inbox& inbox = InboxOf(link);
  LinkPublishers& publishers = inbox.publishers;
  Publisher* const publisher = publishers.Find(matched.publisher());
  // Frames of a publisher that was not declared are corrupt or, if it was
  // refused, dropped.
  if (publisher == nullptr) return absl::OkStatus();
  Match* known = LinkPublishers::FindMatch(*publisher, matched);
  if (known != nullptr) known->said = true;
  if (known != nullptr && known->dropped_as != DropReason::kSchemaMismatch) {
    return absl::OkStatus();
  }
  const Origin& origin = *publisher->origin;
  std::shared_ptr<Subscription> subscription = Find(matched.subscription());
  const bool is_for_it = subscription == nullptr ||
                         (subscription->options().topic == origin.topic &&
                          MayRead(inbox, *subscription, publisher->digest));
  const bool is_news = known == nullptr;
  if (is_news) {
    absl::StatusOr<Match*> added = publishers.AddMatch(*publisher, matched);
    if (!added.ok()) return added.status();
    known = *added;
  }
  if (subscription != nullptr) {
    known->flow = subscription->FlowFrom(origin);
  } else if (matched.subscription() != 0) {
    known->flow = departed_.FlowFrom(matched.subscription(), publisher->origin);
  }
  if (!is_for_it) {
    known->dropped_as = DropReason::kSchemaMismatch;
    if (!is_news) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        "publisher ", matched.publisher(), " of type ", origin.type,
        " on topic \"", origin.topic,
        "\" is matched to a subscription to type ", subscription->type().name,
        " on topic \"", subscription->options().topic,
        "\"; its messages are dropped: schema_mismatch"));
  }
  known->dropped_as = DropReason::kSubscriberGone;
  if (subscription != nullptr) NoteVersion(inbox, *subscription, *publisher);
  known->subscription = std::move(subscription);
  return absl::OkStatus();
}

void Dispatcher::OnUnmatched(Link& link, const v1::Unmatched& unmatched) {
  InboxOf(link).publishers.Unmatch(unmatched);
}

void Dispatcher::AwaitMatches(Link& link) {
  InboxOf(link).publishers.AwaitMatches();
  InboxOf(link).texts.Clear();
}

void Dispatcher::EndOfMatches(Link& link) {
  InboxOf(link).publishers.EndOfMatches();
}

absl::Status Dispatcher::OnLaneOpen(Link& link, const v1::LaneOpen& open) {
  if (open.lane() == 0) return absl::OkStatus();
  Inbox& inbox = InboxOf(link);
  if (inbox.queues.count(open.lane()) != 0 && !MYCELIUM_PLANTED_BUG(5)) {
    return absl::OkStatus();
  }
  absl::Status made = MakeQueue(link, inbox, open);
  if (!made.ok()) inbox.waiting[open.lane()] = open;
  return made;
}

absl::Status Dispatcher::MakeQueue(Link& link, Inbox& inbox,
                                   const v1::LaneOpen& open) {
  Queue queue;
  queue.subscription = Find(open.subscription());
  if (queue.subscription != nullptr) {
    if (queue.subscription->options().mode == DeliveryMode::kInline) {
      inbox.inline_lanes.insert(open.lane());
      return absl::OkStatus();
    }
    absl::StatusOr<std::shared_ptr<StagingFeed>> feed = StagingFeed::Create(
        environment_, link, open.lane(), open.capacity_bytes());
    if (!feed.ok()) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "no memory to take lane ", open.lane(), " of ", open.capacity_bytes(),
          " bytes into: ", feed.status().message(), "; it is tried again"));
    }
    queue.feed = *std::move(feed);
    queue.subscription->queue().AddFeed(queue.feed);
  }
  inbox.waiting.erase(open.lane());
  inbox.queues[open.lane()] = std::move(queue);
  return absl::OkStatus();
}

std::vector<Dispatcher::WaitingLane> Dispatcher::RetryLanes() {
  std::vector<WaitingLane> resumed;
  for (auto& [link, inbox] : inboxes_) {
    // A copy: the original loses those that succeed.
    const auto waiting = inbox.waiting;
    for (const auto& [lane, open] : waiting) {
      if (!MakeQueue(*link, inbox, open).ok()) continue;
      link->ResumeLane(lane);
      resumed.push_back({link, lane, open.subscription()});
    }
  }
  return resumed;
}

bool Dispatcher::HasWaitingLanes() const {
  return std::any_of(inboxes_.begin(), inboxes_.end(), [](const auto& entry) {
    return !entry.second.waiting.empty();
  });
}

std::shared_ptr<Subscription> Dispatcher::QueueOf(Link& link, uint32_t lane) {
  const Inbox& inbox = InboxOf(link);
  const auto queue = inbox.queues.find(lane);
  return queue == inbox.queues.end() ? nullptr : queue->second.subscription;
}

uint32_t Dispatcher::OnLaneClosed(Link& link, uint32_t lane) {
  Inbox& inbox = InboxOf(link);
  const auto waiting = inbox.waiting.find(lane);
  const uint32_t waited =
      waiting == inbox.waiting.end() ? 0 : waiting->second.subscription();
  if (waited != 0) inbox.waiting.erase(waiting);
  const auto queue = inbox.queues.find(lane);
  if (queue != inbox.queues.end()) {
    if (queue->second.feed != nullptr) queue->second.feed->End();
    inbox.queues.erase(queue);
  }
  if (const auto spills = inbox.spills.find(lane);
      spills != inbox.spills.end()) {
    spills->second->End();
    inbox.spills.erase(spills);
  }
  inbox.inline_lanes.erase(lane);
  inbox.partials.erase(lane);
  inbox.publishers.OnLaneClosed(lane);
  return waited;
}

void Dispatcher::OnLoansClosed(Link& link) {
  for (const auto& [lane, queue] : InboxOf(link).queues) {
    if (queue.feed != nullptr) queue.feed->OnLoansClosed();
  }
}

bool Dispatcher::FindOnlyRoute(const Link& link, const Inbox& inbox,
                               const Publisher& publisher, uint32_t lane,
                               const FrameView& frame) {
  if (publisher.matches.size() != 1 || !inbox.partials.empty()) return false;
  const Match& match = publisher.matches[0];
  if (match.lane != lane || match.subscription == nullptr) return false;
  // While frames are unfinished, the tracker reports them in order.
  if (!inbox.spills.empty()) {
    const auto tracker = inbox.spills.find(lane);
    if (tracker != inbox.spills.end() && tracker->second->has_unfinished()) {
      return false;
    }
  }
  // The match keeps the subscription, whatever its handler does: only the loop
  // ends matches.
  Subscription& subscription = *match.subscription;
  if (subscription.options().mode != DeliveryMode::kInline) return false;
  only_.link = &link;
  only_.lane = lane;
  only_.publisher_id = frame.header.publisher_id;
  only_.digest_prefix = frame.header.digest_prefix;
  only_.from_sequence = match.from_sequence;
  only_.until_sequence = match.until_sequence;
  only_.subscription = &subscription;
  only_.flow = match.flow.get();
  only_.origin = publisher.origin.get();
  return true;
}

ABSL_ATTRIBUTE_ALWAYS_INLINE inline bool Dispatcher::DeliverByOnlyRoute(
    const Link& link, uint32_t lane, const FrameView& frame) {
  const OnlyRoute& only = only_;
  const FrameHeader& header = frame.header;
  if (only.link != &link || only.lane != lane ||
      only.publisher_id != header.publisher_id ||
      only.digest_prefix != header.digest_prefix ||
      header.lane_sequence < only.from_sequence ||
      header.lane_sequence + 1 >= only.until_sequence) {
    return false;
  }
  Subscription& subscription = *only.subscription;
  FlowCounters& flow = *only.flow;
  const Origin& origin = *only.origin;
  return stay_.RunInside(subscription, [&]() ABSL_ATTRIBUTE_ALWAYS_INLINE {
    subscription.Run(flow, Payload::Bytes(subscription.type(), frame.payload),
                     InfoOf(frame, origin));
  });
}

LinkHandler::FrameOutcome Dispatcher::OnFrame(Link& link, uint32_t lane,
                                              const FrameView& frame,
                                              uint64_t end) {
  return ABSL_PREDICT_TRUE(DeliverByOnlyRoute(link, lane, frame))
             ? FrameOutcome::kHandled
             : OnFrameSlowly(link, lane, frame, end);
}

LinkHandler::FrameOutcome Dispatcher::OnFrameSlowly(Link& link, uint32_t lane,
                                                    const FrameView& frame,
                                                    uint64_t end) {
  if (last_link_ != &link) {
    last_inbox_ = &InboxOf(link);  // Nodes of a map stay where they are.
    last_link_ = &link;
  }
  Inbox& inbox = *last_inbox_;
  Publisher* const found = inbox.publishers.Find(frame.header.publisher_id);
  if (found == nullptr) {
    return OnFrameOfRefused(link, inbox, lane, frame, end);
  }
  if (found->digest.prefix() != frame.header.digest_prefix) {
    return FrameOutcome::kCorrupt;
  }
  if (lane != 0) return OnFrameOfLane(link, inbox, *found, lane, frame, end);
  return DeliverToHandlers(link, inbox, *found, lane, frame, end);
}

LinkHandler::FrameOutcome Dispatcher::DeliverToHandlers(
    Link& link, Inbox& inbox, Publisher& publisher, uint32_t lane,
    const FrameView& frame, uint64_t end) {
  if (FindOnlyRoute(link, inbox, publisher, lane, frame) &&
      DeliverByOnlyRoute(link, lane, frame)) {
    return FrameOutcome::kHandled;
  }
  return DeliverInline(link, inbox, publisher, lane, frame, end);
}

LinkHandler::FrameOutcome Dispatcher::OnFrameOfLane(Link& link, Inbox& inbox,
                                                    Publisher& publisher,
                                                    uint32_t lane,
                                                    const FrameView& frame,
                                                    uint64_t end) {
  const auto queue = inbox.queues.find(lane);
  if (queue == inbox.queues.end()) {
    if (inbox.waiting.count(lane) != 0) return FrameOutcome::kLaneWaits;
    if (inbox.inline_lanes.count(lane) == 0) return FrameOutcome::kCorrupt;
    return DeliverToHandlers(link, inbox, publisher, lane, frame, end);
  }
  stay_.Leave();  // Many frames may come for which no handler is called.
  for (const Match& match : publisher.matches) {
    if (match.lane != lane) continue;
    if (match.dropped_as == DropReason::kSchemaMismatch) {
      CountDropped(*match.flow, match.dropped_as);
      return Skip(queue->second, end);
    }
    if (queue->second.feed == nullptr) {
      // A lane that was opened for no subscription has messages only for
      // subscriptions that have ended.
      if (match.subscription != nullptr && !match.subscription->closed()) {
        return FrameOutcome::kCorrupt;
      }
      if (match.flow != nullptr) {
        CountDropped(*match.flow, DropReason::kSubscriberGone);
      }
      return FrameOutcome::kHandled;
    }
    Subscription& subscription = *queue->second.subscription;
    if (match.id != subscription.options().id) return FrameOutcome::kCorrupt;
    // A queue gets only frames of origins that its subscription keeps, even if
    // the subscription has ended and is matched afterwards.
    if (match.subscription == nullptr) {
      (void)subscription.FlowFrom(*publisher.origin);
    }
    return PutInQueue(queue->second, *publisher.origin, frame, end);
  }
  return Skip(queue->second, end);
}

LinkHandler::FrameOutcome Dispatcher::Skip(const Queue& queue, uint64_t end) {
  return queue.feed == nullptr || queue.feed->Skip(end) ? FrameOutcome::kHandled
                                                        : FrameOutcome::kTaken;
}

LinkHandler::FrameOutcome Dispatcher::PutInQueue(const Queue& queue,
                                                 const Origin& origin,
                                                 const FrameView& frame,
                                                 uint64_t end) {
  // Once the queue has closed, nothing is put behind a frame that a thread may
  // still be reading: by then that frame may be reported as handled, and its
  // room be another's.
  if (Subscription& subscription = *queue.subscription; subscription.closed()) {
    CountDropped(*subscription.FlowFrom(origin), DropReason::kSubscriberGone);
    return Skip(queue, end);
  }
  if (!queue.feed->Put(origin, frame, end)) return FrameOutcome::kCorrupt;
  queue.subscription->queue().Notify();
  // The queue has closed without this frame. A thread that still holds an
  // earlier frame gives back the room of both, in the lane's order.
  if (queue.subscription->ClosedBehind()) {
    queue.subscription->DropLate(*queue.feed);
  }
  return FrameOutcome::kTaken;
}

LinkHandler::FrameOutcome Dispatcher::OnFrameOfRefused(Link& link, Inbox& inbox,
                                                       uint32_t lane,
                                                       const FrameView& frame,
                                                       uint64_t end) {
  stay_.Leave();
  if (!inbox.publishers.has_refused()) return FrameOutcome::kCorrupt;
  if (inbox.waiting.count(lane) != 0) return FrameOutcome::kLaneWaits;
  const auto queue = inbox.queues.find(lane);
  if (queue != inbox.queues.end() && queue->second.feed != nullptr) {
    Subscription& subscription = *queue->second.subscription;
    if (subscription.type().digest.prefix() != frame.header.digest_prefix) {
      return FrameOutcome::kCorrupt;
    }
    const std::shared_ptr<const Origin> origin =
        NamelessOrigin(link, &subscription);
    (void)subscription.FlowFrom(*origin);  // Keeps the origin.
    return PutInQueue(queue->second, *origin, frame, end);
  }
  if (lane != 0 && queue == inbox.queues.end() &&
      inbox.inline_lanes.count(lane) == 0) {
    return FrameOutcome::kCorrupt;
  }
  departed_.CountRefused(link);
  if (on_drop_ != nullptr) on_drop_();
  Publisher nobody;  // Without matches: the frame is acknowledged in its turn.
  return DeliverInline(link, inbox, nobody, lane, frame, end);
}

LinkHandler::FrameOutcome Dispatcher::DeliverInline(Link& link, Inbox& inbox,
                                                    Publisher& publisher,
                                                    uint32_t lane,
                                                    const FrameView& frame,
                                                    uint64_t end) {
  // Otherwise the gate would be found busy.
  stay_.Leave();
  only_.link = nullptr;  // The frame may be unfinished when the next one comes.
  const uint64_t sequence = frame.header.lane_sequence;
  std::shared_ptr<SpillTracker>& tracker = inbox.spills[lane];
  if (tracker == nullptr) tracker = std::make_shared<SpillTracker>(link);
  const std::shared_ptr<SpillTracker> kept = tracker;
  SpillTracker& spills = *kept;
  SpillTracker::Frame tracked(spills, lane, end);
  const auto partial = inbox.partials.find(lane);
  const bool is_again =
      partial != inbox.partials.end() && partial->second.end == end;
  const auto has_it = [&](uint32_t subscription) {
    if (!is_again) return false;
    const auto& have = partial->second.subscriptions;
    return std::count(have.begin(), have.end(), subscription) > 0;
  };
  bool over = false;
  for (size_t next = 0; next < publisher.matches.size(); ++next) {
    const Match& match = publisher.matches[next];
    over |= sequence + 1 >= match.until_sequence;
    if (match.lane != lane || sequence < match.from_sequence ||
        sequence >= match.until_sequence || has_it(match.id)) {
      continue;
    }
    if (match.subscription != nullptr &&
        match.subscription->options().mode != DeliveryMode::kInline) {
      tracked.Postpone();
      return FrameOutcome::kCorrupt;  // It has no handler to be called here.
    }
    if (!DeliverTo(spills, match, *publisher.origin, frame)) {
      std::vector<uint32_t> have;
      for (size_t i = 0; i < next; ++i) {
        have.push_back(publisher.matches[i].id);
      }
      inbox.partials[lane] = {end, std::move(have)};
      tracked.Postpone();
      return FrameOutcome::kNotNow;
    }
  }
  if (is_again) inbox.partials.erase(lane);
  if (over) publisher.EndMatches(lane, sequence);
  return tracked.has_spills() ? FrameOutcome::kTaken : FrameOutcome::kHandled;
}

void Dispatcher::CountDropped(FlowCounters& flow, DropReason reason) const {
  flow.CountDropped(reason, 1);
  if (on_drop_ != nullptr) on_drop_();
}

bool Dispatcher::DeliverTo(SpillTracker& spills, const Match& match,
                           const Origin& origin, const FrameView& frame) {
  if (match.subscription == nullptr) {
    if (match.flow != nullptr) CountDropped(*match.flow, match.dropped_as);
    return true;
  }
  // A handler may unsubscribe itself: keep it alive until it returns.
  const std::shared_ptr<Subscription> subscription = match.subscription;
  switch (subscription->gate().TryEnter()) {
    case Gate::Entry::kClosed:
      CountDropped(*match.flow, DropReason::kSubscriberGone);
      return true;
    case Gate::Entry::kBusy:
      return Spill(spills, *subscription, origin, frame);
    case Gate::Entry::kEntered:
      subscription->Run(*match.flow,
                        Payload::Bytes(subscription->type(), frame.payload),
                        InfoOf(frame, origin));
      subscription->Leave();
      return true;
  }
  return true;
}

bool Dispatcher::Spill(SpillTracker& spills, Subscription& subscription,
                       const Origin& origin, const FrameView& frame) {
  FrameFields fields;
  fields.digest_prefix = OriginWord(origin);
  fields.publisher_sequence = frame.header.publisher_sequence;
  fields.publisher_id = 0;  // Of another node: it is in none of our flows.
  fields.flags = frame.header.flags & (kFramePublishTime | kFrameRedelivered);
  fields.publish_time_ns = frame.publish_time_ns;
  fields.lost_before = LostBeforeWord(frame);
  std::array<char, SpillTracker::kWordBytes> word = {};
  fields.extension = absl::string_view(word.data(), word.size());
  const size_t bytes = EncodedFrameBytes(fields, frame.payload.size());
  Lane& lane = subscription.lane();
  switch (lane.TryClaim(bytes)) {
    case Lane::ClaimResult::kClaimed:
      break;
    case Lane::ClaimResult::kFull:
      // This cannot come too late: the callback comes at once if there is room.
      // The frame may be offered again before, when there is room elsewhere.
      if (const uint32_t id = subscription.options().id; spills.AwaitRoom(id)) {
        lane.CallWhenRoom(bytes, [tracker = spills.shared_from_this(), id] {
          tracker->RoomCame(id);
        });
      }
      return false;
    case Lane::ClaimResult::kTooLarge:  // Cannot be: see LaneFor().
    case Lane::ClaimResult::kClosed:
      CountDropped(*subscription.FlowFrom(origin), DropReason::kSubscriberGone);
      return true;
  }
  word = spills.AddSpill();
  const absl::Span<std::byte> payload = EncodeFrame(
      fields, lane.next_sequence(), frame.payload.size(), lane.Room());
  if (!payload.empty()) {
    std::memcpy(payload.data(), frame.payload.data(), payload.size());
  }
  lane.Commit();
  if (subscription.gate().MarkPendingOrReserve()) subscription.DrainAndLeave();
  return true;
}

size_t Dispatcher::entry_count() const {
  size_t count = origins_.size();
  for (const auto& [link, inbox] : inboxes_) {
    count += inbox.publishers.entry_count() + inbox.queues.size() +
             inbox.waiting.size() + inbox.spills.size() +
             inbox.inline_lanes.size();
  }
  MutexLock lock(mutex_);
  return count + subscriptions_.size();
}

std::vector<Dispatcher::Parted> Dispatcher::RemoveLink(Link& link) {
  stay_.Leave();
  std::vector<Parted> parted;
  const auto inbox = inboxes_.find(&link);
  if (inbox == inboxes_.end()) return parted;
  last_link_ = nullptr;
  only_.link = nullptr;
  inbox->second.publishers.ForEachMatch(
      [&](const Publisher& publisher, const Match& match) {
        if (match.subscription == nullptr || match.subscription->closed()) {
          return;
        }
        parted.push_back({match.subscription, publisher.origin});
      });
  std::sort(parted.begin(), parted.end(), [](const auto& a, const auto& b) {
    return std::make_pair(a.subscription->options().id, a.origin->service) <
           std::make_pair(b.subscription->options().id, b.origin->service);
  });
  for (auto& [lane, queue] : inbox->second.queues) {
    if (queue.feed != nullptr) queue.feed->End();
  }
  for (auto& [lane, spills] : inbox->second.spills) spills->End();
  inboxes_.erase(inbox);
  return parted;
}

}  // namespace mycelium
