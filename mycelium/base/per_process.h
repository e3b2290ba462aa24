#ifndef MYCELIUM_BASE_PER_PROCESS_H_
#define MYCELIUM_BASE_PER_PROCESS_H_

#include <atomic>

#include "mycelium/base/fork_guard.h"

namespace mycelium {

// A T of the whole process, made at the first call and never destroyed. The
// child of a fork() has one of its own, which begins anew. The parent's T is
// kept there and not looked at, since another thread may have held a lock of
// it.
//
// Thread safety: any thread. It may be static: it needs no destructor, and
// nothing waits for the first call, in the middle of which another thread may
// fork.
//
// Example:
//   static PerProcess<NodeRegistry> registry;
//   return registry.Get();
template <typename T>
class PerProcess final {
 public:
  T& Get() {
    // Acquire: pairs with the exchange, by the thread that has made it.
    Made* known = current_.load(std::memory_order_acquire);
    if (known != nullptr && !known->guard.is_inherited()) return known->object;
    auto* const made = new Made;
    if (current_.compare_exchange_strong(known, made,
                                         std::memory_order_acq_rel)) {
      if (known != nullptr) ForkGuard::KeepForEver(known);
      return made->object;
    }
    delete made;  // Another thread was faster.
    return known->object;
  }

 private:
  struct Made {
    ForkGuard guard;
    T object = T();
  };

  std::atomic<Made*> current_{nullptr};
};

}  // namespace mycelium

#endif  // MYCELIUM_BASE_PER_PROCESS_H_
