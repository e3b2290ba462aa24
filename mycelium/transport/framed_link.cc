#include "mycelium/transport/framed_link.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/planted_bug.h"
#include "mycelium/codec/frame_decoder.h"

namespace mycelium {

FramedLink::FramedLink(Environment& environment, EventLoop& loop,
                       Options options, LinkHandler& handler)
    : environment_(environment),
      loop_(loop),
      options_(std::move(options)),
      handler_(handler),
      word_(options_.transport.c_str()),
      frame_bytes_max_(options_.frame_bytes_max) {}

FramedLink::~FramedLink() {
  *alive_ = false;
  loop_.Cancel(ack_timer_.load());
  loop_.Cancel(drain_timer_);
  Abandon();
  // Whoever is inside the gate leaves soon; nobody may come in after.
  gate_.Close(environment_.waiter);
}

std::string FramedLink::name() const {
  return absl::StrCat("link ", options_.self, " -> ", options_.peer, " (",
                      transport(), ")");
}

// ---------------------------------------------------------------------------
// Connections

void FramedLink::Attach(std::shared_ptr<Channel> channel, const v1::Hello& peer,
                        uint64_t resume_offered, bool shared_memory_offered,
                        uint64_t lane_bytes) {
  Detach();
  ending_.reset();
  goodbye_.reset();
  const bool shared = shares_.load();
  const bool shares = options_.shared_memory != nullptr &&
                      shared_memory_offered && peer.shared_memory() &&
                      channel->passes_descriptors();
  shares_.store(shares, std::memory_order_release);
  // What is meant to be shared, and is not, goes over the socket.
  word_.store(shares                        ? "shm"
              : options_.transport == "shm" ? "unix"
                                            : options_.transport.c_str());
  // The socket tells of little then, and is not worth a call each time.
  channel->SetSpinning(!shares);
  // Both must have said that they remember the other, or lanes would go on at
  // one end only.
  const bool remembers = resume_offered != 0 &&
                         resume_offered == peer.incarnation() &&
                         peer.resume_incarnation() == options_.incarnation;
  // Lanes that were shared cannot go on over a connection that shares none.
  const bool resumed = remembers && (shares || !shared);
  uint64_t frame_bytes_max = options_.frame_bytes_max;
  if (peer.frame_bytes_max() != 0) {
    frame_bytes_max = std::min(frame_bytes_max, peer.frame_bytes_max());
  }
  if (lane_bytes != 0) {
    frame_bytes_max = std::min(frame_bytes_max, lane_bytes / 2);
  }
  frame_bytes_max_.store(frame_bytes_max);
  lane_bytes_.store(lane_bytes);
  paused_ = false;
  peer_is_done_ = false;
  leaving_.store(false);
  final_wanted_.store(false);
  reader_.Reset();
  if (resumed) {
    ResetLanes(peer);
  } else {
    if (peer.incarnation() != peer_incarnation_) LeaveRingsBehind();
    ParkLanes();
    heard_ = false;
  }
  peer_incarnation_ = peer.incarnation();
  channel_ = channel;
  gathers_.store(channel->gathers(), std::memory_order_relaxed);
  window_.Begin();
  // Data waits until the handler has said what the peer must know first.
  hold_data_.store(true, std::memory_order_release);
  {
    MutexLock lock(control_mutex_);
    control_.clear();
    next_channel_ = std::move(channel);
    swap_channel_.store(true, std::memory_order_release);
  }
  up_.store(true, std::memory_order_release);
  handler_.OnUp(*this, peer, resumed);
  if (resumed) CloseUnknownLanes(peer);
  hold_data_.store(false, std::memory_order_release);
  Kick();
  if (channel_ != nullptr) channel_->Start(*this);
}

void FramedLink::Detach() {
  if (channel_ == nullptr) return;
  up_.store(false, std::memory_order_release);
  channel_->Close();
  // We may be inside one of its calls.
  loop_.Post([channel = std::move(channel_)] {});
  channel_ = nullptr;
  {
    MutexLock lock(control_mutex_);
    control_.clear();
    has_control_.store(false, std::memory_order_relaxed);
    next_channel_ = nullptr;
    swap_channel_.store(true, std::memory_order_release);
  }
  Kick();
  for (InboundRing* const ring : ring_list_) ring->active = false;
  MutexLock lock(lanes_mutex_);
  for (auto& [id, out] : out_lanes_) {
    out->lane->SetReaderAway(true);
    // What comes from here on, the process at the other end does not see.
    if (out->lane->mapped()) out->reached = out->lane->committed();
    out->lane->NotifyReleased();  // Whoever waits for room need not any more.
  }
}

void FramedLink::Part() {
  if (channel_ == nullptr) return;
  leaving_.store(true, std::memory_order_release);
  Kick();
}

void FramedLink::Abandon() {
  Detach();
  ending_.reset();
  loop_.Cancel(drain_timer_);
  DropRings();
  MutexLock lock(lanes_mutex_);
  abandoned_ = true;
  for (auto& [id, out] : out_lanes_) out->lane->Discard();
}

void FramedLink::Forget() {
  peer_incarnation_ = 0;
  LeaveRingsBehind();
  {
    MutexLock lock(lanes_mutex_);
    DropLanes();
  }
  swap_channel_.store(true, std::memory_order_release);
  Kick();  // Lets go of their memory.
}

void FramedLink::DropLanes() {
  inbound_.Clear();
  disconnected_.clear();
  for (auto& [id, out] : out_lanes_) {
    out->lane->Discard();
    retired_.push_back(std::move(out));
  }
  out_lanes_.clear();
}

uint64_t FramedLink::NextSequence(uint32_t lane) const {
  for (const InboundRing* const ring : ring_list_) {
    if (ring->lane() == lane) return ring->next_sequence();
  }
  InboundLanes::Expected expected;
  return inbound_.Find(lane, &expected) ? expected.sequence : 0;
}

void FramedLink::ResetLanes(const v1::Hello& peer) {
  std::map<uint32_t, v1::LaneProgress> progress;
  for (const v1::LaneProgress& lane : peer.resume()) {
    progress[lane.lane()] = lane;
  }
  MutexLock lock(lanes_mutex_);
  for (auto& [id, out] : out_lanes_) {
    if (out->lane->mapped()) {  // The peer says there how far it is.
      out->announced = false;
      // The word may have been lost, and the descriptors with it.
      out->known_to_peer = progress.count(id) > 0;
      out->lane->SetReaderAway(out->parked);
      continue;
    }
    const v1::LaneProgress& known = progress[id];
    out->lane->Release(known.handled());
    const uint64_t released = out->lane->released();
    const bool plausible = !MYCELIUM_PLANTED_BUG(2) &&
                           known.received() >= released &&
                           known.received() <= out->lane->committed();
    const uint64_t start = plausible ? known.received() : released;
    out->received.store(start, std::memory_order_relaxed);
    out->announced = false;
    out->lane->SetReaderAway(out->parked);
  }
}

void FramedLink::ParkLanes() {
  inbound_.Clear();
  DropRings();
  MutexLock lock(lanes_mutex_);
  disconnected_.clear();
  for (auto out = out_lanes_.begin(); out != out_lanes_.end();) {
    OutLane& lane = *out->second;
    if (lane.draining) {  // Its subscription ended with the process, if not
                          // before.
      lane.lane->Discard();
      retired_.push_back(std::move(out->second));
      out = out_lanes_.erase(out);
      continue;
    }
    PassOn(lane);
    lane.received.store(lane.lane->released(), std::memory_order_relaxed);
    lane.announced = lane.known_to_peer = false;
    lane.parked = true;
    ++out;
  }
}

void FramedLink::PassOn(OutLane& lane) {
  const bool was_mapped = lane.lane->mapped();
  const uint64_t seen =
      was_mapped ? lane.reached : std::max(lane.reached, lane.sent.load());
  // A lossy lane that was sent has frames on their way that nobody would find
  // in its shared memory: it goes on as it is.
  const bool stays_sent =
      lane.lane->stage() != nullptr && !was_mapped && lane.known_to_peer;
  const bool was_passed = was_mapped || lane.known_to_peer;
  if (lane.lane->shared() == nullptr || !was_passed || stays_sent) {
    lane.lane->BeginRedelivery(seen);
    lane.refused |= stays_sent;
    return;
  }
  // The last process has the old positions, whether it could map them or not.
  const absl::Status renewed = lane.lane->RenewReader(seen);
  // It may have changed that, too.
  lane.lane->shared()->positions().identity.store(IdentityOf(lane.lane->id()));
  lane.refused = !renewed.ok();
  if (!renewed.ok()) handler_.OnFallback(*this, renewed);
  lane.lane->SetMapped(false);
  lane.lane->NotifyReleased();  // Who waits asks anew to be woken.
}

void FramedLink::CloseUnknownLanes(const v1::Hello& peer) {
  MutexLock lock(lanes_mutex_);
  std::map<uint32_t, uint32_t> untold;
  for (const v1::LaneProgress& lane : peer.resume()) {
    const auto disconnected = disconnected_.find(lane.lane());
    if (disconnected != disconnected_.end()) untold.insert(*disconnected);
    const auto out = out_lanes_.find(lane.lane());
    if (out != out_lanes_.end() && !out->second->closing) continue;
    v1::Control control;
    v1::LaneClosed& closed = *control.mutable_lane_closed();
    closed.set_lane(lane.lane());
    if (disconnected != disconnected_.end()) {
      closed.set_disconnected_subscription(disconnected->second);
    }
    QueueControl(control);
  }
  disconnected_ = std::move(untold);  // The others it has heard of.
  // What the peer said in its Hello may have been all that a lane waited for.
  for (auto& [id, out] : out_lanes_) CloseIfDrained(*out);
}

FramedLink::OutLane* FramedLink::FindOut(const Lane& lane) {
  const auto out = out_lanes_.find(lane.id());
  if (out == out_lanes_.end() || out->second->lane.get() != &lane) {
    return nullptr;
  }
  return out->second.get();
}

void FramedLink::AdoptLane(const Lane& lane, uint32_t subscription) {
  {
    MutexLock lock(lanes_mutex_);
    OutLane* const out = FindOut(lane);
    if (out == nullptr) return;
    if (lane.id() != 0) out->subscription = subscription;
    if (out->parked) {
      // Where it goes on; a poisonous frame may have been taken out meanwhile.
      out->sent.store(lane.released());
      out->received.store(lane.released());
      out->parked = false;
    }
    out->lane->SetReaderAway(!is_up());
  }
  Kick();
}

void FramedLink::DropLane(const Lane& lane) {
  MutexLock lock(lanes_mutex_);
  const auto out = out_lanes_.find(lane.id());
  if (out == out_lanes_.end() || out->second->lane.get() != &lane) return;
  out->second->lane->Discard();
  retired_.push_back(std::move(out->second));
  out_lanes_.erase(out);
}

void FramedLink::FillResume(v1::Hello* hello) const {
  // The connection may have been over for the peer when we took it up; then it
  // has still what came before that, and we have not.
  hello->set_resume_incarnation(heard_ ? peer_incarnation_ : 0);
  inbound_.FillResume(hello);
  for (const InboundRing* const ring : ring_list_) {
    v1::LaneProgress* const progress = hello->add_resume();
    progress->set_lane(ring->lane());
    progress->set_received(ring->taken());
    progress->set_handled(ring->handled());
  }
}

// ---------------------------------------------------------------------------
// Sending

void FramedLink::Kick() {
  if (!gate_.MarkPending()) return;
  do {
    SendAll();
  } while (!gate_.Leave(environment_.waiter));
}

void FramedLink::SendAll() {
  if (swap_channel_.load(std::memory_order_acquire)) AdoptChannel();
  if (send_channel_ == nullptr) return;
  if (blocked_ && !writable_.exchange(false)) return;
  blocked_ = false;
  // Whoever commits meanwhile marks the gate, so one look at the lanes is
  // enough, unless that was before the channel was blocked, or there was more
  // than fits into one system call.
  bool look_again;
  do {
    if (swap_channel_.load(std::memory_order_acquire)) AdoptChannel();
    if (send_channel_ == nullptr) return;
    look_again = !outgoing_.done();
    if (outgoing_.done() && !Compose()) return;
    if (!Write()) return;
    if (final_said_ && outgoing_.done()) NoteFinalWritten();
  } while (look_again || has_more_ || !outgoing_.done());
}

void FramedLink::AdoptChannel() {
  {
    MutexLock lock(control_mutex_);
    send_channel_ = next_channel_;
    swap_channel_.store(false, std::memory_order_relaxed);
  }
  outgoing_.Clear();
  blocked_ = false;
  goodbye_said_ = false;
  final_said_ = false;
  final_written_.store(false, std::memory_order_relaxed);
  writable_.store(false, std::memory_order_relaxed);
  // Here, not on the loop: what was told until now went into the old one.
  inbound_.ForgetTold();
  ack_now_.store(true, std::memory_order_relaxed);
  MutexLock lock(lanes_mutex_);
  // Nothing points into their memory any more.
  for (const auto& out : retired_) AddTraffic(*out, &ended_out_);
  retired_.clear();
  for (auto& [id, out] : out_lanes_) {
    out->reached = std::max(out->reached, out->sent.load());
    out->sent.store(out->received.load(std::memory_order_relaxed));
  }
}

bool FramedLink::Compose() {
  outgoing_.Clear();
  has_more_ = false;
  // Looked at before data and acknowledgements, which must not follow Goodbye.
  const bool leaving = leaving_.load(std::memory_order_acquire);
  const bool final = final_wanted_.load(std::memory_order_acquire);
  // The ends of the lanes are read before the control messages, so that what a
  // frame depends on goes out before it; ComposeLanes() writes no further.
  ComposeLanes();
  const size_t data_pieces = outgoing_.count();
  if (has_control_.load(std::memory_order_acquire)) {
    MutexLock lock(control_mutex_);
    // What is for the next connection is not said on this one.
    if (send_channel_ == next_channel_) {
      outgoing_.control.swap(control_);
      has_control_.store(false, std::memory_order_relaxed);
    }
  }
  if (ring_peer_.exchange(false, std::memory_order_acq_rel)) {
    AppendControlRecord(kDoorbellBytes, &outgoing_.control);
  }
  if (!outgoing_.control.empty()) {
    outgoing_.Add(outgoing_.control.data(), outgoing_.control.size());
  }
  ComposeAcks(final && !final_said_);
  if (leaving) ComposeGoodbye(final);
  // Control and acknowledgements go first.
  outgoing_.MoveToFront(data_pieces);
  return !outgoing_.done();
}

void FramedLink::ComposeGoodbye(bool final) {
  std::string& records = outgoing_.goodbye;
  v1::Control control;
  control.mutable_goodbye();
  if (!goodbye_said_)
    AppendControlRecord(control.SerializeAsString(), &records);
  goodbye_said_ = true;
  control.mutable_goodbye()->set_final(true);
  if (final && !final_said_) {
    AppendControlRecord(control.SerializeAsString(), &records);
    final_said_ = true;
  }
  if (!records.empty()) outgoing_.Add(records.data(), records.size());
}

void FramedLink::NoteFinalWritten() {
  if (final_written_.exchange(true)) return;
  loop_.Post([this, alive = alive_] {
    if (*alive) BreakIfParted();
  });
}

void FramedLink::ComposeAcks(bool final) {
  const bool wanted =
      ack_now_.exchange(false, std::memory_order_relaxed) || final;
  // Some ride along, which saves a system call; the rest waits until it is
  // wanted. Over a channel that gathers they do when they are due, so that not
  // each message of a ping-pong carries what the peer has to read and act on.
  if (!wanted) {
    if (outgoing_.done()) return;
    if (send_channel_->gathers()) {
      data_went_.store(true, std::memory_order_relaxed);
      if (!acks_due_.exchange(false, std::memory_order_relaxed)) return;
    } else if (inbound_.UntoldBytes() < kRideBytes) {
      return;
    }
  }
  if (ack_asked_.load(std::memory_order_relaxed) && inbound_.AllHandled()) {
    ack_asked_.store(false, std::memory_order_relaxed);
  }
  inbound_.TakeAcks(&outgoing_.acks);
  if (final) {
    // The peer's last question: what of its lanes is ours to deliver.
    MutexLock lock(rings_mutex_);
    for (const auto& [lane, ring] : rings_) {
      outgoing_.acks.push_back({lane, 0, ring->taken(), ring->handled()});
    }
  }
  if (outgoing_.acks.empty()) return;
  const size_t bytes = outgoing_.acks.size() * sizeof(AckEntry);
  outgoing_.AddHeader(RecordKind::kAck, bytes);
  outgoing_.Add(outgoing_.acks.data(), bytes);
}

void FramedLink::ComposeLanes() {
  if (hold_data_.load(std::memory_order_acquire)) return;
  const bool flush = flush_.exchange(false, std::memory_order_acq_rel);
  MutexLock lock(lanes_mutex_);
  // The lanes may have been reset for the next connection by now. (Attach()
  // sets this before it takes the lock to do so.)
  if (swap_channel_.load(std::memory_order_acquire)) return;
  // What was being sent is gone, so nothing points into these any more.
  for (auto out = out_lanes_.begin(); out != out_lanes_.end();) {
    if (!out->second->closing) {
      ++out;
      continue;
    }
    AddTraffic(*out->second, &ended_out_);
    out = out_lanes_.erase(out);
  }
  if (leaving_.load(std::memory_order_acquire)) return;
  for (auto& [id, out] : out_lanes_) {
    if (out->parked || out->announced || !IsDirect(*out)) continue;
    if (!out->known_to_peer) {
      outgoing_.descriptors = out->lane->shared()->descriptors();
    }
    Announce(*out);
    out->lane->SetMapped(true);
    has_more_ = true;  // Descriptors go one pair at a time.
    return;
  }
  for (auto& [id, out] : out_lanes_) {
    if (out->lane->stage() != nullptr && !out->parked) out->lane->Advance();
  }
  uint64_t on_their_way = 0;
  if (ShouldGather(&on_their_way) && !flush) return;
  const bool gathers = send_channel_->gathers();
  uint64_t room = gathers ? window_.Room(on_their_way) : kNever;
  auto next = out_lanes_.lower_bound(gathers ? turn_ : 0);
  for (size_t i = 0; i < out_lanes_.size(); ++i, ++next) {
    if (next == out_lanes_.end()) next = out_lanes_.begin();
    const uint32_t id = next->first;
    OutLane* const out = next->second.get();
    if (out->parked || out->lane->mapped()) continue;
    uint64_t sent = out->sent.load(std::memory_order_relaxed);
    while (true) {
      Lane::Run run = out->lane->CommittedFrom(sent);
      if (run.bytes.empty()) break;
      if (room == 0) return;  // Acknowledgements make some.
      if (!outgoing_.has_room_for_data()) {
        has_more_ = true;
        return;
      }
      if (gathers) run.bytes = FramesOfAtLeast(run.bytes, room);
      room -= std::min<uint64_t>(room, run.bytes.size());
      if (room == 0) turn_ = id + 1;
      if (!out->announced) Announce(*out);
      RecordHeader& header =
          outgoing_.AddHeader(RecordKind::kData, run.bytes.size());
      header.lane = id;
      header.position = run.position;
      const bool may_keep = gathers && run.bytes.size() >= kKeptBytesMin;
      outgoing_.Add(run.bytes.data(), run.bytes.size(),
                    may_keep ? out->lane->memory() : nullptr);
      sent = run.position + run.bytes.size();
      out->sent.store(sent, std::memory_order_release);
    }
  }
}

bool FramedLink::ShouldGather(uint64_t* on_their_way) const {
  uint64_t waiting = 0;
  for (const auto& [id, out] : out_lanes_) {
    if (out->parked || out->lane->mapped()) continue;
    const uint64_t sent = out->sent.load(std::memory_order_relaxed);
    *on_their_way +=
        sent - std::min(sent, out->received.load(std::memory_order_relaxed));
    waiting += out->lane->committed() - sent;
  }
  if (waiting >= kGatheredBytes) return false;
  return send_channel_->gathers() ? waiting > 0 && (MYCELIUM_PLANTED_BUG(8) ||
                                                    send_channel_->IsWriting())
                                  : *on_their_way > kGatherBytes;
}

void FramedLink::Announce(OutLane& out) {
  // `sent` is still where this connection starts, so the frames before it are
  // exactly those that the peer has.
  v1::Control control;
  v1::LaneOpen& open = *control.mutable_lane_open();
  open.set_lane(out.lane->id());
  open.set_subscription(out.subscription);
  if (IsDirect(out)) {
    open.set_shared_identity(IdentityOf(out.lane->id()));
    out.sent.store(out.lane->released());
  }
  const uint64_t sent = out.sent.load(std::memory_order_relaxed);
  open.set_position(sent);
  open.set_next_sequence(out.lane->SequenceAt(sent));
  open.set_capacity_bytes(out.lane->capacity_bytes());
  open.set_lossy_window(static_cast<uint32_t>(out.lane->window()));
  open.set_redelivered_until(out.lane->redelivered_until());
  QueueControl(control);
  out.announced = out.known_to_peer = true;
}

bool FramedLink::Write() {
  const absl::StatusOr<size_t> sent =
      outgoing_.descriptors.has_value()
          ? send_channel_->SendDescriptors(*outgoing_.descriptors,
                                           outgoing_.pieces())
      : send_channel_->gathers()
          ? send_channel_->SendKept(outgoing_.pieces(), outgoing_.keepers())
          : send_channel_->Send(outgoing_.pieces());
  if (!sent.ok()) {
    // The loop hears of it too, after what the peer had sent before.
    send_channel_ = nullptr;
    return false;
  }
  if (*sent > 0) outgoing_.descriptors.reset();
  outgoing_.Consume(*sent);
  if (outgoing_.done()) return true;
  // The loop may have found the channel writable since Send() did not: then we
  // are not blocked, and nobody would come to tell us so again.
  blocked_ = !writable_.exchange(false);
  return !blocked_;
}

void FramedLink::SendControl(const v1::Control& control) {
  QueueControl(control);
  Kick();
}

void FramedLink::QueueControl(const v1::Control& control) {
  MutexLock lock(control_mutex_);
  if (next_channel_ == nullptr) return;
  const uint32_t number = control_count_.load(std::memory_order_relaxed) + 1;
  if (control.has_lane_open()) {
    v1::Control numbered = control;
    numbered.mutable_lane_open()->set_control_number(number);
    AppendControlRecord(numbered.SerializeAsString(), &control_);
  } else {
    AppendControlRecord(control.SerializeAsString(), &control_);
  }
  control_count_.store(number, std::memory_order_release);
  has_control_.store(true, std::memory_order_release);
}

uint64_t FramedLink::TakenOver(const Lane& lane) const {
  // One that has not said its last word may have died with what it had.
  if (!peer_is_done_) return lane.released();
  MutexLock lock(lanes_mutex_);
  const auto out = out_lanes_.find(lane.id());
  if (out == out_lanes_.end() || out->second->lane.get() != &lane) {
    return lane.released();
  }
  return std::max(lane.released(),
                  out->second->received.load(std::memory_order_relaxed));
}

void FramedLink::Flush() {
  flush_.store(true, std::memory_order_release);
  if (Idle()) return;
  v1::Control control;
  control.mutable_ack_request();
  SendControl(control);
}

void FramedLink::SendAcks() {
  ack_now_.store(true, std::memory_order_relaxed);
  Kick();
}

void FramedLink::ScheduleAcks() {
  if (ack_timer_set_.exchange(true)) return;
  const int64_t delay_ns = gathers_.load(std::memory_order_relaxed)
                               ? kGatheringAckDelayNs
                               : kAckDelayNs;
  // Captures one pointer, so that it allocates nothing.
  ack_timer_.store(loop_.RunAt(environment_.clock.NowNs() + delay_ns, [this] {
    ack_timer_set_.store(false);
    // Where data goes they ride along with the next, or else go by the
    // next time.
    const bool goes = data_went_.exchange(false) || MYCELIUM_PLANTED_BUG(7);
    if (goes && gathers_.load(std::memory_order_relaxed)) {
      acks_due_.store(true, std::memory_order_relaxed);
      ScheduleAcks();
    } else {
      SendAcks();
    }
  }));
}

}  // namespace mycelium
