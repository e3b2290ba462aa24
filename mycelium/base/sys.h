#ifndef MYCELIUM_BASE_SYS_H_
#define MYCELIUM_BASE_SYS_H_

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mycelium {

// The system calls that Mycelium makes, as an interface: a test replaces it to
// make the n-th call of a kind fail, and another platform replaces it to bring
// its own. Nothing outside base/ calls the kernel in any other way.
//
// Every call returns what the kernel returned, or the negated errno: there is
// no global error state. Calls are not retried here; EINTR is the caller's.
//
// Thread safety: all members may be called from any thread.
//
// Example:
//   const int64_t taken = sys.Read(fd, buffer, sizeof buffer);
//   if (taken < 0) return ErrnoStatus(taken, "read ", path);
class Sys {
 public:
  virtual ~Sys() = default;

  // The kernel itself. Lives for ever.
  static Sys& Real();

  // Files and directories.
  virtual int64_t Open(const char* path, int flags, mode_t mode);
  virtual int64_t Close(int fd);
  virtual int64_t Read(int fd, void* bytes, size_t bytes_max);
  virtual int64_t Write(int fd, const void* bytes, size_t bytes_count);
  virtual int64_t Fstat(int fd, struct stat* out);
  virtual int64_t Lstat(const char* path, struct stat* out);
  virtual int64_t Unlink(const char* path);
  virtual int64_t Mkdir(const char* path, mode_t mode);
  virtual int64_t Chmod(const char* path, mode_t mode);
  virtual int64_t Flock(int fd, int operation);
  // Adds the names in a directory, in no order and without "." and "..", up to
  // `names_max` of them. Returns how many.
  virtual int64_t ReadDirectory(const char* path, size_t names_max,
                                std::vector<std::string>* names);

  // Sockets. Every descriptor made here is close-on-exec and non-blocking.
  virtual int64_t Socket(int domain, int type);
  virtual int64_t Bind(int fd, const sockaddr* address, socklen_t bytes);
  virtual int64_t Listen(int fd, int backlog);
  virtual int64_t Accept(int fd);
  virtual int64_t Connect(int fd, const sockaddr* address, socklen_t bytes);
  // Ends both directions.
  virtual int64_t Shutdown(int fd);
  // One piece with nothing beside it is the cheapest: it goes by send(2), where
  // the kernel has no header to copy and check.
  virtual int64_t SendMsg(int fd, const msghdr& message, int flags);
  virtual int64_t Recv(int fd, void* bytes, size_t bytes_max, int flags);
  virtual int64_t RecvMsg(int fd, msghdr* message, int flags);
  virtual int64_t GetSockOpt(int fd, int level, int name, void* value,
                             socklen_t* bytes);
  virtual int64_t SetSockOpt(int fd, int level, int name, const void* value,
                             socklen_t bytes);

  // Readiness and wake-ups. Timeouts are in nanoseconds; -1 waits for ever.
  virtual int64_t EpollCreate();
  virtual int64_t EpollCtl(int epoll_fd, int operation, int fd,
                           epoll_event* event);
  virtual int64_t EpollWait(int epoll_fd, epoll_event* events, int events_max,
                            int64_t timeout_ns);
  virtual int64_t EventFd();
  // A descriptor that becomes readable when its time is up; TimerFdSet() makes
  // it unreadable and sets that to `after_ns` from now, or never if 0.
  virtual int64_t TimerFd();
  virtual int64_t TimerFdSet(int fd, int64_t after_ns);
  // Sleeps while `*word == expected`; returns -ETIMEDOUT after `timeout_ns`.
  virtual int64_t FutexWait(const std::atomic<uint32_t>* word,
                            uint32_t expected, int64_t timeout_ns);
  virtual int64_t FutexWake(const std::atomic<uint32_t>* word, int waiters_max);
  virtual int64_t SchedYield();
  // The first registers the process for the second, which has each thread of
  // the process run a full memory barrier before it returns.
  virtual int64_t RegisterBarrier();
  virtual int64_t BarrierInAllThreads();
  // The same for the fourth: in each thread of each process that has called the
  // third, whoever runs it.
  virtual int64_t RegisterSharedBarrier();
  virtual int64_t BarrierInAllProcesses();

  // Memory. Map returns the address, or nullptr with the negated errno in
  // `*error`. With kMapPopulated among the flags, no page is faulted in later
  // where the system can do so much.
  static const int kMapPopulated;
  virtual void* Map(size_t bytes, int protection, int flags, int fd,
                    int64_t* error);
  virtual int64_t Unmap(void* address, size_t bytes);
  // Replaces what is mapped at `address` by the start of `fd`, shared and
  // writable, or by zeros of this process alone if `fd` is -1. Other threads
  // see what was there or what replaces it.
  virtual int64_t MapOver(void* address, size_t bytes, int fd);
  // Keeps a mapping from children of fork().
  virtual int64_t KeepFromChildren(void* address, size_t bytes);
  // Memory that a descriptor stands for, without a name, of size 0.
  virtual int64_t MemfdCreate(const char* name);
  // Makes that memory so large, and reserves its pages.
  virtual int64_t Reserve(int fd, size_t bytes);
  virtual int64_t AddSeals(int fd, int seals);
  virtual int64_t GetSeals(int fd);

  // Identity and time.
  virtual int64_t GetPid();
  // A descriptor that is readable once that process has ended.
  virtual int64_t PidfdOpen(int64_t pid);
  virtual int64_t GetEffectiveUid();
  virtual int64_t HostName(char* bytes, size_t bytes_max);
  virtual int64_t GetRandom(void* bytes, size_t bytes_count);
  virtual int64_t MonotonicNs();
  virtual int64_t RealtimeNs();
};

// The status for a result of a Sys call that was negative: the code that fits
// the errno, and "<what>: <errno text>" as the message.
absl::Status ErrnoStatus(int64_t result, absl::string_view what);

}  // namespace mycelium

#endif  // MYCELIUM_BASE_SYS_H_
