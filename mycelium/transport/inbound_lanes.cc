#include "mycelium/transport/inbound_lanes.h"

#include <algorithm>

namespace mycelium {

// Released room is told at once when it is this much.
constexpr uint64_t kRoomBytes = 64 * 1024;

void InboundLanes::Open(uint32_t lane, const Expected& expected) {
  MutexLock lock(mutex_);
  const auto [entry, is_new] = lanes_.try_emplace(lane);
  if (!is_new) return;
  State& state = entry->second;
  state.received = state.handled = expected.position;
  state.told_received = state.told_handled = expected.position;
  state.next_sequence = expected.sequence;
  state.capacity_bytes = expected.capacity_bytes;
}

void InboundLanes::Close(uint32_t lane) {
  MutexLock lock(mutex_);
  lanes_.erase(lane);
}

void InboundLanes::Clear() {
  MutexLock lock(mutex_);
  lanes_.clear();
  untold_bytes_ = 0;
}

bool InboundLanes::Find(uint32_t lane, Expected* expected) const {
  MutexLock lock(mutex_);
  const auto entry = lanes_.find(lane);
  if (entry == lanes_.end()) return false;
  expected->position = entry->second.received;
  expected->sequence = entry->second.next_sequence;
  expected->capacity_bytes = entry->second.capacity_bytes;
  return true;
}

void InboundLanes::NoteReceived(uint32_t lane, uint64_t end, bool handled) {
  MutexLock lock(mutex_);
  const auto entry = lanes_.find(lane);
  if (entry == lanes_.end()) return;
  State& state = entry->second;
  untold_bytes_ += end - state.received;
  state.received = end;
  if (handled) state.handled = end;
  ++state.next_sequence;
}

bool InboundLanes::NoteHandled(uint32_t lane, uint64_t position) {
  MutexLock lock(mutex_);
  const auto entry = lanes_.find(lane);
  if (entry == lanes_.end()) return false;
  State& state = entry->second;
  if (position > state.handled) state.handled = position;
  return state.handled - state.told_handled >= kRoomBytes;
}

void InboundLanes::TakeAcks(std::vector<AckEntry>* acks) {
  MutexLock lock(mutex_);
  for (auto& [id, state] : lanes_) {
    // A consumer may be ahead of the loop that is about to note the arrival.
    const uint64_t handled = std::min(state.handled, state.received);
    if (state.received == state.told_received &&
        handled == state.told_handled) {
      continue;
    }
    AckEntry ack;
    ack.lane = id;
    ack.reserved = 0;
    ack.received = state.told_received = state.received;
    ack.handled = state.told_handled = handled;
    acks->push_back(ack);
  }
  untold_bytes_ = 0;
}

uint64_t InboundLanes::UntoldBytes() const {
  MutexLock lock(mutex_);
  return untold_bytes_;
}

bool InboundLanes::AllHandled() const {
  MutexLock lock(mutex_);
  for (const auto& [id, state] : lanes_) {
    if (state.handled < state.received) return false;
  }
  return true;
}

void InboundLanes::ForgetTold() {
  MutexLock lock(mutex_);
  for (auto& [id, state] : lanes_) state.told_received = state.told_handled = 0;
}

void InboundLanes::FillResume(v1::Hello* hello) const {
  MutexLock lock(mutex_);
  for (const auto& [id, state] : lanes_) {
    v1::LaneProgress* progress = hello->add_resume();
    progress->set_lane(id);
    progress->set_received(state.received);
    progress->set_handled(state.handled);
  }
}

}  // namespace mycelium
