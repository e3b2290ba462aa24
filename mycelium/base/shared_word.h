#ifndef MYCELIUM_BASE_SHARED_WORD_H_
#define MYCELIUM_BASE_SHARED_WORD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

// The only way to touch memory that another thread or process reads or writes
// without a lock: words with a memory order, and bytes that the words guard.
//
// Each function is the instruction that its name says. A test that needs to
// come between defines MYCELIUM_SHARED_WORD_HOOKS for the whole program, and
// brings the functions of namespace shared_word_hooks: tests/model plays what
// the memory model allows. //tests/tidy holds the code of rings and lanes to
// this file.
//
// Thread safety: any thread. Ownership: none.
//
// Example:
//   CopyToShared(room + 4, bytes, sizeof bytes);
//   SharedWordAt<uint32_t>(room).store(size, std::memory_order_release);

namespace mycelium {

#ifdef MYCELIUM_SHARED_WORD_HOOKS
// `at` is where the word of `bytes` bytes lies, 4 or 8. Memory that the program
// shares with nobody comes here too.
namespace shared_word_hooks {
uint64_t Load(const void* at, size_t bytes, std::memory_order order);
void Store(void* at, size_t bytes, uint64_t value, std::memory_order order);
// These return what was there before.
uint64_t Exchange(void* at, size_t bytes, uint64_t value,
                  std::memory_order order);
uint64_t FetchAdd(void* at, size_t bytes, uint64_t value,
                  std::memory_order order);
bool CompareExchange(void* at, size_t bytes, uint64_t* expected,
                     uint64_t desired, std::memory_order order);
uint64_t LoadRacing(const std::byte* at);
void CopyToShared(std::byte* to, const void* from, size_t bytes);
void CopyFromShared(void* to, const std::byte* from, size_t bytes);
void ClearShared(std::byte* to, size_t bytes);
}  // namespace shared_word_hooks
#endif

// A word with the members of std::atomic, and a layout that is the word's.
template <typename T>
class SharedWord final {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);

 public:
  constexpr SharedWord(T value) : word_(value) {}
  SharedWord(const SharedWord&) = delete;
  SharedWord& operator=(const SharedWord&) = delete;

#ifdef MYCELIUM_SHARED_WORD_HOOKS
  T load(std::memory_order order = std::memory_order_seq_cst) const {
    return static_cast<T>(shared_word_hooks::Load(&word_, sizeof(T), order));
  }
  void store(T value, std::memory_order order = std::memory_order_seq_cst) {
    shared_word_hooks::Store(&word_, sizeof(T), value, order);
  }
  T exchange(T value, std::memory_order order) {
    return static_cast<T>(
        shared_word_hooks::Exchange(&word_, sizeof(T), value, order));
  }
  T fetch_add(T value, std::memory_order order) {
    return static_cast<T>(
        shared_word_hooks::FetchAdd(&word_, sizeof(T), value, order));
  }
  bool compare_exchange_strong(T& expected, T desired,
                               std::memory_order order) {
    uint64_t found = expected;
    const bool done = shared_word_hooks::CompareExchange(
        &word_, sizeof(T), &found, desired, order);
    expected = static_cast<T>(found);
    return done;
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order order) {
    return compare_exchange_strong(expected, desired, order);
  }
#else
  T load(std::memory_order order = std::memory_order_seq_cst) const {
    return __atomic_load_n(&word_, static_cast<int>(order));
  }
  void store(T value, std::memory_order order = std::memory_order_seq_cst) {
    __atomic_store_n(&word_, value, static_cast<int>(order));
  }
  T exchange(T value, std::memory_order order) {
    return __atomic_exchange_n(&word_, value, static_cast<int>(order));
  }
  T fetch_add(T value, std::memory_order order) {
    return __atomic_fetch_add(&word_, value, static_cast<int>(order));
  }
  bool compare_exchange_strong(T& expected, T desired,
                               std::memory_order order) {
    return CompareExchange(expected, desired, false, order);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order order) {
    return CompareExchange(expected, desired, true, order);
  }

 private:
  // An exchange that fails only loads.
  bool CompareExchange(T& expected, T desired, bool weak,
                       std::memory_order order) {
    const bool acquires = order == std::memory_order_acquire ||
                          order == std::memory_order_acq_rel ||
                          order == std::memory_order_seq_cst;
    return __atomic_compare_exchange_n(
        &word_, &expected, desired, weak, static_cast<int>(order),
        acquires ? __ATOMIC_ACQUIRE : __ATOMIC_RELAXED);
  }
#endif

 private:
  T word_;
};
static_assert(sizeof(SharedWord<uint32_t>) == 4);
static_assert(sizeof(SharedWord<uint64_t>) == 8);

// The word at that place in shared bytes. REQUIRES: aligned.
template <typename T>
SharedWord<T>& SharedWordAt(std::byte* at) {
  return *reinterpret_cast<SharedWord<T>*>(at);
}
template <typename T>
const SharedWord<T>& SharedWordAt(const std::byte* at) {
  return *reinterpret_cast<const SharedWord<T>*>(at);
}

#ifdef MYCELIUM_SHARED_WORD_HOOKS
using shared_word_hooks::ClearShared;
using shared_word_hooks::CopyFromShared;
using shared_word_hooks::CopyToShared;
using shared_word_hooks::LoadRacing;
inline void CopyToSharedInline(std::byte* to, const void* from, size_t bytes) {
  CopyToShared(to, from, bytes);
}
inline void CopyFromSharedInline(void* to, const std::byte* from,
                                 size_t bytes) {
  CopyFromShared(to, from, bytes);
}
#else
// Eight aligned bytes, with acquire, while somebody may be writing to them in
// any way. ThreadSanitizer is not asked: the caller throws away what it got
// unless it sees afterwards that nobody was writing.
__attribute__((no_sanitize_thread)) inline uint64_t LoadRacing(
    const std::byte* at) {
  return __atomic_load_n(reinterpret_cast<const uint64_t*>(at),
                         __ATOMIC_ACQUIRE);
}

// Bytes that a word guards: nobody else touches them meanwhile.
inline void CopyToShared(std::byte* to, const void* from, size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);  // No bytes may be at null.
}
inline void CopyFromShared(void* to, const std::byte* from, size_t bytes) {
  std::memcpy(to, from, bytes);
}

// The same two, faster for 16 to 64 bytes: two or four moves that overlap, in
// place of a call.
namespace shared_word_internal {
inline void CopyInline(std::byte* to, const std::byte* from, size_t bytes) {
  constexpr size_t kMove = 16;
  if (bytes < kMove || bytes > 4 * kMove) {
    CopyToShared(to, from, bytes);
    return;
  }
  std::memcpy(to, from, kMove);
  std::memcpy(to + bytes - kMove, from + bytes - kMove, kMove);
  if (bytes <= 2 * kMove) return;
  std::memcpy(to + kMove, from + kMove, kMove);
  std::memcpy(to + bytes - 2 * kMove, from + bytes - 2 * kMove, kMove);
}
}  // namespace shared_word_internal
inline void CopyToSharedInline(std::byte* to, const void* from, size_t bytes) {
  shared_word_internal::CopyInline(to, static_cast<const std::byte*>(from),
                                   bytes);
}
inline void CopyFromSharedInline(void* to, const std::byte* from,
                                 size_t bytes) {
  shared_word_internal::CopyInline(static_cast<std::byte*>(to), from, bytes);
}
inline void ClearShared(std::byte* to, size_t bytes) {
  std::memset(to, 0, bytes);
}
#endif

}  // namespace mycelium

#endif  // MYCELIUM_BASE_SHARED_WORD_H_
