// The part of FramedLink that opens and closes our lanes to the peer.
#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "mycelium/base/planted_bug.h"
#include "mycelium/transport/framed_link.h"

namespace mycelium {

namespace {

// What the peer says of its troubles, as it may stand in lines of ours.
std::string ReasonOf(absl::string_view said) {
  constexpr size_t kBytesMax = 256;
  return absl::Utf8SafeCEscape(said.substr(0, kBytesMax));
}

// Whether `control` announces what was to be passed; makes it say that there is
// no such memory.
bool TakeBack(const Outgoing::Passed& passed, v1::Control* control) {
  if (passed.is_lane) {
    if (control->lane_open().lane() != passed.id ||
        control->lane_open().shared_identity() == 0) {
      return false;
    }
    control->mutable_lane_open()->clear_shared_identity();
    return true;
  }
  if (!control->has_loan_memory_open() ||
      control->loan_memory_open().memory() != passed.id) {
    return false;
  }
  control->mutable_loan_memory_closed()->set_memory(passed.id);
  return true;
}

// The same records, with another one in place of the one that announces what
// was to be passed. As many messages are left, since frames count them. Null if
// it is not found: the rest of a handshake may come before the first record.
std::optional<std::string> WithoutMemory(absl::string_view records,
                                         const Outgoing::Passed& passed) {
  size_t at = 0;
  while (records.size() - at >= sizeof(RecordHeader)) {
    RecordHeader header;
    std::memcpy(&header, records.data() + at, sizeof header);
    const size_t body_at = at + sizeof header;
    if (header.magic != kRecordMagic ||
        header.body_bytes > records.size() - body_at) {
      break;
    }
    const absl::string_view body = records.substr(body_at, header.body_bytes);
    const size_t end = body_at + body.size();
    v1::Control control;
    if (control.ParseFromArray(body.data(), static_cast<int>(body.size())) &&
        TakeBack(passed, &control)) {
      std::string replaced(records.substr(0, at));
      AppendControlRecord(control.SerializeAsString(), &replaced);
      absl::StrAppend(&replaced, records.substr(end));
      return replaced;
    }
    at = end;
  }
  return std::nullopt;
}

}  // namespace

uint64_t FramedLink::IdentityOf(uint32_t lane) const {
  return (options_.incarnation | 1) + 2 * (uint64_t{lane} + 1);
}

absl::StatusOr<std::shared_ptr<Lane>> FramedLink::OpenLane(
    uint32_t subscription, Lane::Options options) {
  uint32_t id = 0;
  {
    MutexLock lock(lanes_mutex_);
    if (abandoned_) {
      return absl::UnavailableError(absl::StrCat(name(), ": over"));
    }
    if (subscription == 0) {
      const auto shared = out_lanes_.find(0);
      if (shared != out_lanes_.end()) return shared->second->lane;
    }
    if (out_lanes_.size() >= InboundLanes::kLanesMax) {
      return absl::ResourceExhaustedError(absl::StrCat(
          name(), ": has its ", InboundLanes::kLanesMax, " lanes"));
    }
    if (subscription != 0) id = next_lane_++;
  }
  // Without the lock, for which senders wait: making the memory takes its time.
  const bool is_parked = options.parked;
  absl::StatusOr<std::unique_ptr<Lane>> lane = MakeLane(id, std::move(options));
  if (!lane.ok()) return lane.status();
  MutexLock lock(lanes_mutex_);
  if (abandoned_) return absl::UnavailableError(absl::StrCat(name(), ": over"));
  std::unique_ptr<OutLane>& out = out_lanes_[id];
  if (out == nullptr) {  // Lane 0 may have been made meanwhile.
    out = std::make_unique<OutLane>();
    out->lane = *std::move(lane);
    out->subscription = subscription;
    out->parked = is_parked;
    out->lane->SetReaderAway(away_ || is_parked);
  }
  return out->lane;
}

absl::StatusOr<std::unique_ptr<Lane>> FramedLink::MakeLane(
    uint32_t id, Lane::Options options) {
  options.name = absl::StrCat(name(), ": lane ", id);
  options.id = id;
  options.frame_bytes_max = frame_bytes_max_.load();
  if (const uint64_t lane_bytes = lane_bytes_.load(); lane_bytes != 0) {
    options.capacity_bytes = lane_bytes;
  }
  if (shares_.load(std::memory_order_acquire)) {
    absl::StatusOr<std::shared_ptr<SharedLaneMemory>> memory =
        options_.shared_memory->Create(Lane::MemoryBytes(options));
    if (memory.ok()) {
      options.shared = *std::move(memory);
      options.control_count = &control_count_;
      options.shared->positions().identity.store(IdentityOf(id));
    } else {
      TellFallback(memory.status());
    }
  }
  return Lane::Create(environment_, std::move(options), this);
}

void FramedLink::TellFallback(const absl::Status& status) {
  loop_.Post([this, alive = alive_, status] {
    if (*alive) handler_.OnFallback(*this, status);
  });
}

void FramedLink::PassNothing(const absl::Status& why) {
  if (!outgoing_.control.empty()) {  // Else it is for the next connection.
    std::optional<std::string> records =
        WithoutMemory(outgoing_.control, *outgoing_.passed);
    if (!records.has_value()) return;
    outgoing_.ReplaceControl(*std::move(records));
  }
  const bool is_told = !outgoing_.control.empty();
  const Outgoing::Passed passed = *std::exchange(outgoing_.passed, {});
  if (!is_told) return;
  const std::string what =
      absl::StrCat("its descriptors cannot be passed: ", why.message());
  if (!passed.is_lane) {
    loop_.Post([this, alive = alive_, memory = passed.id, what] {
      if (!*alive) return;
      v1::LoanMemoryTaken answer;
      answer.set_memory(memory);
      answer.set_reason(what);
      OnLoansTaken(answer);
    });
    return;
  }
  MutexLock lock(lanes_mutex_);
  // The lanes may have been reset for the next connection by now.
  if (swap_channel_.load(std::memory_order_acquire)) return;
  const auto entry = out_lanes_.find(passed.id);
  if (entry == out_lanes_.end() || !entry->second->lane->mapped()) return;
  // The peer has nothing of its memory, and is told of a lane that is sent.
  entry->second->refused = true;
  entry->second->lane->SetMapped(false);
  TellFallback(absl::Status(
      why.code(), absl::StrCat(name(), ": lane ", passed.id, ": ", what)));
}

void FramedLink::CloseLane(const Lane& lane, uint32_t disconnected) {
  {
    MutexLock lock(lanes_mutex_);
    OutLane* const out = FindOut(lane);
    if (out == nullptr) return;
    out->lane->Close();
    out->draining = true;
    out->disconnected = disconnected;
    CloseIfDrained(*out);
  }
  Kick();
}

void FramedLink::OnLaneRefused(const v1::LaneRefused& refused) {
  LostFrames damaged = {nullptr, {}};
  {
    MutexLock lock(lanes_mutex_);
    const auto entry = out_lanes_.find(refused.lane());
    if (entry == out_lanes_.end() || !entry->second->lane->mapped()) return;
    OutLane& out = *entry->second;
    out.refused = true;
    if (out.lane->stage() != nullptr) {
      // The peer has the positions, whatever it says, and may write to them,
      // and this process reads there from here on. So the lane gets fresh
      // positions, for which there need be no memory that others could share.
      damaged.lane = out.lane;
      (void)out.lane->RenewReader(/*seen=*/0, &damaged.frames);
      out.lane->Absolve();
    }
    out.lane->SetMapped(false);
  }
  if (!damaged.frames.empty()) handler_.OnLost(*this, {damaged});
  handler_.OnFallback(
      *this, absl::UnavailableError(absl::StrCat(
                 name(), ": the peer cannot map lane ", refused.lane(), ": ",
                 ReasonOf(refused.reason()))));
  Kick();  // Its frames are sent from here on.
}

void FramedLink::OnLaneWaits(const v1::LaneWaits& waits) {
  const std::string reason = ReasonOf(waits.reason());
  std::string what;
  {
    MutexLock lock(lanes_mutex_);
    const auto entry = out_lanes_.find(waits.lane());
    if (entry == out_lanes_.end()) return;
    OutLane& out = *entry->second;
    out.lane->reader_trouble().Set(reason);
    if (reason.empty()) return;
    // What was sent of it is not acknowledged, and other lanes must not wait
    // for that.
    out.held |= !out.lane->mapped();
    what = absl::StrCat(out.lane->name(), ": the peer cannot read it now: ");
  }
  handler_.OnLaneWaits(
      *this, absl::ResourceExhaustedError(absl::StrCat(what, reason)));
  Kick();  // With less under way others may be sent.
}

void FramedLink::OnLaneArrived(const v1::LaneArrived& arrived) {
  {
    MutexLock lock(lanes_mutex_);
    const auto out = out_lanes_.find(arrived.lane());
    if (out == out_lanes_.end()) return;
    out->second->arrived = std::max(out->second->arrived, arrived.position());
  }
  Kick();  // With less under way others may be sent.
}

void FramedLink::CloseIfDrained(OutLane& out) {
  if (!out.draining || out.closing || !out.lane->empty()) return;
  out.closing = true;
  if (!out.known_to_peer) return;
  v1::Control control;
  v1::LaneClosed& closed = *control.mutable_lane_closed();
  closed.set_lane(out.lane->id());
  closed.set_disconnected_subscription(out.disconnected +
                                       (MYCELIUM_PLANTED_BUG(9) ? 1 : 0));
  if (out.disconnected != 0) {
    disconnected_.Add(out.lane->id(), out.disconnected);
  }
  QueueControl(control);
}

size_t FramedLink::disconnected_count() const {
  MutexLock lock(lanes_mutex_);
  return disconnected_.size();
}

bool FramedLink::Idle() const {
  MutexLock lock(lanes_mutex_);
  return std::all_of(out_lanes_.begin(), out_lanes_.end(),
                     [](const auto& out) { return out.second->lane->empty(); });
}

std::vector<std::shared_ptr<Lane>> FramedLink::Lanes() const {
  MutexLock lock(lanes_mutex_);
  std::vector<std::shared_ptr<Lane>> lanes;
  for (const auto& [id, out] : out_lanes_) lanes.push_back(out->lane);
  return lanes;
}

void FramedLink::NoteHandled(uint32_t lane, uint64_t position) {
  std::shared_ptr<InboundRing> ring;
  {
    MutexLock lock(rings_mutex_);
    if (const auto entry = rings_.find(lane); entry != rings_.end()) {
      ring = entry->second;
    }
  }
  if (ring != nullptr) {
    if (ring->NoteHandled(position)) loop_.WakeIfAsleep();
    if (ring->TakeWriterWaits()) RingPeer();
    return;
  }
  if (inbound_.NoteHandled(lane, position) ||
      ack_asked_.load(std::memory_order_relaxed)) {
    SendAcks();
  } else {
    ScheduleAcks();
  }
}

}  // namespace mycelium
