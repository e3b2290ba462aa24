#include "mycelium/routing/room_notice.h"

#include <algorithm>
#include <utility>

namespace mycelium {

void RoomNotice::NoteFull(const std::shared_ptr<Lane>& lane,
                          size_t frame_bytes) {
  std::shared_ptr<Lane> watched;
  std::shared_ptr<Signal> signal;
  {
    MutexLock lock(mutex_);
    full_ = {lane, frame_bytes};
    lacks_subscribers_ = false;
    watched = Arm();
    signal = signal_;
  }
  RaiseWhenRoom(watched.get(), frame_bytes, std::move(signal));
}

void RoomNotice::NoteNobody() {
  MutexLock lock(mutex_);
  full_ = Place();
  lacks_subscribers_ = true;
  (void)Arm();
}

std::shared_ptr<Lane> RoomNotice::Arm() {
  std::shared_ptr<Lane> lane = full_.lane.lock();
  if (signal_ == nullptr || (lane == nullptr && !lacks_subscribers_)) {
    return nullptr;
  }
  if (signal_->Arm()) watched_.clear();
  // Where a smaller one is watched for, that has room no later.
  if (std::any_of(watched_.begin(), watched_.end(), [&](const Place& place) {
        return place.lane.lock() == lane &&
               place.frame_bytes <= full_.frame_bytes;
      })) {
    return nullptr;
  }
  if (lane != nullptr) watched_.push_back(full_);
  return lane;
}

void RoomNotice::RaiseWhenRoom(Lane* lane, size_t frame_bytes,
                               std::shared_ptr<Signal> signal) {
  if (lane == nullptr) return;
  lane->CallWhenRoom(frame_bytes,
                     [signal = std::move(signal)] { signal->Raise(); });
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

void RoomNotice::OnRouteGone(const Lane& lane) {
  std::vector<Waiting> over;
  {
    MutexLock lock(mutex_);
    const auto is_elsewhere = [&](const Waiting& waiting) {
      return waiting.lane.lock().get() != &lane;
    };
    const auto first =
        std::partition(for_room_.begin(), for_room_.end(), is_elsewhere);
    over.assign(first, for_room_.end());
    for_room_.erase(first, for_room_.end());
    if (full_.lane.lock().get() == &lane) {
      full_ = Place();
      if (signal_ != nullptr) signal_->Raise();
    }
  }
  for (const Waiting& waiting : over) waiting.callback->Run();
}

void RoomNotice::Call(std::function<void()> callback) {
  const auto once = std::make_shared<Once>(std::move(callback), discard_);
  Place full;
  std::shared_ptr<Lane> lane;
  {
    MutexLock lock(mutex_);
    if (lacks_subscribers_) {
      for_subscribers_.push_back([once] { once->Run(); });
      return;
    }
    full = full_;
    lane = full.lane.lock();
    for_room_.erase(std::remove_if(for_room_.begin(), for_room_.end(),
                                   [](const Waiting& waiting) {
                                     return waiting.callback->is_called();
                                   }),
                    for_room_.end());
    if (lane != nullptr) for_room_.push_back({lane, once});
  }
  if (lane != nullptr) {
    lane->CallWhenRoom(full.frame_bytes, [once] { once->Run(); });
  } else {
    once->Run();
  }
}

absl::StatusOr<int> RoomNotice::Descriptor() {
  std::shared_ptr<Lane> watched;
  size_t frame_bytes;
  std::shared_ptr<Signal> signal;
  {
    MutexLock lock(mutex_);
    if (signal_ != nullptr) return signal_->descriptor();
    absl::StatusOr<std::shared_ptr<Signal>> made = Signal::Create(sys_);
    if (!made.ok()) return made.status();
    signal = signal_ = *std::move(made);
    watched = Arm();
    frame_bytes = full_.frame_bytes;
  }
  RaiseWhenRoom(watched.get(), frame_bytes, signal);
  return signal->descriptor();
}

bool RoomNotice::AwaitsRoom() {
  Place full;
  {
    MutexLock lock(mutex_);
    full = full_;
  }
  const std::shared_ptr<Lane> lane = full.lane.lock();
  return lane != nullptr && !lane->HasRoom(full.frame_bytes);
}

}  // namespace mycelium
