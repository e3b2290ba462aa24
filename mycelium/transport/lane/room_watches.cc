#include "mycelium/transport/lane/room_watches.h"

#include <algorithm>
#include <utility>

namespace mycelium {

void RoomWatches::Add(size_t frame_bytes, std::function<void()> callback) {
  MutexLock lock(mutex_);
  watches_.push_back({frame_bytes, std::move(callback)});
  if (!sleeper_.has_value()) sleeper_.emplace(room_event_);
}

void RoomWatches::Run(absl::FunctionRef<bool(size_t frame_bytes)> has_room) {
  std::vector<Watch> ready;
  {
    MutexLock lock(mutex_);
    for (Watch& watch : watches_) {
      if (!has_room(watch.frame_bytes)) continue;
      ready.push_back(std::move(watch));
      watch.callback = nullptr;
    }
    watches_.erase(
        std::remove_if(watches_.begin(), watches_.end(),
                       [](const Watch& watch) { return !watch.callback; }),
        watches_.end());
    if (watches_.empty()) sleeper_.reset();
  }
  for (const Watch& watch : ready) watch.callback();
}

}  // namespace mycelium
