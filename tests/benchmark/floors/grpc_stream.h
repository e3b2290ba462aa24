#ifndef TESTS_BENCHMARK_FLOORS_GRPC_STREAM_H_
#define TESTS_BENCHMARK_FLOORS_GRPC_STREAM_H_

#include <string>

#include "tests/benchmark/system.h"

namespace mycelium::bench {

// What gRPC allows between two processes over loopback: a plain bidirectional
// stream with the synchronous API, one message per write, the payload in a
// field of bytes. Only under Wait::kBlock: gRPC's own threads need the CPUs
// that spinning sides would take.
//
// Floor of `grpc` in all modes.
class GrpcStreamFloor final : public System {
 public:
  std::string name() const override { return "floor"; }
  std::string variant() const override { return "grpc_stream"; }
  bool Supports(const Case& what) const override;
  absl::StatusOr<RoundResult> Run(const Case& what,
                                  const CpuPair& cpus) override;
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_FLOORS_GRPC_STREAM_H_
