#ifndef MYCELIUM_TRANSPORT_LINK_H_
#define MYCELIUM_TRANSPORT_LINK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/transport/lane/lane.h"
#include "proto/mycelium/v1/control.pb.h"

namespace mycelium {

// The ordered, two-way path between this node and one other, whatever carries
// it. A link outlives its connections: it keeps its lanes while it reconnects.
//
// What every link promises:
//  (1) Frames committed to one lane arrive once and in order, across
//      connections that break, as long as both processes live.
//  (2) Control messages arrive in order, and before every frame committed
//      after they were sent, on the connection that is up. They are not sent
//      again on the next one: the owner repeats what must be known.
//  (3) A frame stays in its lane until the peer has handled it.
//  (4) Handler calls come one at a time, on the thread that runs the node's
//      event loop.
//  (5) Nothing blocks: what the connection does not take now is sent when it
//      can take it.
//
// Thread safety: all members may be called from any thread, unless they say
// otherwise, with no lock held that a handler takes.
class Link {
 public:
  virtual ~Link() = default;

  // The other node, by its name in the topology.
  virtual const std::string& peer() const = 0;

  // The word for what carries it: "unix".
  virtual absl::string_view transport() const = 0;

  // A lane to that subscription of the peer. 0 means the lane of all lossless
  // inline subscriptions, which is made once. The link fills in the name, the
  // id and the largest frame. The peer learns of the lane before its first
  // frame.
  virtual absl::StatusOr<std::shared_ptr<Lane>> OpenLane(
      uint32_t subscription, Lane::Options options) = 0;

  // Ends a lane: nothing is committed to it any more. It goes away when the
  // peer has handled what is in it. If `disconnected` is not 0, the peer then
  // hears that we have disconnected that subscription.
  virtual void CloseLane(const Lane& lane, uint32_t disconnected = 0) = 0;

  // Sends nothing of the lane until it is adopted. The link does so with every
  // lane when another process takes the peer's place (see
  // LinkHandler::OnReplaced).
  // REQUIRES: nothing of it was sent to the process that is there now.
  virtual void ParkLane(const Lane& lane) = 0;
  // A parked lane goes on to that subscription of the new process, with what
  // the old process has not handled. For lane 0 the subscriptions are matched
  // one by one, and this only lets it go on.
  virtual void AdoptLane(const Lane& lane, uint32_t subscription) = 0;
  // Or the lane is over: what is in it is lost.
  virtual void DropLane(const Lane& lane) = 0;

  // The largest frame of a lane to the process that is there now, or was last:
  // the least that either side takes.
  virtual size_t frame_bytes_max() const = 0;

  // Queues a control message. It is dropped if no connection is up.
  virtual void SendControl(const v1::Control& control) = 0;

  // How far the peer has come in a lane: what lies before it is the peer's to
  // deliver or to drop. On the loop.
  virtual uint64_t TakenOver(const Lane& lane) const = 0;

  // The sequence of the next frame of that lane of the peer; 0: there is no
  // such lane. On the loop.
  virtual uint64_t NextSequence(uint32_t lane) const = 0;

  // The peer's frames of `lane` up to `position` were handled.
  virtual void NoteHandled(uint32_t lane, uint64_t position) = 0;

  // Asks the peer to acknowledge what it can, and sends what is waiting.
  virtual void Flush() = 0;

  // Continues after OnFrame() answered kNotNow.
  virtual void Resume() = 0;

  // The same for a lane for which it answered kLaneWaits. If the lane's frames
  // are sent, that takes another connection, on which they are sent again.
  virtual void ResumeLane(uint32_t lane) = 0;
};

// Frames of a lane that were damaged in memory: their sequences are right,
// their publishers may not be.
struct LostFrames {
  std::shared_ptr<Lane> lane;
  std::vector<FrameHeader> frames;
};

// What a link tells its owner.
class LinkHandler {
 public:
  enum class FrameOutcome {
    kHandled,    // May be acknowledged.
    kTaken,      // NoteHandled() follows.
    kNotNow,     // Offered again after Resume(), before others of its lane.
    kLaneWaits,  // Offered again after ResumeLane(); other lanes go on.
    kCorrupt,    // The link ends the connection.
  };

  virtual ~LinkHandler() = default;

  // The peer has introduced itself, and is another process than before, or does
  // not know us any more: its lanes are new, and ours are parked. Nothing can
  // be sent yet; OnUp() follows.
  virtual void OnReplaced(Link&) {}
  // Frames that lanes go on without, just before OnReplaced().
  virtual void OnLost(Link&, const std::vector<LostFrames>&) {}
  // The peer has introduced itself as the same process, and lanes go on.
  // Nothing can be sent yet; OnUp() follows.
  virtual void OnResuming(Link&) {}

  // A connection is up. `resumed`: the peer is the same process as before and
  // lanes go on; else OnReplaced() was called.
  virtual void OnUp(Link& link, const v1::Hello& peer, bool resumed) = 0;

  // The connection is lost, but handlers are at work, and what came on it waits
  // for them. OnDown() follows.
  virtual void OnDraining(Link&) {}

  // The connection is lost, for the reason in `status`.
  virtual void OnDown(Link& link, const absl::Status& status) = 0;

  // A control message that is not about the connection itself.
  virtual void OnControl(Link& link, const v1::Control& control) = 0;

  // Frames of the link's lanes that should lie in shared memory are sent
  // instead, for the reason in `status`.
  virtual void OnFallback(Link&, const absl::Status& /*status*/) {}

  // The peer has no memory to take a lane's frames into: they stay in the lane.
  virtual void OnLaneWaits(Link&, const absl::Status& /*status*/) {}

  // The peer cannot map memory that loans lie in: they are copied for it.
  virtual void OnLoansRefused(Link&, const absl::Status& /*status*/) {}
  // The peer has closed memory of loans: whatever still shares some may let go.
  virtual void OnLoansClosed(Link&) {}

  // The process at the other end is gone, and that many messages which had come
  // from it, or which it had left in shared memory, were not handed out:
  // OnFrame() answered kNotNow for as long as the link waits for that.
  virtual void OnLeftBehind(Link&, uint64_t /*messages*/) {}

  // What the peer has put into shared memory cannot be read, and nothing more
  // of it is. If a connection is up, OnDown() says so, perhaps later.
  virtual void OnCorruptMemory(Link&, const absl::Status& /*status*/) {}

  // Frames follow each other until EndFrames(). Before anything else happens
  // between them, InterruptFrames() is called. Rows may be nested.
  virtual void BeginFrames() {}
  virtual void InterruptFrames() {}
  virtual void EndFrames() {}

  // The next frame of a lane. `end`: the position behind it, for NoteHandled().
  // The view is valid for the call.
  virtual FrameOutcome OnFrame(Link& link, uint32_t lane,
                               const FrameView& frame, uint64_t end) = 0;
};

// A row of frames for `handler`, while it exists.
class FrameRow final {
 public:
  explicit FrameRow(LinkHandler& handler) : handler_(handler) {
    handler_.BeginFrames();
  }
  FrameRow(const FrameRow&) = delete;
  ~FrameRow() { handler_.EndFrames(); }

 private:
  LinkHandler& handler_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LINK_H_
