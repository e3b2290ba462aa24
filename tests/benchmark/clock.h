#ifndef TESTS_BENCHMARK_CLOCK_H_
#define TESTS_BENCHMARK_CLOCK_H_

#include <time.h>

#include <cstdint>

namespace mycelium::bench {

// The monotonic clock, which all processes and CPUs of a machine share, so the
// difference of two readings in two processes is a one-way time.
inline int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Tells the CPU that this is a wait, so that a sibling hyper-thread runs.
inline void CpuRelax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Polls the clock until `ns`. A pacing loop that slept would add its own
// wake-up to the measurement.
inline void SpinUntil(int64_t ns) {
  while (NowNs() < ns) CpuRelax();
}

// Makes the compiler believe that other code reads `bytes`.
inline void Consume(const void* bytes) {
  asm volatile("" : : "r"(bytes) : "memory");
}

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_CLOCK_H_
