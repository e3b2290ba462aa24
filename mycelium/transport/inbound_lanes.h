#ifndef MYCELIUM_TRANSPORT_INBOUND_LANES_H_
#define MYCELIUM_TRANSPORT_INBOUND_LANES_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <vector>

#include "mycelium/base/mutex.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/transport/link_traffic.h"
#include "proto/mycelium/v1/handshake.pb.h"

namespace mycelium {

// How far the lanes of one peer have come on this side, and how much of that
// the peer has been told. Survives the connection, so that the next one can go
// on.
//
// Thread safety: Open, Close, Clear, count, Find, Skip, ForgetSkipped and
// NoteReceived on the loop, which alone changes which lanes there are; the rest
// from any thread.
class InboundLanes final {
 public:
  // What the reader of the connection expects next on a lane.
  struct Expected {
    uint64_t position = 0;
    uint64_t sequence = 0;
    uint64_t capacity_bytes = 0;  // Of the ring at the other end.
    uint32_t lossy_window = 0;    // As in LaneOpen, and so is the next.
    uint64_t redelivered_until = 0;
    bool skipped = false;
  };

  // How many lanes a peer may have, including those read in shared memory.
  static constexpr size_t kLanesMax = 1024;

  // Makes the lane known. A lane that is known already stays as it is. False:
  // there are kLanesMax others.
  bool Open(uint32_t lane, const Expected& expected);
  void Close(uint32_t lane);
  void Clear();

  size_t count() const;

  // False if there is no such lane.
  bool Find(uint32_t lane, Expected* expected) const;

  // From here on no frames of that lane are taken, until ForgetSkipped(): the
  // next connection starts with them.
  void Skip(uint32_t lane);
  void ForgetSkipped();

  // The frame of that sequence, which ends at `end`, has arrived. `handled`: it
  // was handled, too.
  void NoteReceived(uint32_t lane, uint64_t sequence, uint64_t end,
                    bool handled);
  // Returns whether that made enough room to tell the peer of it at once.
  bool NoteHandled(uint32_t lane, uint64_t position);

  // Whether the peer waits to be told before it sends more of a lossy lane.
  bool PeerWaits() const { return peer_waits_.load(std::memory_order_relaxed); }

  // Adds what the peer has not been told yet, and counts it as told.
  void TakeAcks(std::vector<AckEntry>* acks);

  // How many bytes the peer has not been told of.
  uint64_t UntoldBytes() const {
    // Acquire: what was received is seen to be at least that.
    const uint64_t told = told_bytes_.load(std::memory_order_acquire);
    return received_bytes_.load(std::memory_order_relaxed) - told;
  }

  // How many bytes it was told of since ForgetTold().
  uint64_t ToldBytes() const {
    // Acquire: what was told is seen to be at least that.
    const uint64_t forgotten = forgotten_bytes_.load(std::memory_order_acquire);
    return told_bytes_.load(std::memory_order_relaxed) - forgotten;
  }

  // The least capacity of a lane. 0: there are no lanes.
  uint64_t SmallestCapacity() const { return smallest_capacity_; }

  // Whether all that has arrived is handled.
  bool AllHandled() const;
  // Whether that lane is there, and handled up to `position` and no further.
  bool IsHandledTo(uint32_t lane, uint64_t position) const;

  // Forgets what was told: the connection that carried it may have lost it.
  void ForgetTold();

  void FillResume(v1::Hello* hello) const;
  // Whether as much was received of each lane as that Hello says.
  bool IsResume(const v1::Hello& hello) const;

  // Adds what has arrived in all lanes that there ever were.
  void AddTraffic(LinkTraffic* traffic) const;

 private:
  // Other threads read what the loop stores, and the other way round.
  struct State {
    std::atomic<uint64_t> received{0};
    std::atomic<uint64_t> handled{0};
    std::atomic<uint64_t> next_sequence{0};
    std::atomic<uint64_t> lost{0};  // Sequences that never came.
    uint64_t first_position = 0;    // Under the lock, as is the next.
    uint64_t first_sequence = 0;
    uint64_t capacity_bytes = 0;
    uint32_t lossy_window = 0;
    uint64_t redelivered_until = 0;
    bool skipped = false;                    // On the loop.
    std::atomic<bool> is_prompt{false};      // Tells of each frame at once.
    std::atomic<uint32_t> untold_frames{0};  // Handled, of a lossy lane.
    uint64_t told_received = 0;              // Under the lock, as is the next.
    uint64_t told_handled = 0;
  };
  using Lanes = std::map<uint32_t, State>;

  State* Look(uint32_t lane) const ABSL_NO_THREAD_SAFETY_ANALYSIS;
  static void AddTraffic(const State& state, LinkTraffic* traffic);
  static void RaiseHandled(State& state, uint64_t position);
  void CountHandled(State& state);
  void FindSmallest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;  // The loop reads the map without it.
  mutable Lanes lanes_ ABSL_GUARDED_BY(mutex_);
  LinkTraffic ended_ ABSL_GUARDED_BY(mutex_);  // Of lanes that are closed.
  // The last that Look() found. On the loop.
  mutable uint32_t looked_lane_ = 0;
  mutable State* looked_ = nullptr;
  uint64_t smallest_capacity_ = 0;  // Changed and read on the loop.
  // Of all lanes. The loop alone changes the first, so that it needs no locked
  // instruction for each frame.
  std::atomic<uint64_t> received_bytes_{0};
  std::atomic<uint64_t> told_bytes_{0};  // Changed under the lock.
  // What `told_bytes_` was when ForgetTold() was called.
  std::atomic<uint64_t> forgotten_bytes_{0};
  std::atomic<bool> peer_waits_{false};
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_INBOUND_LANES_H_
