#ifndef MYCELIUM_ROUTING_INBOUND_QUEUE_H_
#define MYCELIUM_ROUTING_INBOUND_QUEUE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "mycelium/base/biased_mutex.h"
#include "mycelium/base/burst_rest.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/event_count.h"
#include "mycelium/base/fd.h"
#include "mycelium/base/mutex.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/transport/lane/ring.h"

namespace mycelium {

// The reading end of a queued or pull subscription: the rings that feed it, and
// a way to sleep until one of them has a frame. The consuming thread reads the
// rings itself; there is no hop.
//
// A taken frame stays in its ring until Finish(), which is when the publisher's
// side may reuse the room and learns that the message was handled.
//
// A look that finds nothing costs one load for each feed and one more. It takes
// no lock and writes nothing, so a consumer that polls delays no publisher and
// sees a frame as soon as its cache line arrives. Taking and finishing lock,
// once for each message.
//
// Invariants:
//  (1) Feeds are polled and released under `mutex_` only. So a frame is taken
//      by the consumer or dropped by the thread that closes, never both.
//  (2) What a look finds is a hint. Take() decides under the lock, where the
//      frame may be gone: dropped by the thread that closes, or by the writer
//      of a lossy ring.
//  (3) A look misses no frame that was committed before a Notify() that the
//      consumer has seen. `seen_` lags behind `feeds_` only while `changes_`
//      differs from `seen_changes_`, and AddFeed() raises that before it
//      notifies.
//  (4) `seen_`, `seen_changes_` and `burst_` belong to the consumer.
//      `is_taken_`, with `taken_view_`, is written by the consumer, under the
//      lock; so the consumer may read both without the lock.
//  (5) What is left in a feed that has ended is taken before all others: a
//      publisher whose connection ends goes on in another feed.
//  (6) Closing empties `feeds_` and raises `changes_`: from then on a look
//      finds nothing, and the next one lets go of the feeds themselves.
//
// Thread safety: feeds and notifications may come from any thread. One thread
// at a time is the consumer: it takes, finishes and looks. When another thread
// takes over, what the first did happened before.
class InboundQueue final {
 public:
  // One ring that the queue reads.
  class Feed {
   public:
    virtual ~Feed() = default;
    // Takes the next frame, as RingReader does.
    virtual RingReader::Result Poll(FrameView* frame) = 0;
    // Whether Poll() might find one. May run while another thread, which ends
    // the queue, polls.
    virtual bool HasFrame() const = 0;
    // Gives back the room of every frame taken so far; `last` is the last one.
    virtual void Release(const FrameHeader& last) = 0;
    // Drops, and shows, what waits behind a frame that was taken and not
    // released. False: this does nothing; take what waits with Poll(), which
    // does not let go of the taken frame.
    virtual bool DropWaiting(absl::FunctionRef<void(const FrameView&)>) {
      return false;
    }
    // No more frames will come; forgotten once it is empty.
    bool ended() const { return ended_.load(std::memory_order_acquire); }

   protected:
    // A thread that sees the end sees what was put before it.
    void SetEnded() { ended_.store(true, std::memory_order_release); }

   private:
    std::atomic<bool> ended_{false};
  };

  explicit InboundQueue(Environment& environment) : environment_(environment) {}

  void AddFeed(std::shared_ptr<Feed> feed);

  // Whether Take() has more to do than to return null. For the consumer.
  bool MayTake() { return is_taken_ || burst_.has_taken() || HasFrame(); }

  // The next frame, or null if there is none. The last one is finished first.
  // The queue owns the frame, which is valid until the next Take(). For the
  // consumer.
  const FrameView* Take() {
    // Most looks find nothing and do no more than this.
    return MayTake() && TakeOrRest() ? &taken_view_ : nullptr;
  }

  // Gives back the room of the taken frame. Does nothing if none is taken. For
  // the consumer.
  void Finish();
  // The same, and then clears `busy`, before another thread may close the
  // queue. So a thread that closes it sees `busy` cleared, or the consumer sees
  // closed(); and a thread that sees `busy` cleared finds the room free.
  void FinishAndClear(std::atomic<uint32_t>& busy);

  // Whether Take() would find a frame. For the consumer.
  bool HasFrame() {
    // Acquire: pairs with AddFeed() and Close().
    if (changes_.load(std::memory_order_acquire) != seen_changes_) SeeFeeds();
    for (const auto& feed : seen_) {
      if (feed->HasFrame()) return true;
    }
    return false;
  }

  // Ends the queue: drops every frame that was not taken, after `visit` has
  // seen it, and refuses feeds from now on. A frame that is taken stays valid
  // until Finish(), which then gives back the room of the frames behind it too.
  void Close(absl::FunctionRef<void(const FrameView&)> visit);
  // The same for what came into a feed while the queue was being closed.
  void DropLate(Feed& feed, absl::FunctionRef<void(const FrameView&)> visit);
  // Tells the publisher's side now that the taken frame is handled, though it
  // is not finished. Its bytes stay, since nothing comes any more. If they
  // would not stay, as in a ring that the peer writes, this does nothing.
  // REQUIRES: closed().
  void ReportTaken();
  bool closed() const { return closed_.load(std::memory_order_acquire); }

  // A frame was committed to one of the feeds, or something else happened that
  // a sleeping consumer must look at.
  void Notify();

  // Notified along with Notify().
  EventCount& event() { return event_; }

  // A descriptor that becomes readable when a frame comes after ArmDescriptor()
  // returned true. Made at the first call.
  absl::StatusOr<int> Descriptor();

  bool has_descriptor() const {
    return descriptor_number_.load(std::memory_order_relaxed) >= 0;
  }
  void MakeReadable();
  // Closes it: its owner is gone, and an epoll that watches it forgets it.
  void CloseDescriptor();

  // Takes a frame. Null: there is none, and the next one makes the descriptor,
  // if there is one, readable.
  const FrameView* TakeOrArm();

  // Clears the descriptor. Any thread. True: there is no frame, so the next one
  // makes it readable. False: take what is there first.
  bool ArmDescriptor();

 private:
  void Release() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReleaseRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // How often a publisher may outrun a consumer that looks into a lossy lane.
  static constexpr int kArmTriesMax = 100;
  // This many frames without an empty look are a burst.
  static constexpr int kBurst = 16;

  bool TakeOrRest();
  bool TakeIfThere();
  // REQUIRES: there is at least one feed.
  size_t ChooseFeed() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool TakeNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SeeFeeds();
  void ForgetEnded() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropAll(Feed& feed, absl::FunctionRef<void(const FrameView&)> visit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Environment& environment_;
  // What the consumer touches at every message.
  alignas(64) std::atomic<bool> closed_{false};
  std::atomic<uint32_t> changes_{0};  // Of `feeds_`; raised under the lock.
  uint32_t seen_changes_ = 0;
  BurstRest burst_{kBurst};
  bool is_taken_ = false;
  // Read here, not copied: a thread that has just been given a copy would wait
  // for the stores of its fields.
  FrameView taken_view_;
  std::vector<std::shared_ptr<Feed>> seen_;  // A copy of `feeds_`, to look at.

  BiasedMutex mutex_{environment_};
  std::vector<std::shared_ptr<Feed>> feeds_ ABSL_GUARDED_BY(mutex_);
  size_t next_feed_ ABSL_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<Feed> taken_from_ ABSL_GUARDED_BY(mutex_);
  bool holds_room_ ABSL_GUARDED_BY(mutex_) = false;  // Of the taken frame.
  // The last frame behind the taken one, if the queue was closed meanwhile.
  std::optional<FrameHeader> last_dropped_ ABSL_GUARDED_BY(mutex_);

  // What publishers touch at every message, on a line of its own.
  alignas(64) EventCount event_;
  std::atomic<bool> descriptor_armed_{false};
  Mutex descriptor_mutex_;
  Fd descriptor_ ABSL_GUARDED_BY(descriptor_mutex_);
  std::atomic<int> descriptor_number_{-1};
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_INBOUND_QUEUE_H_
