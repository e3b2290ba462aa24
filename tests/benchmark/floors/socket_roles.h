#ifndef TESTS_BENCHMARK_FLOORS_SOCKET_ROLES_H_
#define TESTS_BENCHMARK_FLOORS_SOCKET_ROLES_H_

#include "absl/status/statusor.h"
#include "tests/benchmark/system.h"

namespace mycelium::bench {

// Whole messages written to and read from two connected stream sockets, one for
// each role: the common part of SocketpairFloor and TcpFloor. Under flood as
// many messages as fit into 64 KiB go into one call. Under Wait::kBlock the
// calls block; under Wait::kSpin they are repeated until they move bytes.
//
// The caller keeps and closes the sockets.
absl::StatusOr<RoundResult> RunOverSockets(const int fds[2], const Case& what,
                                           const CpuPair& cpus);

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_FLOORS_SOCKET_ROLES_H_
