#ifndef TESTS_BENCHMARK_FLOORS_CODEC_H_
#define TESTS_BENCHMARK_FLOORS_CODEC_H_

#include <string>

#include "tests/benchmark/system.h"

namespace mycelium::bench {

// What Protobuf takes of a typed message: it is serialised into an array and
// parsed from it, on one thread, and goes nowhere. A sample is both, the mean
// of some of them, since the clock takes as long as one: a median without a
// tail.
//
// No floor of any contest: shown beside `handover`, to tell what a typed
// message costs above a raw one besides that.
class CodecFloor final : public System {
 public:
  std::string name() const override { return "floor"; }
  std::string variant() const override { return "codec"; }
  bool Supports(const Case& what) const override;
  absl::StatusOr<RoundResult> Run(const Case& what,
                                  const CpuPair& cpus) override;
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_FLOORS_CODEC_H_
