#ifndef TESTS_BENCHMARK_PINNED_RUN_H_
#define TESTS_BENCHMARK_PINNED_RUN_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/benchmark/stage.h"
#include "tests/benchmark/system.h"

namespace mycelium::bench {

// One side of a run. A status that is not OK ends the run for all roles and is
// what RunPinned() returns. Where roles are threads it ends their process, so
// what a role shares with others outlives the role, unless it returns OK.
using Role = std::function<absl::Status(Stage&)>;

struct PinnedRun {
  // kProcesses: each role in a process of its own. kThreads: all roles as
  // threads of one process. Either way the process is forked for this run.
  enum class Sharing { kProcesses, kThreads };

  Sharing sharing = Sharing::kProcesses;
  // Role i, and every thread it starts, runs on cpus[i] only.
  std::vector<int> cpus;
  std::vector<Role> roles;  // As many as cpus, at most kRolesMax.
  // After this time everything is killed and the run is DEADLINE_EXCEEDED.
  int64_t deadline_ms = 30'000;
  size_t shared_bytes = 0;  // See Stage::shared().
  int64_t samples_max = 0;  // See Stage::AddSample(); of one role.
  // The role that adds samples. With more than one role, only this one may add
  // some.
  int sampling_role = 0;
};

// Runs the roles and returns what they left on the stage. It returns by the
// deadline, even if a role crashes (INTERNAL, naming the signal) or hangs.
//
// REQUIRES: the calling process has no other thread: it is forked.
absl::StatusOr<RoundResult> RunPinned(const PinnedRun& run);

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_PINNED_RUN_H_
