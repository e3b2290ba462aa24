#ifndef TESTS_BENCHMARK_FLOORS_SOCKETPAIR_H_
#define TESTS_BENCHMARK_FLOORS_SOCKETPAIR_H_

#include <string>

#include "tests/benchmark/system.h"

namespace mycelium::bench {

// What the kernel allows between two processes over a Unix stream socket, with
// its default buffers: whole messages are written and read, and under flood as
// many of them as fit into 64 KiB per call. Under Wait::kBlock the calls block;
// under Wait::kSpin they are repeated until they move bytes.
//
// Floor of `unix` in all modes.
class SocketpairFloor final : public System {
 public:
  std::string name() const override { return "floor"; }
  std::string variant() const override { return "socketpair"; }
  bool Supports(const Case& what) const override;
  absl::StatusOr<RoundResult> Run(const Case& what,
                                  const CpuPair& cpus) override;
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_FLOORS_SOCKETPAIR_H_
