#ifndef TESTS_BENCHMARK_MYCELIUM_WAKE_SYSTEM_H_
#define TESTS_BENCHMARK_MYCELIUM_WAKE_SYSTEM_H_

#include <string>

#include "tests/benchmark/system.h"

namespace mycelium::bench {

// A publisher that waits for room under overflow = block: a sample is the time
// from before the subscriber gives back the room of a message to after the
// publisher's call has returned, which has then published one more. The lane is
// full all the time.
//
// Over a socket room is told in batches. A sample starts then with the message
// that made the subscriber's side tell.
class WakeSystem final : public System {
 public:
  // kInproc: a publisher and a pull subscriber of one bus. kLinkCaller: two
  // processes, over unix or shm; the waiting publisher runs the node's loop
  // itself. kLinkThread: a thread of its node does and has to wake it.
  enum class Path { kInproc, kLinkCaller, kLinkThread };

  explicit WakeSystem(Path path) : path_(path) {}

  std::string name() const override { return "mycelium"; }
  std::string variant() const override;
  bool Supports(const Case& what) const override;
  absl::StatusOr<RoundResult> Run(const Case& what,
                                  const CpuPair& cpus) override;

 private:
  const Path path_;
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_MYCELIUM_WAKE_SYSTEM_H_
