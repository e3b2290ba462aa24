#include "mycelium/routing/handler_wait.h"

#include <algorithm>
#include <vector>

#include "mycelium/base/mutex.h"
#include "mycelium/base/per_process.h"
#include "mycelium/base/thread_number.h"
#include "mycelium/routing/subscription.h"

namespace mycelium {

// The waits under way. The child of a fork() begins with an empty table.
class HandlerWait::Table final {
 public:
  static Table& Get();

  // False: the wait would close a circle, and is not in the table.
  bool Add(const HandlerWait& wait) {
    MutexLock lock(mutex_);
    if (ClosesCircle(wait)) return false;
    waits_.push_back(&wait);
    return true;
  }

  void Remove(const HandlerWait& wait) {
    MutexLock lock(mutex_);
    waits_.erase(std::find(waits_.begin(), waits_.end(), &wait));
  }

 private:
  bool ClosesCircle(const HandlerWait& first) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (const HandlerWait* wait = &first; wait != nullptr;
         wait = WaitOfHandler(wait->subscription_)) {
      if (IsHandledBy(wait->subscription_, first)) return true;
    }
    return false;
  }

  // The wait of the thread that runs the handler. Null: that thread does not
  // wait.
  const HandlerWait* WaitOfHandler(const Subscription& subscription) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    // What a thread stored before it waited is seen under the lock: that it is
    // inside the gate, or takes from the queue.
    const auto found = std::find_if(waits_.begin(), waits_.end(),
                                    [&](const HandlerWait* wait) {
                                      return IsHandledBy(subscription, *wait);
                                    });
    return found == waits_.end() ? nullptr : *found;
  }

  static bool IsHandledBy(const Subscription& subscription,
                          const HandlerWait& wait) {
    return subscription.IsHandledBy(wait.thread_, wait.number_);
  }

  Mutex mutex_;
  std::vector<const HandlerWait*> waits_ ABSL_GUARDED_BY(mutex_);
};

HandlerWait::Table& HandlerWait::Table::Get() {
  static PerProcess<Table> table;
  return table.Get();
}

HandlerWait::HandlerWait(const Subscription& subscription)
    : subscription_(subscription),
      thread_(std::this_thread::get_id()),
      number_(ThreadNumber()),
      in_circle_(!Table::Get().Add(*this)) {}

HandlerWait::~HandlerWait() {
  if (!in_circle_) Table::Get().Remove(*this);
}

}  // namespace mycelium
