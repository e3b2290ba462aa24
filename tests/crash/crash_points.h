#ifndef TESTS_CRASH_CRASH_POINTS_H_
#define TESTS_CRASH_CRASH_POINTS_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "mycelium/base/sys.h"

namespace mycelium::test {

// Where a process may be killed: before each store to shared memory, in the
// middle of each copy to it, before each system call, and where the tested
// program records something. No other process can see what happens between two
// of these points.
//
// Each process counts its own points. Stores are points only in a program that
// is built with MYCELIUM_SHARED_WORD_HOOKS.
//
// Thread safety: all functions may be called from any thread.

// What a process reports of its points, in memory that outlives it.
struct CrashPage {
  std::atomic<uint64_t> stores;    // Passed.
  std::atomic<uint64_t> calls;     // The same of system calls.
  std::atomic<int64_t> killed_at;  // By the monotonic clock; 0: it was not.
};

// From here on this process counts its points in `page`, and kills itself at
// the `store`-th store or the `call`-th system call, whichever comes first; 0:
// never.
void ArmCrashPoints(CrashPage& page, uint64_t store, uint64_t call);

// A point of the program's own, counted as a store.
void PassCrashPoint();

// Whether stores are points of this program.
bool HasStorePoints();

// The kernel. Each call is a point, except reading a clock, which shows nothing
// to anybody. //tests/tidy checks that.
class CrashSys final : public Sys {
 public:
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
  int64_t ReadDirectory(const char* path, size_t names_max,
                        std::vector<std::string>* names) override;
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
  int64_t EpollWait(int epoll_fd, epoll_event* events, int events_max,
                    int64_t timeout_ns) override;
  int64_t EventFd() override;
  int64_t TimerFd() override;
  int64_t TimerFdSet(int fd, int64_t after_ns) override;
  int64_t FutexWait(const std::atomic<uint32_t>* word, uint32_t expected,
                    int64_t timeout_ns) override;
  int64_t FutexWake(const std::atomic<uint32_t>* word,
                    int waiters_max) override;
  int64_t SchedYield() override;
  int64_t RegisterBarrier() override;
  int64_t BarrierInAllThreads() override;
  int64_t RegisterSharedBarrier() override;
  int64_t BarrierInAllProcesses() override;
  void* Map(size_t bytes, int protection, int flags, int fd,
            int64_t* error) override;
  int64_t Unmap(void* address, size_t bytes) override;
  int64_t MapOver(void* address, size_t bytes, int fd) override;
  int64_t KeepFromChildren(void* address, size_t bytes) override;
  int64_t MemfdCreate(const char* name) override;
  int64_t Reserve(int fd, size_t bytes) override;
  int64_t AddSeals(int fd, int seals) override;
  int64_t GetSeals(int fd) override;
  int64_t GetPid() override;
  int64_t PidfdOpen(int64_t pid) override;
  int64_t GetEffectiveUid() override;
  int64_t HostName(char* bytes, size_t bytes_max) override;
  int64_t GetRandom(void* bytes, size_t bytes_count) override;
};

}  // namespace mycelium::test

#endif  // TESTS_CRASH_CRASH_POINTS_H_
