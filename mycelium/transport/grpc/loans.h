#ifndef MYCELIUM_TRANSPORT_GRPC_LOANS_H_
#define MYCELIUM_TRANSPORT_GRPC_LOANS_H_

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "mycelium/base/environment.h"
#include "mycelium/base/event_count.h"
#include "mycelium/base/mutex.h"

namespace mycelium {

// The messages of a transport for which gRPC reads memory of lanes. gRPC lets
// go of them on its own threads, perhaps after their streams have ended. But
// that memory goes back by way of the environment, which may end with the
// transport. So the transport waits for these messages.
//
// Thread safety: all members may be called from any thread.
//
// Ownership: shared by the transport and the messages. Borrows the environment
// until Close().
class Loans final {
 public:
  using Keepers = std::vector<std::shared_ptr<const void>>;

  explicit Loans(Environment& environment) : environment_(&environment) {}

  void Begin() {
    MutexLock lock(mutex_);
    ++count_;
  }

  // After Begin(): lets go of what the message has kept. After Close(), what it
  // has kept stays in memory instead.
  void End(Keepers keepers) {
    MutexLock lock(mutex_);
    if (environment_ == nullptr) {
      (void)new Keepers(std::move(keepers));
      return;
    }
    keepers.clear();
    if (--count_ == 0) none_event_.Notify(environment_->waiter);
  }

  // Waits until there are none. False: there still are some.
  bool AwaitNone(int64_t wait_ns) {
    const TimeNs deadline = environment_->clock.NowNs() + wait_ns;
    while (!IsNone()) {
      if (environment_->clock.NowNs() >= deadline) return false;
      EventCount::Sleeper sleeper(none_event_);
      if (IsNone()) break;
      sleeper.Until(environment_->waiter, deadline);
    }
    return true;
  }

  // The environment is not used any more.
  void Close() {
    MutexLock lock(mutex_);
    environment_ = nullptr;
  }

 private:
  bool IsNone() const {
    MutexLock lock(mutex_);
    return count_ == 0;
  }

  EventCount none_event_;
  mutable Mutex mutex_;
  Environment* environment_;  // Changed with the lock held.
  size_t count_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_GRPC_LOANS_H_
