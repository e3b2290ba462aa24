#ifndef MYCELIUM_TRANSPORT_LANE_READER_TROUBLE_H_
#define MYCELIUM_TRANSPORT_LANE_READER_TROUBLE_H_

#include <string>
#include <utility>

#include "mycelium/base/mutex.h"

namespace mycelium {

// Why the process at the other end does not read a lane for the time being, in
// its words; empty: it does.
//
// Thread safety: all members may be called from any thread.
class ReaderTrouble final {
 public:
  void Set(std::string why) {
    MutexLock lock(mutex_);
    why_ = std::move(why);
  }
  std::string Get() const {
    MutexLock lock(mutex_);
    return why_;
  }

 private:
  mutable Mutex mutex_;
  std::string why_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LANE_READER_TROUBLE_H_
