#ifndef TESTS_BENCHMARK_MYCELIUM_COUNTING_ENVIRONMENT_H_
#define TESTS_BENCHMARK_MYCELIUM_COUNTING_ENVIRONMENT_H_

#include <atomic>
#include <cstdint>

#include "mycelium/base/clock.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/sys.h"
#include "mycelium/base/waiter.h"

namespace mycelium::bench {

// The kernel, with a count of the calls that carry messages or wait for them.
// Reading a clock does not count: it stays in user space.
class CountingSys final : public Sys {
 public:
  int64_t calls() const { return calls_.load(std::memory_order_relaxed); }

  int64_t Read(int fd, void* bytes, size_t bytes_max) override {
    Count();
    return Sys::Read(fd, bytes, bytes_max);
  }
  int64_t Write(int fd, const void* bytes, size_t bytes_count) override {
    Count();
    return Sys::Write(fd, bytes, bytes_count);
  }
  int64_t SendMsg(int fd, const msghdr& message, int flags) override {
    Count();
    return Sys::SendMsg(fd, message, flags);
  }
  int64_t Recv(int fd, void* bytes, size_t bytes_max, int flags) override {
    Count();
    return Sys::Recv(fd, bytes, bytes_max, flags);
  }
  int64_t RecvMsg(int fd, msghdr* message, int flags) override {
    Count();
    return Sys::RecvMsg(fd, message, flags);
  }
  int64_t EpollCtl(int epoll_fd, int operation, int fd,
                   epoll_event* event) override {
    Count();
    return Sys::EpollCtl(epoll_fd, operation, fd, event);
  }
  int64_t EpollWait(int epoll_fd, epoll_event* events, int events_max,
                    int64_t timeout_ns) override {
    Count();
    return Sys::EpollWait(epoll_fd, events, events_max, timeout_ns);
  }
  int64_t TimerFdSet(int fd, int64_t after_ns) override {
    Count();
    return Sys::TimerFdSet(fd, after_ns);
  }
  int64_t FutexWait(const std::atomic<uint32_t>* word, uint32_t expected,
                    int64_t timeout_ns) override {
    Count();
    return Sys::FutexWait(word, expected, timeout_ns);
  }
  int64_t FutexWake(const std::atomic<uint32_t>* word,
                    int waiters_max) override {
    Count();
    return Sys::FutexWake(word, waiters_max);
  }
  int64_t SchedYield() override {
    Count();
    return Sys::SchedYield();
  }
  int64_t BarrierInAllThreads() override {
    Count();
    return Sys::BarrierInAllThreads();
  }
  int64_t BarrierInAllProcesses() override {
    Count();
    return Sys::BarrierInAllProcesses();
  }

 private:
  // Costs some ns, beside a call that takes some hundred.
  void Count() { calls_.fetch_add(1, std::memory_order_relaxed); }

  std::atomic<int64_t> calls_{0};
};

// The real world with a CountingSys. Outlives the buses that it is given to.
struct CountingEnvironment {
  CountingSys sys;
  SystemClock clock{sys};
  SystemWaiter waiter{sys, clock};
  Environment environment{sys, clock, waiter};
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_MYCELIUM_COUNTING_ENVIRONMENT_H_
