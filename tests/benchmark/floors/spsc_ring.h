#ifndef TESTS_BENCHMARK_FLOORS_SPSC_RING_H_
#define TESTS_BENCHMARK_FLOORS_SPSC_RING_H_

#include <string>

#include "tests/benchmark/system.h"

namespace mycelium::bench {

// The most messages that two CPUs can pass through memory: all of one size,
// copied in and out of a byte ring. Head and tail have cache lines of their
// own. Each side keeps a copy of the other's position and looks again only when
// the copy says full or empty. The reader publishes its position once per
// eighth of the ring. There is nothing else: no headers, no lengths, no second
// reader.
//
// Under Wait::kBlock a side that finds the ring empty, or full, sleeps on a
// futex; for that, both sides pay a full barrier per step.
//
// Floor of `inproc` (two threads) and `shm` (two processes) for flood.
class SpscRingFloor final : public System {
 public:
  std::string name() const override { return "floor"; }
  std::string variant() const override { return "spsc_ring"; }
  bool Supports(const Case& what) const override;
  absl::StatusOr<RoundResult> Run(const Case& what,
                                  const CpuPair& cpus) override;
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_FLOORS_SPSC_RING_H_
