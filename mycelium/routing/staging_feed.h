#ifndef MYCELIUM_ROUTING_STAGING_FEED_H_
#define MYCELIUM_ROUTING_STAGING_FEED_H_

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/mapping.h"
#include "mycelium/base/mutex.h"
#include "mycelium/message/message_info.h"
#include "mycelium/routing/inbound_queue.h"
#include "mycelium/routing/local_frame.h"
#include "mycelium/transport/lane/lane.h"
#include "mycelium/transport/lane/ring.h"
#include "mycelium/transport/link.h"

namespace mycelium {

// Holds the frames of one lane of a link between the loop, which reads the
// connection, and the thread that takes them from a subscription's queue. The
// feed is larger than the lane, and frames stay in the lane until they are
// handled here. So the feed is never full: it adds no bound and drops nothing.
//
// A payload that lies in memory of the peer's, and stays there until it is
// handled, is not copied: the frame here says where it is. Invariants:
//  (1) Such bytes are read only between Put() and Release() of their frame. In
//      between nothing else writes there: the peer gets the room back by
//      NoteHandled(), and a peer that is gone writes no more.
//  (2) The memory is shared from the first such Put() on, whatever becomes of
//      the link, until the feed is empty and either the feed has ended or some
//      memory of the peer's has. If frames already point to kPointedToMax
//      memories, those in further ones are copied.
//  (3) Nothing is reported as handled before what lies ahead of it in the lane:
//      the peer lets go of everything up to there, and sends none of it again.
//
// Thread safety: the loop puts and ends; the queue's consumer does the rest.
class StagingFeed final : public InboundQueue::Feed {
 public:
  // `lane_bytes`: the capacity of the lane at the other end.
  static absl::StatusOr<std::shared_ptr<StagingFeed>> Create(
      Environment& environment, Link& link, uint32_t lane, size_t lane_bytes);

  // Takes a frame whose end in the lane is `end`. False: there is no room, or
  // never any for a frame of that size, so the peer has sent more than its lane
  // holds.
  bool Put(const Origin& origin, const FrameView& frame, uint64_t end);

  // A frame of the lane whose end is `end` is dropped. True: that handles it.
  // False: it is reported once everything that was put before it is handled, or
  // with what comes after it.
  bool Skip(uint64_t end);

  // No more frames will come. The link is not used after this.
  void End();

  // The peer has closed memory of loans, to which frames here may have pointed.
  void OnLoansClosed() {
    MutexLock lock(link_mutex_);
    LetGoIfEmpty();
  }

  // InboundQueue::Feed:
  RingReader::Result Poll(FrameView* frame) override {
    const RingReader::Result result = reader_.Poll(frame);
    if (result == RingReader::Result::kFrame) FindPayload(frame);
    return result;
  }
  bool HasFrame() const override { return reader_.HasFrame(); }
  void Release(const FrameHeader& last) override;

 private:
  static constexpr uint16_t kFlags = kLocalFrameFlags | kFrameElsewhere;

  // The payload of a frame with kFrameElsewhere.
  struct Elsewhere {
    const std::byte* bytes;
    size_t size;
  };

  StagingFeed(Mapping memory, Link& link, uint32_t lane)
      : memory_(std::move(memory)),
        writer_(memory_.bytes(), positions_),
        reader_(memory_.bytes(), positions_, kFlags),
        link_(&link),
        lane_(lane) {}

  bool CanPointTo(const FrameView& frame);
  // Called by the loop, or once the feed has ended.
  void LetGoIfEmpty() ABSL_EXCLUSIVE_LOCKS_REQUIRED(link_mutex_);
  static void FindPayload(FrameView* frame) {
    if ((frame->header.flags & kFrameElsewhere) == 0) return;
    Elsewhere elsewhere;
    std::memcpy(&elsewhere, frame->payload.data(), sizeof elsewhere);
    frame->payload = absl::MakeConstSpan(elsewhere.bytes, elsewhere.size);
  }

  const Mapping memory_;
  // Where frames here point to: the lane's memory, and that of loans. Belongs
  // to the loop and, after End(), to the thread that holds `link_mutex_`.
  static constexpr size_t kPointedToMax = 16;
  std::vector<std::shared_ptr<const void>> pointed_to_;
  RingPositions positions_;
  RingWriter writer_;
  RingReader reader_;
  Mutex link_mutex_;
  Link* link_ ABSL_GUARDED_BY(link_mutex_);
  // The frame that was skipped last: its end in the lane, and the position here
  // behind which it came.
  uint64_t skipped_end_ ABSL_GUARDED_BY(link_mutex_) = 0;
  uint64_t skipped_behind_ ABSL_GUARDED_BY(link_mutex_) = 0;  // 0: nothing.
  const uint32_t lane_;
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_STAGING_FEED_H_
