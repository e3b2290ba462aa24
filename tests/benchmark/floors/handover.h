#ifndef TESTS_BENCHMARK_FLOORS_HANDOVER_H_
#define TESTS_BENCHMARK_FLOORS_HANDOVER_H_

#include <string>

#include "tests/benchmark/system.h"

namespace mycelium::bench {

// The least that two CPUs need to hand over a message through memory. The
// writer copies the payload into a mapping that both sides have, and then
// stores a flag on a cache line of its own. The reader polls the flag, or
// sleeps on it (a futex), and copies the payload out. One message fits.
//
// Floor of `inproc` (two threads) and `shm` (two processes) for latency and
// open loop.
class HandoverFloor final : public System {
 public:
  std::string name() const override { return "floor"; }
  std::string variant() const override { return "handover"; }
  bool Supports(const Case& what) const override;
  absl::StatusOr<RoundResult> Run(const Case& what,
                                  const CpuPair& cpus) override;
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_FLOORS_HANDOVER_H_
