#ifndef TESTS_BENCHMARK_FLOORS_FUTEX_WAKE_H_
#define TESTS_BENCHMARK_FLOORS_FUTEX_WAKE_H_

#include <string>

#include "tests/benchmark/system.h"

namespace mycelium::bench {

// The least that it takes to wake a thread that sleeps in the kernel on another
// CPU: one side stores a word and calls futex(FUTEX_WAKE), the other is back
// from futex(FUTEX_WAIT) and has read the clock. No message goes along.
//
// Floor of `inproc` (two threads) and `shm` and `unix` (two processes) for
// wake.
class FutexWakeFloor final : public System {
 public:
  std::string name() const override { return "floor"; }
  std::string variant() const override { return "futex_wake"; }
  bool Supports(const Case& what) const override;
  absl::StatusOr<RoundResult> Run(const Case& what,
                                  const CpuPair& cpus) override;
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_FLOORS_FUTEX_WAKE_H_
