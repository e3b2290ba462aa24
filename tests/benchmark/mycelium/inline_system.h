#ifndef TESTS_BENCHMARK_MYCELIUM_INLINE_SYSTEM_H_
#define TESTS_BENCHMARK_MYCELIUM_INLINE_SYSTEM_H_

#include <string>

#include "absl/status/statusor.h"
#include "tests/benchmark/system.h"

namespace mycelium::bench {

// Publisher and inline handler in one thread: what a call of Publish() costs,
// the handler included. There is no other thread to wait for, so it has only
// flood under spin. Its latencies are the means of small batches of messages,
// since reading the clock takes longer than publishing; so it has a median and
// no tail.
//
// The ring that is shown beside it crosses two threads: that floor only tells
// what a hand-over would cost.
class InlineSystem final : public System {
 public:
  enum class Publish { kByReference, kByPointer };

  // `log_memory`: see memory_log.h.
  explicit InlineSystem(Publish publish, bool log_memory = false)
      : publish_(publish), log_memory_(log_memory) {}

  std::string name() const override { return "mycelium"; }
  std::string variant() const override {
    return publish_ == Publish::kByReference ? "inline" : "inline_ptr";
  }
  bool Supports(const Case& what) const override;
  absl::StatusOr<RoundResult> Run(const Case& what,
                                  const CpuPair& cpus) override;

 private:
  const Publish publish_;
  const bool log_memory_;
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_MYCELIUM_INLINE_SYSTEM_H_
