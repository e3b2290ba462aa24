// The sending part of FramedLink: what is done inside the gate, and who calls
// whom there.
#include <algorithm>
#include <utility>

#include "mycelium/base/planted_bug.h"
#include "mycelium/transport/framed_link.h"

namespace mycelium {

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
  if (!flush && ShouldGather()) return;
  const bool gathers = send_channel_->gathers();
  for (auto& [id, out] : out_lanes_) {
    if (out->parked || out->lane->mapped()) continue;
    uint64_t sent = out->sent.load(std::memory_order_relaxed);
    while (true) {
      const Lane::Run run = out->lane->CommittedFrom(sent);
      if (run.bytes.empty()) break;
      if (!outgoing_.has_room_for_data()) {
        has_more_ = true;
        return;
      }
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

bool FramedLink::ShouldGather() const {
  uint64_t on_their_way = 0;
  uint64_t waiting = 0;
  for (const auto& [id, out] : out_lanes_) {
    if (out->parked || out->lane->mapped()) continue;
    const uint64_t sent = out->sent.load(std::memory_order_relaxed);
    on_their_way +=
        sent - std::min(sent, out->received.load(std::memory_order_relaxed));
    waiting += out->lane->committed() - sent;
  }
  if (waiting >= kGatheredBytes) return false;
  return send_channel_->gathers() ? waiting > 0 && (MYCELIUM_PLANTED_BUG(8) ||
                                                    send_channel_->IsWriting())
                                  : on_their_way > kGatherBytes;
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
