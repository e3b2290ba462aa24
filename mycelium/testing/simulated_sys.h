#ifndef MYCELIUM_TESTING_SIMULATED_SYS_H_
#define MYCELIUM_TESTING_SIMULATED_SYS_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mycelium/base/random.h"
#include "mycelium/base/sys.h"
#include "mycelium/testing/simulated_kernel.h"

namespace mycelium {

// The system calls of one process of a simulated world: its descriptors, and
// the files that it finds. The memory is real.
//
// After Crash() every descriptor is closed and no call has an effect any more,
// so that the process's objects can be destroyed without a trace.
//
// Thread safety: none.
class SimulatedSys final : public Sys {
 public:
  static constexpr int64_t kUid = 1000;

  // `place`: where the process runs, for partitions. `kernel` outlives it.
  SimulatedSys(SimulatedKernel& kernel, int place, int64_t pid, uint64_t seed)
      : kernel_(kernel), place_(place), pid_(pid), random_(seed) {}
  ~SimulatedSys() override;

  // Sets what the process reads at `path`.
  void SetFile(const std::string& path, std::string content) {
    regular_[path] = std::move(content);
  }

  void Crash();
  bool crashed() const { return crashed_; }
  // Descriptors that are open.
  size_t open_files() const;

  // Records an event that is not a system call in the world's trace.
  void Note(Happening what, uint64_t a) {
    if (!crashed_) kernel_.trace().Note(kernel_.now(), what, place_, a);
  }

  // Whether a wait for `epoll_fd` would end now.
  bool IsReady(int epoll_fd) const;

  int64_t Open(const char* path, int flags, mode_t mode) override;
  int64_t Close(int fd) override;
  int64_t Read(int fd, void* bytes, size_t bytes_max) override;
  int64_t Write(int fd, const void* bytes, size_t bytes_count) override;
  int64_t Fstat(int fd, struct stat* out) override;
  int64_t Lstat(const char* path, struct stat* out) override;
  int64_t Unlink(const char* path) override;
  int64_t Mkdir(const char* path, mode_t mode) override;
  int64_t Chmod(const char* path, mode_t mode) override;
  int64_t Flock(int fd, int operation) override;
  int64_t Socket(int domain, int type) override;
  int64_t Bind(int fd, const sockaddr* address, socklen_t bytes) override;
  int64_t Listen(int fd, int backlog) override;
  int64_t Accept(int fd) override;
  int64_t Connect(int fd, const sockaddr* address, socklen_t bytes) override;
  int64_t Shutdown(int fd) override;
  int64_t SendMsg(int fd, const msghdr& message, int flags) override;
  int64_t Recv(int fd, void* bytes, size_t bytes_max, int flags) override;
  int64_t RecvMsg(int fd, msghdr* message, int flags) override;
  int64_t GetSockOpt(int fd, int level, int name, void* value,
                     socklen_t* bytes) override;
  int64_t SetSockOpt(int fd, int level, int name, const void* value,
                     socklen_t bytes) override;
  int64_t EpollCreate() override;
  int64_t EpollCtl(int epoll_fd, int operation, int fd,
                   epoll_event* event) override;
  // Never waits: SimulatedProcess does.
  int64_t EpollWait(int epoll_fd, epoll_event* events, int events_max,
                    int64_t timeout_ns) override;
  int64_t EventFd() override;
  int64_t TimerFd() override;
  int64_t TimerFdSet(int fd, int64_t after_ns) override;
  int64_t FutexWait(const std::atomic<uint32_t>* word, uint32_t expected,
                    int64_t timeout_ns) override;
  int64_t FutexWake(const std::atomic<uint32_t>* word,
                    int waiters_max) override;
  void* Map(size_t bytes, int protection, int flags, int fd,
            int64_t* error) override;
  int64_t Unmap(void* address, size_t bytes) override;
  // Nodes share no memory, and no descriptor reports the end of a process.
  int64_t MemfdCreate(const char*) override { return -ENOSYS; }
  int64_t PidfdOpen(int64_t) override { return -ENOSYS; }
  int64_t GetPid() override { return pid_; }
  int64_t GetEffectiveUid() override { return kUid; }
  int64_t HostName(char* bytes, size_t bytes_max) override;
  int64_t GetRandom(void* bytes, size_t bytes_count) override;
  int64_t MonotonicNs() override { return kernel_.now(); }
  int64_t RealtimeNs() override;

 private:
  int Add(SimulatedKernel::FilePtr file);
  SimulatedKernel::FilePtr Find(int fd) const;
  // Null if the descriptor is of another type, or not open.
  template <typename File>
  std::shared_ptr<File> FindAs(int fd) const {
    return std::dynamic_pointer_cast<File>(Find(fd));
  }

  SimulatedKernel& kernel_;
  const int place_;
  const int64_t pid_;
  Random random_;
  bool crashed_ = false;
  std::vector<SimulatedKernel::FilePtr> files_;  // By descriptor.
  std::map<std::string, std::string> regular_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TESTING_SIMULATED_SYS_H_
