// The sending part of FramedLink: what is done inside the gate, and who calls
// whom there.
#include <algorithm>
#include <utility>

#include "mycelium/base/planted_bug.h"
#include "mycelium/transport/framed_link.h"

namespace mycelium {
namespace {

// Above this much on its way, data gathers …
constexpr uint64_t kGatherBytes = 16 * 1024;
// … until there is this much of it, or an acknowledgement comes.
constexpr uint64_t kGatheredBytes = 32 * 1024;
constexpr uint64_t kRideBytes = 2 * 1024;
constexpr int64_t kAckDelayNs = 1'000'000;
constexpr int64_t kGatheringAckDelayNs = 4'000'000;
// What a channel that gathers need not copy; less is not worth a keeper.
constexpr size_t kKeptBytesMin = 4 * 1024;

// Of control messages that wait to be sent: with more, no RoomAwaited is added.
constexpr size_t kAwaitedBytesMax = 64 * 1024;

RecordHeader DataHeader(uint32_t lane, uint64_t position, size_t body_bytes) {
  RecordHeader header = MakeRecordHeader(RecordKind::kData, body_bytes);
  header.lane = lane;
  header.position = position;
  return header;
}

}  // namespace

void FramedLink::OnCommit(Lane& lane) {
  if (lane.mapped()) {
    RingPeer();
    return;
  }
  if (!gate_.MarkPending()) return;
  if (!SendLane(lane)) SendAll();
  while (gate_.Leave(environment_.waiter) == Gate::Exit::kStillInside) {
    SendAll();
  }
}

void FramedLink::Kick() {
  if (!gate_.MarkPending()) return;
  do {
    SendAll();
  } while (gate_.Leave(environment_.waiter) == Gate::Exit::kStillInside);
}

bool FramedLink::SendLane(Lane& lane) {
  // Over a channel that gathers, whatever else there is goes along.
  if (send_channel_ == nullptr || send_gathers_ || !outgoing_.done()) {
    return false;
  }
  Lane::Run run;
  bool is_all;
  {
    MutexLock lock(lanes_mutex_);
    OutLane* const out = FindOut(lane);
    if (out == nullptr || !out->announced || out->parked || out->held ||
        lane.mapped()) {
      return false;
    }
    if (lane.stage() != nullptr) {
      if (HasMoreToSay()) return false;
      lane.Advance();
    }
    run = lane.CommittedFrom(out->sent.load(std::memory_order_relaxed));
    // After that, so that what those frames depend on is seen here.
    if (HasMoreToSay()) return false;
    if (under_way_ > kGatherBytes) {
      const uint64_t committed = lane.committed();
      waiting_ += committed - std::exchange(out->noted, committed);
      return waiting_ < kGatheredBytes &&
             !flush_.load(std::memory_order_acquire);
    }
    if (run.bytes.empty()) return true;  // The last thread inside has sent it.
    NoteSent(*out, run);
    is_all = out->noted == lane.committed();
  }
  return SendRun(lane.id(), run) && is_all;
}

bool FramedLink::HasMoreToSay() const {
  return swap_channel_.load(std::memory_order_acquire) ||
         hold_data_.load(std::memory_order_acquire) || parting_.is_leaving() ||
         has_control_.load(std::memory_order_acquire) ||
         ack_now_.load(std::memory_order_relaxed) ||
         inbound_.UntoldBytes() >= kRideBytes;
}

void FramedLink::NoteSent(OutLane& out, const Lane::Run& run) {
  const uint64_t end = run.position + run.bytes.size();
  const uint64_t sent = out.sent.load(std::memory_order_relaxed);
  under_way_ += end - sent;
  waiting_ -= out.noted - std::min(out.noted, sent);
  out.noted = end;
  // Pairs with the load in OnAckRecord().
  out.sent.store(end, std::memory_order_release);
}

bool FramedLink::SendRun(uint32_t lane, const Lane::Run& run) {
  RecordHeader header = DataHeader(lane, run.position, run.bytes.size());
  const iovec pieces[] = {
      {&header, sizeof header},
      {const_cast<std::byte*>(run.bytes.data()), run.bytes.size()}};
  const absl::StatusOr<size_t> sent = send_channel_->Send(pieces);
  if (sent.ok() && *sent == sizeof header + run.bytes.size()) return true;
  // What is left is for SendAll(), which finds out what is to be done about it.
  outgoing_.Clear();
  outgoing_.AddHeader(header);
  outgoing_.Add(run.bytes.data(), run.bytes.size());
  (void)NoteWritten(sent);
  return false;
}

void FramedLink::SendAll() {
  if (swap_channel_.load(std::memory_order_acquire)) AdoptChannel();
  if (send_channel_ == nullptr) return;
  if (blocked_ && !writable_.exchange(false)) return;
  blocked_ = false;
  // A thread that commits meanwhile marks the gate. So one look at the lanes is
  // enough, unless that look was before the channel was blocked, or there was
  // more than fits into one system call.
  bool look_again;
  do {
    if (swap_channel_.load(std::memory_order_acquire)) AdoptChannel();
    if (send_channel_ == nullptr) return;
    look_again = !outgoing_.done();
    if (outgoing_.done() && !Compose()) return;
    if (!Write()) return;
    if (parting_.has_said_final() && outgoing_.done()) NoteFinalWritten();
  } while (look_again || has_more_ || !outgoing_.done());
}

void FramedLink::AdoptChannel() {
  {
    MutexLock lock(control_mutex_);
    send_channel_ = next_channel_;
    swap_channel_.store(false, std::memory_order_relaxed);
  }
  send_gathers_ = send_channel_ != nullptr && send_channel_->gathers();
  under_way_ = waiting_ = 0;
  outgoing_.Clear();
  blocked_ = false;
  parting_.BeginSending();
  writable_.store(false, std::memory_order_relaxed);
  // Here, not on the loop: what was told until now went into the old one.
  inbound_.ForgetTold();
  ack_now_.store(true, std::memory_order_relaxed);
  MutexLock lock(lanes_mutex_);
  LetGoOfRetired();
  for (auto& [id, out] : out_lanes_) {
    out->reached = std::max(out->reached, out->sent.load());
    // Whatever the peer says, only frames are sent: from the next one on that
    // starts there.
    uint64_t start = out->received.load(std::memory_order_relaxed);
    if (!out->lane->mapped()) start = out->lane->FrameStartFrom(start);
    out->received.store(start, std::memory_order_relaxed);
    out->sent.store(start);
  }
}

void FramedLink::LetGoOfRetired() {
  for (const auto& out : retired_) AddTraffic(*out, &ended_out_);
  retired_.clear();
}

bool FramedLink::Compose() {
  outgoing_.Clear();
  has_more_ = false;
  // Looked at before data and acknowledgements, which must not follow Goodbye.
  const bool leaving = parting_.is_leaving();
  const bool final = parting_.final_wanted();
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
  if (ring_peer_.load(std::memory_order_relaxed) &&
      ring_peer_.exchange(false, std::memory_order_acq_rel)) {
    // It may be the next connection's: the peer has looked when that began.
    if (swap_channel_.load(std::memory_order_acquire)) {
      ring_peer_.store(true, std::memory_order_release);
    } else {
      AppendControlRecord(kDoorbellBytes, &outgoing_.control);
    }
  }
  if (!outgoing_.control.empty()) {
    outgoing_.Add(outgoing_.control.data(), outgoing_.control.size());
  }
  // A peer that does not answer hears nothing after the first Goodbye.
  ComposeAcks((leaving && !parting_.has_said()) ||
              (final && !parting_.has_said_final()));
  if (leaving) ComposeGoodbye(final);
  // Control and acknowledgements go first.
  outgoing_.MoveToFront(data_pieces);
  return !outgoing_.done();
}

void FramedLink::ComposeGoodbye(bool final) {
  std::string& records = outgoing_.goodbye;
  v1::Control control;
  control.mutable_goodbye();
  if (!parting_.has_said())
    AppendControlRecord(control.SerializeAsString(), &records);
  parting_.NoteSaid();
  control.mutable_goodbye()->set_final(true);
  if (final && !parting_.has_said_final()) {
    AppendControlRecord(control.SerializeAsString(), &records);
    parting_.NoteFinalSaid();
  }
  if (!records.empty()) outgoing_.Add(records.data(), records.size());
}

void FramedLink::NoteFinalWritten() {
  if (!parting_.NoteFinalWritten()) return;
  loop_.Post([this, alive = alive_] {
    if (*alive) BreakIfParted();
  });
}

void FramedLink::ComposeAcks(bool with_rings) {
  const bool wanted = (ack_now_.load(std::memory_order_relaxed) &&
                       ack_now_.exchange(false, std::memory_order_relaxed)) ||
                      with_rings;
  // Some acknowledgements ride along, which saves a system call; the rest waits
  // until it is wanted. Over a channel that gathers they ride along when they
  // are due, so that not each message of a ping-pong carries some, which the
  // peer has to read and act on.
  if (!wanted) {
    if (outgoing_.done()) return;
    if (send_gathers_) {
      data_went_.store(true, std::memory_order_relaxed);
      if (!acks_due_.exchange(false, std::memory_order_relaxed)) return;
    } else if (inbound_.UntoldBytes() < kRideBytes) {
      return;
    }
  }
  if (ack_asked_.load(std::memory_order_relaxed) && inbound_.AllHandled()) {
    ack_asked_.store(false, std::memory_order_relaxed);
  }
  acks_taken_at_.store(environment_.clock.NowNs(), std::memory_order_relaxed);
  inbound_.TakeAcks(&outgoing_.acks);
  if (with_rings) {
    // How much of the peer's lanes is ours to count, though its room is not
    // free.
    MutexLock lock(rings_mutex_);
    for (const auto& [lane, ring] : rings_) {
      outgoing_.acks.push_back({lane, 0, ring->taken(), ring->handled()});
    }
  }
  if (outgoing_.acks.empty()) return;
  const size_t bytes = outgoing_.acks.size() * sizeof(AckEntry);
  outgoing_.AddHeader(MakeRecordHeader(RecordKind::kAck, bytes));
  outgoing_.Add(outgoing_.acks.data(), bytes);
}

void FramedLink::ComposeLanes() {
  if (hold_data_.load(std::memory_order_acquire)) return;
  const bool flush = flush_.load(std::memory_order_relaxed) &&
                     flush_.exchange(false, std::memory_order_acq_rel);
  MutexLock lock(lanes_mutex_);
  // The lanes may have been reset for the next connection by now. (Attach()
  // sets this before it takes the lock to do so.)
  if (swap_channel_.load(std::memory_order_acquire)) return;
  if (!LookAtLanes() || (!flush && ShouldGather())) return;
  uint64_t room = send_gathers_ ? window_.Room(under_way_) : kNever;
  auto next = out_lanes_.lower_bound(send_gathers_ ? turn_ : 0);
  for (size_t i = 0; i < out_lanes_.size(); ++i, ++next) {
    if (next == out_lanes_.end()) next = out_lanes_.begin();
    const uint32_t id = next->first;
    OutLane* const out = next->second.get();
    if (out->parked || out->held || out->lane->mapped()) continue;
    while (true) {
      Lane::Run run =
          out->lane->CommittedFrom(out->sent.load(std::memory_order_relaxed));
      if (run.bytes.empty()) break;
      if (room == 0) return;  // Acknowledgements make some.
      if (!outgoing_.has_room_for_data()) {
        has_more_ = true;
        return;
      }
      if (send_gathers_) run.bytes = FramesOfAtLeast(run.bytes, room);
      room -= std::min<uint64_t>(room, run.bytes.size());
      if (room == 0) turn_ = id + 1;
      if (!out->announced) Announce(*out);
      outgoing_.AddHeader(DataHeader(id, run.position, run.bytes.size()));
      const bool may_keep = send_gathers_ && run.bytes.size() >= kKeptBytesMin;
      outgoing_.Add(run.bytes.data(), run.bytes.size(),
                    may_keep ? out->lane->memory() : nullptr);
      NoteSent(*out, run);
    }
  }
}

bool FramedLink::LookAtLanes() {
  LetGoOfRetired();
  const bool leaving = parting_.is_leaving();
  if (!leaving && AnnounceLoans()) {
    has_more_ = true;  // Descriptors go one pair at a time.
    return false;
  }
  under_way_ = waiting_ = 0;
  for (auto entry = out_lanes_.begin(); entry != out_lanes_.end();) {
    OutLane& out = *entry->second;
    if (out.closing) {
      // What was being sent is gone, so nothing points into it any more.
      AddTraffic(out, &ended_out_);
      last_out_ = nullptr;
      entry = out_lanes_.erase(entry);
      continue;
    }
    ++entry;
    if (leaving || out.parked || out.held) continue;
    if (!out.announced && IsDirect(out)) {
      if (!out.known_to_peer) {
        // The lane may get other positions before the channel takes these.
        outgoing_.passed = {out.lane->shared()->descriptors(),
                            out.lane->shared()->positions_keeper(),
                            /*is_lane=*/true, out.lane->id()};
      }
      Announce(out);
      out.lane->SetMapped(true);
      has_more_ = true;  // As above.
      return false;
    }
    if (out.lane->stage() != nullptr) {
      out.lane->Advance();
      // What lies in the ring now is not where a peer that maps the lane reads.
      out.refused |=
          !out.lane->mapped() && out.lane->committed() != out.lane->released();
    }
    if (out.lane->mapped()) continue;
    const uint64_t sent = out.sent.load(std::memory_order_relaxed);
    const uint64_t arrived =
        std::max(out.arrived, out.received.load(std::memory_order_relaxed));
    under_way_ += sent - std::min(sent, arrived);
    out.noted = out.lane->committed();
    waiting_ += out.noted - sent;
  }
  return !leaving;
}

bool FramedLink::ShouldGather() const {
  if (waiting_ >= kGatheredBytes) return false;
  return send_gathers_ ? waiting_ > 0 && (MYCELIUM_PLANTED_BUG(8) ||
                                          send_channel_->IsWriting())
                       : under_way_ > kGatherBytes;
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
  if (outgoing_.passed.has_value()) {
    const absl::StatusOr<size_t> sent = send_channel_->SendDescriptors(
        outgoing_.passed->descriptors, outgoing_.pieces());
    if (!absl::IsResourceExhausted(sent.status())) return NoteWritten(sent);
    PassNothing(sent.status());
    if (outgoing_.passed.has_value()) {
      // It cannot be left out. The next connection begins with whole records.
      loop_.Post([this, alive = alive_, status = sent.status()] {
        if (*alive && is_up()) Break(status);
      });
      return NoteWritten(sent);
    }
  }
  return NoteWritten(
      send_gathers_
          ? send_channel_->SendKept(outgoing_.pieces(), outgoing_.keepers())
          : send_channel_->Send(outgoing_.pieces()));
}

bool FramedLink::NoteWritten(const absl::StatusOr<size_t>& sent) {
  if (!sent.ok()) {
    // The loop hears of it too, after what the peer had sent before.
    send_channel_ = nullptr;
    return false;
  }
  if (*sent > 0) outgoing_.passed.reset();
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
  std::shared_ptr<Channel> channel;  // The one that cannot take it.
  {
    MutexLock lock(control_mutex_);
    if (next_channel_ == nullptr) return;
    // RoomAwaited is said again and again, and is of no use to a peer that does
    // not read.
    if (control.has_room_awaited() && control_.size() > kAwaitedBytesMax) {
      return;
    }
    const uint32_t number = control_count_.load(std::memory_order_relaxed) + 1;
    // Counted in any case: no frame in shared memory is taken without it.
    control_count_.store(number, std::memory_order_release);
    if (control_.size() <= kControlBytesMax) {
      if (control.has_lane_open()) {
        v1::Control numbered = control;
        numbered.mutable_lane_open()->set_control_number(number);
        AppendControlRecord(numbered.SerializeAsString(), &control_);
      } else {
        AppendControlRecord(control.SerializeAsString(), &control_);
      }
      has_control_.store(true, std::memory_order_release);
      return;
    }
    channel = next_channel_;
  }
  // Whatever has become of what is unread: this message is lost.
  loop_.Post([this, alive = alive_, channel = std::move(channel)] {
    if (!*alive || channel != channel_) return;
    Break(absl::ResourceExhaustedError(
        absl::StrCat("the peer has left more than ", kControlBytesMax,
                     " bytes of control messages unread")));
  });
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
  // A load first, since for most frames a timer is set. The timer clears this
  // flag and then looks at what is to be told: on this thread, or under the
  // lock under which InboundLanes has noted what this call is about.
  if (ack_timer_set_.load() || ack_timer_set_.exchange(true)) return;
  const int64_t delay_ns = gathers_.load(std::memory_order_relaxed)
                               ? kGatheringAckDelayNs
                               : kAckDelayNs;
  SendAcksAt(environment_.clock.NowNs() + delay_ns);
}

void FramedLink::SendAcksAt(TimeNs at) {
  // With the lock nobody stores the number of a timer that was set before.
  MutexLock lock(control_mutex_);
  // Captures one pointer, so that it allocates nothing.
  ack_timer_.store(loop_.RunAt(at, [this] {
    // Where data goes, acknowledgements ride along with the next, or else go
    // when the timer rings the next time.
    const bool goes = data_went_.exchange(false) || MYCELIUM_PLANTED_BUG(7);
    const bool gathers = gathers_.load(std::memory_order_relaxed);
    // If some rode along meanwhile, all that is to be told came after that.
    const TimeNs due =
        acks_taken_at_.load(std::memory_order_relaxed) + kAckDelayNs;
    if (!gathers && due > environment_.clock.NowNs()) return SendAcksAt(due);
    ack_timer_set_.store(false);
    if (goes && gathers) {
      acks_due_.store(true, std::memory_order_relaxed);
      ScheduleAcks();
    } else {
      SendAcks();
    }
  }));
}

}  // namespace mycelium
