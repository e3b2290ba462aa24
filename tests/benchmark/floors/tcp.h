#ifndef TESTS_BENCHMARK_FLOORS_TCP_H_
#define TESTS_BENCHMARK_FLOORS_TCP_H_

#include <string>

#include "tests/benchmark/system.h"

namespace mycelium::bench {

// What the kernel allows between two processes over TCP on loopback, with
// TCP_NODELAY and blocking calls: whole messages written and read, and under
// flood as many of them as fit into 64 KiB per call.
//
// It is no floor of any contest. It is shown beside `grpc_stream`, to tell what
// gRPC adds to the connection below it.
class TcpFloor final : public System {
 public:
  std::string name() const override { return "floor"; }
  std::string variant() const override { return "tcp"; }
  bool Supports(const Case& what) const override;
  absl::StatusOr<RoundResult> Run(const Case& what,
                                  const CpuPair& cpus) override;
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_FLOORS_TCP_H_
