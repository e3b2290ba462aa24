#ifndef MYCELIUM_TRANSPORT_LANE_ROOM_WATCHES_H_
#define MYCELIUM_TRANSPORT_LANE_ROOM_WATCHES_H_

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "mycelium/base/event_count.h"
#include "mycelium/base/mutex.h"

namespace mycelium {

// Callbacks that are called once, when a lane has room.
//
// Thread safety: all members may be called from any thread.
//
// Ownership: borrows the event that is notified when there is room.
class RoomWatches final {
 public:
  explicit RoomWatches(EventCount& room_event) : room_event_(room_event) {}

  // Has `callback` called by a Run() that finds room for `frame_bytes`. From
  // here on Notify() of the event says that somebody waits.
  void Add(size_t frame_bytes, std::function<void()> callback);

  // Calls those for which there is room, on this thread, with no lock held.
  void Run(absl::FunctionRef<bool(size_t frame_bytes)> has_room);

 private:
  struct Watch {
    size_t frame_bytes;
    std::function<void()> callback;
  };

  EventCount& room_event_;
  Mutex mutex_;
  std::vector<Watch> watches_ ABSL_GUARDED_BY(mutex_);
  // Makes Notify() say that somebody waits.
  std::optional<EventCount::Sleeper> sleeper_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_ROOM_WATCHES_H_
