#ifndef TESTS_BENCHMARK_CONTESTS_H_
#define TESTS_BENCHMARK_CONTESTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/benchmark/comparison.h"
#include "tests/benchmark/system.h"

namespace mycelium::bench {

using Words = std::vector<std::string>;
using Systems = std::vector<std::unique_ptr<System>>;

// The flags of the benchmark as they were given: docs/benchmarks.md says what
// each means.
struct Request {
  Words transports, sizes, modes, kinds, waits, variants;
  int64_t rounds = 0;
  int64_t messages = 0;
  int64_t run_ms = 0;
  double open_rate = 0;
  int64_t ring_bytes = 0;
  int64_t deadline_ms = 0;
  int64_t soak = 0;
};

// A case with its floor, if it has one, and all that is compared with it.
struct Contest {
  Comparison::Entrant floor;
  std::vector<Comparison::Entrant> candidates;
};

// Pairs each case that is asked for with its floors and with all candidates
// that support it, in each requested kind of payload. For --soak the cases are
// the floods among them, of so many messages. INVALID_ARGUMENT, naming the flag
// where there is one, if a word or a number means nothing, a variant is none of
// the candidates that are measured, or nothing would be measured.
//
// The systems outlive what is returned.
absl::StatusOr<std::vector<Contest>> ContestsOf(const Request& request,
                                                const Systems& floors,
                                                const Systems& second_floors,
                                                const Systems& candidates);

// The two CPUs that `words` names, or else the first two of `allowed`.
absl::StatusOr<CpuPair> CpusOf(const Words& words,
                               const std::vector<int>& allowed);

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_CONTESTS_H_
