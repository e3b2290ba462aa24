#ifndef TESTS_BENCHMARK_USAGE_METER_H_
#define TESTS_BENCHMARK_USAGE_METER_H_

#include <cstdint>
#include <mutex>

namespace mycelium::bench {

// What one process used between the first Begin() and the last End() of its
// roles.
struct Usage {
  int64_t cpu_ns = 0;  // All threads of the process.
  bool allocations_counted = false;
  int64_t allocations = 0;
  // Time that role threads were ready but did not run because something outside
  // this process ran instead. It is a lower bound: the time that other threads
  // of the process used meanwhile is taken off.
  int64_t delayed_ns = 0;
};

// Counts a Usage. One per process; in a run of threads all roles share it.
//
// Nothing here allocates: it runs while allocations are counted.
//
// Thread safety: any thread; each role calls Begin() and End() on its own
// thread.
class UsageMeter final {
 public:
  static constexpr int kThreadsMax = 8;

  void Begin();
  void End();

  // REQUIRES: every role that began has ended.
  Usage Total();

 private:
  // What one role's thread had used when it began, and what it used since.
  struct ThreadUsage {
    int id = 0;  // 0: free.
    int64_t cpu_ns_at_begin = 0;
    int64_t delayed_ns_at_begin = 0;
    int64_t cpu_ns = 0;
    int64_t delayed_ns = 0;
  };

  // The entry of the calling thread, made at its first call.
  ThreadUsage& ThisThread();

  std::mutex mutex_;  // Guards what follows.
  bool begun_ = false;
  int64_t cpu_ns_at_begin_ = 0;
  int64_t allocations_at_begin_ = 0;
  Usage usage_;
  ThreadUsage threads_[kThreadsMax];
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_USAGE_METER_H_
