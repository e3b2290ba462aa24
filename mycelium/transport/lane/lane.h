#ifndef MYCELIUM_TRANSPORT_LANE_LANE_H_
#define MYCELIUM_TRANSPORT_LANE_LANE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "mycelium/base/biased_mutex.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/event_count.h"
#include "mycelium/base/mutex.h"
#include "mycelium/codec/frame_encoder.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/message/payload.h"
#include "mycelium/transport/lane/corruption_report.h"
#include "mycelium/transport/lane/drop_reason.h"
#include "mycelium/transport/lane/lane_loans.h"
#include "mycelium/transport/lane/lane_memory.h"
#include "mycelium/transport/lane/lane_options.h"
#include "mycelium/transport/lane/lossy_stage.h"
#include "mycelium/transport/lane/reader_trouble.h"
#include "mycelium/transport/lane/released_check.h"
#include "mycelium/transport/lane/ring.h"
#include "mycelium/transport/lane/room_watches.h"
#include "mycelium/transport/lane/stall_mark.h"

namespace mycelium {

// The publishing end of one ring of frames with one reader: the only queue in
// Mycelium, whatever carries the frames away. A queued subscription of the same
// process reads the ring itself; a link sends what is in it and releases what
// its peer has handled.
//
// Publishing is claim, encode, commit. A successful TryClaim() leaves the lane
// locked until Commit() or Abandon(), which is how a message is claimed in
// every lane before it is committed in any. A thread that claims in several
// lanes takes them in order of `order()`, and waits only while it holds none.
//
// A *lossy* lane has a stage in front of the ring. Publishers commit to the
// stage, which drops by its rule and never makes them wait. A subscription of
// the same process reads the stage itself; for another node, the link moves
// frames into the ring when few are on their way, so that what is dropped is
// always what was not sent.
//
// Thread safety: all members may be called from any thread, but claim and
// commit belong to the thread that claimed.
//
// Ownership: borrows the environment and the doorbell.
//
// Example:
//   if (lane.TryClaim(bytes) != Lane::ClaimResult::kClaimed) return;
//   absl::Span<std::byte> room = lane.Room();
//   if (room.empty()) return lane.DropClaimed(fields);
//   EncodeFrame(fields, lane.next_sequence(), payload_bytes, room);
//   lane.Commit();
//   lane.Ring();
class Lane final {
 public:
  using Doorbell = LaneDoorbell;
  using Options = LaneOptions;

  enum class ClaimResult { kClaimed, kFull, kTooLarge, kClosed };

  // How large a ring such a lane has.
  static size_t MemoryBytes(const Options& options);

  // `doorbell` may be null.
  static absl::StatusOr<std::unique_ptr<Lane>> Create(Environment& environment,
                                                      Options options,
                                                      Doorbell* doorbell);

  // Reserves room for a frame. On kClaimed the lane is locked; otherwise
  // nothing has changed. A lossy lane is never full.
  ClaimResult TryClaim(size_t frame_bytes) ABSL_NO_THREAD_SAFETY_ANALYSIS;

  // The room that was claimed. A lossy lane drops here what is in its way; an
  // empty span says that the new message has to go instead: call DropClaimed(),
  // not Commit(). REQUIRES: a claim is open.
  absl::Span<std::byte> Room() ABSL_NO_THREAD_SAFETY_ANALYSIS;

  // The sequence of the frame that is claimed. REQUIRES: a claim is open.
  uint64_t next_sequence() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return sequence_ + 1;
  }

  // Makes the claimed frame visible, and unlocks. Follow with Ring().
  void Commit() ABSL_NO_THREAD_SAFETY_ANALYSIS;

  // For the next three include lane_publishing.h.
  // The same for a message whose payload lies elsewhere, in a frame without
  // time or extension. Writes the frame, too; of the header only the sequence
  // and the stamp are the lane's to set.
  // REQUIRES: the lane is not lossy, and room for the payload is claimed.
  inline void CommitFrom(FrameHeader* header,
                         absl::Span<const std::byte> payload)
      ABSL_NO_THREAD_SAFETY_ANALYSIS;

  // TryClaim() for CommitFrom(), without a Room(). REQUIRES: it is not lossy.
  inline ClaimResult TryClaimFrom(size_t payload_bytes)
      ABSL_NO_THREAD_SAFETY_ANALYSIS;

  // TryClaimFrom(), CommitFrom() and Ring() in one: the shortest way for a
  // small message. If there is room it calls `encode(&header)`, which returns
  // the payload. REQUIRES: it is not lossy.
  template <typename Encode>
  inline ClaimResult TryPublish(size_t payload_bytes, const Encode& encode)
      ABSL_NO_THREAD_SAFETY_ANALYSIS;

  // Whether (before Room()) and how the frame refers to a loan: see LaneLoans.
  bool TakesLoan(const LoanPlace& place) ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void PutLoan(const Payload& loan, absl::Span<std::byte> payload_room)
      ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void OfferLoans(const std::shared_ptr<LoanMemory>& memory);
  LaneLoans& loans() { return loans_; }
  // A publisher is done: its loans end without anybody asking for them.
  void SettleLoans();

  // Counts the claimed message as dropped, and unlocks.
  void DropClaimed(const FrameFields& fields) ABSL_NO_THREAD_SAFETY_ANALYSIS;

  void Abandon() ABSL_NO_THREAD_SAFETY_ANALYSIS;  // Forgets it, and unlocks.

  // After a commit: rings the doorbell. A reader of shared memory that is awake
  // sees the frame without that.
  void Ring() {
    if (mapped() && !positions_of_reader_->TakeSleeping()) return;
    if (doorbell_ != nullptr) doorbell_->OnCommit(*this);
  }

  // Whether a claim of `frame_bytes` would not end in kFull.
  bool HasRoom(size_t frame_bytes);
  // The same; if not, a reader of shared memory is asked to tell of room.
  bool HasRoomOrAsks(size_t frame_bytes);
  // What released() has to be for that, if nobody publishes meanwhile.
  uint64_t ReleasedFor(size_t frame_bytes);
  // Notified of room (of shared memory: once asked for) and of closing.
  EventCount& room_event() { return room_event_; }

  // Calls `callback` once, as soon as HasRoom(frame_bytes), which may be now.
  // It runs on the thread that made the room, which may hold locks: it must not
  // wait or call the bus.
  void CallWhenRoom(size_t frame_bytes, std::function<void()> callback);

  // From now on every claim ends in kClosed. What is in the ring stays.
  void Close();
  // The same, and nobody reads what is in the ring either: it is lost.
  void Discard();
  bool discarded() const { return discarded_.load(std::memory_order_acquire); }
  bool closed() const { return closed_.load(std::memory_order_acquire); }

  // A wait for room ran out: see StallMark.
  void MarkStalled(uint64_t released, int64_t waited_ns);
  bool stalled(int64_t wait_ns = 0) const;

  // A publisher waited in vain: reports if the reader cannot see the frame that
  // it comes to next, since something has overwritten its commit word.
  void CheckNextFrame();

  // Whether the reader's process is out of reach: waiting for room has no
  // point, and waiters are woken. A lane whose reader is back is not stalled.
  void SetReaderAway(bool away);
  bool reader_away() const;
  ReaderTrouble& reader_trouble() { return reader_trouble_; }
  // Whether OnCorrupt() was called about the reader that it has now.
  bool is_corrupt() const { return corruption_.is_made(); }

  // The end of the last committed frame.
  uint64_t committed() const {
    return committed_.load(std::memory_order_acquire);
  }
  uint64_t released() const {
    return shared_ == nullptr
               ? positions_->ring.released.load(std::memory_order_acquire)
               : CheckedReleased();
  }
  bool empty();  // All that was published is over: handled or dropped.

  // A mark behind what was published so far, and whether all before it is over.
  // Notified by room_event().
  uint64_t Mark();
  bool IsOver(uint64_t mark);

  // Committed frames that lie together, from `from` on. `position` is where
  // they start, after a pad at `from`. REQUIRES: released() <= from <=
  // committed().
  struct Run {
    uint64_t position = 0;
    absl::Span<const std::byte> bytes;
  };
  Run CommittedFrom(uint64_t from) const;

  // Where a reader that says it has all before `position` goes on: where the
  // next frame starts, or at the end. Looks at all frames from there on.
  uint64_t FrameStartFrom(uint64_t position);

  // Frees everything before `position`, as the reader's side reported it.
  // False if that is not a position the reader can be at.
  bool Release(uint64_t position);

  // Tells that the reader of ring_memory() released room by itself.
  void NotifyReleased() {
    if (loans_.any()) loans_.Finish(released());
    if (room_event_.Notify(environment_.waiter)) RunRoomWatches();
  }

  // Takes back what waits in a lossy lane that the peer, alive or not, reads.
  void Recall();
  // Drops, and shows, what waits in a lossy lane that this process reads.
  void DropWaiting(absl::FunctionRef<void(const FrameView&)> visit);

  // Calls `visit` with the header of each frame between `from` and the last
  // committed one, while the lane is locked. For ledgers, not for hot paths.
  void ForEachFrame(uint64_t from,
                    absl::FunctionRef<void(const FrameHeader&)> visit);

  absl::Span<const std::byte> ring_memory() const { return memory_->bytes(); }
  RingPositions& ring_positions() { return positions_->ring; }
  // Keeps ring_memory() readable, also when the lane is gone.
  std::shared_ptr<const void> memory() const { return memory_; }

  // Of a lane in shared memory, else null.
  SharedLaneMemory* shared() const { return shared_.get(); }
  // Whether the peer reads the shared memory itself now; else the link sends
  // what is in it.
  void SetMapped(bool mapped);
  bool mapped() const { return mapped_.load(std::memory_order_acquire); }
  // Gives a lane in shared memory to another reader, maybe another process. It
  // starts with what the last reader has not handled, without `*lost`, which is
  // damaged; up to `seen`, or what the last reader says it has taken, all is
  // marked as redelivered. On an error the last one may still write to the
  // positions.
  absl::Status RenewReader(uint64_t seen, std::vector<FrameHeader>* lost);

  // The sequence of the first frame at or after `from` in the ring, or of the
  // next one. In a lossy lane frames may be missing from there on.
  uint64_t SequenceAt(uint64_t from);

  uint64_t NextSequence();  // Of the frame that is published next.
  LanePublished published();

  // Another process takes the reader's place. `sent`: how far the ring was sent
  // to the last one. What was sent and not released is redelivered.
  void BeginRedelivery(uint64_t sent);
  // Frames with a lower sequence may have been handled by another process.
  uint64_t redelivered_until() const;
  // It was the same process, which has not died of what it had.
  void Absolve() { suspected_ = 0; }
  // If more than `redeliveries_max` processes died with the same frame as the
  // first that they had not handled: takes it out, and copies its header.
  bool TakePoison(uint64_t redeliveries_max, FrameHeader* poison);

  // Another process that takes the reader's place accepts frames of that size:
  // takes larger ones out, and claims of such are kTooLarge from here on. The
  // others keep their order; in a lossless lane they get the last sequences,
  // without a gap (SequenceAfterRefit). Nobody may be reading the lane.
  std::vector<FrameHeader> Refit(size_t frame_bytes_max);

  LossyStage* stage() { return stage_.get(); }  // A lossy lane's, else null.
  size_t window() const { return options_.window; }

  // Of a lossy lane that a link sends: moves waiting frames into the ring,
  // while fewer than `window` are in it. One thread at a time, as for the
  // ring's writer.
  void Advance();

  const std::string& name() const { return options_.name; }
  uint32_t id() const { return options_.id; }
  uint64_t order() const { return order_; }
  size_t frame_bytes_max() const {
    return frame_bytes_max_.load(std::memory_order_relaxed);
  }
  size_t capacity_bytes() const;

 private:
  Lane(Environment& environment, Options options, Doorbell* doorbell,
       std::shared_ptr<LaneMemory> memory, std::unique_ptr<LossyStage> stage);

  uint64_t CheckedReleased() const;
  void ReportCorrupt(uint64_t reader, const std::string& what) const;
  void CheckStage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Where the first sound frames start that go on to the end.
  uint64_t FirstSoundFrom(uint64_t from) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether sound frames start at each place of the ring, where that is known.
  using SoundPositions = std::vector<std::optional<bool>>;
  bool IsSoundFrom(uint64_t from, SoundPositions* known)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RenewStageReader(std::vector<FrameHeader>* lost);
  absl::Status RenewRingReader(uint64_t seen, std::vector<FrameHeader>* lost);
  void Suspect(uint64_t first, uint64_t until);
  bool TakeRingPoison(FrameHeader* poison);
  bool TakeStagePoison(FrameHeader* poison);
  void Stamp() ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void RunRoomWatches();
  void VisitRing(uint64_t from,
                 absl::FunctionRef<void(const FrameHeader&)> visit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  MovedFrame& MovedAt(size_t i) ABSL_EXCLUSIVE_LOCKS_REQUIRED(move_mutex_);
  void RefitRing(std::vector<FrameHeader>* taken_out)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(move_mutex_, mutex_);
  uint64_t MarkAfterRefit(uint64_t mark) const;
  void RefitStage(std::vector<FrameHeader>* taken_out)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(move_mutex_, mutex_);
  // What CommitFrom() does with the lock held.
  inline void WriteFrom(FrameHeader* header,
                        absl::Span<const std::byte> payload)
      ABSL_NO_THREAD_SAFETY_ANALYSIS;
  // What TryClaimFrom() does with the lock held.
  inline bool ClaimLocked(size_t frame_bytes) ABSL_NO_THREAD_SAFETY_ANALYSIS;
  // Unlocks, and says why there is no claim.
  ClaimResult UnlockUnclaimed(size_t frame_bytes)
      ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void CommitToRing() ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void NoteCommitted() {
    pad_from_.store(writer_.pad_from(), std::memory_order_relaxed);
    // Pairs with committed(): its reader may read the frames before it.
    committed_.store(writer_.position(), std::memory_order_release);
  }
  void ForgetReleased() ABSL_EXCLUSIVE_LOCKS_REQUIRED(move_mutex_);
  bool MoveOne(const FrameView& frame)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(move_mutex_);

  Environment& environment_;
  const Options options_;
  Doorbell* const doorbell_;
  const std::shared_ptr<LaneMemory> memory_;  // Of the ring.
  const uint64_t order_;
  LanePositions* const positions_;                  // Of `memory_`.
  const std::shared_ptr<SharedLaneMemory> shared_;  // Ring's or stage's.
  LanePositions* const positions_of_reader_;        // Of `shared_`, or null.

  BiasedMutex mutex_{environment_};
  LaneLoans loans_{mutex_};
  RingWriter writer_;  // Under the lock; in a lossy lane `move_mutex_`.
  std::atomic<size_t> frame_bytes_max_;  // Changed under the lock.
  uint64_t sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t claimed_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Span<std::byte> room_ ABSL_GUARDED_BY(mutex_);
  // Small frames for another process are written here and copied at once.
  static constexpr size_t kScratchBytes = 1024 + 64;
  alignas(64) std::array<std::byte, kScratchBytes> scratch_
      ABSL_GUARDED_BY(mutex_);
  bool uses_scratch_ = false;  // As `writer_`.
  DropReason drop_reason_ ABSL_GUARDED_BY(mutex_) = DropReason::kOverflow;
  uint64_t staged_bytes_ ABSL_GUARDED_BY(mutex_) = 0;    // Of a lossy lane.
  uint64_t refitted_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // Committed again.

  const std::unique_ptr<LossyStage> stage_;  // Of a lossy lane, as these are.
  std::unique_ptr<LossyRingReader> stage_reader_;  // In Advance().
  Mutex move_mutex_;  // A publisher never waits for it.
  // Those in the ring, the oldest first: `moved_count_` from `moved_first_` on.
  std::vector<MovedFrame> moved_ ABSL_GUARDED_BY(move_mutex_);
  size_t moved_first_ ABSL_GUARDED_BY(move_mutex_) = 0;
  size_t moved_count_ ABSL_GUARDED_BY(move_mutex_) = 0;
  MovedFrame last_released_ ABSL_GUARDED_BY(move_mutex_) = {0, 0};
  FrameView pinned_ ABSL_GUARDED_BY(move_mutex_);
  bool is_pinned_ ABSL_GUARDED_BY(move_mutex_) = false;

  // Which frame was the first that was not handled when the reader's process
  // died, and how many times in a row. On the thread that begins redelivery.
  uint64_t suspect_ = 0, suspected_ = 0;
  bool is_suspect_staged_ = false;  // In a lossy lane: not in the ring.
  std::atomic<uint64_t> redelivered_until_{0};
  // Marks up to the first wait for the second: Refit() rewrote what is before.
  std::atomic<uint64_t> refitted_until_{0}, refitted_end_{0};

  std::atomic<uint64_t> committed_{0};
  // Where the frame ends that is being committed: the reader may be there.
  std::atomic<uint64_t> committing_{0};
  mutable ReleasedCheck released_check_;  // Of `shared_`.
  mutable CorruptionReport corruption_;
  std::atomic<bool> mapped_{false};
  std::atomic<uint64_t> pad_from_{0}, stalls_{0};
  StallMark stall_;
  std::atomic<bool> closed_{false}, discarded_{false}, reader_away_{false};
  ReaderTrouble reader_trouble_;
  alignas(64) EventCount room_event_;
  RoomWatches room_watches_{room_event_};  // Of CallWhenRoom().
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_LANE_H_
