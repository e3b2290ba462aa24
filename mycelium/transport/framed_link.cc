#include "mycelium/transport/framed_link.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/planted_bug.h"

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
  // A thread inside the gate leaves soon; nobody may come in after it.
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
                        uint64_t lane_bytes, std::string unsent) {
  Detach();
  ending_.reset();
  // Each side may have had a connection that the other never came to have.
  const bool shared = shares_.load() || peer.lanes_shared();
  const bool shares = options_.shared_memory != nullptr &&
                      shared_memory_offered && peer.shared_memory() &&
                      channel->passes_descriptors();
  shares_.store(shares, std::memory_order_release);
  // Lanes that are meant to be shared, and are not, go over the socket.
  word_.store(shares                        ? "shm"
              : options_.transport == "shm" ? "unix"
                                            : options_.transport.c_str());
  // With shared lanes the socket tells of little, and is not worth a call each
  // time.
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
  inbound_.ForgetSkipped();
  reader_.Reset();
  // Some control messages may have been lost with the connection before.
  counts_controls_ = false;
  loans_.peer_maps = peer.maps_loans();
  if (resumed) {
    parting_.Begin();
    // Until the peer says that they go on, by when it has said what is in them.
    for (InboundRing* const ring : ring_list_) ring->active = false;
    ResetLanes(peer);
    handler_.OnResuming(*this);
  } else {
    if (peer.incarnation() != peer_incarnation_) {
      TakeOverRings();
      LeaveRingsBehind();
    }
    parting_.Begin();  // Not before: see MayTakeFrom().
    const std::vector<LostFrames> lost = ParkLanes(remembers);
    heard_ = false;
    if (!lost.empty()) handler_.OnLost(*this, lost);
    handler_.OnReplaced(*this);
  }
  kept_.Clear();  // They are sent again, or nobody wants them.
  peer_incarnation_ = peer.incarnation();
  channel_ = channel;
  gathers_.store(channel->gathers(), std::memory_order_relaxed);
  window_.Begin();
  // Data waits until the handler has said what the peer must know first.
  hold_data_.store(true, std::memory_order_release);
  {
    MutexLock lock(control_mutex_);
    control_ = std::move(unsent);
    has_control_.store(!control_.empty(), std::memory_order_release);
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
  away_ = true;
  for (auto& [id, out] : out_lanes_) {
    out->lane->SetReaderAway(true);
    // The process at the other end does not see what comes from here on.
    if (out->lane->mapped()) out->reached = out->lane->committed();
    out->lane->NotifyReleased();  // Nobody need wait for room any more.
  }
}

void FramedLink::Part() {
  if (channel_ == nullptr) return;
  parting_.Leave();
  Kick();
}

bool FramedLink::HoldsBack() const {
  return parting_.holds_back() && !is_cut_off();
}

void FramedLink::Abandon() {
  Detach();
  ending_.reset();
  loop_.Cancel(drain_timer_);
  DropRings();
  kept_.Clear();
  MutexLock lock(lanes_mutex_);
  abandoned_ = true;
  for (auto& [id, out] : out_lanes_) out->lane->Discard();
}

void FramedLink::Forget() {
  peer_incarnation_ = 0;
  LeaveRingsBehind();
  kept_.Clear();
  {
    MutexLock lock(lanes_mutex_);
    DropLanes();
  }
  swap_channel_.store(true, std::memory_order_release);
  Kick();  // Lets go of their memory.
}

void FramedLink::DropLanes() {
  loans_.ForgetOut();
  inbound_.Clear();
  disconnected_.Clear();
  for (auto out = out_lanes_.begin(); out != out_lanes_.end();) {
    out = Retire(out);
  }
}

FramedLink::OutLanes::iterator FramedLink::Retire(OutLanes::iterator out) {
  out->second->lane->Discard();
  retired_.push_back(std::move(out->second));
  last_out_ = nullptr;
  return out_lanes_.erase(out);
}

uint64_t FramedLink::NextSequence(uint32_t lane) const {
  for (const InboundRing* const ring : ring_list_) {
    if (ring->lane() == lane) return ring->next_sequence();
  }
  InboundLanes::Expected expected;
  return inbound_.Find(lane, &expected) ? expected.sequence : 0;
}

namespace {

// A frame of which the reader has released a part is over. Acknowledgements are
// not looked at so closely, but the position is with which another connection
// or process begins.
void ReleasePart(Lane& lane) {
  if (!lane.mapped()) lane.Release(lane.FrameStartFrom(lane.released()));
}

}  // namespace

void FramedLink::ResetLanes(const v1::Hello& peer) {
  std::map<uint32_t, v1::LaneProgress> progress;
  for (const v1::LaneProgress& lane : peer.resume()) {
    progress[lane.lane()] = lane;
  }
  MutexLock lock(lanes_mutex_);
  ResumeLoans(peer);
  away_ = false;
  for (auto& [id, out] : out_lanes_) {
    out->held = false;
    out->arrived = 0;
    out->lane->reader_trouble().Set("");
    if (out->lane->mapped()) {  // The peer says there how far it is.
      out->lane->loans().ForgetRefused();
      out->announced = false;
      // LaneOpen may have been lost, and the descriptors with it.
      out->known_to_peer = progress.count(id) > 0;
      out->lane->SetReaderAway(out->parked);
      // Its doorbell may have been lost too; a waiter that still waits asks for
      // another.
      out->lane->NotifyReleased();
      continue;
    }
    // What the peer has of this lane was sent to it, so it goes on being sent.
    out->refused |= out->known_to_peer;
    const v1::LaneProgress& known = progress[id];
    out->lane->Release(known.handled());
    ReleasePart(*out->lane);
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

std::vector<LostFrames> FramedLink::ParkLanes(bool is_same_process) {
  inbound_.Clear();
  DropRings();
  std::vector<LostFrames> lost;
  MutexLock lock(lanes_mutex_);
  loans_.ForgetOut();
  disconnected_.Clear();
  away_ = false;
  for (auto out = out_lanes_.begin(); out != out_lanes_.end();) {
    OutLane& lane = *out->second;
    if (lane.draining) {  // Its subscription ended with the process, if not
                          // before.
      out = Retire(out);
      continue;
    }
    ReleasePart(*lane.lane);
    LostFrames damaged = {lane.lane, {}};
    PassOn(lane, &damaged.frames);
    if (is_same_process) lane.lane->Absolve();
    if (!damaged.frames.empty()) lost.push_back(std::move(damaged));
    lane.received.store(lane.lane->released(), std::memory_order_relaxed);
    lane.announced = lane.known_to_peer = lane.held = false;
    lane.arrived = 0;
    lane.lane->reader_trouble().Set("");
    lane.parked = true;
    ++out;
  }
  return lost;
}

// Passes the lane on to another process, with what the last one has not
// handled.
void FramedLink::PassOn(OutLane& lane, std::vector<FrameHeader>* lost) {
  const bool was_mapped = lane.lane->mapped();
  const uint64_t seen =
      was_mapped ? lane.reached : std::max(lane.reached, lane.sent.load());
  // A lossy lane that was sent has frames on their way that nobody would find
  // in its shared memory: it goes on as it is.
  const bool stays_sent =
      lane.lane->stage() != nullptr && !was_mapped && lane.known_to_peer;
  // A process that was never offered the lane has not died of what is in it.
  const bool was_passed = was_mapped || lane.known_to_peer;
  const bool is_sent = lane.lane->shared() == nullptr || stays_sent ||
                       (lane.refused && !was_passed);
  if (shares_.load() && is_sent) {
    TellFallback(absl::FailedPreconditionError(
        absl::StrCat("lane ", lane.lane->id(),
                     " goes on as it did for the process before")));
  }
  if (!was_passed) return;
  if (lane.lane->shared() == nullptr || stays_sent) {
    lane.lane->BeginRedelivery(seen);
    lane.refused |= stays_sent;
    return;
  }
  // The last process has the old positions, whether it could map them or not.
  const absl::Status renewed = lane.lane->RenewReader(seen, lost);
  // The last process may have changed the identity, too.
  lane.lane->shared()->positions().identity.store(IdentityOf(lane.lane->id()));
  lane.refused = !renewed.ok();
  if (!renewed.ok()) TellFallback(renewed);
  lane.lane->SetMapped(false);
  lane.lane->NotifyReleased();  // Waiters ask anew to be woken.
}

void FramedLink::CloseUnknownLanes(const v1::Hello& peer) {
  MutexLock lock(lanes_mutex_);
  disconnected_.KeepThoseOf(peer);
  for (const v1::LaneProgress& lane : peer.resume()) {
    const auto out = out_lanes_.find(lane.lane());
    if (out != out_lanes_.end() && !out->second->closing) continue;
    v1::Control control;
    v1::LaneClosed& closed = *control.mutable_lane_closed();
    closed.set_lane(lane.lane());
    closed.set_disconnected_subscription(disconnected_.Find(lane.lane()));
    QueueControl(control);
  }
  for (const uint32_t memory : loans_.ended) SayLoansClosed(memory);
  // What the peer said in its Hello may have been all that a lane waited for.
  for (auto& [id, out] : out_lanes_) CloseIfDrained(*out);
}

OutLane* FramedLink::FindOut(const Lane& lane) {
  if (last_out_ != nullptr && last_out_->lane.get() == &lane) return last_out_;
  const auto out = out_lanes_.find(lane.id());
  if (out == out_lanes_.end() || out->second->lane.get() != &lane) {
    return nullptr;
  }
  last_out_ = out->second.get();
  return last_out_;
}

void FramedLink::AdoptLane(const Lane& lane, uint32_t subscription) {
  {
    MutexLock lock(lanes_mutex_);
    OutLane* const out = FindOut(lane);
    if (out == nullptr) return;
    if (lane.id() != 0) out->subscription = subscription;
    // It was disconnected while it was parked: the subscription that has it now
    // is to hear of that.
    if (out->disconnected != 0) out->disconnected = subscription;
    if (out->parked) {
      // The lane goes on here. A poisonous frame may have been taken out
      // meanwhile, and an acknowledgement may have come already.
      ReleasePart(*out->lane);
      out->sent.store(lane.released());
      out->received.store(lane.released());
      out->parked = false;
    }
    out->lane->SetReaderAway(away_);
  }
  Kick();
}

void FramedLink::ParkLane(const Lane& lane) {
  MutexLock lock(lanes_mutex_);
  OutLane* const out = FindOut(lane);
  if (out == nullptr || out->parked) return;
  out->parked = true;
  out->lane->SetReaderAway(true);
}

void FramedLink::DropLane(const Lane& lane) {
  {
    MutexLock lock(lanes_mutex_);
    const auto out = out_lanes_.find(lane.id());
    if (out == out_lanes_.end() || out->second->lane.get() != &lane) return;
    (void)Retire(out);
  }
  Kick();
}

void FramedLink::FillResume(v1::Hello* hello) const {
  // The connection may have been over for the peer when we took it up. Then the
  // peer still has what came before that, and we have not.
  hello->set_resume_incarnation(Remembered());
  hello->set_lanes_shared(shares_.load());
  inbound_.FillResume(hello);
  for (const InboundRing* const ring : ring_list_) {
    v1::LaneProgress* const progress = hello->add_resume();
    progress->set_lane(ring->lane());
    progress->set_received(ring->taken());
    progress->set_handled(ring->handled());
  }
  for (const auto& [memory, mapped] : loans_.in) {
    hello->add_resume_loan_memories(memory);
  }
}

uint64_t FramedLink::Remembered() const {
  return heard_ && !distrusts_ ? peer_incarnation_ : 0;
}

bool FramedLink::IsResume(const v1::Hello& ours) const {
  return ours.resume_incarnation() == Remembered() &&
         ours.lanes_shared() == shares_.load() && inbound_.IsResume(ours);
}

uint64_t FramedLink::TakenOver(const Lane& lane) const {
  if (!parting_.peer_counts()) return lane.released();
  MutexLock lock(lanes_mutex_);
  const auto out = out_lanes_.find(lane.id());
  if (out == out_lanes_.end() || out->second->lane.get() != &lane) {
    return lane.released();
  }
  return std::max(lane.released(),
                  out->second->received.load(std::memory_order_relaxed));
}

}  // namespace mycelium
