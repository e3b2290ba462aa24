#include "mycelium/transport/inbound_lanes.h"

#include <algorithm>

#include "mycelium/base/planted_bug.h"

namespace mycelium {

// Released room is told at once when it is this much.
constexpr uint64_t kRoomBytes = 64 * 1024;

InboundLanes::State* InboundLanes::Look(uint32_t lane) const {
  if (looked_ != nullptr && looked_lane_ == lane) return looked_;
  const auto entry = lanes_.find(lane);
  if (entry == lanes_.end()) return nullptr;
  looked_lane_ = lane;
  looked_ = &entry->second;
  return looked_;
}

void InboundLanes::RaiseHandled(State& state, uint64_t position) {
  uint64_t handled = state.handled.load(std::memory_order_relaxed);
  while (handled < position &&
         !state.handled.compare_exchange_weak(handled, position,
                                              std::memory_order_release)) {
  }
}

void InboundLanes::CountHandled(State& state) {
  if (state.lossy_window == 0) return;
  // Half a window, so that the other half is on its way meanwhile.
  const uint32_t handled = state.untold_frames.fetch_add(1) + 1;
  if (2 * handled >= state.lossy_window) peer_waits_.store(true);
}

bool InboundLanes::Open(uint32_t lane, const Expected& expected) {
  MutexLock lock(mutex_);
  if (lanes_.size() >= kLanesMax && lanes_.count(lane) == 0) return false;
  const auto [entry, is_new] = lanes_.try_emplace(lane);
  if (!is_new && !MYCELIUM_PLANTED_BUG(2)) return true;
  State& state = entry->second;
  state.received.store(expected.position, std::memory_order_relaxed);
  state.handled.store(expected.position, std::memory_order_relaxed);
  state.told_received = state.told_handled = expected.position;
  state.first_position = expected.position;
  state.first_sequence = expected.sequence;
  state.next_sequence.store(expected.sequence, std::memory_order_relaxed);
  state.capacity_bytes = expected.capacity_bytes;
  state.lossy_window = expected.lossy_window;
  state.redelivered_until = expected.redelivered_until;
  FindSmallest();
  return true;
}

void InboundLanes::FindSmallest() {
  smallest_capacity_ = 0;
  for (const auto& [id, state] : lanes_) {
    if (smallest_capacity_ == 0 || state.capacity_bytes < smallest_capacity_) {
      smallest_capacity_ = state.capacity_bytes;
    }
  }
}

void InboundLanes::Close(uint32_t lane) {
  MutexLock lock(mutex_);
  looked_ = nullptr;
  const auto entry = lanes_.find(lane);
  if (entry == lanes_.end()) return;
  AddTraffic(entry->second, &ended_);
  lanes_.erase(entry);
  FindSmallest();
}

void InboundLanes::Clear() {
  MutexLock lock(mutex_);
  looked_ = nullptr;
  for (const auto& [id, state] : lanes_) AddTraffic(state, &ended_);
  lanes_.clear();
  smallest_capacity_ = 0;
  told_bytes_.store(received_bytes_.load(std::memory_order_relaxed),
                    std::memory_order_release);
}

size_t InboundLanes::count() const {
  MutexLock lock(mutex_);
  return lanes_.size();
}

bool InboundLanes::Find(uint32_t lane, Expected* expected) const {
  const State* const state = Look(lane);
  if (state == nullptr) return false;
  expected->position = state->received.load(std::memory_order_relaxed);
  expected->sequence = state->next_sequence.load(std::memory_order_relaxed);
  expected->capacity_bytes = state->capacity_bytes;
  expected->lossy_window = state->lossy_window;
  expected->redelivered_until = state->redelivered_until;
  expected->skipped = state->skipped;
  return true;
}

void InboundLanes::Skip(uint32_t lane) {
  if (State* const state = Look(lane)) state->skipped = true;
}

void InboundLanes::ForgetSkipped() {
  MutexLock lock(mutex_);
  for (auto& [id, state] : lanes_) state.skipped = false;
}

void InboundLanes::NoteReceived(uint32_t lane, uint64_t sequence, uint64_t end,
                                bool handled) {
  State* const state = Look(lane);
  if (state == nullptr) return;
  const uint64_t before = state->received.load(std::memory_order_relaxed);
  state->received.store(end, std::memory_order_release);
  if (handled) {
    RaiseHandled(*state, end);
    CountHandled(*state);
  }
  const uint64_t expected =
      state->next_sequence.load(std::memory_order_relaxed);
  if (sequence > expected) state->lost.fetch_add(sequence - expected);
  state->next_sequence.store(sequence + 1, std::memory_order_relaxed);
  state->is_prompt.store(sequence < state->redelivered_until,
                         std::memory_order_relaxed);
  // Release: pairs with the load in TakeAcks().
  received_bytes_.store(
      received_bytes_.load(std::memory_order_relaxed) + (end - before),
      std::memory_order_release);
}

bool InboundLanes::NoteHandled(uint32_t lane, uint64_t position) {
  MutexLock lock(mutex_);
  const auto entry = lanes_.find(lane);
  if (entry == lanes_.end()) return false;
  State& state = entry->second;
  RaiseHandled(state, position);
  CountHandled(state);
  return PeerWaits() || state.is_prompt.load(std::memory_order_relaxed) ||
         position - std::min(position, state.told_handled) >= kRoomBytes;
}

void InboundLanes::TakeAcks(std::vector<AckEntry>* acks) {
  MutexLock lock(mutex_);
  // Acquire: for all bytes that this takes for told, `received` is seen below.
  // Release: pairs with the load in UntoldBytes().
  told_bytes_.store(received_bytes_.load(std::memory_order_acquire),
                    std::memory_order_release);
  peer_waits_.exchange(false);
  for (auto& [id, state] : lanes_) {
    if (state.lossy_window > 0) state.untold_frames.exchange(0);
    const uint64_t received = state.received.load(std::memory_order_acquire);
    // A consumer may be ahead of the loop that is about to note the arrival.
    const uint64_t handled =
        std::min(state.handled.load(std::memory_order_acquire), received);
    if (received == state.told_received && handled == state.told_handled) {
      continue;
    }
    AckEntry ack;
    ack.lane = id;
    ack.reserved = 0;
    ack.received = state.told_received = received;
    ack.handled = state.told_handled = handled;
    if (MYCELIUM_PLANTED_BUG(1) && received % 256 == 0) continue;
    acks->push_back(ack);
  }
}

bool InboundLanes::AllHandled() const {
  MutexLock lock(mutex_);
  for (const auto& [id, state] : lanes_) {
    if (state.handled.load(std::memory_order_acquire) <
        state.received.load(std::memory_order_acquire)) {
      return false;
    }
  }
  return true;
}

bool InboundLanes::IsHandledTo(uint32_t lane, uint64_t position) const {
  MutexLock lock(mutex_);
  const auto entry = lanes_.find(lane);
  return entry != lanes_.end() &&
         entry->second.handled.load(std::memory_order_acquire) == position;
}

void InboundLanes::ForgetTold() {
  MutexLock lock(mutex_);
  // None of that counts for the next connection, which begins by telling all.
  const uint64_t bytes = received_bytes_.load(std::memory_order_acquire);
  told_bytes_.store(bytes, std::memory_order_release);
  forgotten_bytes_.store(bytes, std::memory_order_release);
  for (auto& [id, state] : lanes_) state.told_received = state.told_handled = 0;
}

void InboundLanes::AddTraffic(const State& state, LinkTraffic* traffic) {
  traffic->frames_received +=
      state.next_sequence.load() - state.first_sequence - state.lost.load();
  traffic->bytes_received += state.received.load() - state.first_position;
}

void InboundLanes::AddTraffic(LinkTraffic* traffic) const {
  MutexLock lock(mutex_);
  *traffic += ended_;
  for (const auto& [id, state] : lanes_) AddTraffic(state, traffic);
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

bool InboundLanes::IsResume(const v1::Hello& hello) const {
  MutexLock lock(mutex_);
  size_t found = 0;
  for (const v1::LaneProgress& said : hello.resume()) {
    const auto lane = lanes_.find(said.lane());
    if (lane == lanes_.end()) continue;  // Closed meanwhile, or a ring.
    if (lane->second.received != said.received()) return false;
    ++found;
  }
  return found == lanes_.size();
}

}  // namespace mycelium
