#include "tests/benchmark/usage_meter.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "tests/benchmark/allocation_counter.h"
#include "tests/benchmark/cpu_watch.h"

namespace mycelium::bench {
namespace {

// Exact, unlike the ticks of getrusage(), and of the same scope.
int64_t CpuNs(clockid_t clock) {
  timespec used;
  clock_gettime(clock, &used);
  return int64_t{used.tv_sec} * 1'000'000'000 + used.tv_nsec;
}

}  // namespace

UsageMeter::ThreadUsage& UsageMeter::ThisThread() {
  const int id = gettid();
  int index = 0;
  while (index < kThreadsMax - 1 && threads_[index].id != 0 &&
         threads_[index].id != id) {
    ++index;
  }
  threads_[index].id = id;
  return threads_[index];
}

void UsageMeter::Begin() {
  std::lock_guard<std::mutex> lock(mutex_);
  ThreadUsage& thread = ThisThread();
  thread.delayed_ns_at_begin = DelayedNsNow();
  thread.cpu_ns_at_begin = CpuNs(CLOCK_THREAD_CPUTIME_ID);
  if (begun_) return;
  begun_ = true;
  allocations_at_begin_ = AllocationsSoFar().value_or(0);
  cpu_ns_at_begin_ = CpuNs(CLOCK_PROCESS_CPUTIME_ID);
}

void UsageMeter::End() {
  const std::optional<int64_t> allocations = AllocationsSoFar();
  const int64_t cpu_ns = CpuNs(CLOCK_PROCESS_CPUTIME_ID);
  const int64_t thread_cpu_ns = CpuNs(CLOCK_THREAD_CPUTIME_ID);
  std::lock_guard<std::mutex> lock(mutex_);
  ThreadUsage& thread = ThisThread();
  thread.cpu_ns = thread_cpu_ns - thread.cpu_ns_at_begin;
  thread.delayed_ns = DelayedNsNow() - thread.delayed_ns_at_begin;
  usage_.cpu_ns = cpu_ns - cpu_ns_at_begin_;
  usage_.allocations_counted = allocations.has_value();
  usage_.allocations = allocations.value_or(0) - allocations_at_begin_;
}

Usage UsageMeter::Total() {
  std::lock_guard<std::mutex> lock(mutex_);
  int64_t role_cpu_ns = 0;
  int64_t delayed_ns = 0;
  for (const ThreadUsage& thread : threads_) {
    role_cpu_ns += thread.cpu_ns;
    delayed_ns += thread.delayed_ns;
  }
  const int64_t own_others_ns =
      std::max<int64_t>(0, usage_.cpu_ns - role_cpu_ns);
  Usage total = usage_;
  total.delayed_ns = std::max<int64_t>(0, delayed_ns - own_others_ns);
  return total;
}

}  // namespace mycelium::bench
