#include "mycelium/routing/room_notice.h"

#include <algorithm>
#include <utility>

namespace mycelium {

void RoomNotice::NoteFull(const std::shared_ptr<Lane>& lane,
                          size_t frame_bytes) {
  std::shared_ptr<Signal> signal;
  {
    MutexLock lock(mutex_);
    full_ = {lane, frame_bytes};
    lacks_subscribers_ = false;
    if (signal_ == nullptr) return;
    if (signal_->Arm()) watched_.clear();
    // Room for a smaller one is there no later.
    if (std::any_of(watched_.begin(), watched_.end(), [&](const Place& place) {
          return place.lane.lock() == lane && place.frame_bytes <= frame_bytes;
        })) {
      return;
    }
    watched_.push_back(full_);
    signal = signal_;
  }
  lane->CallWhenRoom(frame_bytes, [signal] { signal->Raise(); });
}

void RoomNotice::NoteNobody() {
  MutexLock lock(mutex_);
  full_ = Place();
  lacks_subscribers_ = true;
  if (signal_ != nullptr && signal_->Arm()) watched_.clear();
}

void RoomNotice::OnSubscribers() {
  std::vector<std::function<void()>> callbacks;
  {
    MutexLock lock(mutex_);
    if (!lacks_subscribers_) return;
    lacks_subscribers_ = false;
    callbacks.swap(for_subscribers_);
    if (signal_ != nullptr) signal_->Raise();
  }
  for (const auto& callback : callbacks) callback();
}

void RoomNotice::Call(std::function<void()> callback) {
  Place full;
  {
    MutexLock lock(mutex_);
    if (lacks_subscribers_) {
      for_subscribers_.push_back(std::move(callback));
      return;
    }
    full = full_;
  }
  if (const std::shared_ptr<Lane> lane = full.lane.lock()) {
    lane->CallWhenRoom(full.frame_bytes, std::move(callback));
  } else {
    callback();
  }
}

absl::StatusOr<int> RoomNotice::Descriptor() {
  MutexLock lock(mutex_);
  if (signal_ == nullptr) {
    absl::StatusOr<std::shared_ptr<Signal>> made = Signal::Create(sys_);
    if (!made.ok()) return made.status();
    signal_ = *std::move(made);
  }
  return signal_->descriptor();
}

}  // namespace mycelium
