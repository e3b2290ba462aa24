#ifndef MYCELIUM_TRANSPORT_LANE_LANE_H_
#define MYCELIUM_TRANSPORT_LANE_LANE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/event_count.h"
#include "mycelium/base/mapping.h"
#include "mycelium/base/mutex.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/transport/lane/ring.h"

namespace mycelium {

// The publishing end of one ring of frames with one reader: the only queue in
// Mycelium, whatever carries the frames away. A queued subscription of the same
// process reads the ring itself; a link sends what is in it and releases what
// its peer has handled.
//
// Publishing is claim, encode, commit. A successful TryClaim() leaves the lane
// locked until Commit() or Abandon(), which is how a message is claimed in
// every lane before it is committed in any. Whoever claims in several lanes
// takes them in the order of `order()`, and waits only while holding none.
//
// Thread safety: all members may be called from any thread, but claim and
// commit belong to the thread that claimed.
//
// Ownership: borrows the environment and the doorbell.
//
// Example:
//   absl::Span<std::byte> room;
//   if (lane.TryClaim(bytes, &room) != Lane::ClaimResult::kClaimed) return;
//   EncodeFrame(fields, lane.next_sequence(), payload_bytes, room);
//   lane.Commit();
//   lane.Ring();
class Lane final {
 public:
  // Told that frames were committed. The lane is not locked, but a publisher
  // is: what is called from here must not publish or change routes.
  class Doorbell {
   public:
    virtual ~Doorbell() = default;
    virtual void OnCommit(Lane& lane) = 0;
  };

  enum class ClaimResult {
    kClaimed,
    kFull,
    kTooLarge,
    kClosed,
  };

  struct Options {
    std::string name;           // For messages: "feed -> brain (unix), lane 0".
    uint32_t id = 0;            // Names the lane on its link.
    size_t capacity_bytes = 0;  // Rounded up to a power of two.
    size_t frame_bytes_max = 0;  // At most half the capacity.
  };

  // `doorbell` may be null.
  static absl::StatusOr<std::unique_ptr<Lane>> Create(Environment& environment,
                                                      Options options,
                                                      Doorbell* doorbell);

  // Reserves room for a frame. On kClaimed the lane is locked and `room` has
  // `frame_bytes`; otherwise nothing has changed.
  ClaimResult TryClaim(size_t frame_bytes, absl::Span<std::byte>* room)
      ABSL_NO_THREAD_SAFETY_ANALYSIS;

  // The sequence of the frame that is claimed. REQUIRES: a claim is open.
  uint64_t next_sequence() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return sequence_ + 1;
  }

  // Makes the claimed frame visible, and unlocks. Follow with Ring().
  void Commit() ABSL_NO_THREAD_SAFETY_ANALYSIS;

  // Forgets the claim, and unlocks.
  void Abandon() ABSL_NO_THREAD_SAFETY_ANALYSIS;

  void Ring() {
    if (doorbell_ != nullptr) doorbell_->OnCommit(*this);
  }

  // Whether a claim of `frame_bytes` would not end in kFull.
  bool HasRoom(size_t frame_bytes);

  // Notified when room was released or the lane was closed.
  EventCount& room_event() { return room_event_; }

  // From now on every claim ends in kClosed. What is in the ring stays.
  void Close();
  // The same, and nobody reads what is in the ring either: it is lost.
  void Discard();
  bool discarded() const { return discarded_.load(std::memory_order_acquire); }
  bool closed() const { return closed_.load(std::memory_order_acquire); }

  // Remembers that a wait for room ran out, so that the next publisher does not
  // wait as long again for a reader that does not move.
  void MarkStalled() { stalled_at_.store(released() + 1); }
  bool stalled() const { return stalled_at_.load() == released() + 1; }

  // Whether the reader's process is out of reach, so that waiting for room is
  // pointless until it is back.
  void SetReaderAway(bool away) {
    reader_away_.store(away, std::memory_order_release);
  }
  bool reader_away() const {
    return reader_away_.load(std::memory_order_acquire);
  }

  // The end of the last committed frame.
  uint64_t committed() const {
    return committed_.load(std::memory_order_acquire);
  }
  uint64_t released() const {
    return positions_->released.load(std::memory_order_acquire);
  }
  bool empty() const { return released() == committed(); }

  // Committed frames that lie together, from `from` on. `position` is where
  // they start, after a pad if there was one at `from`.
  // REQUIRES: released() <= from <= committed().
  struct Run {
    uint64_t position = 0;
    absl::Span<const std::byte> bytes;
  };
  Run CommittedFrom(uint64_t from) const;

  // Frees everything before `position`, as the reader's side reported it.
  // False if that is not a position the reader can be at.
  bool Release(uint64_t position);

  // Tells that the reader of ring_memory() released room by itself.
  void NotifyReleased() { room_event_.Notify(environment_.waiter); }

  // Calls `visit` with the header of each frame between `from` and the last
  // committed one, while the lane is locked. For ledgers, not for hot paths.
  void ForEachFrame(uint64_t from,
                    absl::FunctionRef<void(const FrameHeader&)> visit);

  absl::Span<const std::byte> ring_memory() const { return memory_.bytes(); }
  RingPositions& ring_positions() { return *positions_; }

  // The sequence of the first frame at or after `from`, committed or not yet.
  uint64_t SequenceAt(uint64_t from);

  const std::string& name() const { return options_.name; }
  uint32_t id() const { return options_.id; }
  uint64_t order() const { return order_; }
  size_t frame_bytes_max() const { return options_.frame_bytes_max; }
  size_t capacity_bytes() const { return memory_.bytes().size(); }

 private:
  void VisitFrames(uint64_t from,
                   absl::FunctionRef<void(const FrameHeader&)> visit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Lane(Environment& environment, Options options, Doorbell* doorbell,
       Mapping memory);

  Environment& environment_;
  const Options options_;
  Doorbell* const doorbell_;
  const Mapping memory_;
  const uint64_t order_;
  const std::unique_ptr<RingPositions> positions_;

  Mutex mutex_;
  RingWriter writer_ ABSL_GUARDED_BY(mutex_);
  uint64_t sequence_ ABSL_GUARDED_BY(mutex_) = 0;

  std::atomic<uint64_t> committed_{0};
  std::atomic<uint64_t> pad_from_{0};
  std::atomic<uint64_t> stalled_at_{0};
  std::atomic<bool> closed_{false};
  std::atomic<bool> discarded_{false};
  std::atomic<bool> reader_away_{false};
  alignas(64) EventCount room_event_;
};

// The largest lane of a peer that is accepted: what lane_bytes may be set to.
inline constexpr size_t kLaneBytesMax = 1 << 30;

// The rank of claims that are open at once: a number for each lane and each
// other thing that is locked together with lanes, rising in order of creation.
uint64_t NextClaimOrder();

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_LANE_H_
