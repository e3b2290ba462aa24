#ifndef TESTS_BENCHMARK_FLOORS_GRPC_CALLBACK_H_
#define TESTS_BENCHMARK_FLOORS_GRPC_CALLBACK_H_

#include <string>

#include "tests/benchmark/system.h"

namespace mycelium::bench {

// The stream of GrpcStreamFloor through gRPC's callback API: replies are
// written, and messages counted, in gRPC's own callbacks, so no work is handed
// to another thread, except where gRPC itself does that.
//
// It is no floor of any contest. It is shown beside `grpc_stream`, to separate
// what Mycelium adds from what the callback API costs.
class GrpcCallbackFloor final : public System {
 public:
  std::string name() const override { return "floor"; }
  std::string variant() const override { return "grpc_cb"; }
  bool Supports(const Case& what) const override;
  absl::StatusOr<RoundResult> Run(const Case& what,
                                  const CpuPair& cpus) override;
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_FLOORS_GRPC_CALLBACK_H_
