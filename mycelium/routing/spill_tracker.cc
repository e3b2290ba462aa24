#include "mycelium/routing/spill_tracker.h"

#include <cstring>

namespace mycelium {
namespace {

// What a spill queue keeps: a share of the tracker, by address.
using Share = std::shared_ptr<SpillTracker>;

}  // namespace

SpillTracker::Frame::Frame(SpillTracker& tracker, uint32_t lane, uint64_t end)
    : tracker_(tracker), lane_(lane), end_(end) {
  // While other frames wait, this one must not be reported before them.
  tracker_.is_tracked_ =
      tracker_.unfinished_.load(std::memory_order_acquire) > 0;
  if (tracker_.is_tracked_) tracker_.unfinished_.fetch_add(1);
}

SpillTracker::Frame::~Frame() {
  if (!tracker_.is_tracked_) return;
  tracker_.is_tracked_ = false;
  if (!postponed_) {
    MutexLock lock(tracker_.mutex_);
    tracker_.lane_ = lane_;
    tracker_.end_ = end_;
  }
  tracker_.FinishOne();
}

std::array<char, SpillTracker::kWordBytes> SpillTracker::AddSpill() {
  // One for the frame in the queue and one for its delivery to the others.
  unfinished_.fetch_add(is_tracked_ ? 1 : 2);
  is_tracked_ = true;
  const Share* const share = new Share(shared_from_this());
  static_assert(sizeof share == kWordBytes);
  std::array<char, kWordBytes> word;
  std::memcpy(word.data(), &share, sizeof share);
  return word;
}

void SpillTracker::FinishSpill(absl::Span<const std::byte> word) {
  Share* kept;
  std::memcpy(&kept, word.data(), sizeof kept);
  const std::unique_ptr<Share> share(kept);
  (*share)->FinishOne();
}

void SpillTracker::FinishOne() {
  MutexLock lock(mutex_);
  if (unfinished_.fetch_sub(1) != 1 || link_ == nullptr) return;
  link_->NoteHandled(lane_, end_);
}

bool SpillTracker::AwaitRoom(uint32_t subscription) {
  MutexLock lock(mutex_);
  return awaited_.insert(subscription).second;
}

void SpillTracker::RoomCame(uint32_t subscription) {
  MutexLock lock(mutex_);
  awaited_.erase(subscription);
  if (link_ != nullptr) link_->Resume();
}

void SpillTracker::End() {
  MutexLock lock(mutex_);
  link_ = nullptr;
}

}  // namespace mycelium
