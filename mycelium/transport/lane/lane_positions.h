#ifndef MYCELIUM_TRANSPORT_LANE_LANE_POSITIONS_H_
#define MYCELIUM_TRANSPORT_LANE_LANE_POSITIONS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "mycelium/base/heavy_barrier.h"
#include "mycelium/base/shared_word.h"
#include "mycelium/transport/lane/lossy_ring.h"
#include "mycelium/transport/lane/ring.h"

namespace mycelium {

// What the two ends of a lane tell each other besides the frames. If they are
// two processes, it lies in memory that both map and write: docs/shm_layout.md.
//
// Waiting: the end that waits sets the flag and looks once more. The end that
// has made what the other waits for reads the flag afterwards. Both use a
// read-modify-write, so that the later of the two sees what came before the
// earlier. A busy reader makes a load enough: see kAwakeBehindBarrier.
struct LanePositions {
  static constexpr uint64_t kNobodyWaits = ~uint64_t{0};

  // What the reader is, in `sleeping`.
  static constexpr uint32_t kAwake = 0;
  static constexpr uint32_t kAsleep = 1;  // Or about to be.
  // Awake, and between its next Sleep() and the look that follows each thread
  // of the writer's process runs a barrier. So a load is enough for the writer:
  // in its thread commit and load come before that barrier, and then the reader
  // sees the frame, or the load comes after it, and finds what Sleep() stored.
  static constexpr uint32_t kAwakeBehindBarrier = 2;

  RingPositions ring;
  LossyPositions lossy;
  // Whether the reader wants to be told of the next frame.
  alignas(64) SharedWord<uint32_t> sleeping{kAwake};
  // The writer wants to be told when the reader is done with everything before
  // that position (of a lossy lane: with that sequence).
  alignas(64) SharedWord<uint64_t> wake_at{kNobodyWaits};
  // Which lane this is, as its LaneOpen says: so that descriptors of another
  // lane are noticed. Does not change.
  alignas(64) SharedWord<uint64_t> identity{0};
  // Lossless lanes: the end of the last frame that the reader has taken. If the
  // reader has died, what lies between `released` and there may have been
  // handled.
  alignas(64) SharedWord<uint64_t> taken{0};

  // Not 0: the writer's process runs the barriers that others ask for, see
  // SharedHeavyBarrier(). Does not change once the reader may see it.
  alignas(64) SharedWord<uint32_t> takes_barriers{0};

  // By the reader, before it looks for the last time; and then, if it has made
  // a promise since it slept last, a SharedHeavyBarrier().
  void Sleep() { sleeping.exchange(kAsleep, std::memory_order_acq_rel); }
  // A read-modify-write too: a plain store would come between what the writer
  // left in the flag and the next Sleep(), which would not see it.
  void EndSleep() { sleeping.exchange(kAwake, std::memory_order_relaxed); }
  // By the reader, between EndSleep() and Sleep(). False: it has promised
  // nothing, since the kernel would run no barrier in the writer's process.
  bool PromiseBarrier() {
    if (takes_barriers.load(std::memory_order_relaxed) == 0) return false;
    // The barrier makes good what a store does to the next Sleep().
    sleeping.store(kAwakeBehindBarrier, std::memory_order_relaxed);
    return true;
  }
  // By the writer, after a commit: whether it has to tell the reader, which is
  // told once.
  bool TakeSleeping() {
    // Pairs with the barrier that was promised.
    LightBarrier();
    if (sleeping.load(std::memory_order_relaxed) == kAwakeBehindBarrier) {
      return false;
    }
    uint32_t found = sleeping.fetch_add(0, std::memory_order_acq_rel);
    // An exchange would be as safe, but may end a promise made by now.
    return found == kAsleep && sleeping.compare_exchange_strong(
                                   found, kAwake, std::memory_order_acq_rel);
  }

  // By the writer, before it looks for the last time.
  void AskToBeWoken(uint64_t at) {
    uint64_t asked = wake_at.load(std::memory_order_relaxed);
    // Written even if an earlier request is there, since the reader may be
    // taking that one at this moment.
    while (!wake_at.compare_exchange_weak(asked, std::min(at, asked),
                                          std::memory_order_acq_rel)) {
    }
  }
  // By the reader, after it has let go of something: whether it has to tell the
  // writer, which is told once. `let_go` returns how far the reader has let go.
  // It is called after the request was read: of two threads of the reader, the
  // one that comes second sees what both did.
  template <typename LetGo>
  bool TakeWriterWaits(const LetGo& let_go) {
    const uint64_t wish = wake_at.fetch_add(0, std::memory_order_acq_rel);
    return wish != kNobodyWaits && wish <= let_go() &&
           wake_at.exchange(kNobodyWaits, std::memory_order_acq_rel) !=
               kNobodyWaits;
  }
};
static_assert(sizeof(RingPositions) == 64);
static_assert(sizeof(LossyPositions) == 128);
static_assert(offsetof(LanePositions, ring) == 0);
static_assert(offsetof(LanePositions, lossy) == 64);
static_assert(offsetof(LossyPositions, held) == 64);
static_assert(offsetof(LanePositions, sleeping) == 192);
static_assert(offsetof(LanePositions, wake_at) == 256);
static_assert(offsetof(LanePositions, identity) == 320);
static_assert(offsetof(LanePositions, taken) == 384);
static_assert(offsetof(LanePositions, takes_barriers) == 448);
static_assert(sizeof(LanePositions) == 512);

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_LANE_POSITIONS_H_
