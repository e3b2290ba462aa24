#ifndef TESTS_BENCHMARK_FLOORS_CODEC_H_
#define TESTS_BENCHMARK_FLOORS_CODEC_H_

#include <string>

#include "tests/benchmark/system.h"

namespace mycelium::bench {

// Protobuf's cost of a typed message: on one thread the message is serialised
// into an array and parsed from it; it is not sent. A sample covers both steps
// and is the mean of some messages, since reading the clock takes as long as
// one; so it has a median without a tail.
//
// It is no floor of any contest. It is shown beside `handover`, to tell what a
// typed message costs above a raw one besides the encoding.
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
