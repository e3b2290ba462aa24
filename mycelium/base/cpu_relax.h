#ifndef MYCELIUM_BASE_CPU_RELAX_H_
#define MYCELIUM_BASE_CPU_RELAX_H_

#include <cstdint>

namespace mycelium {

// Tells the processor that this thread spins: saves power, and leaves more of
// the core to its sibling. Takes from a few to more than a hundred cycles,
// depending on the processor: PausesIn() tells.
inline void CpuRelax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

inline void CpuRelax(int times) {
  for (int i = 0; i < times; ++i) CpuRelax();
}

// How many CpuRelax() take about that long, at least one. The first call
// measures them, which takes some microseconds. Any thread.
int PausesIn(int64_t ns);

// The time between two looks at memory that another core writes. Every look
// takes the cache line from the writer, which may be writing to it, so twice as
// many looks are worth less than half as many: docs/adr/0019. The first is for
// a look at nothing but rings, the second for a look that does more.
inline constexpr int64_t kBetweenRingLooksNs = 44;
inline constexpr int64_t kBetweenQueueLooksNs = 27;

}  // namespace mycelium

#endif  // MYCELIUM_BASE_CPU_RELAX_H_
