#ifndef MYCELIUM_CAPI_ENDPOINTS_H_
#define MYCELIUM_CAPI_ENDPOINTS_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "mycelium/base/mutex.h"
#include "mycelium/bus/endpoint_handle.h"

namespace mycelium {

// The endpoints at which a runtime listens by hand. The caller stops what it
// has taken out without the lock, since stopping waits for handlers.
//
// Thread safety: all members may be called from any thread.
class Endpoints final {
 public:
  // False: TakeAll() was called, so `endpoint` ends here.
  bool Add(EndpointHandle endpoint) {
    MutexLock lock(mutex_);
    if (!is_over_) all_.push_back(std::move(endpoint));
    return !is_over_;
  }

  // From now on none is added any more.
  std::vector<EndpointHandle> TakeAll() {
    MutexLock lock(mutex_);
    is_over_ = true;
    return std::exchange(all_, {});
  }

  // Those that are there now.
  std::vector<EndpointHandle> TakePresent() {
    MutexLock lock(mutex_);
    return std::exchange(all_, {});
  }

  // Those at `address`.
  std::vector<EndpointHandle> Take(absl::string_view address) {
    MutexLock lock(mutex_);
    std::vector<EndpointHandle> taken, kept;
    for (EndpointHandle& endpoint : all_) {
      auto& to = endpoint.address() == address ? taken : kept;
      to.push_back(std::move(endpoint));
    }
    all_.swap(kept);
    return taken;
  }

 private:
  Mutex mutex_;
  std::vector<EndpointHandle> all_ ABSL_GUARDED_BY(mutex_);
  bool is_over_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace mycelium

#endif  // MYCELIUM_CAPI_ENDPOINTS_H_
