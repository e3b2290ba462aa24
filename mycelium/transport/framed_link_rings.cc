// The part of FramedLink that reads the peer's lanes in shared memory, and ends
// a connection, after which what lies there comes first.
#include <algorithm>
#include <utility>

#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "mycelium/base/heavy_barrier.h"
#include "mycelium/transport/framed_link.h"

namespace mycelium {

// How many frames of one ring are handed out before the next has its turn.
constexpr int kFramesPerTurn = 64;

namespace {

std::string DescribeUndeclared(const FrameView& frame) {
  return absl::StrCat("frame ", frame.header.lane_sequence, " of ",
                      frame.header.frame_bytes, " bytes of publisher ",
                      frame.header.publisher_id,
                      ", which was not declared with that type");
}

absl::Status Of(const FramedLink& link, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat(link.name(), ": ", status.message()));
}

// Whether frames may be taken from that ring. Of a lossy lane none may be once
// we have answered a Goodbye: the peer takes back and counts what it then finds
// there, and would count what we take meanwhile as well.
bool MayTakeFrom(const InboundRing& ring, const Parting& parting) {
  return !ring.is_lossy() || !parting.final_wanted();
}

// The connection is lost: what comes now waits for the next one.
void RestIfEmpty(const std::vector<InboundRing*>& rings) {
  for (InboundRing* const ring : rings) {
    ring->active &= ring->is_lossy() && ring->MayHaveFrame();
  }
}

}  // namespace

bool FramedLink::OpenRing(const v1::LaneOpen& open, bool is_full) {
  for (InboundRing* const ring : ring_list_) {
    if (ring->lane() != open.lane()) continue;
    ring->active = true;  // It goes on, on another connection.
    ring->EndDraining();
    return true;
  }
  if (InboundLanes::Expected known; inbound_.Find(open.lane(), &known)) {
    // The peer has not heard that the lane was refused, and sends the
    // descriptors only once: those that are here are another lane's.
    RefuseLane(open.lane(), absl::FailedPreconditionError(
                                "it was refused on the connection before"));
    return false;
  }
  if (is_full) return false;
  std::optional<std::array<Fd, 2>> descriptors = channel_->TakeDescriptors();
  absl::StatusOr<std::shared_ptr<LaneMemory>> memory =
      absl::UnavailableError("its descriptors did not arrive");
  if (descriptors.has_value() && (*descriptors)[0].valid() &&
      (*descriptors)[1].valid()) {
    memory = shares_.load()
                 ? options_.shared_memory->Map(std::move((*descriptors)[0]),
                                               std::move((*descriptors)[1]),
                                               open.capacity_bytes())
                 : absl::FailedPreconditionError("memory was not to be shared");
  }
  if (memory.ok() &&
      (*memory)->positions().identity.load() != open.shared_identity()) {
    memory = absl::InvalidArgumentError("the memory is another lane's");
  }
  // Otherwise what a peer has paid for once could be handed out for each of its
  // lanes, in one turn when the connection ends.
  if (memory.ok() && std::any_of(ring_list_.begin(), ring_list_.end(),
                                 [&](const InboundRing* ring) {
                                   return ring->LiesIn(**memory);
                                 })) {
    memory = absl::InvalidArgumentError("the ring is another lane's, too");
  }
  if (memory.ok() && open.position() % kFrameAlignment != 0) {
    memory = absl::InvalidArgumentError(
        absl::StrCat("the position is no multiple of ", kFrameAlignment));
  }
  if (!memory.ok()) {
    RefuseLane(open.lane(), memory.status());
    return false;
  }
  InboundRing::Options options;
  options.lane = open.lane();
  options.position = open.position();
  options.next_sequence = open.next_sequence();
  options.lossy = open.lossy_window() > 0;
  options.redelivered_until = open.redelivered_until();
  options.frame_bytes_max = options_.frame_bytes_max;
  options.copies_all = !channel_->is_same_user();
  options.loans = &loans_.in;
  options.has_barrier = &has_shared_heavy_barrier;
  auto ring = std::make_shared<InboundRing>(*std::move(memory), options);
  ring_list_.push_back(ring.get());
  {
    MutexLock lock(rings_mutex_);
    rings_[open.lane()] = std::move(ring);
  }
  if (!is_poller_) loop_.AddPoller(*this);
  is_poller_ = true;
  return true;
}

void FramedLink::RefuseLane(uint32_t lane, const absl::Status& status) {
  const absl::Status reason(
      status.code(),
      absl::StrCat(name(), ": lane ", lane,
                   " of the peer is not shared: ", status.message()));
  v1::Control control;
  control.mutable_lane_refused()->set_lane(lane);
  control.mutable_lane_refused()->set_reason(std::string(status.message()));
  SendControl(control);
  handler_.OnFallback(*this, reason);
}

void FramedLink::OnDoorbell() {
  {
    MutexLock lock(lanes_mutex_);
    for (auto& [id, out] : out_lanes_) {
      if (!out->lane->mapped()) continue;
      out->lane->NotifyReleased();
      CloseIfDrained(*out);
    }
  }
  CloseEndedLoans();
  Kick();  // There may be something to say of closed ones.
  if (!is_polling_) (void)PollRings();
}

bool FramedLink::PollRings() {
  // ReadAhead() has brought us here.
  if (is_polling_) return false;
  is_polling_ = true;
  bool ran = false;
  bool is_over = false;
  for (size_t i = 0; i < ring_list_.size() && !is_over; ++i) {
    if (!ring_list_[i]->MayHaveFrame()) continue;
    ran |= PollRing(*ring_list_[i], &is_over);
  }
  is_polling_ = false;
  if (channel_ == nullptr || parting_.has_heard()) FinishDraining();
  if (!ran) burst_.Rest();
  return ran;
}

// Hands out up to `most` frames, says what it found behind the last, and how
// many they were.
InboundRing::Look FramedLink::TakeFrames(InboundRing& ring, int most,
                                         int* taken) {
  using Look = InboundRing::Look;
  using Outcome = LinkHandler::FrameOutcome;
  const FrameRow row(handler_);
  Look look = Look::kFrame;
  int count = 0;
  int handled = 0;
  for (; count < most && ring.active; ++count) {
    const FrameView* frame;
    uint64_t end;
    look = ring.Peek(controls_seen_, &frame, &end);
    if (look != Look::kFrame) break;
    const Outcome outcome = handler_.OnFrame(*this, ring.lane(), *frame, end);
    if (ABSL_PREDICT_TRUE(outcome == Outcome::kHandled)) {
      ring.Pop(/*handled=*/true);
      ++handled;
      // Not only behind the last one: the next handler may take its time.
      if (ring.TakeWriterWaitsFor(end)) {
        handler_.InterruptFrames();
        RingPeer();
      }
    } else if (outcome == Outcome::kTaken) {
      ring.Pop(/*handled=*/false);
    } else if (outcome == Outcome::kCorrupt) {
      look = ring.Condemn(DescribeUndeclared(*frame));
      break;
    } else {
      ring.paused = true;
      ++count;
      break;
    }
  }
  burst_.NoteTaken(handled);
  *taken = count;
  return look;
}

bool FramedLink::PollRing(InboundRing& ring, bool* is_over) {
  using Look = InboundRing::Look;
  if (!ring.active || ring.paused || HoldsBack()) return false;
  // Where the connection is lost the frames come to an end, unless the peer
  // goes on publishing into a lossy lane.
  const bool is_last =
      channel_ == nullptr && (!ring.is_lossy() || ring.takes_over());
  const int most = is_last ? std::numeric_limits<int>::max() : kFramesPerTurn;
  int taken;
  const Look look = TakeFrames(ring, most, &taken);
  if (look == Look::kCorrupt) {
    *is_over = true;
    BreakFor(ring, Corrupt(ring.error()));
    return true;
  }
  if (look == Look::kCorruptLater && corrupt_timer_ == 0) {
    // Said already now, for people who wonder why nothing comes.
    handler_.OnCorruptMemory(
        *this, Of(*this, Corrupt(absl::StrCat(
                             ring.error(),
                             "; what came before it is still handled"))));
    // That may last for ever, or until somebody gets what lies behind the
    // corruption. One timer serves all rings, since a peer may open rings as
    // often as it likes.
    corrupt_timer_ =
        loop_.RunAt(environment_.clock.NowNs() + options_.drain_ns, [this] {
          corrupt_timer_ = 0;
          bool is_due = false;
          for (InboundRing* const known : ring_list_) {
            if (!known->is_corrupt()) continue;
            known->TellAtOnce();
            is_due = true;
          }
          if (is_due) (void)PollRings();
        });
  }
  if (taken == 0) return look == Look::kNotYet && ReadAhead(is_over);
  if (ring.TakeWriterWaits()) RingPeer();
  ring.NoteTaken(taken);
  return true;
}

bool FramedLink::ReadAhead(bool* is_over) {
  // What the ring waits for is in the socket, which the loop looks at less
  // often.
  if (channel_ == nullptr || is_reading_) return false;
  const std::shared_ptr<Channel> channel = channel_;
  *is_over = true;  // Rings may come and go meanwhile.
  return channel->ReadNow();
}

void FramedLink::Break(const absl::Status& status) {
  if (channel_ == nullptr) return;
  Detach();
  ending_ = status;
  if (distrusts_ ||
      (status.code() == absl::StatusCode::kDataLoss && !ring_list_.empty())) {
    DistrustMemory();
  }
  // What the peer had committed is handed out before its end is told; but of a
  // lossy lane one frame at a time, as before: a peer that lives counts what it
  // sees taken, and has the rest for the next process if this one dies of it.
  for (InboundRing* const ring : ring_list_) {
    ring->active = MayTakeFrom(*ring, parting_);
    ring->BeginDraining();
  }
  (void)PollRings();
  HandOutKept();
  FinishDraining();
  if (!ending_.has_value()) return;
  // A handler may be at work for ever. If the peer is the same when it comes
  // back, what it left goes on then.
  drain_timer_ = loop_.RunAt(environment_.clock.NowNs() + options_.drain_ns,
                             [this] { EndDraining(); });
  handler_.OnDraining(*this);
}

void FramedLink::EndDraining() {
  if (!ending_.has_value()) return;
  loop_.Cancel(drain_timer_);
  const absl::Status status = *std::exchange(ending_, std::nullopt);
  if (distrusts_ ||
      (status.code() == absl::StatusCode::kDataLoss && !ring_list_.empty())) {
    DistrustMemory();  // It was found while that was handed out.
  }
  RestIfEmpty(ring_list_);
  handler_.OnDown(*this, Of(*this, status));
}

void FramedLink::DistrustMemory() {
  distrusts_ = false;
  peer_incarnation_ = 0;
  DropRings();
  kept_.Clear();
}

void FramedLink::OnCorrupt(const Lane& lane, const std::string& what) {
  const absl::Status status = absl::DataLossError(
      absl::StrCat("lane ", lane.id(), " in shared memory: ", what));
  loop_.Post([this, alive = alive_, status, id = lane.id()] {
    if (!*alive) return;
    {
      // By now another process may read it, or nobody.
      MutexLock lock(lanes_mutex_);
      const auto out = out_lanes_.find(id);
      if (out == out_lanes_.end() || !out->second->lane->is_corrupt()) return;
    }
    // Such a lane cannot go on, so no connection may resume it.
    distrusts_ = true;
    if (ending_.has_value()) {
      ending_ = status;  // EndDraining() tells of it.
    } else if (is_up()) {
      Break(status);
    } else {
      handler_.OnCorruptMemory(*this, Of(*this, status));
      DistrustMemory();
    }
  });
}

void FramedLink::BreakFor(InboundRing& ring, const absl::Status& status) {
  ring.active = false;
  if (ending_.has_value()) {
    distrusts_ = true;  // So that nothing is resumed meanwhile.
    ending_ = status;   // EndDraining() tells of it.
    return;
  }
  if (is_cut_off()) handler_.OnCorruptMemory(*this, Of(*this, status));
  loop_.Post([this, alive = alive_, status, from = peer_incarnation_] {
    if (!*alive || peer_incarnation_ != from) return;
    if (ending_.has_value()) {
      distrusts_ = true;
      ending_ = status;
    } else if (is_up()) {
      Break(status);
    } else {
      DistrustMemory();
    }
  });
}

void FramedLink::ResumeRings() {
  for (InboundRing* const ring : ring_list_) ring->paused = false;
  (void)PollRings();
}

bool FramedLink::AreDrained() {
  // What is held back is not handed out any more.
  if (HoldsBack()) return true;
  return kept_.empty() && std::all_of(ring_list_.begin(), ring_list_.end(),
                                      [this](InboundRing* ring) {
                                        return !ring->active ||
                                               ring->IsDrained(controls_seen_);
                                      });
}

void FramedLink::FinishDraining() {
  if (is_cut_off()) RestIfEmpty(ring_list_);
  if (is_polling_ || !AreDrained()) return;
  if (parting_.has_heard()) {
    v1::Control control;
    *control.mutable_goodbye() = parting_.TakeHeard();
    OnGoodbye(control.goodbye());
    for (InboundRing* const ring : ring_list_) {
      ring->active &= MayTakeFrom(*ring, parting_);
    }
    handler_.OnControl(*this, control);
  }
  if (ending_.has_value()) EndDraining();
}

bool FramedLink::BeginSleep() {
  bool needs_barrier = false;
  for (InboundRing* const ring : ring_list_) {
    needs_barrier |= ring->BeginSleep();
  }
  return needs_barrier;
}

bool FramedLink::HasWork() {
  bool has_work = false;
  for (InboundRing* const ring : ring_list_) {
    has_work |= ring->HasWork(controls_seen_);
  }
  return has_work && !HoldsBack();
}

void FramedLink::EndSleep() {
  for (InboundRing* const ring : ring_list_) ring->EndSleep();
}

void FramedLink::CloseInbound(uint32_t lane) {
  inbound_.Close(lane);
  kept_.Drop(lane);
  ring_list_.erase(std::remove_if(ring_list_.begin(), ring_list_.end(),
                                  [lane](const InboundRing* ring) {
                                    return ring->lane() == lane;
                                  }),
                   ring_list_.end());
  MutexLock lock(rings_mutex_);
  const auto ring = rings_.find(lane);
  if (ring == rings_.end()) return;
  ring->second->AddTraffic(&ended_in_);
  rings_.erase(ring);
}

void FramedLink::DropRings() {
  loop_.Cancel(std::exchange(corrupt_timer_, 0));
  ring_list_.clear();
  loans_.in.clear();
  if (is_poller_) loop_.RemovePoller(*this);
  is_poller_ = false;
  MutexLock lock(rings_mutex_);
  for (const auto& [lane, ring] : rings_) {
    ring->active = false;
    ring->AddTraffic(&ended_in_);
  }
  // One of them may be in use up the stack.
  if (is_polling_) loop_.Post([rings = std::move(rings_)] {});
  rings_.clear();
}

void FramedLink::TakeOverRings() {
  // A caller up the stack has shown a frame, and may do so again.
  if (is_polling_) return;
  is_polling_ = true;
  for (size_t i = 0; i < ring_list_.size(); ++i) {
    InboundRing& ring = *ring_list_[i];
    ring.active = MayTakeFrom(ring, parting_);
    ring.BeginTakingOver();
    ring.TellAtOnce();
    // One that is corrupt does not keep the others from being taken over.
    bool is_over = false;
    (void)PollRing(ring, &is_over);
  }
  is_polling_ = false;
}

void FramedLink::LeaveRingsBehind() {
  uint64_t left = kept_.CountFrames();
  for (InboundRing* const ring : ring_list_) left += ring->CountLeft();
  DropRings();
  if (left > 0) handler_.OnLeftBehind(*this, left);
}

void FramedLink::RingPeer() {
  ring_peer_.store(true, std::memory_order_release);
  Kick();
}

bool FramedLink::IsDirect(const OutLane& out) const {
  return out.lane->shared() != nullptr && !out.refused &&
         shares_.load(std::memory_order_acquire);
}

}  // namespace mycelium
