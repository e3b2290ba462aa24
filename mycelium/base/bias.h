#ifndef MYCELIUM_BASE_BIAS_H_
#define MYCELIUM_BASE_BIAS_H_

#include <cstddef>
#include <cstdint>

#include "mycelium/base/heavy_barrier.h"
#include "mycelium/base/shared_word.h"

namespace mycelium {

// What makes a lock cheap for the thread that takes it again and again: that
// thread owns the bias, and enters with plain loads and stores, none of them
// locked. Any other thread takes the bias away first, under a mutex that is the
// lock from then on: see BiasedMutex. The algorithm is that of "Quickly
// Reacquirable Locks" (Dice, Moir, Scherer, 2003), with the kernel's barrier in
// other threads; but here a bias may be given again.
//
// An owner has a *key*, which names its thread and a *slot*, where it says that
// it is inside. A thread that was the owner when it looked may say so long
// after it lost the bias, and say soon after that it is not. So nobody else
// gets its slot until it has come back by way of the mutex.
//
// Invariants:
//  (1) Only the thread that has the mutex changes `owner_` and `users_`.
//  (2) Only one thread writes a slot, the one that `users_` has for it. That
//      thread is not in the middle of entering when `users_` changes.
//  (3) A thread is in by bias from when it has stored that it is inside and
//      then found its key to be the owner's, until it stores that it is not
//      inside.
//  (4) When Take() returns nobody is in by bias, and nobody will be until
//      Give(): if an owner comes, either Take() sees that it is inside, or the
//      owner sees that it owns nothing any more.
//  (5) What an owner did inside has happened before Take() returns.
//
// `kSlots`: a power of two. How many threads that had the bias once may stay
// away for ever before nobody else gets it.
//
// Thread safety: as the members say.
template <size_t kSlots>
class BasicBias final {
 public:
  // Names no thread, and is no key.
  static constexpr uint64_t kNobody = ~uint64_t{0};

  BasicBias() {
    for (uint64_t& user : users_) user = kNobody;
  }

  // The owner's key, or kNobody.
  uint64_t owner() const { return owner_.load(std::memory_order_relaxed); }
  // Whether it is a key of that thread's. kNobody is no thread's.
  static bool IsKeyOf(uint64_t key, uint64_t thread) {
    return key / kSlots == thread;
  }

  // For the thread that found that key to be its own: whether it is inside now.
  // If not, the bias was taken away just now, and Leave() has to follow.
  bool TryEnter(uint64_t key) {
    inside_[key % kSlots].word.store(1, std::memory_order_relaxed);
    // Pairs with the barrier of Take().
    LightBarrier();
    return owner_.load(std::memory_order_relaxed) == key;
  }
  // For the thread that called TryEnter(): whether a thread that takes the bias
  // away may be asleep until now.
  bool Leave(uint64_t key) {
    // Release: pairs with the load in IsInside().
    inside_[key % kSlots].word.store(0, std::memory_order_release);
    // The same pair, the other way round: either we see that another thread
    // takes the bias, or that thread sees that we have left.
    LightBarrier();
    return owner_.load(std::memory_order_relaxed) != key;
  }

  // The rest is called with the mutex held.

  // The thread has the mutex, so it is not in the middle of entering.
  void NoteReturned(uint64_t thread) {
    for (uint64_t& user : users_) {
      if (user == thread) user = kNobody;
    }
  }
  // Gives the bias to the thread that has the mutex, after NoteReturned().
  // Returns whether there was a slot. REQUIRES: there is no owner.
  bool Give(uint64_t thread) {
    for (size_t slot = 0; slot < kSlots; ++slot) {
      if (users_[slot] != kNobody) continue;
      users_[slot] = thread;
      owner_.store(thread * kSlots + slot, std::memory_order_relaxed);
      return true;
    }
    return false;
  }
  // `barrier()` is a HeavyBarrier(). `wait(key)` is called for as long as
  // IsInside(key); it may return early, or sleep until a Leave() that returns
  // true. REQUIRES: there is an owner.
  template <typename Barrier, typename Wait>
  void Take(Barrier barrier, Wait wait) {
    const uint64_t key = owner();
    owner_.store(kNobody, std::memory_order_relaxed);
    barrier();
    while (IsInside(key)) wait(key);
  }
  bool IsInside(uint64_t key) const {
    // Acquire: (5).
    return inside_[key % kSlots].word.load(std::memory_order_acquire) != 0;
  }

 private:
  struct Slot {
    SharedWord<uint64_t> word{0};
  };

  SharedWord<uint64_t> owner_{kNobody};
  Slot inside_[kSlots];
  uint64_t users_[kSlots];
};

using Bias = BasicBias<4>;

}  // namespace mycelium

#endif  // MYCELIUM_BASE_BIAS_H_
