#ifndef TESTS_BENCHMARK_MYCELIUM_WAKE_SYSTEM_H_
#define TESTS_BENCHMARK_MYCELIUM_WAKE_SYSTEM_H_

#include <string>

#include "tests/benchmark/system.h"

namespace mycelium::bench {

// A publisher that waits for room under overflow = block. A sample begins
// before the subscriber gives back the room of a message. It ends after the
// publisher's call has returned, which by then has published one more. The lane
// is full all the time.
//
// Over a socket the subscriber's side tells of room in batches. There a sample
// begins with the message that makes it tell.
class WakeSystem final : public System {
 public:
  // kInproc: a publisher and a pull subscriber of one bus. kLinkCaller: two
  // processes, over unix or shm; the waiting publisher runs the node's loop
  // itself. kLinkThread: a thread of the publisher's node runs the loop and has
  // to wake the publisher.
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
