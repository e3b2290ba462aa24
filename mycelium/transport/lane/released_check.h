#ifndef MYCELIUM_TRANSPORT_LANE_RELEASED_CHECK_H_
#define MYCELIUM_TRANSPORT_LANE_RELEASED_CHECK_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "mycelium/base/mutex.h"
#include "mycelium/base/shared_word.h"
#include "mycelium/codec/frame_format.h"

namespace mycelium {

// What a writer believes of the position up to which another process says that
// it has released a ring: such a position only ever grows, and never beyond
// what was committed.
//
// Thread safety: all members may be called from any thread. The writer itself,
// which looks at each position that it needs, does not come here.
class ReleasedCheck final {
 public:
  // Returns `released`, or what was believed last if no reader would store
  // that; then `*wrong` says what is wrong. `committing`: where the frame ends
  // that is being committed, which the reader may have released by now.
  uint64_t Look(const SharedWord<uint64_t>& released,
                const std::atomic<uint64_t>& committing, std::string* wrong) {
    MutexLock lock(mutex_);
    const uint64_t now = released.load(std::memory_order_acquire);
    // After it: the reader has seen what was being committed.
    const uint64_t end = committing.load(std::memory_order_relaxed);
    if (now >= believed_ && now <= end && now % kFrameAlignment == 0) {
      return believed_ = now;
    }
    *wrong =
        absl::StrCat("`released` is ", now, "; a multiple of ", kFrameAlignment,
                     " from ", believed_, " to ", end, " is expected");
    return believed_;
  }

  // The writer has seen `released` there, and relied on it.
  void Raise(uint64_t position) {
    MutexLock lock(mutex_);
    believed_ = std::max(believed_, position);
  }

  // Another reader begins at `position`, which `restart` stores: nobody looks
  // at what the last one says any more. Returns what `restart` returns.
  template <typename Restart>
  auto Begin(uint64_t position, const Restart& restart) {
    MutexLock lock(mutex_);
    believed_ = position;
    return restart();
  }

 private:
  Mutex mutex_;
  uint64_t believed_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_RELEASED_CHECK_H_
