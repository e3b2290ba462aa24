#ifndef TESTS_BENCHMARK_MYCELIUM_MEMORY_LOG_H_
#define TESTS_BENCHMARK_MYCELIUM_MEMORY_LOG_H_

#include <cstdint>
#include <limits>

namespace mycelium::bench {

// Prints the resident memory of this process a few times during a run, or
// nothing unless it is told to. The figures grow if the process keeps something
// of each message.
//
// Thread safety: one thread.
class MemoryLog final {
 public:
  // `side`: a literal.
  MemoryLog(bool enabled, const char* side, int64_t messages)
      : side_(side), messages_(messages), next_(enabled ? 0 : kNever) {}

  // To be called for each message.
  void At(int64_t number) {
    if (number == next_) Print();
  }

 private:
  static constexpr int64_t kSteps = 4;
  // No message has this number; the warm-up's numbers are negative.
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::min();

  void Print();

  const char* const side_;
  const int64_t messages_;
  int64_t next_;
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_MYCELIUM_MEMORY_LOG_H_
