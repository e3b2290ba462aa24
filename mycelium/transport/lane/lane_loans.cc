#include "mycelium/transport/lane/lane_loans.h"

#include <algorithm>
#include <utility>

#include "mycelium/base/shared_word.h"
#include "mycelium/codec/frame_format.h"

namespace mycelium {
namespace {

// How many frames that are over are kept before the others move to the front.
constexpr size_t kOverMax = 64;

}  // namespace

LaneLoans::Answer LaneLoans::AnswerLocked(uint32_t memory) const {
  for (const Asked& asked : asked_) {
    if (asked.memory == memory) return asked.answer;
  }
  return Answer::kNotAsked;
}

void LaneLoans::SetAnswerLocked(uint32_t memory, Answer answer) {
  const auto known =
      std::find_if(asked_.begin(), asked_.end(),
                   [&](const Asked& asked) { return asked.memory == memory; });
  if (answer == Answer::kNotAsked) {
    if (known != asked_.end()) asked_.erase(known);
  } else if (known != asked_.end()) {
    known->answer = answer;
  } else {
    asked_.push_back({memory, answer});
  }
}

bool LaneLoans::AskLocked(uint32_t memory) {
  if (AnswerLocked(memory) != Answer::kNotAsked) return false;
  SetAnswerLocked(memory, Answer::kNo);
  return true;
}

void LaneLoans::ForgetRefused() {
  MutexLock lock(mutex_);
  asked_.erase(std::remove_if(asked_.begin(), asked_.end(),
                              [](const Asked& asked) {
                                return asked.answer != Answer::kYes;
                              }),
               asked_.end());
}

void LaneLoans::AddLocked(Frame frame) {
  frames_.push_back(std::move(frame));
  any_.store(true, std::memory_order_relaxed);
}

void LaneLoans::FinishLocked(uint64_t released) {
  while (first_ < frames_.size() && frames_[first_].end <= released) {
    frames_[first_++].owner = nullptr;
  }
  if (first_ == frames_.size()) {
    frames_.clear();
    first_ = 0;
    any_.store(false, std::memory_order_relaxed);
  } else if (first_ >= kOverMax && 2 * first_ >= frames_.size()) {
    frames_.erase(frames_.begin(),
                  frames_.begin() + static_cast<ptrdiff_t>(first_));
    first_ = 0;
  }
}

void LaneLoans::TakeBackLocked(uint64_t released, absl::Span<std::byte> ring) {
  FinishLocked(released);
  const size_t mask = ring.size() - 1;
  for (size_t i = first_; i < frames_.size(); ++i) {
    const Frame& frame = frames_[i];
    if (frame.position < released) continue;
    std::byte* const header = ring.data() + (frame.position & mask);
    CopyToShared(ring.data() + (frame.payload_at & mask), frame.bytes.data(),
                 frame.bytes.size());
    uint16_t flags;
    CopyFromShared(&flags, header + offsetof(FrameHeader, flags), sizeof flags);
    flags = static_cast<uint16_t>(flags & ~kFrameElsewhere);
    CopyToShared(header + offsetof(FrameHeader, flags), &flags, sizeof flags);
  }
  SpoilLocked();
  asked_.clear();
}

void LaneLoans::GiveUp(uint64_t released) {
  MutexLock lock(mutex_);
  FinishLocked(released);
  SpoilLocked();
}

void LaneLoans::SpoilLocked() {
  // All of them before any place is free again.
  for (size_t i = first_; i < frames_.size(); ++i) frames_[i].memory->Spoil();
  frames_.clear();
  first_ = 0;
  any_.store(false, std::memory_order_relaxed);
}

}  // namespace mycelium
