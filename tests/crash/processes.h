#ifndef TESTS_CRASH_PROCESSES_H_
#define TESTS_CRASH_PROCESSES_H_

#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <utility>

namespace mycelium::test {

// Children of a driver, and what they tell it. The driver has one thread, so
// that it can fork.

inline constexpr unsigned kHangSeconds = 30;

// By the monotonic clock.
inline int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

// Raises the word and wakes the processes that wait for that.
inline void Signal(std::atomic<uint32_t>& changed) {
  changed.fetch_add(1);
  syscall(SYS_futex, &changed, FUTEX_WAKE, 1 << 30, nullptr, nullptr, 0);
}

// Waits until the word is not `seen` any more, or for so long.
inline void AwaitNextChange(std::atomic<uint32_t>& changed, uint32_t seen,
                            const timespec& most) {
  syscall(SYS_futex, &changed, FUTEX_WAIT, seen, &most, nullptr, 0);
}

// Waits until `holds` is true, looking whenever the word is raised. False: it
// was not raised for a long time.
template <typename Holds>
bool AwaitChange(std::atomic<uint32_t>& changed, Holds holds) {
  while (true) {
    const uint32_t seen = changed;
    if (holds()) return true;
    const timespec limit = {kHangSeconds, 0};
    if (syscall(SYS_futex, &changed, FUTEX_WAIT, seen, &limit, nullptr, 0) !=
            0 &&
        errno == ETIMEDOUT) {
      return holds();
    }
  }
}

// For a process, by its number, or for "self".
inline size_t OpenDescriptorsOf(const std::string& process) {
  const std::string path = "/proc/" + process + "/fd";
  return static_cast<size_t>(
      std::distance(begin(std::filesystem::directory_iterator(path)),
                    std::filesystem::directory_iterator()));
}
inline size_t SharedMappingsOf(const std::string& process) {
  std::ifstream maps("/proc/" + process + "/maps");
  size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    count += line.find("memfd:mycelium") != std::string::npos ? 1 : 0;
  }
  return count;
}

// A process that ends with the object, and hangs for no longer than
// kHangSeconds.
class Process final {
 public:
  Process() = default;
  // Runs `body` in a child, which exits with the value that `body` returns.
  explicit Process(const std::function<int()>& body) {
    pid_ = fork();
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(kHangSeconds);
    _exit(body());
  }
  Process(Process&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  Process& operator=(Process&& other) noexcept {
    std::swap(pid_, other.pid_);
    return *this;
  }
  ~Process() { (void)Kill(); }

  pid_t pid() const { return pid_; }
  // The caller has already waited for it.
  void Forget() { pid_ = -1; }

  // Waits for its end and returns its exit status, or the signal, negated.
  int Wait() {
    int status = 0;
    waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  // Whether the process lived until now.
  bool Kill() {
    if (pid_ <= 0) return false;
    kill(pid_, SIGKILL);
    return Wait() == -SIGKILL;
  }
  // Sends SIGSTOP, and waits until the process stands. False: it does not.
  bool Stop() {
    kill(pid_, SIGSTOP);
    int status = 0;
    waitpid(pid_, &status, WUNTRACED);
    return WIFSTOPPED(status);
  }
  void Resume() { kill(pid_, SIGCONT); }

 private:
  pid_t pid_ = -1;
};

// A T of zeroes that children share.
template <typename T>
class SharedPage final {
 public:
  SharedPage()
      : page_(static_cast<T*>(mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  SharedPage(const SharedPage&) = delete;
  SharedPage& operator=(const SharedPage&) = delete;
  ~SharedPage() { munmap(page_, sizeof(T)); }
  T& operator*() { return *page_; }
  T* operator->() { return page_; }

 private:
  T* const page_;
};

}  // namespace mycelium::test

#endif  // TESTS_CRASH_PROCESSES_H_
