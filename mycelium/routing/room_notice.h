#ifndef MYCELIUM_ROUTING_ROOM_NOTICE_H_
#define MYCELIUM_ROUTING_ROOM_NOTICE_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "mycelium/base/mutex.h"
#include "mycelium/base/signal.h"
#include "mycelium/base/sys.h"
#include "mycelium/transport/lane/lane.h"

namespace mycelium {

// Tells a publisher that does not wait in Publish() when it may try again: when
// the lane that had no room has some, or a subscriber is there.
//
// Invariants:
//  (1) Once the last message was refused, what makes room for it makes the
//      descriptor readable, even if it did not do so for earlier messages.
//  (2) A lane is not asked again while it still has to tell of room for a frame
//      of that length, or for a smaller one. So it has no more callbacks than
//      there are lengths of frames, however often its publisher is refused.
//  (3) A callback that waits for subscribers is called when some come, even if
//      they refused messages before this was told of them.
//
// Lanes call back with locks held, and so do routers that take routes away. So
// a callback, which may be the last owner of anything, is not destroyed where
// it was called, but handed to `discard`.
//
// Thread safety: all members may be called from any thread.
class RoomNotice final {
 public:
  using Discard = std::function<void(std::function<void()>)>;

  // `discard`: destroys a callback later, with no lock held. Null: at once.
  RoomNotice(Sys& sys, Discard discard)
      : sys_(sys), discard_(std::move(discard)) {}

  // The last message was refused: `lane` had no room for its frame.
  void NoteFull(const std::shared_ptr<Lane>& lane, size_t frame_bytes);
  // The last message was refused: there was no subscriber. Call it under the
  // lock after whose release OnSubscribers() is called, so that no subscriber
  // comes in between.
  void NoteNobody();
  // There is a subscriber, or there will be none.
  void OnSubscribers();
  // Messages do not go into that lane any more, so none waits for room there.
  void OnRouteGone(const Lane& lane);

  // Calls `callback` once, as soon as there may be room for the message that
  // was refused last; at once if there is room, or none was refused.
  void Call(std::function<void()> callback);
  // Readable when Call() would call back, for the last message that was refused
  // and for each that will be. Made at the first call; this object owns it.
  absl::StatusOr<int> Descriptor();
  // Whether there is still no room for the message that was refused last.
  bool AwaitsRoom();

 private:
  struct Place {
    std::weak_ptr<Lane> lane;
    size_t frame_bytes = 0;
  };

  // A callback that is called once, by the thread that comes first.
  class Once final {
   public:
    Once(std::function<void()> callback, const Discard& discard)
        : callback_(std::move(callback)), discard_(discard) {}
    void Run() {
      if (is_called_.exchange(true)) return;
      std::function<void()> callback = std::move(callback_);
      callback_ = nullptr;
      callback();
      if (discard_ != nullptr) discard_(std::move(callback));
    }
    bool is_called() const { return is_called_.load(); }

   private:
    // Belongs to the thread that has set `is_called_`.
    std::function<void()> callback_;
    std::atomic<bool> is_called_{false};
    const Discard discard_;
  };
  struct Waiting {
    std::weak_ptr<Lane> lane;
    std::shared_ptr<Once> callback;
  };

  // A lane that raises the signal when it has room for such a frame.
  struct Watch {
    explicit Watch(Place place) : place(std::move(place)) {}

    const Place place;
    // The lane has called back, and is about to raise the signal. Set before
    // raising, and read after arming: a thread that does not see it yet has
    // armed in time for the signal.
    std::atomic<bool> is_over{false};
  };

  // Arms the signal. Returns what is to be watched for; null if nothing is, or
  // if it is watched for already.
  std::shared_ptr<Watch> Arm() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // REQUIRES: no lock is held. Does nothing if `watch` is null.
  static void RaiseWhenRoom(std::shared_ptr<Watch> watch,
                            std::shared_ptr<Signal> signal);

  Sys& sys_;
  const Discard discard_;
  Mutex mutex_;
  Place full_ ABSL_GUARDED_BY(mutex_);  // Of the last message.
  bool lacks_subscribers_ ABSL_GUARDED_BY(mutex_) = false;  // The last message.
  std::vector<std::function<void()>> for_subscribers_ ABSL_GUARDED_BY(mutex_);
  std::vector<Waiting> for_room_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<Signal> signal_ ABSL_GUARDED_BY(mutex_);
  // Some may be over.
  std::vector<std::shared_ptr<Watch>> watches_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_ROOM_NOTICE_H_
