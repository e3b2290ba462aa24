#ifndef TESTS_BENCHMARK_MYCELIUM_QUEUED_SYSTEM_H_
#define TESTS_BENCHMARK_MYCELIUM_QUEUED_SYSTEM_H_

#include <string>

#include "absl/status/statusor.h"
#include "tests/benchmark/system.h"

namespace mycelium::bench {

// Two threads of one process that exchange messages through pull subscribers of
// one bus. Under spin the bus has no thread of its own, since there is no CPU
// left for one to spin on.
class QueuedSystem final : public System {
 public:
  // kReceive: Receive(), which waits as the bus is told to. kTryReceive: the
  // caller spins on TryReceive(), which never does other work of the bus.
  enum class Pull { kReceive, kTryReceive };

  // `log_memory`: see memory_log.h.
  explicit QueuedSystem(Pull pull, bool log_memory = false)
      : pull_(pull), log_memory_(log_memory) {}

  std::string name() const override { return "mycelium"; }
  std::string variant() const override {
    return pull_ == Pull::kReceive ? "queued" : "queued_try";
  }
  bool Supports(const Case& what) const override;
  absl::StatusOr<RoundResult> Run(const Case& what,
                                  const CpuPair& cpus) override;

 private:
  const Pull pull_;
  const bool log_memory_;
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_MYCELIUM_QUEUED_SYSTEM_H_
