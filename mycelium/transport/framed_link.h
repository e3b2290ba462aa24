#ifndef MYCELIUM_TRANSPORT_FRAMED_LINK_H_
#define MYCELIUM_TRANSPORT_FRAMED_LINK_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "mycelium/base/burst_rest.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/base/gate.h"
#include "mycelium/base/mutex.h"
#include "mycelium/transport/channel.h"
#include "mycelium/transport/disconnected_lanes.h"
#include "mycelium/transport/inbound_lanes.h"
#include "mycelium/transport/inbound_ring.h"
#include "mycelium/transport/kept_frames.h"
#include "mycelium/transport/lane/lane.h"
#include "mycelium/transport/link.h"
#include "mycelium/transport/link_loans.h"
#include "mycelium/transport/link_traffic.h"
#include "mycelium/transport/out_lane.h"
#include "mycelium/transport/outgoing.h"
#include "mycelium/transport/parting.h"
#include "mycelium/transport/record_reader.h"
#include "mycelium/transport/send_window.h"
#include "mycelium/transport/shared_memory.h"

namespace mycelium {

// A link over channels: lanes whose frames are sent as they lie in memory, and
// kept there until the peer has handled them.
//
// Sending. A thread that commits a frame enters the gate and sends what waits
// in that lane. If the gate is busy it leaves the work to the thread inside,
// which then looks at all lanes. So publishers write to an idle link. While
// more than kGatherBytes are on their way, small amounts wait: acknowledgements
// bring the loop here, which sends what has gathered. Over a channel that
// gathers they wait while a write is under way, or the SendWindow is full.
//
// Receiving. Frames go to the handler as they arrive. While it cannot take a
// lane's next frame, that lane's frames are kept, so that control messages and
// acknowledgements behind them are read: the handler may wait for those. Kept
// frames are not acknowledged; LaneArrived tells of them. Acknowledgements ride
// on data; without data they are sent after kAckBytes, or kAckDelayNs. Over a
// channel that gathers, each is costly, as is each look at a timer: they are
// sent after an eighth of the smallest lane, or half of a window that is less,
// or ride on the first data after kGatheringAckDelayNs, or go after twice that.
//
// Invariants, for each lane:
//  (1) peer's handled <= peer's received <= sent <= committed.
//  (2) If the peer is the same process, a connection starts at its `received`
//      of the one before: no frame is missing, and none comes twice.
//  (3) `sent` changes with the lock of lanes and, unless the lane is parked,
//      inside the gate. An OutLane is destroyed inside the gate only.
//
// Invariants of sending, while nobody is inside the gate:
//  (4) A committed frame that is not sent has a publisher about to enter the
//      gate, or waits for an event that SendAll() follows, which looks at all
//      lanes: an acknowledgement, the channel, Attach() or AdoptLane().
//  (5) `under_way_` is at least the sum of `sent` less what the peer has, over
//      all lanes that are sent: SendAll() follows what lowers that sum, too.
//
// In shared memory. Where both sides can, a lane's frames are not sent: the
// peer reads them where they are published, and gives the room back there
// (docs/shm_layout.md). The connection carries control messages, and a doorbell
// where one side sleeps. Such a lane is *mapped*; the others are sent.
//
// Invariants of mapped lanes:
//  (6) No frame is handed to the handler before the control messages that were
//      queued before it was committed.
//  (7) When a connection ends, or the peer says Goodbye, what the peer had
//      committed (of a lossy lane, what comes next) and the frames that were
//      kept are handed out first; OnDown() and Goodbye come after that.
//  (8) Only frames in mapped lanes refer to loans: see LaneLoans, LinkLoans.
//
// For all lanes: (9) From Part() until the peer says Goodbye, none of its
// frames is handed out. If it never says Goodbye, the peer counts them.
//
// Thread safety: see Link. Attach, Detach, EndDraining, …Resume on the loop.
// Ownership: borrows the environment, the loop and the handler.
class FramedLink final : public Link,
                         public Lane::Doorbell,
                         private EventLoop::Poller,
                         private RecordReader::Handler,
                         private Channel::Handler {
 public:
  // Control bytes that a peer may leave unread; more ends the connection.
  static constexpr size_t kControlBytesMax = 64 << 20;

  struct Options {
    std::string self, peer;  // The nodes' names.
    std::string transport;   // The word, while there is no connection.
    uint64_t incarnation = 0;
    size_t frame_bytes_max = 0;
    // Null: no lane lies in shared memory.
    SharedMemory* shared_memory = nullptr;
    // How long the end of a connection waits for handlers at most, before what
    // came on it in shared memory is left behind.
    int64_t drain_ns = 0;
  };

  FramedLink(Environment& environment, EventLoop& loop, Options options,
             LinkHandler& handler);
  ~FramedLink() override;

  // Takes over a connection on which both have said Hello, closing the one
  // before. `resume_offered`: what our Hello had from FillResume(). Calls
  // OnUp(), and before that OnReplaced() if the peer is another process.
  //
  // If the peer is another process than before, our lanes are parked: nothing
  // of a lane is sent until AdoptLane() says which subscription of the new
  // process gets the lane, or DropLane() that none does.
  //
  // `shared_memory_offered`: what our Hello said. `lane_bytes`, if it is not 0:
  // the size of lanes that are opened from here on; frames then have at most
  // half of that. `unsent`: records that go before all else.
  void Attach(std::shared_ptr<Channel> channel, const v1::Hello& peer,
              uint64_t resume_offered, bool shared_memory_offered = false,
              uint64_t lane_bytes = 0, std::string unsent = "");

  // The last connection has ended, but not all that came on it was handed out
  // yet. OnDown() follows; EndDraining() leaves the rest to be sent again.
  bool is_draining() const { return ending_.has_value(); }
  void EndDraining();

  // Ends the connection, if one is up, with no OnDown(). The lanes stay.
  void Detach();

  // The process at the other end is gone: hands out what is left in its memory;
  // then drops all lanes, so that the next one starts anew. REQUIRES: not up.
  void TakeOverRings();
  void Forget();

  // Says that this node leaves: sends no more data, and ends the connection,
  // with OnDown(), when the peer has told what it has handled. Does nothing if
  // no connection is up.
  void Part();

  // Ends the link for good: closes every lane, after which nothing is sent.
  void Abandon();

  // Fills in, for our Hello, what this side has of the peer's lanes; and
  // whether what our Hello said of them still holds.
  void FillResume(v1::Hello* hello) const;
  bool IsResume(const v1::Hello& ours) const;

  bool is_up() const { return up_.load(std::memory_order_acquire); }
  uint64_t peer_incarnation() const { return peer_incarnation_; }
  std::string name() const;  // For messages: "link feed -> brain (shm)".

  // Whether everything committed so far was handled by the peer.
  bool Idle() const;
  std::vector<std::shared_ptr<Lane>> Lanes() const;

  // What the link has carried so far. Any thread; not for hot paths.
  LinkTraffic Traffic() const;

  // How many subscriptions may not have heard that they were disconnected.
  size_t disconnected_count() const;
  void SendAcks();  // Of all that can be acknowledged now.

  // Forgets a lane of the peer, after LaneClosed and once it is empty.
  void CloseInbound(uint32_t lane);

  // Link:
  const std::string& peer() const override { return options_.peer; }
  absl::string_view transport() const override { return word_.load(); }
  absl::StatusOr<std::shared_ptr<Lane>> OpenLane(
      uint32_t subscription, Lane::Options options) override;
  void CloseLane(const Lane& lane, uint32_t disconnected) override;
  size_t frame_bytes_max() const override { return frame_bytes_max_.load(); }
  void ParkLane(const Lane& lane) override;
  void AdoptLane(const Lane& lane, uint32_t subscription) override;
  void DropLane(const Lane& lane) override;
  void SendControl(const v1::Control& control) override;
  uint64_t TakenOver(const Lane& lane) const override;
  uint64_t NextSequence(uint32_t lane) const override;
  void NoteHandled(uint32_t lane, uint64_t position) override;
  void Flush() override;
  void Resume() override;
  void ResumeLane(uint32_t lane) override;

  // Lane::Doorbell:
  void OnCommit(Lane& lane) override;
  void OnCorrupt(const Lane& lane, const std::string& what) override;
  void OnLoanMemory(const Lane& lane,
                    const std::shared_ptr<LoanMemory>& memory) override;
  void OnLoansSettled(const Lane& lane) override;

 private:
  using OutLanes = std::map<uint32_t, std::unique_ptr<OutLane>>;

  absl::StatusOr<std::unique_ptr<Lane>> MakeLane(uint32_t id,
                                                 Lane::Options options);
  void QueueControl(const v1::Control& control);
  void Kick();

  // Inside the gate. SendLane() sends what waits in that lane; false: call
  // SendAll(), since something else is to be sent, or done, before or with it.
  bool SendLane(Lane& lane);
  bool SendRun(uint32_t lane, const Lane::Run& run);
  bool HasMoreToSay() const;
  void NoteSent(OutLane& out, const Lane::Run& run)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lanes_mutex_);
  void SendAll();
  void AdoptChannel();
  bool Compose();
  void ComposeAcks(bool with_rings);
  void ComposeLanes();
  void ComposeGoodbye(bool final);
  void NoteFinalWritten();
  // False: no data goes with this.
  bool LookAtLanes() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lanes_mutex_);
  bool ShouldGather() const;
  void Announce(OutLane& lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lanes_mutex_);
  bool AnnounceLoans() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lanes_mutex_);
  bool Write();
  // The peer gets what was composed, without the memory of that lane or loan.
  void PassNothing(const absl::Status& why);
  bool NoteWritten(const absl::StatusOr<size_t>& sent);
  // What tells the memory of that lane from others. Never 0.
  uint64_t IdentityOf(uint32_t lane) const;
  // Whether that lane is, or is to be, read in shared memory.
  bool IsDirect(const OutLane& lane) const;
  void TellFallback(const absl::Status& status);  // Any thread, any lock held.
  void RingPeer();                                // Any thread.
  void ScheduleAcks();                            // Any thread.
  void SendAcksAt(TimeNs at);

  // On the loop.
  void Break(const absl::Status& status);
  // The same, because of what that ring holds.
  void BreakFor(InboundRing& ring, const absl::Status& status);
  bool is_cut_off() const { return channel_ == nullptr && !ending_; }
  bool HoldsBack() const;       // Invariant (9).
  uint64_t Remembered() const;  // The incarnation that lanes go on with, or 0.
  // The next connection believes nothing that lies in the peer's memory.
  void DistrustMemory();
  bool OpenRing(const v1::LaneOpen& open, bool is_full);
  void RefuseLane(uint32_t lane, const absl::Status& status);
  void OnLaneRefused(const v1::LaneRefused& refused);
  void OnLaneWaits(const v1::LaneWaits& waits);
  void OnLaneArrived(const v1::LaneArrived& arrived);
  bool IsWhere(const v1::RoomAwaited& awaited);
  void OnDoorbell();
  void OfferLoans(uint32_t lane, const std::shared_ptr<LoanMemory>& memory);
  void OnLoanControl(const v1::Control& control);
  absl::Status MapLoans(const v1::LoanMemoryOpen& open);
  void OnLoansTaken(const v1::LoanMemoryTaken& taken);
  void CloseEndedLoans();
  void SayLoansClosed(uint32_t memory);
  void ResumeLoans(const v1::Hello& peer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lanes_mutex_);
  bool PollRings();
  bool PollRing(InboundRing& ring, bool* is_over);
  InboundRing::Look TakeFrames(InboundRing& ring, int most, int* taken);
  // Looks at the socket before its turn. Whether something came.
  bool ReadAhead(bool* is_over);
  void ResumeRings();
  bool AreDrained();
  void FinishDraining();
  void DropRings();
  void LeaveRingsBehind();

  // EventLoop::Poller:
  bool Poll() override { return PollRings(); }
  bool BeginSleep() override;
  bool HasWork() override;
  void EndSleep() override;
  void ResetLanes(const v1::Hello& peer);
  std::vector<LostFrames> ParkLanes(bool is_same_process);
  void PassOn(OutLane& lane, std::vector<FrameHeader>* lost)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lanes_mutex_);
  // Tells the peer of lanes that it still has and we have not.
  void CloseUnknownLanes(const v1::Hello& peer);
  void DropLanes() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lanes_mutex_);
  // Takes it out. Returns the next one.
  OutLanes::iterator Retire(OutLanes::iterator out)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lanes_mutex_);
  // Inside the gate, where nothing points into their memory any more.
  void LetGoOfRetired() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lanes_mutex_);
  static void AddTraffic(const OutLane& out, LinkTraffic* traffic);
  OutLane* FindOut(const Lane& lane)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lanes_mutex_);
  void CloseIfDrained(OutLane& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lanes_mutex_);
  absl::Status OnLaneOpen(const v1::LaneOpen& open);
  // Hands a frame to the handler. Not `*is_taken`: it is to be kept.
  absl::Status HandOut(uint32_t lane, uint64_t position, FrameView& frame,
                       const InboundLanes::Expected& expected, bool* is_taken);
  bool IsKept(uint32_t lane) const { return !kept_.empty() && kept_.Has(lane); }
  void HandOutKept();
  void TellOfKept();
  void AcknowledgeSome();  // Or later.
  void OnGoodbye(const v1::Goodbye& goodbye);
  void BreakIfParted();
  absl::Status Corrupt(absl::string_view what) const;

  // RecordReader::Handler:
  absl::Status OnControlRecord(absl::Span<const std::byte> body) override;
  absl::Status OnAckRecord(absl::Span<const std::byte> body) override;
  absl::Status OnDataRecord(uint32_t lane, uint64_t position) override;
  RecordReader::FrameStep OnFrameBytes(
      absl::Span<const std::byte> bytes) override;

  // Channel::Handler:
  size_t OnBytes(absl::Span<const std::byte> bytes) override;
  void OnWritable() override;
  void OnClosed(const absl::Status& status) override;

  Environment& environment_;
  EventLoop& loop_;
  const Options options_;
  LinkHandler& handler_;
  // Posted tasks and timers look here before they touch the link.
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  // On the loop.
  std::shared_ptr<Channel> channel_;
  uint64_t peer_incarnation_ = 0;
  bool heard_ = false;  // From that process, since both began anew.
  RecordReader reader_;
  InboundLanes inbound_;
  uint32_t data_lane_ = 0;        // Of the data record that is being read.
  uint64_t data_position_ = 0;    // Of the next frame in it.
  KeptFrames kept_;               // Of lanes whose next frame cannot be taken.
  uint32_t controls_seen_ = 0;    // Of the peer's, as its frames count them,
  bool counts_controls_ = false;  // once LaneOpen has said where they are.
  std::optional<absl::Status> ending_;  // Why, while the rest is drained.
  uint64_t drain_timer_ = 0, corrupt_timer_ = 0;
  std::vector<InboundRing*> ring_list_;
  bool is_poller_ = false, is_polling_ = false, is_reading_ = false;
  BurstRest burst_{32};     // Frames after which it rests.
  bool distrusts_ = false;  // What the peer has written to our lanes.

  std::atomic<bool> up_{false};
  std::atomic<const char*> word_;
  std::atomic<bool> shares_{false};  // Both sides, on this connection.
  std::atomic<bool> hold_data_{false};
  std::atomic<uint64_t> frame_bytes_max_;  // That both sides accept.
  std::atomic<uint64_t> lane_bytes_{0};    // Not 0: of every new lane.

  mutable Mutex lanes_mutex_;
  OutLanes out_lanes_ ABSL_GUARDED_BY(lanes_mutex_);
  // The last that FindOut() found, while it is among those.
  OutLane* last_out_ ABSL_GUARDED_BY(lanes_mutex_) = nullptr;
  // Lanes of a peer that is gone, while something may still be sent from them.
  std::vector<std::unique_ptr<OutLane>> retired_ ABSL_GUARDED_BY(lanes_mutex_);
  DisconnectedLanes disconnected_ ABSL_GUARDED_BY(lanes_mutex_);
  LinkTraffic ended_out_ ABSL_GUARDED_BY(lanes_mutex_);  // Of lanes erased.
  LinkLoans loans_;                                      // See there.
  uint32_t next_lane_ ABSL_GUARDED_BY(lanes_mutex_) = 1;
  bool abandoned_ ABSL_GUARDED_BY(lanes_mutex_) = false;
  bool away_ ABSL_GUARDED_BY(lanes_mutex_) = true;  // A new lane's reader is.

  mutable Mutex rings_mutex_;  // Only the loop writes; it reads without it.
  std::map<uint32_t, std::shared_ptr<InboundRing>> rings_
      ABSL_GUARDED_BY(rings_mutex_);
  LinkTraffic ended_in_ ABSL_GUARDED_BY(rings_mutex_);  // Of rings dropped.

  Mutex control_mutex_;
  std::string control_ ABSL_GUARDED_BY(control_mutex_);  // Whole records.
  std::shared_ptr<Channel> next_channel_ ABSL_GUARDED_BY(control_mutex_);
  std::atomic<bool> has_control_{false};
  // How many were queued, ever. Frames in shared memory are stamped with it.
  std::atomic<uint32_t> control_count_{0};
  std::atomic<bool> swap_channel_{false};

  Gate gate_;
  std::atomic<bool> writable_{false};   // The channel may take more.
  std::atomic<bool> ring_peer_{false};  // Send a doorbell.
  std::atomic<bool> flush_{false};      // Send however little there is.
  // Send acknowledgements; the peer waits for them.
  std::atomic<bool> ack_now_{false}, ack_asked_{false};
  std::atomic<bool> gathers_{false};  // The channel does.
  // For such a channel: they go with the next data; some data went.
  std::atomic<bool> acks_due_{false}, data_went_{false};
  std::atomic<bool> ack_timer_set_{false};
  std::atomic<uint64_t> ack_timer_{0};    // The last one that was set.
  std::atomic<TimeNs> acks_taken_at_{0};  // To be sent.
  SendWindow window_;
  Parting parting_;  // See there.
  // Inside the gate.
  std::shared_ptr<Channel> send_channel_;
  bool send_gathers_ = false;  // That channel.
  uint32_t turn_ = 0;  // The lane that is first where the window is short.
  Outgoing outgoing_;
  uint64_t under_way_ = 0;  // Invariant (5).
  uint64_t waiting_ = 0;    // Known not to be sent yet, of those lanes.
  bool has_more_ = false, blocked_ = false;  // For `outgoing_`; the channel.
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_FRAMED_LINK_H_
