#ifndef TESTS_BENCHMARK_CPU_WATCH_H_
#define TESTS_BENCHMARK_CPU_WATCH_H_

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"

namespace mycelium::bench {

// How a run learns that another process used its CPUs. A forgotten process that
// spins halves a flood and leaves the median of a ping-pong as it was, so the
// run has to look for it. Two signs are used:
//  - how long a thread of the run was ready but not running (the kernel counts
//    this exactly, per thread);
//  - how busy the kernel says the CPUs were, less what the run itself used.
//    That is counted in ticks of 10 ms, so a few ticks mean nothing.

// Nanoseconds during which `cpus` did not idle, time stolen by the hypervisor
// included, from the text of /proc/stat. Unknown CPUs and bad text count 0.
int64_t BusyNs(absl::string_view proc_stat, const std::vector<int>& cpus);

// The same from the running system; 0 if the system does not tell.
int64_t BusyNsNow(const std::vector<int>& cpus);

// Nanoseconds that the calling thread was ready but not running, so far, from
// the text of /proc/thread-self/schedstat; 0 if the kernel does not count it.
int64_t DelayedNs(absl::string_view schedstat);
int64_t DelayedNsNow();

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_CPU_WATCH_H_
