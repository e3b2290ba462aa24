#ifndef MYCELIUM_TRANSPORT_INBOUND_RING_H_
#define MYCELIUM_TRANSPORT_INBOUND_RING_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "mycelium/base/planted_bug.h"
#include "mycelium/base/shared_word.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/transport/lane/lane_memory.h"
#include "mycelium/transport/lane/lossy_ring.h"
#include "mycelium/transport/lane/ring.h"
#include "mycelium/transport/link_traffic.h"

namespace mycelium {

// A lane of the peer that this process reads where it lies, in memory that the
// peer has made: the reading end of a Lane with shared memory. Trusts nothing
// that it reads there; docs/shm_layout.md says what is checked.
//
// Peek() shows a frame, again and again until Pop() says that it was taken. The
// frame's *end* names it for NoteHandled(): a position, or the sequence in a
// lossy lane. A lossy lane hands out one frame at a time, and holds it until it
// is handled.
//
// Corruption is told only once all frames that were taken before it are
// handled, even if that is on the next connection of the same peer; nothing
// behind it is shown. The reason is that the lane then begins anew from what
// the writer knows to be handled. Frames that somebody still has would come
// twice, or be counted as damaged, or be taken for what the reader cannot get
// past. A caller that may not wait any longer calls TellAtOnce().
//
// Thread safety: NoteHandled(), taken(), handled(), TakeWriterWaits() and
// AddTraffic() from any thread; the rest on the loop.
//
// Ownership: shares the memory.
class InboundRing final {
 public:
  // The memories that frames may refer to (LoanReference), by number. On the
  // loop.
  using LoanMemories = std::map<uint32_t, std::shared_ptr<LaneMemory>>;

  struct Options {
    uint32_t lane = 0;
    uint64_t position = 0;       // Where the first frame is expected,
    uint64_t next_sequence = 1;  // and its sequence.
    bool lossy = false;
    uint64_t redelivered_until = 0;  // See LaneOpen.
    size_t frame_bytes_max = 0;
    // Payloads are copied out before anybody looks at them, whatever their
    // size.
    bool copies_all = false;
    const LoanMemories* loans = nullptr;  // Null: to nothing.
    // Whether the caller can run SharedHeavyBarrier() by now. Null: never.
    bool (*has_barrier)() = nullptr;
    // How many frames are taken without a sleep before one is promised. It
    // takes microseconds of each CPU that it interrupts, and spares the writer
    // some tens of nanoseconds for each frame.
    int busy_frames = 1024;
  };

  enum class Look {
    kFrame,
    // There is none, or it must not be looked at, or told of, before the last
    // frame is handled.
    kEmpty,
    kNotYet,        // There is one, but a control message comes before it.
    kCorrupt,       // See error().
    kCorruptLater,  // Once: the same, but kCorrupt is said when it is time.
  };

  // Small payloads are copied out in any case: that costs less than reading
  // them from memory that another core writes.
  static constexpr size_t kCopiedBytesMax = 1024;

  InboundRing(std::shared_ptr<LaneMemory> memory, const Options& options);

  uint32_t lane() const { return options_.lane; }
  bool is_lossy() const { return options_.lossy; }
  // Whether its frames lie in the same file as those of that memory.
  bool LiesIn(const LaneMemory& memory) const {
    return memory_->ring_file().second != 0 &&
           memory_->ring_file() == memory.ring_file();
  }

  // Whether Peek() has something to say. Most looks go no further.
  bool MayHaveFrame() {
    if (is_pending_) return true;
    return (lossy_reader_.has_value() ? holds_ || lossy_reader_->HasFrame()
                                      : reader_.HasFrame()) ||
           is_corrupt();
  }

  // The next frame, for a caller that has read `controls_seen` control
  // messages. `*view` points at a view that this object owns, valid until
  // Pop().
  ABSL_ATTRIBUTE_ALWAYS_INLINE Look Peek(uint32_t controls_seen,
                                         const FrameView** view,
                                         uint64_t* end) {
    if (ABSL_PREDICT_FALSE(is_pending_ || !is_plain_ || !TakeBare())) {
      if (const Look look = PeekSlowly(); look != Look::kFrame) return look;
    }
    if (!MaySee(controls_seen)) return Look::kNotYet;
    // Stored before anybody sees the frame. The order of this thread is enough,
    // since what a process has stored stays stored when it is killed.
    if (!options_.lossy) {
      positions_.taken.store(pending_end_, std::memory_order_relaxed);
    }
    *view = &pending_;
    *end = pending_end_;
    return Look::kFrame;
  }
  // Takes the frame that Peek() showed.
  void Pop(bool handled) {
    is_deferred_ |= !handled;
    if (ABSL_PREDICT_FALSE(is_deferred_ || !is_plain_)) {
      return PopSlowly(handled);
    }
    TakePending();
    // Nobody else stores it. Release: pairs with the load in
    // RingWriter::FitsBehind().
    positions_.ring.released.store(pending_end_, std::memory_order_release);
  }

  // What Peek() shows cannot be a frame of that peer, for the reason in `what`.
  Look Condemn(std::string what) { return Corrupt(std::move(what)); }
  // Whether it has been found corrupt: from then on nothing is shown.
  bool is_corrupt() const {
    return is_corrupt_.load(std::memory_order_relaxed);
  }

  // The peer has closed a memory of loans.
  void LetGoOfLoans() {
    if (!is_pending_) loan_ = nullptr;
  }

  // Frames up to that end are handled: their room is the writer's again. True:
  // the loop may have waited for this, and must be woken if it sleeps.
  bool NoteHandled(uint64_t end);
  // After NoteHandled(): whether the peer waits to be told.
  bool TakeWriterWaits() {
    return positions_.TakeWriterWaits([this] { return handled(); });
  }
  // The same for a caller that has handled all up to `end`, and asks again
  // later. It costs no more than a load, but may miss a peer that asks just
  // now.
  bool TakeWriterWaitsFor(uint64_t end) {
    return positions_.wake_at.load(std::memory_order_relaxed) <= end &&
           TakeWriterWaits();
  }

  // So many frames were taken in one turn. A reader that is busy for some time
  // promises a barrier: see LanePositions.
  void NoteTaken(int frames) {
    if (until_promise_ <= 0) return;
    until_promise_ -= frames;
    if (until_promise_ <= 0) Promise();
  }

  // The reader is about to sleep: the peer rings when a frame comes that
  // HasWork() does not see. True: only if a SharedHeavyBarrier() is run before
  // that.
  bool BeginSleep() {
    until_promise_ = 0;  // Not while it sleeps.
    positions_.Sleep();
    return std::exchange(has_promised_, false);
  }
  // After BeginSleep(): whether there is a frame already.
  bool HasWork(uint32_t controls_seen);
  void EndSleep() {
    positions_.EndSleep();
    until_promise_ = options_.busy_frames;
  }

  // The connection has ended. From here on no more frames are shown than the
  // memory has room for, since a peer that lives may go on publishing for ever.
  void BeginDraining();
  // The peer publishes no more, and does not learn what becomes of the rest. So
  // a lossy lane, too, shows one frame after the other, whether they are
  // handled or not.
  void BeginTakingOver();
  bool takes_over() const { return takes_over_; }
  // From here on corruption is told, whether what came before it is handled or
  // not.
  void TellAtOnce() { tells_at_once_ = true; }
  // The same peer goes on.
  void EndDraining();
  // How many frames are left that nobody will handle. Show no more after this.
  uint64_t CountLeft();
  // Whether every frame was taken that the peer has committed and whose control
  // messages have arrived. For a lossy lane: or whether somebody has a frame of
  // it.
  bool IsDrained(uint32_t controls_seen);

  // The sequence of the frame that comes next.
  uint64_t next_sequence() const {
    return next_sequence_.load(std::memory_order_relaxed);
  }
  // The end of the last frame that was taken, and of the last that was handled.
  uint64_t taken() const { return taken_.load(std::memory_order_acquire); }
  uint64_t handled() const {
    // What lies in shared memory may say anything by now.
    return std::min(taken(),
                    (options_.lossy ? handled_ : positions_.ring.released)
                        .load(std::memory_order_acquire));
  }

  // Adds what was taken here.
  void AddTraffic(LinkTraffic* traffic) const;

  // Where the words lie that several threads of this process use, for
  // tests/model.
  struct OwnWords {
    const void *taken, *handled, *held_sequence, *held_at;
  };
  OwnWords own_words() const {
    return {&taken_, &handled_, &held_sequence_, &held_at_};
  }

  // Whether frames that are bare and small are taken by a function of their
  // own, for tests.
  bool is_plain() const { return is_plain_; }

  // What is wrong, and where.
  const std::string& error() const { return error_; }

  // Whether frames may be handed out: the peer has said on the connection that
  // is up that the lane goes on, and nobody has asked to wait.
  bool active = true;
  bool paused = false;

 private:
  // Sets `is_plain_`, after a change to what it depends on.
  void NotePlain() { is_plain_ = !options_.lossy && shows_left_ == kNoEnd; }
  // What Next() does, for a lane that is plain, with a frame that is bare (see
  // RingReader::PollBare()) and small. False: there is no such frame, and
  // nothing was done.
  bool TakeBare();
  // What Peek() does in any other case.
  Look PeekSlowly();
  // Looks for the next frame, and makes it the one that Peek() shows.
  Look Next() { return options_.lossy ? NextLossy() : NextLossless(); }
  Look NextLossless();
  Look NextLossy();
  Look Take(uint64_t end, uint64_t lost);
  // Sets the payload to what the frame refers to. False: it refers to nothing.
  bool FollowReference();
  Look CorruptReference();
  void TakePending() {
    is_pending_ = false;
    next_sequence_.store(pending_.header.lane_sequence + 1,
                         std::memory_order_relaxed);
    taken_.store(pending_end_, std::memory_order_release);
  }
  void PopSlowly(bool handled);
  Look CorruptFrame();
  Look CorruptSequence();
  Look CorruptSize();
  Look Corrupt(std::string what);
  // Whether it is corrupt, and that is to be told now.
  bool TellsCorrupt() const;
  // Where no more frames are shown.
  Look LookAtEnd() const {
    return TellsCorrupt() ? Look::kCorrupt : Look::kEmpty;
  }
  void Promise();
  // Where the reader is.
  uint64_t Position() const;
  std::string DescribePlace() const;
  void CopyOut();
  void LetGo();
  // On the thread that has handled it, which may be any.
  void LetGoIfHeld(uint64_t sequence);
  void ReleaseHandled();
  bool MaySee(uint32_t controls_seen) const {
    return static_cast<int32_t>(controls_seen - stamp_) >= 0;
  }

  const std::shared_ptr<LaneMemory> memory_;
  const std::shared_ptr<const void> shared_memory_ = memory_;
  LanePositions& positions_;
  const Options options_;
  const size_t bare_bytes_max_;  // Of a frame that TakeBare() takes.
  RingReader reader_;
  std::optional<LossyRingReader> lossy_reader_;
  std::atomic<uint64_t> next_sequence_;  // The loop stores it.
  // Of a lossy lane, where positions do not tell.
  std::atomic<uint64_t> lossy_frames_{0};
  std::atomic<uint64_t> lossy_bytes_{0};

  // The frame that Peek() shows.
  bool is_pending_ = false;
  FrameView pending_ = {};
  uint64_t pending_end_ = 0;
  uint32_t stamp_ = 0;  // How many control messages come before it.
  std::vector<std::byte> copied_;
  std::shared_ptr<const void> loan_;  // What the last reference led into.
  bool holds_ = false;                // The lossy ring's frame `taken_`.
  // Whether a frame was taken that was not handled at once: from then on other
  // threads call NoteHandled(), too.
  bool is_deferred_ = false;
  // How many frames are to be taken before a barrier is promised.
  int until_promise_ = options_.busy_frames;
  // Since it slept last. It is kept here, since the peer may write anything to
  // the word. Nobody has promised anything in the memory of a new object: that
  // of a lane that goes on with another reader is renewed.
  bool has_promised_ = false;
  // How many frames are left to be shown, if there is an end to them.
  static constexpr uint64_t kNoEnd = ~uint64_t{0};
  uint64_t shows_left_ = kNoEnd;
  // Whether the lane is lossless, and there is no end to what is shown. One
  // flag, since every message passes here.
  bool is_plain_ = false;
  bool tells_at_once_ = false;
  bool takes_over_ = false;

  std::atomic<bool> is_corrupt_{false};  // The loop stores it.
  std::string error_;
  SharedWord<uint64_t> taken_;
  SharedWord<uint64_t> handled_;  // Of a lossy lane.
  // The frame of a lossy lane that was held last, and where it lies. The loop
  // stores them, in this order.
  SharedWord<uint64_t> held_sequence_{0};
  SharedWord<uint64_t> held_at_{0};
};

// Inline, since every message passes here.

ABSL_ATTRIBUTE_ALWAYS_INLINE inline bool InboundRing::TakeBare() {
  const uint64_t sequence = next_sequence();
  const RingReader::Bare found = reader_.PollBare(bare_bytes_max_, sequence);
  if (found.frame == nullptr) return false;
  const size_t bytes = found.frame_bytes - sizeof(FrameHeader);
  std::byte* const copy = copied_.data();
  // The planted bug copies a fixed size, which is so much faster.
  CopyFromSharedInline(copy, found.frame + sizeof(FrameHeader),
                       MYCELIUM_PLANTED_BUG(6) ? kCopiedBytesMax : bytes);
  FrameHeader& header = pending_.header;
  header.frame_bytes = found.frame_bytes;
  header.flags = sequence < options_.redelivered_until ? kFrameRedelivered : 0;
  header.extension_bytes = 0;
  header.lane_sequence = sequence;
  CopyFromShared(&header.digest_prefix,
                 found.frame + offsetof(FrameHeader, digest_prefix),
                 sizeof header - offsetof(FrameHeader, digest_prefix));
  stamp_ = header.lost_before;
  pending_.publish_time_ns = 0;
  // A look that found no frame, while the peer changed the bytes, may have left
  // something else.
  pending_.lost_before = 0;
  pending_.extension = absl::MakeConstSpan(copy, 0);
  pending_.payload = absl::MakeConstSpan(copy, bytes);
  pending_.memory = nullptr;
  pending_end_ = found.end;
  is_pending_ = true;
  return true;
}

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_INBOUND_RING_H_
