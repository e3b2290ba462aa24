#ifndef MYCELIUM_ROUTING_SPILL_TRACKER_H_
#define MYCELIUM_ROUTING_SPILL_TRACKER_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>

#include "absl/types/span.h"
#include "mycelium/base/mutex.h"
#include "mycelium/transport/link.h"

namespace mycelium {

// Tracks the frames of a link's inline lane that wait in the spill queues of
// busy subscriptions, so that the peer does not hear that they are handled
// before they are. A lane is acknowledged up to one position, so while a frame
// waits, nothing behind it is reported; when the last one is done, everything
// is.
//
// Invariant: `unfinished_` counts the spilled frames, and the frame that the
// loop is delivering if it was spilled, or came while others were waiting.
//
// Thread safety: FinishSpill(), AwaitRoom(), RoomCame() and End() from any
// thread; the rest on the loop.
class SpillTracker final : public std::enable_shared_from_this<SpillTracker> {
 public:
  explicit SpillTracker(Link& link) : link_(&link) {}

  // The delivery of one frame of the lane, which ends at `end`.
  class Frame {
   public:
    Frame(SpillTracker& tracker, uint32_t lane, uint64_t end);
    ~Frame();
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

    // Whether the frame, or one before it, is not handled yet: the tracker
    // reports it to the link later.
    bool has_spills() const { return tracker_.is_tracked_; }

    // The frame could not be delivered to all subscriptions: it will be offered
    // again.
    void Postpone() { postponed_ = true; }

   private:
    SpillTracker& tracker_;
    const uint32_t lane_;
    const uint64_t end_;
    bool postponed_ = false;
  };

  // The frame being delivered was put into a spill queue. Returns what the
  // queue keeps with it, for FinishSpill().
  static constexpr size_t kWordBytes = 8;
  std::array<char, kWordBytes> AddSpill();
  static void FinishSpill(absl::Span<const std::byte> word);

  // Whether a frame waits, so that none behind it is reported. On the loop.
  bool has_unfinished() const {
    return unfinished_.load(std::memory_order_acquire) > 0;
  }

  // A frame was not delivered, because that subscription has no room for it.
  // True: the caller must arrange that RoomCame() is called when it has room.
  // False: that is arranged already.
  bool AwaitRoom(uint32_t subscription);
  // Calls Link::Resume(), if the link still exists.
  void RoomCame(uint32_t subscription);

  // The peer is gone; the link is not used after this.
  void End();

 private:
  void FinishOne();

  Mutex mutex_;
  Link* link_ ABSL_GUARDED_BY(mutex_);
  uint32_t lane_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t end_ ABSL_GUARDED_BY(mutex_) = 0;  // Of the last tracked frame.
  // Subscriptions whose room is awaited.
  std::set<uint32_t> awaited_ ABSL_GUARDED_BY(mutex_);
  // Raised by the loop only, so that 0 seen there stays 0.
  std::atomic<uint64_t> unfinished_{0};

  // On the loop: whether the present frame is counted in `unfinished_`.
  bool is_tracked_ = false;
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_SPILL_TRACKER_H_
