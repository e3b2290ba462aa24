#ifndef TESTS_BENCHMARK_ALLOCATION_COUNTER_H_
#define TESTS_BENCHMARK_ALLOCATION_COUNTER_H_

#include <cstdint>
#include <optional>

namespace mycelium::bench {

// How many times this process has allocated from the heap so far, on any
// thread: calls of malloc, calloc, realloc and the aligned forms, and so of
// operator new, in the program and in every library that it loads. Empty where
// they cannot be counted (under a sanitizer, or without glibc).
//
// Linking this target replaces malloc in the whole program by a counting one
// that forwards to glibc's. It costs one plain increment in memory of the
// thread's own, so it does not disturb what is measured.
//
// Thread safety: any thread. Counts of threads that run meanwhile are included
// as far as they are visible.
std::optional<int64_t> AllocationsSoFar();

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_ALLOCATION_COUNTER_H_
