#ifndef TESTS_BENCHMARK_MYCELIUM_UNIX_SYSTEM_H_
#define TESTS_BENCHMARK_MYCELIUM_UNIX_SYSTEM_H_

#include <string>

#include "absl/status/statusor.h"
#include "tests/benchmark/system.h"

namespace mycelium::bench {

// Two processes with a bus each, linked by a Unix socket. Handlers are inline:
// they run where the link is read, and the replies of a ping-pong are published
// inside them.
class UnixSystem final : public System {
 public:
  // kCaller: the one thread of each side polls. kThread: the bus has a thread
  // that does, beside the one that publishes, on the same CPU; so only under
  // block.
  enum class Polling { kCaller, kThread };

  // `log_memory`: see memory_log.h.
  explicit UnixSystem(Polling polling, bool log_memory = false)
      : polling_(polling), log_memory_(log_memory) {}

  std::string name() const override { return "mycelium"; }
  std::string variant() const override {
    return polling_ == Polling::kCaller ? "caller" : "thread";
  }
  bool Supports(const Case& what) const override;
  absl::StatusOr<RoundResult> Run(const Case& what,
                                  const CpuPair& cpus) override;

 private:
  const Polling polling_;
  const bool log_memory_;
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_MYCELIUM_UNIX_SYSTEM_H_
