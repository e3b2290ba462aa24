#include "mycelium/routing/fan_out.h"

#include <algorithm>
#include <limits>
#include <new>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "mycelium/base/shared_word.h"
#include "mycelium/transport/lane/lane_publishing.h"

namespace mycelium {
namespace {

// The header of a frame without time or extension, for Lane::CommitFrom().
FrameHeader HeaderOf(const FrameFields& fields) {
  FrameHeader header = {};
  header.digest_prefix = fields.digest_prefix;
  header.publisher_sequence = fields.publisher_sequence;
  header.publisher_id = fields.publisher_id;
  return header;
}

inline void CountAccepted(const PublishRoute& route) {
  // Counted down, which is shorter than going from begin() to end(): there is
  // nearly always one.
  const std::shared_ptr<FlowCounters>* flow = route.flows.data();
  for (size_t left = route.flows.size(); left > 0; --left, ++flow) {
    (*flow)->CountAccepted();
  }
}

bool IsBefore(const PublishRoute& a, const PublishRoute& b) {
  return a.lane->order() < b.lane->order();
}

}  // namespace

absl::Status FanOut::PublishOrWait(bool may_wait, const Payload& payload) {
  if (ABSL_PREDICT_FALSE(guard_.is_inherited())) return CheckOpen();
  const Way way = way_.load(std::memory_order_relaxed);
  return way == Way::kOne ? PublishToOne(may_wait, payload)
                          : PublishTo(way, may_wait, payload);
}

absl::Status FanOut::PublishTo(Way way, bool may_wait, const Payload& payload) {
  switch (way) {
    case Way::kCopies:
      if (PublishCopies(payload)) return absl::OkStatus();
      break;
    case Way::kOnlyInline:
      if (PublishToOnlyInline(payload)) return absl::OkStatus();
      break;
    case Way::kOnlyLane:
      if (PublishToOnlyLane(payload)) return absl::OkStatus();
      break;
    case Way::kOne:  // Not here.
    case Way::kAll:
      break;
  }
  return PublishToAll(may_wait, payload);
}

absl::Status FanOut::PublishToAll(bool may_wait, const Payload& payload) {
  Claims claims;
  Obstacle obstacle;
  Waits waits;
  while (true) {
    mutex_.Lock();
    if (ClaimAll(payload, &claims, &obstacle)) {
      if (!claims.empty()) break;
      // There is no route, or the lanes of all have just closed: a link closes
      // its lanes before their routes are taken away.
      absl::Status status = WithoutRoutes();
      mutex_.Unlock();
      return status;
    }
    AbandonLanes(claims);
    mutex_.Unlock();
    LeaveGates(&claims);
    if (absl::Status status = Overcome(obstacle, may_wait, &waits);
        !status.ok()) {
      return status;
    }
  }
  const int64_t time_ns =
      options_.publish_time ? environment_.clock.WallNs() : 0;
  CommitAll(payload, time_ns, absl::MakeSpan(claims));
  const uint64_t sequence = sequence_;
  mutex_.Unlock();
  Deliver(payload, sequence, time_ns, &claims);
  return absl::OkStatus();
}

bool FanOut::PublishToOnlyInline(const Payload& payload) {
  mutex_.Lock();
  if (way_.load(std::memory_order_relaxed) != Way::kOnlyInline) {
    mutex_.Unlock();
    return false;
  }
  Subscription& subscription = *routes_[0].subscription;
  if (subscription.gate().TryEnter() != Gate::Entry::kEntered) {
    mutex_.Unlock();
    return false;
  }
  FlowCounters& handled = *routes_[0].handled;
  routes_[0].flows[0]->CountAccepted();
  const uint64_t sequence = ++sequence_;
  mutex_.Unlock();
  // Being inside the gate keeps the subscription and its counters alive.
  const int64_t time_ns =
      options_.publish_time ? environment_.clock.WallNs() : 0;
  subscription.Run(handled, payload, MessageInfo(origin(), sequence, time_ns));
  subscription.Leave();
  return true;
}

absl::Status FanOut::PublishToOne(bool may_wait, const Payload& payload) {
  const uint64_t key = mutex_.LockByKey();
  const bool is_done =
      ABSL_PREDICT_TRUE(way_.load(std::memory_order_relaxed) == Way::kOne) &&
      PublishToOneLocked(payload);
  mutex_.UnlockByKey(key);
  return ABSL_PREDICT_TRUE(is_done) ? absl::OkStatus()
                                    : PublishToAll(may_wait, payload);
}

inline bool FanOut::PublishToOneLocked(const Payload& payload) {
  const size_t size = payload.ByteSize();
  const bool has_bytes = payload.object == nullptr;
  if (ABSL_PREDICT_FALSE((has_local_ && payload.IsHandedOver()) ||
                         payload.place != nullptr ||
                         (!has_bytes && size > kSmallBytes))) {
    return PublishInPlace(payload, size);
  }
  const auto encode =
      [&](FrameHeader* header) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        header->publisher_sequence = ++sequence_;
        header->publisher_id = options_.publisher_id;
        header->digest_prefix =
            has_local_ ? OriginWord(origin()) : payload.type->digest.prefix();
        // Before the lane is let go: if it closes then, the frames in it are
        // counted.
        flow_->CountAccepted();
        if (has_bytes) return payload.bytes;
        payload.Serialize(small_.data());
        return absl::MakeConstSpan(small_.data(), size);
      };
  return lane_->TryPublish(size, encode) == Lane::ClaimResult::kClaimed;
}

inline bool FanOut::ClaimCopies(size_t payload_bytes) {
  // By pointer: to index them costs as much as half a lock.
  const PublishRoute* const first = routes_.data();
  const PublishRoute* const end = first + routes_.size();
  for (const PublishRoute* route = first; route != end; ++route) {
    if (route->lane->TryClaimFrom(payload_bytes) ==
        Lane::ClaimResult::kClaimed) {
      continue;
    }
    while (route != first) (--route)->lane->Abandon();
    return false;
  }
  return true;
}

bool FanOut::PublishCopies(const Payload& payload) {
  MutexLock lock(mutex_);
  if (way_.load(std::memory_order_relaxed) != Way::kCopies) return false;
  const size_t size = payload.ByteSize();
  const bool has_bytes = payload.object == nullptr;
  if ((has_local_ && payload.IsHandedOver()) || payload.place != nullptr ||
      (!has_bytes && size > kSmallBytes)) {
    return routes_.size() == 1 && PublishInPlace(payload, size);
  }
  if (!ClaimCopies(size)) return false;
  // Not before the claim: a message without room is not encoded in vain.
  if (!has_bytes) payload.Serialize(small_.data());
  const auto bytes =
      has_bytes ? payload.bytes : absl::MakeConstSpan(small_.data(), size);
  FrameHeader header = {};
  header.publisher_sequence = ++sequence_;
  header.publisher_id = options_.publisher_id;
  const uint64_t digest_prefix = payload.type->digest.prefix();
  for (const PublishRoute& route : routes_) {
    // Before the lane is let go: if it closes then, the frames in it are
    // counted.
    CountAccepted(route);
    header.digest_prefix =
        route.subscription == nullptr ? digest_prefix : OriginWord(origin());
    route.lane->CommitFrom(&header, bytes);
  }
  for (const PublishRoute& route : routes_) route.lane->Ring();
  return true;
}

bool FanOut::PublishInPlace(const Payload& payload, size_t payload_bytes) {
  const PublishRoute& route = routes_[0];
  Claim claim;
  const size_t frame_bytes =
      PrepareLaneClaim(route, payload, payload_bytes, &claim);
  if (claim.lane->TryClaim(frame_bytes) != Lane::ClaimResult::kClaimed) {
    return false;
  }
  const int64_t time_ns =
      options_.publish_time ? environment_.clock.WallNs() : 0;
  CommitAll(payload, time_ns, absl::MakeSpan(&claim, 1));
  return true;
}

bool FanOut::PublishToOnlyLane(const Payload& payload) {
  MutexLock lock(mutex_);
  if (way_.load(std::memory_order_relaxed) != Way::kOnlyLane) return false;
  return PublishInPlace(payload, payload.ByteSize());
}

absl::Status FanOut::CheckOpen() {
  if (guard_.is_inherited()) return guard_.Check(origin().node);
  MutexLock lock(mutex_);
  return CheckOpenLocked();
}

absl::Status FanOut::CheckOpenLocked() const {
  if (!closed_) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("publisher of \"", origin().topic, "\" is closed"));
}

absl::Status FanOut::WithoutRoutes() {
  if (absl::Status open = CheckOpenLocked(); !open.ok()) return open;
  if (!without_routes_.ok()) {
    room_notice_.NoteNobody();
    return without_routes_;
  }
  ++sequence_;
  unmatched_.CountAccepted();
  unmatched_.CountDropped(DropReason::kNoSubscriber, 1);
  NoteDrop();
  return absl::OkStatus();
}

bool FanOut::ClaimAll(const Payload& payload, Claims* claims,
                      Obstacle* obstacle) {
  constexpr size_t kUnknown = std::numeric_limits<size_t>::max();
  size_t payload_bytes = kUnknown;
  for (const PublishRoute& route : routes_) {
    if (route.subscription != nullptr &&
        route.subscription->options().mode == DeliveryMode::kInline) {
      const Gate::Entry entry = route.subscription->gate().TryReserve();
      if (entry == Gate::Entry::kClosed) continue;
      if (entry == Gate::Entry::kEntered) {
        Claim claim;
        claim.route = &route;
        claim.subscription = route.subscription.get();
        claim.flow = route.handled;
        claim.inside = true;
        claims->push_back(claim);
        continue;
      }
    }
    if (payload_bytes == kUnknown) payload_bytes = payload.ByteSize();
    if (!ClaimLane(route, payload, payload_bytes, claims, obstacle)) {
      return false;
    }
  }
  return true;
}

size_t FanOut::PrepareLaneClaim(const PublishRoute& route,
                                const Payload& payload, size_t payload_bytes,
                                Claim* claim) const {
  claim->route = &route;
  claim->subscription = route.subscription.get();
  claim->lane = route.lane.get();
  claim->local = route.subscription != nullptr;
  claim->object = claim->local && payload.IsHandedOver();
  FrameFields fields;
  if (options_.publish_time) fields.flags |= kFramePublishTime;
  return EncodedFrameBytes(fields, claim->object && payload.object != nullptr
                                       ? sizeof(ObjectPayload)
                                       : payload_bytes);
}

bool FanOut::ClaimLane(const PublishRoute& route, const Payload& payload,
                       size_t payload_bytes, Claims* claims,
                       Obstacle* obstacle) {
  Claim claim;
  const size_t frame_bytes =
      PrepareLaneClaim(route, payload, payload_bytes, &claim);
  const Lane::ClaimResult result = claim.lane->TryClaim(frame_bytes);
  if (result == Lane::ClaimResult::kClosed) return true;  // Just unsubscribed.
  if (result == Lane::ClaimResult::kClaimed) {
    claims->push_back(claim);
    return true;
  }
  obstacle->lane = route.lane;
  obstacle->frame_bytes = frame_bytes;
  obstacle->result = result;
  obstacle->overflow = route.overflow;
  obstacle->publish_timeout = route.publish_timeout;
  obstacle->subscription = route.subscription;
  obstacle->routes = routes_number_.load(std::memory_order_relaxed);
  return false;
}

void FanOut::AbandonLanes(const Claims& claims) {
  for (const Claim& claim : claims) {
    if (!claim.inside) claim.lane->Abandon();
  }
}

void FanOut::LeaveGates(Claims* claims) {
  for (Claim& claim : *claims) {
    if (claim.inside) claim.subscription->Leave();
  }
  claims->clear();
}

void FanOut::CommitAll(const Payload& payload, int64_t time_ns,
                       absl::Span<Claim> claims) {
  FrameFields fields;
  fields.publisher_sequence = ++sequence_;
  fields.digest_prefix = payload.type->digest.prefix();
  fields.publisher_id = options_.publisher_id;
  fields.publish_time_ns = time_ns;
  if (options_.publish_time) fields.flags |= kFramePublishTime;
  // Before the lanes are let go: if one closes then, the frames in it are
  // counted.
  for (const Claim& claim : claims) {
    CountAccepted(*claim.route);
  }
  // The payload is serialised at most once, if need be into the first lane that
  // takes it. The lanes of links take the encoded payload with its header in
  // one go; their room stays empty here.
  absl::Span<const std::byte> encoded = payload.bytes;
  bool is_encoded = payload.object == nullptr;
  for (Claim& claim : claims) {
    if (claim.inside) continue;
    if (PutLoan(payload, fields, &claim)) continue;
    const bool takes_whole = !claim.local && claim.lane->stage() == nullptr &&
                             !options_.publish_time;
    if (takes_whole && !is_encoded) {
      const size_t bytes = claim.lane->Room().size() - sizeof(FrameHeader);
      if (bytes <= kSmallBytes) {
        payload.Serialize(small_.data());
        encoded = absl::MakeConstSpan(small_.data(), bytes);
        is_encoded = true;
      }
    }
    if (takes_whole && is_encoded) continue;
    FillRoom(payload, fields, &claim, &encoded);
    is_encoded |= !encoded.empty();
  }
  const auto is_whole = [](const Claim& claim) {
    return claim.room.empty() && claim.lane->stage() == nullptr;
  };
  for (const Claim& claim : claims) {
    if (claim.inside || !is_whole(claim)) continue;
    FrameHeader header = HeaderOf(fields);
    claim.lane->CommitFrom(&header, encoded);
  }
  // Not before: a lane that is committed may be read, and written again, and
  // the encoded payload may lie in one of these.
  for (const Claim& claim : claims) {
    if (!claim.inside && !is_whole(claim)) CommitLane(fields, claim);
  }
  for (Claim& claim : claims) {
    if (claim.inside) continue;
    claim.lane->Ring();
    // Under the lock, so that no thread overtakes what lies in the queue.
    const bool is_inline = claim.local && claim.subscription->options().mode ==
                                              DeliveryMode::kInline;
    claim.inside =
        is_inline && claim.subscription->gate().MarkPendingOrReserve();
  }
}

FrameFields FanOut::FieldsFor(const Claim& claim, FrameFields fields) const {
  if (claim.local) fields.digest_prefix = OriginWord(origin());
  if (claim.object) fields.flags |= kFrameObject;
  return fields;
}

bool FanOut::PutLoan(const Payload& payload, FrameFields fields, Claim* claim) {
  if (payload.place == nullptr || claim->local ||
      claim->lane->stage() != nullptr) {
    return false;
  }
  if (!claim->lane->TakesLoan(*payload.place)) return false;
  const absl::Span<std::byte> room = claim->lane->Room();
  fields.flags |= kFrameElsewhere;
  claim->room = room;
  claim->lane->PutLoan(payload,
                       EncodeFrame(fields, claim->lane->next_sequence(),
                                   payload.bytes.size(), room));
  return true;
}

void FanOut::FillRoom(const Payload& payload, const FrameFields& common,
                      Claim* claim, absl::Span<const std::byte>* encoded) {
  claim->room = claim->lane->Room();
  if (claim->room.empty()) return;  // The lane is lossy, and drops this one.
  const FrameFields fields = FieldsFor(*claim, common);
  const size_t payload_bytes =
      claim->room.size() - EncodedFrameBytes(fields, 0);
  const absl::Span<std::byte> room = EncodeFrame(
      fields, claim->lane->next_sequence(), payload_bytes, claim->room);
  if (claim->object) {
    new (room.data()) ObjectPayload{
        *payload.shared, payload.object != nullptr ? payload.type : nullptr};
  } else if (!encoded->empty()) {
    CopyToShared(room.data(), encoded->data(), encoded->size());
  } else {
    payload.Serialize(room.data());
    *encoded = room;
  }
}

void FanOut::CommitLane(const FrameFields& common, const Claim& claim) {
  if (claim.room.empty()) {
    claim.lane->DropClaimed(FieldsFor(claim, common));
  } else {
    claim.lane->Commit();
  }
}

void FanOut::Deliver(const Payload& payload, uint64_t sequence, int64_t time_ns,
                     Claims* claims) {
  const MessageInfo info(origin(), sequence, time_ns);
  for (Claim& claim : *claims) {
    if (!claim.inside) continue;
    if (claim.lane != nullptr) {
      claim.subscription->DrainAndLeave();
    } else if (claim.subscription->gate().Start()) {
      claim.subscription->Run(*claim.flow, payload, info);
      claim.subscription->Leave();
    } else {
      // The subscription ended while handlers before it ran; nobody waits for
      // those.
      claim.flow->CountDropped(DropReason::kSubscriberGone, 1);
      NoteDrop();
      claim.subscription->Leave();
    }
  }
}

void FanOut::SetRoutes(std::vector<PublishRoute> routes,
                       absl::FunctionRef<void()> settle) {
  std::sort(routes.begin(), routes.end(), IsBefore);
  const bool has_routes = !routes.empty();
  std::vector<std::shared_ptr<Lane>> gone;
  {
    MutexLock lock(mutex_);
    gone = TakeRoutes(std::move(routes));
    settle();
  }
  if (has_routes) room_notice_.OnSubscribers();
  TellOfGone(gone);
}

std::vector<std::shared_ptr<Lane>> FanOut::TakeRoutes(
    std::vector<PublishRoute> routes) {
  routes_.swap(routes);
  // Release: pairs with the loads in Overcome() and IsGone(), by a thread that
  // has found one of the old routes full.
  routes_number_.fetch_add(1, std::memory_order_release);
  FindWay();
  std::vector<std::shared_ptr<Lane>> gone;
  for (PublishRoute& old : routes) {
    if (!std::binary_search(routes_.begin(), routes_.end(), old, IsBefore)) {
      gone.push_back(std::move(old.lane));
    }
  }
  return gone;
}

void FanOut::TellOfGone(const std::vector<std::shared_ptr<Lane>>& lanes) {
  for (const auto& lane : lanes) {
    room_notice_.OnRouteGone(*lane);
    lane->room_event().Notify(environment_.waiter);
  }
}

void FanOut::FindWay() {
  const auto is_local = [](const PublishRoute& route) {
    return route.subscription != nullptr;
  };
  const auto is_inline = [](const PublishRoute& route) {
    return route.subscription != nullptr &&
           route.subscription->options().mode == DeliveryMode::kInline;
  };
  const auto is_lossless = [](const PublishRoute& route) {
    return route.lane->stage() == nullptr;
  };
  has_local_ = absl::c_any_of(routes_, is_local);
  const auto may_map = [&](const PublishRoute& route) {
    return !is_local(route) && is_lossless(route) &&
           route.lane->shared() != nullptr;
  };
  may_lend_ = absl::c_any_of(routes_, may_map);
  sharers_ = static_cast<int>(
      absl::c_count_if(routes_, [&](const PublishRoute& route) {
        return may_map(route) || (is_local(route) && !is_inline(route));
      }));
  lane_ = nullptr;
  flow_ = nullptr;
  if (routes_.size() == 1 && is_inline(routes_[0])) {
    way_ = Way::kOnlyInline;
  } else if (!routes_.empty() && !options_.publish_time &&
             !absl::c_any_of(routes_, is_inline) &&
             absl::c_all_of(routes_, is_lossless)) {
    way_ = Way::kCopies;
    if (routes_.size() == 1 && routes_[0].flows.size() == 1) {
      way_ = Way::kOne;
      lane_ = routes_[0].lane.get();
      flow_ = routes_[0].flows[0].get();
    }
  } else {
    way_ = routes_.size() == 1 ? Way::kOnlyLane : Way::kAll;
  }
}

void FanOut::SetWithoutRoutes(absl::Status status) {
  MutexLock lock(mutex_);
  without_routes_ = std::move(status);
}

void FanOut::Close() {
  std::vector<std::shared_ptr<Lane>> gone;
  {
    MutexLock lock(mutex_);
    for (const PublishRoute& route : routes_) {
      if (route.subscription == nullptr) route.lane->SettleLoans();
    }
    gone = TakeRoutes({});
    closed_ = true;
  }
  // A caller that waits for subscribers learns that the publisher is closed.
  room_notice_.OnSubscribers();
  TellOfGone(gone);
}

bool FanOut::IsReadInPlace(const LoanPlace* place) {
  MutexLock lock(mutex_);
  bool is_in_place = !routes_.empty();
  for (const PublishRoute& route : routes_) {
    if (route.subscription != nullptr) continue;
    if (place == nullptr) return false;
    Lane& lane = *route.lane;
    if (lane.mapped() && lane.loans().AnswerFor(place->memory->id()) ==
                             LaneLoans::Answer::kYes) {
      continue;
    }
    is_in_place = false;
    lane.OfferLoans(place->memory);
  }
  return is_in_place;
}

void FanOut::OfferLoans(const std::shared_ptr<LoanMemory>& memory) {
  MutexLock lock(mutex_);
  for (const PublishRoute& route : routes_) {
    if (route.subscription == nullptr) route.lane->OfferLoans(memory);
  }
}

void FanOut::FinishLoans() {
  MutexLock lock(mutex_);
  for (const PublishRoute& route : routes_) {
    if (route.lane->loans().any()) {
      route.lane->loans().Finish(route.lane->released());
    }
  }
}

size_t FanOut::route_count() {
  MutexLock lock(mutex_);
  return routes_.size();
}

}  // namespace mycelium
