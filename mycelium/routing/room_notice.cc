#include "mycelium/routing/room_notice.h"

#include <algorithm>
#include <utility>

namespace mycelium {

void RoomNotice::NoteFull(const std::shared_ptr<Lane>& lane,
                          size_t frame_bytes) {
  std::shared_ptr<Watch> watch;
  std::shared_ptr<Signal> signal;
  {
    MutexLock lock(mutex_);
    full_ = {lane, frame_bytes};
    lacks_subscribers_ = false;
    watch = Arm();
    signal = signal_;
  }
  RaiseWhenRoom(std::move(watch), std::move(signal));
}

void RoomNotice::NoteNobody() {
  MutexLock lock(mutex_);
  full_ = Place();
  lacks_subscribers_ = true;
  (void)Arm();
}

std::shared_ptr<RoomNotice::Watch> RoomNotice::Arm() {
  const std::shared_ptr<Lane> lane = full_.lane.lock();
  if (signal_ == nullptr || (lane == nullptr && !lacks_subscribers_)) {
    return nullptr;
  }
  signal_->Arm();
  if (lane == nullptr) return nullptr;
  const auto is_over = [](const std::shared_ptr<Watch>& watch) {
    return watch->is_over.load() || watch->place.lane.expired();
  };
  watches_.erase(std::remove_if(watches_.begin(), watches_.end(), is_over),
                 watches_.end());
  // If a smaller frame is watched for, that one has room no later.
  const auto includes = [&](const std::shared_ptr<Watch>& watch) {
    return watch->place.lane.lock() == lane &&
           watch->place.frame_bytes <= full_.frame_bytes;
  };
  if (std::any_of(watches_.begin(), watches_.end(), includes)) return nullptr;
  watches_.push_back(std::make_shared<Watch>(full_));
  return watches_.back();
}

void RoomNotice::RaiseWhenRoom(std::shared_ptr<Watch> watch,
                               std::shared_ptr<Signal> signal) {
  if (watch == nullptr) return;
  const std::shared_ptr<Lane> lane = watch->place.lane.lock();
  if (lane == nullptr) return;
  const size_t frame_bytes = watch->place.frame_bytes;
  lane->CallWhenRoom(frame_bytes,
                     [watch = std::move(watch), signal = std::move(signal)] {
                       watch->is_over.store(true);
                       signal->Raise();
                     });
}

void RoomNotice::OnSubscribers() {
  std::vector<std::function<void()>> callbacks;
  {
    MutexLock lock(mutex_);
    // Also if the subscribers have refused a message since they came, and the
    // last message waits for room now.
    callbacks.swap(for_subscribers_);
    const bool lacked = std::exchange(lacks_subscribers_, false);
    if (lacked && signal_ != nullptr) signal_->Raise();
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
  std::shared_ptr<Watch> watch;
  std::shared_ptr<Signal> signal;
  {
    MutexLock lock(mutex_);
    if (signal_ != nullptr) return signal_->descriptor();
    absl::StatusOr<std::shared_ptr<Signal>> made = Signal::Create(sys_);
    if (!made.ok()) return made.status();
    signal = signal_ = *std::move(made);
    watch = Arm();
  }
  RaiseWhenRoom(std::move(watch), signal);
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
