#ifndef TESTS_SUPPORT_SLEEPING_THREAD_H_
#define TESTS_SUPPORT_SLEEPING_THREAD_H_

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <utility>

namespace mycelium::test {

// A thread that does one thing and sleeps in the course of it, for example for
// a lock or for another thread.
//
// Thread safety: for the thread that made it.
class SleepingThread final {
 public:
  explicit SleepingThread(std::function<void()> run)
      : thread_([this, run = std::move(run)] {
          id_.store(syscall(SYS_gettid));
          run();
          has_returned_.store(true);
        }) {}
  SleepingThread(const SleepingThread&) = delete;
  SleepingThread& operator=(const SleepingThread&) = delete;
  ~SleepingThread() { Join(); }

  // Waits until it sleeps, or has returned.
  void AwaitSleep() const {
    while (!has_returned() && !IsAsleep()) std::this_thread::yield();
  }
  bool has_returned() const { return has_returned_.load(); }
  void Join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  bool IsAsleep() const {
    if (id_.load() == 0) return false;
    std::ifstream file("/proc/self/task/" + std::to_string(id_.load()) +
                       "/stat");
    std::string stat;
    std::getline(file, stat);
    // Behind the thread's name, which may contain anything.
    const size_t name_end = stat.rfind(") ");
    return name_end != std::string::npos && stat.size() > name_end + 2 &&
           stat[name_end + 2] == 'S';
  }

  std::atomic<long> id_{0};
  std::atomic<bool> has_returned_{false};
  std::thread thread_;
};

}  // namespace mycelium::test

#endif  // TESTS_SUPPORT_SLEEPING_THREAD_H_
