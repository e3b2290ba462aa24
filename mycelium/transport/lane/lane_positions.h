#ifndef MYCELIUM_TRANSPORT_LANE_LANE_POSITIONS_H_
#define MYCELIUM_TRANSPORT_LANE_LANE_POSITIONS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

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
// earlier.
struct LanePositions {
  static constexpr uint64_t kNobodyWaits = ~uint64_t{0};

  RingPositions ring;
  LossyPositions lossy;
  // The reader wants to be told of the next frame.
  alignas(64) SharedWord<uint32_t> sleeping{0};
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

  // By the reader, before it looks for the last time.
  void Sleep() { sleeping.exchange(1, std::memory_order_acq_rel); }
  // A read-modify-write too: a plain store would come between what the writer
  // left in the flag and the next Sleep(), which would not see it.
  void EndSleep() { sleeping.exchange(0, std::memory_order_relaxed); }
  // By the writer, after a commit: whether it has to tell the reader, which is
  // told once.
  bool TakeSleeping() {
    return sleeping.fetch_add(0, std::memory_order_acq_rel) != 0 &&
           sleeping.exchange(0, std::memory_order_acq_rel) != 0;
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

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_LANE_POSITIONS_H_
