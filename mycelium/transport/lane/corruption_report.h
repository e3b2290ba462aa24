#ifndef MYCELIUM_TRANSPORT_LANE_CORRUPTION_REPORT_H_
#define MYCELIUM_TRANSPORT_LANE_CORRUPTION_REPORT_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "mycelium/base/mutex.h"

namespace mycelium {

// Makes sure that corruption of shared memory (it holds what nobody stores
// there) is told once for each of its readers, and never to somebody who may be
// gone.
//
// Thread safety: all members may be called from any thread.
class CorruptionReport final {
 public:
  // Which reader it is now. Ask before you look at what it has stored.
  uint64_t reader() const {
    MutexLock lock(mutex_);
    return reader_;
  }
  // Calls `tell`, unless that was done for the same reader, or there is another
  // reader now, or after End(). `tell` must not call this object.
  void Make(uint64_t reader, absl::FunctionRef<void()> tell) {
    MutexLock lock(mutex_);
    if (is_made_ || has_ended_ || reader != reader_) return;
    is_made_ = true;
    tell();
  }
  // Whether something was told about the reader that it is now.
  bool is_made() const {
    MutexLock lock(mutex_);
    return is_made_;
  }
  // Another reader, of which nothing was told.
  void BeginReader() {
    MutexLock lock(mutex_);
    ++reader_;
    is_made_ = false;
  }
  // No `tell` runs from now on, nor is one running.
  void End() {
    MutexLock lock(mutex_);
    has_ended_ = true;
  }

 private:
  mutable Mutex mutex_;
  uint64_t reader_ ABSL_GUARDED_BY(mutex_) = 0;
  bool is_made_ ABSL_GUARDED_BY(mutex_) = false;
  bool has_ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_CORRUPTION_REPORT_H_
