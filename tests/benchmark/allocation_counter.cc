#include "tests/benchmark/allocation_counter.h"

#include <atomic>
#include <cerrno>
#include <cstddef>

#if defined(__GLIBC__) && !defined(MYCELIUM_SANITIZER)
#define MYCELIUM_BENCH_COUNTS_ALLOCATIONS 1
#endif

#ifdef MYCELIUM_BENCH_COUNTS_ALLOCATIONS

// glibc's own allocator under the names that it keeps for this purpose.
extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* old, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);
}

namespace mycelium::bench {
namespace {

constexpr int kSlotsMax = 256;

// Each thread has a line of its own. The line is not given back when the thread
// ends: its count stays part of the sum. Threads beyond the last slot share
// that slot.
struct alignas(64) Slot {
  std::atomic<int64_t> allocations;
};

Slot slots[kSlotsMax];
std::atomic<int> slots_taken{0};
thread_local Slot* slot_of_thread = nullptr;

void Count() {
  if (slot_of_thread == nullptr) {
    const int index = slots_taken.fetch_add(1, std::memory_order_relaxed);
    slot_of_thread = &slots[index < kSlotsMax ? index : kSlotsMax - 1];
  }
  std::atomic<int64_t>& count = slot_of_thread->allocations;
  if (slot_of_thread == &slots[kSlotsMax - 1]) {
    count.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  // One writer per slot: no locked instruction is needed.
  count.store(count.load(std::memory_order_relaxed) + 1,
              std::memory_order_relaxed);
}

}  // namespace

std::optional<int64_t> AllocationsSoFar() {
  int64_t sum = 0;
  for (const Slot& slot : slots) {
    sum += slot.allocations.load(std::memory_order_relaxed);
  }
  return sum;
}

}  // namespace mycelium::bench

// free() stays glibc's: what these return is glibc's memory.
extern "C" {

void* malloc(size_t bytes) {
  mycelium::bench::Count();
  return __libc_malloc(bytes);
}

void* calloc(size_t count, size_t bytes) {
  mycelium::bench::Count();
  return __libc_calloc(count, bytes);
}

void* realloc(void* old, size_t bytes) {
  mycelium::bench::Count();
  return __libc_realloc(old, bytes);
}

void* memalign(size_t alignment, size_t bytes) {
  mycelium::bench::Count();
  return __libc_memalign(alignment, bytes);
}

void* aligned_alloc(size_t alignment, size_t bytes) {
  mycelium::bench::Count();
  return __libc_memalign(alignment, bytes);
}

int posix_memalign(void** out, size_t alignment, size_t bytes) {
  mycelium::bench::Count();
  void* memory = __libc_memalign(alignment, bytes);
  if (memory == nullptr) return ENOMEM;
  *out = memory;
  return 0;
}

}  // extern "C"

#else  // MYCELIUM_BENCH_COUNTS_ALLOCATIONS

namespace mycelium::bench {

std::optional<int64_t> AllocationsSoFar() { return std::nullopt; }

}  // namespace mycelium::bench

#endif  // MYCELIUM_BENCH_COUNTS_ALLOCATIONS
