// The receiving part of FramedLink: from the bytes of a channel to frames and
// control messages.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/transport/framed_link.h"

namespace mycelium {

constexpr uint64_t kAckBytes = 8 * 1024;

size_t FramedLink::OnBytes(absl::Span<const std::byte> bytes) {
  heard_ = true;
  size_t used = 0;
  is_reading_ = true;
  absl::Status read;
  {
    const FrameRow row(handler_);
    read = reader_.Read(bytes, *this, &used);
  }
  is_reading_ = false;
  if (!read.ok()) {
    Break(read);
    return used;
  }
  if (channel_ != nullptr) AcknowledgeSome();
  return used;
}

void FramedLink::AcknowledgeSome() {
  const uint64_t untold = inbound_.UntoldBytes();
  uint64_t ack_bytes = kAckBytes;
  const uint64_t capacity = inbound_.SmallestCapacity();
  if (gathers_.load(std::memory_order_relaxed) && capacity > 0) {
    ack_bytes = std::min({std::max(kAckBytes, capacity / 8), capacity / 2,
                          SendWindow::AckBytes(inbound_.ToldBytes())});
  }
  if (untold >= ack_bytes || inbound_.PeerWaits() ||
      (untold > 0 && ack_asked_.load(std::memory_order_relaxed))) {
    SendAcks();
  } else if (untold > 0) {
    ScheduleAcks();
  }
}

absl::Status FramedLink::Corrupt(absl::string_view what) const {
  return absl::DataLossError(absl::StrCat(what, "; connection closed"));
}

absl::Status FramedLink::OnControlRecord(absl::Span<const std::byte> body) {
  handler_.InterruptFrames();
  if (body.size() == kDoorbellBytes.size() &&
      std::memcmp(body.data(), kDoorbellBytes.data(), body.size()) == 0) {
    OnDoorbell();
    return absl::OkStatus();
  }
  v1::Control control;
  if (!control.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return Corrupt("a control message does not parse");
  }
  if (!control.has_doorbell() && counts_controls_) ++controls_seen_;
  switch (control.body_case()) {
    case v1::Control::kDoorbell:
      OnDoorbell();
      return absl::OkStatus();
    case v1::Control::kLaneRefused:
      OnLaneRefused(control.lane_refused());
      return absl::OkStatus();
    case v1::Control::kLaneWaits:
      OnLaneWaits(control.lane_waits());
      return absl::OkStatus();
    case v1::Control::kLaneArrived:
      OnLaneArrived(control.lane_arrived());
      return absl::OkStatus();
    case v1::Control::kRoomAwaited:
      // Something was handled meanwhile: the waiting publisher hears of that.
      if (!IsWhere(control.room_awaited())) return absl::OkStatus();
      break;
    case v1::Control::kLoanMemoryOpen:
    case v1::Control::kLoanMemoryTaken:
    case v1::Control::kLoanMemoryClosed:
      OnLoanControl(control);
      return absl::OkStatus();
    case v1::Control::kLaneOpen:
      if (absl::Status opened = OnLaneOpen(control.lane_open()); !opened.ok()) {
        return opened;
      }
      break;
    case v1::Control::kLaneClosed:
      break;  // The owner lets go of it, then CloseInbound().
    case v1::Control::kAckRequest:
      ack_asked_.store(true);
      SendAcks();
      return absl::OkStatus();
    case v1::Control::kGoodbye:
      if (!control.goodbye().final()) {
        // What the peer had published before comes first.
        parting_.Hear(control.goodbye());
        // Also from lanes that the peer has not come to open again: what we
        // have of them is in our answer, and nothing comes after that.
        for (InboundRing* const ring : ring_list_) {
          ring->active = true;
          ring->BeginTakingOver();
        }
        if (!is_polling_) (void)PollRings();
        FinishDraining();
        if (!kept_.empty()) Resume();  // We may have held it back.
        return absl::OkStatus();
      }
      OnGoodbye(control.goodbye());
      break;
    case v1::Control::BODY_NOT_SET:
      // A newer peer says something that may be ignored.
      return absl::OkStatus();
    default:
      break;
  }
  handler_.OnControl(*this, control);
  if (control.has_unsubscribe()) {
    MutexLock lock(lanes_mutex_);
    disconnected_.Forget(control.unsubscribe().subscription());
  }
  return absl::OkStatus();
}

bool FramedLink::IsWhere(const v1::RoomAwaited& awaited) {
  for (InboundRing* const ring : ring_list_) {
    if (ring->lane() == awaited.lane()) {
      return ring->handled() == awaited.handled();
    }
  }
  return inbound_.IsHandledTo(awaited.lane(), awaited.handled());
}

void FramedLink::OnGoodbye(const v1::Goodbye& goodbye) {
  if (goodbye.final()) {
    parting_.HearFinal();
    // Not now: we are inside a call of the channel.
    loop_.Post([this, alive = alive_] {
      if (*alive) BreakIfParted();
    });
    return;
  }
  ack_now_.store(true, std::memory_order_relaxed);
  parting_.Answer();
  Kick();
}

void FramedLink::BreakIfParted() {
  if (!parting_.is_over()) return;
  Break(absl::UnavailableError("both sides have said goodbye"));
}

absl::Status FramedLink::OnLaneOpen(const v1::LaneOpen& open) {
  controls_seen_ = open.control_number();
  counts_controls_ = true;
  const uint64_t bytes = open.capacity_bytes();
  if (bytes < kRingBytesMin || bytes > kLaneBytesMax ||
      (bytes & (bytes - 1)) != 0) {
    return Corrupt(absl::StrCat("a lane of ", bytes,
                                " bytes; a power of two from ", kRingBytesMin,
                                " to ", kLaneBytesMax, " is accepted"));
  }
  const bool is_full =
      inbound_.count() + ring_list_.size() >= InboundLanes::kLanesMax;
  if (open.shared_identity() != 0 && OpenRing(open, is_full)) {
    return absl::OkStatus();
  }
  InboundLanes::Expected known;
  if ((is_full && !inbound_.Find(open.lane(), &known)) ||
      !inbound_.Open(open.lane(),
                     {open.position(), open.next_sequence(), bytes,
                      open.lossy_window(), open.redelivered_until()})) {
    return Corrupt(
        absl::StrCat("more than ", InboundLanes::kLanesMax, " lanes"));
  }
  return absl::OkStatus();
}

absl::Status FramedLink::OnAckRecord(absl::Span<const std::byte> body) {
  handler_.InterruptFrames();
  if (body.size() % sizeof(AckEntry) != 0) {
    return Corrupt(
        absl::StrCat("an acknowledgement has ", body.size(), " bytes"));
  }
  while (!body.empty()) {
    AckEntry ack;
    std::memcpy(&ack, body.data(), sizeof ack);
    body = body.subspan(sizeof ack);
    MutexLock lock(lanes_mutex_);
    const auto out = out_lanes_.find(ack.lane);
    if (out == out_lanes_.end()) continue;  // Closed meanwhile.
    Lane& lane = *out->second->lane;
    if (lane.mapped()) {  // Its memory says what is handled.
      if (ack.received <= lane.committed()) {
        out->second->received.store(ack.received, std::memory_order_relaxed);
      }
      continue;
    }
    // Acquire: pairs with the store in NoteSent(). What the peer has from
    // the connection before may not be in `sent` yet.
    const uint64_t sent =
        std::max(out->second->sent.load(std::memory_order_acquire),
                 out->second->received.load(std::memory_order_relaxed));
    if (ack.received < ack.handled || ack.received > sent ||
        !lane.Release(ack.handled)) {
      return Corrupt(absl::StrCat("acknowledgement of lane ", ack.lane,
                                  " says received ", ack.received, ", handled ",
                                  ack.handled, " of ", sent, " bytes"));
    }
    const uint64_t before =
        out->second->received.exchange(ack.received, std::memory_order_relaxed);
    if (ack.received > before) window_.NoteReported(ack.received - before);
    CloseIfDrained(*out->second);
  }
  Kick();
  return absl::OkStatus();
}

absl::Status FramedLink::OnDataRecord(uint32_t lane, uint64_t position) {
  InboundLanes::Expected expected;
  if (!inbound_.Find(lane, &expected)) {
    return Corrupt(absl::StrCat("data for lane ", lane, ", which is not open"));
  }
  if (IsKept(lane)) expected.position = kept_.End(lane);
  // What is skipped is a pad, which ends where the ring does.
  const bool after_pad = position > expected.position &&
                         position % expected.capacity_bytes == 0 &&
                         position - expected.position < expected.capacity_bytes;
  if (position != expected.position && !after_pad && !expected.skipped) {
    return Corrupt(absl::StrCat("data of lane ", lane, " at position ",
                                position, ", expected ", expected.position));
  }
  data_lane_ = lane;
  data_position_ = position;
  return absl::OkStatus();
}

RecordReader::FrameStep FramedLink::OnFrameBytes(
    absl::Span<const std::byte> bytes) {
  using What = RecordReader::FrameStep::What;
  const auto corrupt = [this](absl::string_view what) {
    return RecordReader::FrameStep{What::kError, 0, Corrupt(what)};
  };
  FrameView frame;
  const FrameVerdict verdict =
      DecodeFrame(bytes, options_.frame_bytes_max, kFrameFlagsOnWire, &frame);
  if (verdict == FrameVerdict::kTruncated) return {What::kNeedMore, 0, {}};
  if (verdict == FrameVerdict::kCorrupt) {
    return {What::kError, 0,
            DescribeCorruptFrame(bytes, options_.frame_bytes_max)};
  }
  const size_t aligned = AlignedFrameBytes(frame.header.frame_bytes);
  if (aligned > bytes.size()) return {What::kNeedMore, 0, {}};
  InboundLanes::Expected expected;
  if (!inbound_.Find(data_lane_, &expected)) {
    return corrupt(
        absl::StrCat("lane ", data_lane_, " closed within a record"));
  }
  const uint64_t end = data_position_ + aligned;
  bool is_taken = false;
  if (!expected.skipped && !IsKept(data_lane_)) {
    absl::Status status =
        HandOut(data_lane_, data_position_, frame, expected, &is_taken);
    if (!status.ok()) return {What::kError, 0, std::move(status)};
  }
  if (!expected.skipped && !is_taken) {
    if (end - expected.position > expected.capacity_bytes) {
      return corrupt(absl::StrCat("lane ", data_lane_, ": frame at position ",
                                  data_position_,
                                  " is more than the lane holds"));
    }
    kept_.Add(data_lane_, data_position_, bytes.subspan(0, aligned));
    if (kept_.untold_bytes() >= kAckBytes) TellOfKept();
  }
  data_position_ = end;
  return {What::kTook, aligned, {}};
}

absl::Status FramedLink::HandOut(uint32_t lane, uint64_t position,
                                 FrameView& frame,
                                 const InboundLanes::Expected& expected,
                                 bool* is_taken) {
  *is_taken = !HoldsBack();
  if (!*is_taken) return absl::OkStatus();
  const uint64_t sequence = frame.header.lane_sequence;
  if (expected.lossy_window == 0 ? sequence != expected.sequence
                                 : sequence < expected.sequence) {
    return Corrupt(absl::StrCat("lane ", lane, ": frame at position ", position,
                                " has sequence ", sequence, ", expected ",
                                expected.sequence));
  }
  frame.lost_before = sequence - expected.sequence;
  if (sequence < expected.redelivered_until) {
    frame.header.flags |= kFrameRedelivered;
    // One of these frames may have killed the process before. It must be the
    // first that is not handled, so what comes before it is told at once.
    if (inbound_.UntoldBytes() > 0) SendAcks();
  }
  const uint64_t end = position + AlignedFrameBytes(frame.header.frame_bytes);
  switch (handler_.OnFrame(*this, lane, frame, end)) {
    case LinkHandler::FrameOutcome::kHandled:
      inbound_.NoteReceived(lane, sequence, end, /*handled=*/true);
      break;
    case LinkHandler::FrameOutcome::kTaken:
      inbound_.NoteReceived(lane, sequence, end, /*handled=*/false);
      break;
    case LinkHandler::FrameOutcome::kNotNow:
      *is_taken = false;
      break;
    case LinkHandler::FrameOutcome::kLaneWaits:
      inbound_.Skip(lane);
      break;
    case LinkHandler::FrameOutcome::kCorrupt:
      return Corrupt(absl::StrCat(
          "lane ", lane, ": frame of ", frame.header.frame_bytes,
          " bytes of publisher ", frame.header.publisher_id,
          ", which was not declared with that type, or more than the lane "
          "holds"));
  }
  return absl::OkStatus();
}

void FramedLink::TellOfKept() {
  // Kept frames are not acknowledged, and the peer may let other lanes wait for
  // that.
  for (const uint32_t lane : kept_.Lanes()) {
    v1::Control control;
    control.mutable_lane_arrived()->set_lane(lane);
    control.mutable_lane_arrived()->set_position(kept_.End(lane));
    SendControl(control);
  }
  kept_.NoteTold();
}

void FramedLink::HandOutKept() {
  // If the connection is over, the frames are sent again on the next one.
  if (kept_.empty() || (channel_ == nullptr && !ending_.has_value())) return;
  for (const uint32_t lane : kept_.Lanes()) {
    absl::Status status;
    bool is_taken = true;
    while (status.ok() && is_taken && kept_.Has(lane)) {
      const KeptFrames::First first = kept_.Front(lane);
      InboundLanes::Expected expected;
      FrameView frame;
      if (!inbound_.Find(lane, &expected) || expected.skipped ||
          DecodeFrame(first.bytes, options_.frame_bytes_max, kFrameFlagsOnWire,
                      &frame) != FrameVerdict::kOk) {
        kept_.Drop(lane);
        break;
      }
      status = HandOut(lane, first.position, frame, expected, &is_taken);
      if (is_taken) {
        kept_.Pop(lane, AlignedFrameBytes(frame.header.frame_bytes));
      }
    }
    if (status.ok()) continue;
    kept_.Clear();
    if (!ending_.has_value()) return Break(status);
    ending_ = status;  // EndDraining() tells of it.
  }
  if (channel_ != nullptr) AcknowledgeSome();
}

void FramedLink::Resume() {
  loop_.Post([this, alive = alive_] {
    if (!*alive) return;
    ResumeRings();
    HandOutKept();
    if (parting_.has_heard() || ending_.has_value()) FinishDraining();
  });
}

void FramedLink::ResumeLane(uint32_t lane) {
  loop_.Post([this, alive = alive_, lane] {
    if (!*alive) return;
    // Also if nothing of it has come: the peer sends none before this.
    InboundLanes::Expected expected;
    if (inbound_.Find(lane, &expected)) {
      Break(absl::UnavailableError(
          absl::StrCat("there is memory now to take lane ", lane,
                       " into; it is sent again on another connection")));
      return;
    }
    ResumeRings();
  });
}

void FramedLink::OnWritable() {
  writable_.store(true);
  Kick();
}

void FramedLink::OnClosed(const absl::Status& status) { Break(status); }

}  // namespace mycelium
