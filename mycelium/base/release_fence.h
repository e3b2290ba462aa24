#ifndef MYCELIUM_BASE_RELEASE_FENCE_H_
#define MYCELIUM_BASE_RELEASE_FENCE_H_

#include <atomic>

namespace mycelium {

#ifdef MYCELIUM_SHARED_WORD_HOOKS
// See shared_word.h.
namespace shared_word_hooks {
void ReleaseFence();
}  // namespace shared_word_hooks
using shared_word_hooks::ReleaseFence;
#else
// A thread that reads, with acquire, anything that this thread stores after the
// fence, has seen what this thread did before. It is for stores over bytes that
// another thread may be reading because it does not know yet that they are
// free. No instruction on x86.
inline void ReleaseFence() {
  std::atomic_thread_fence(std::memory_order_release);
}
#endif

}  // namespace mycelium

#endif  // MYCELIUM_BASE_RELEASE_FENCE_H_
