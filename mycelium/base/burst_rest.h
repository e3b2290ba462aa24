#ifndef MYCELIUM_BASE_BURST_REST_H_
#define MYCELIUM_BASE_BURST_REST_H_

#include <algorithm>
#include <cstdint>

#include "mycelium/base/cpu_relax.h"

namespace mycelium {

// Leaves a ring alone for a moment when it has run empty after a burst: looking
// at once would take the cache line from a writer that is writing to it.
//
// Thread safety: none; the reader's.
class BurstRest final {
 public:
  // `burst`: so many without an empty look are a burst.
  explicit BurstRest(int burst) : burst_(burst) {}

  // So many were taken.
  void NoteTaken(int count = 1) { taken_ = std::min(taken_ + count, burst_); }
  // Whether something was, since the ring was empty last.
  bool has_taken() const { return taken_ > 0; }

  // Nothing was there. If that ended a burst, this rests and returns true: then
  // another look may pay.
  bool Rest() {
    const bool was_burst = taken_ == burst_;
    taken_ = 0;
    if (!was_burst) return false;
    CpuRelax(pauses_);
    return true;
  }

 private:
  static constexpr int64_t kRestNs = 900;

  const int burst_;
  const int pauses_ = PausesIn(kRestNs);
  int taken_ = 0;
};

}  // namespace mycelium

#endif  // MYCELIUM_BASE_BURST_REST_H_
