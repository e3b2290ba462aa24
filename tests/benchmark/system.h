#ifndef TESTS_BENCHMARK_SYSTEM_H_
#define TESTS_BENCHMARK_SYSTEM_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/benchmark/case.h"

namespace mycelium::bench {

// The two CPUs that every run of a comparison is pinned to.
struct CpuPair {
  int first = 0;
  int second = 1;
};

// What one run of a case gave.
struct RoundResult {
  // One-way times: half of each round trip (kLatency), or arrival less the
  // intended send (kOpen). Empty for kFlood.
  std::vector<int64_t> latencies_ns;
  // How many messages each of these times is the mean of. If it is more than
  // one, the slow messages are hidden: only the median says something.
  int64_t messages_per_sample = 1;
  // From the first publish to the last message handled, and how many were.
  int64_t elapsed_ns = 0;
  int64_t messages = 0;
  // Of both sides together, while measuring. Empty: not counted.
  std::optional<int64_t> allocations;
  std::optional<int64_t> syscalls;
  std::optional<int64_t> cpu_ns;
  // Sleepers that had to be told a second time (kWake), including the
  // warm-up's.
  int64_t late_wakes = 0;
  // CPU time that other processes took on the pinned CPUs; see cpu_watch.h.
  int64_t foreign_ns = 0;
};

// Something that carries messages and can be measured: a floor, Mycelium, or a
// peer. To add one, implement this on top of RunPinned() (pinned_run.h) and
// list it in bench.cc.
//
// Thread safety: called from one thread, and that thread is the only one of its
// process: RunPinned() forks. An implementation starts threads in its roles
// only.
class System {
 public:
  virtual ~System() = default;

  // The value of `system` in a row: "mycelium", "floor", or a peer's name.
  virtual std::string name() const = 0;

  // A floor's own name ("handover"), or the word that tells two variants of a
  // candidate apart in the table; may be empty.
  virtual std::string variant() const = 0;

  virtual bool Supports(const Case& what) const = 0;

  // Runs `what` once, from set-up to tear-down, and returns by its deadline.
  // REQUIRES: Supports(what).
  virtual absl::StatusOr<RoundResult> Run(const Case& what,
                                          const CpuPair& cpus) = 0;
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_SYSTEM_H_
