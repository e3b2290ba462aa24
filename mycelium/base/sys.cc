#include "mycelium/base/sys.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "mycelium/base/own_descriptors.h"

namespace mycelium {
namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;

int64_t OrErrno(int64_t result) { return result < 0 ? -errno : result; }

timespec ToTimespec(int64_t ns) {
  timespec time;
  time.tv_sec = ns / kNsPerSecond;
  time.tv_nsec = ns % kNsPerSecond;
  return time;
}

int64_t ReadClock(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * kNsPerSecond + now.tv_nsec;
}

absl::StatusCode CodeOf(int error) {
  switch (error) {
    case ENOENT:
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case ENOTCONN:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENOSYS:
      return absl::StatusCode::kUnavailable;
    case EACCES:
    case EPERM:
      return absl::StatusCode::kPermissionDenied;
    case EEXIST:
    case EADDRINUSE:
      return absl::StatusCode::kAlreadyExists;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case ENOSPC:
    case ENOLCK:
    case ETOOMANYREFS:
    case EFBIG:
    case EAGAIN:
      return absl::StatusCode::kResourceExhausted;
    case EINVAL:
    case ENAMETOOLONG:
    case EISDIR:
    case ENOTDIR:
    case ELOOP:
      return absl::StatusCode::kInvalidArgument;
    case ETIMEDOUT:
      return absl::StatusCode::kDeadlineExceeded;
    default:
      return absl::StatusCode::kInternal;
  }
}

}  // namespace

Sys& Sys::Real() {
  static Sys* const real = new Sys;
  return *real;
}

int64_t Sys::Open(const char* path, int flags, mode_t mode) {
  return AddOwnDescriptor(OrErrno(open(path, flags | O_CLOEXEC, mode)));
}
int64_t Sys::Close(int fd) {
  RemoveOwnDescriptor(fd);
  return OrErrno(close(fd));
}
int64_t Sys::Read(int fd, void* bytes, size_t bytes_max) {
  return OrErrno(read(fd, bytes, bytes_max));
}
int64_t Sys::Write(int fd, const void* bytes, size_t bytes_count) {
  return OrErrno(write(fd, bytes, bytes_count));
}
int64_t Sys::Fstat(int fd, struct stat* out) { return OrErrno(fstat(fd, out)); }
int64_t Sys::Lstat(const char* path, struct stat* out) {
  return OrErrno(lstat(path, out));
}
int64_t Sys::Unlink(const char* path) { return OrErrno(unlink(path)); }
int64_t Sys::Mkdir(const char* path, mode_t mode) {
  return OrErrno(mkdir(path, mode));
}
int64_t Sys::Chmod(const char* path, mode_t mode) {
  return OrErrno(chmod(path, mode));
}
int64_t Sys::Flock(int fd, int operation) {
  return OrErrno(flock(fd, operation));
}

int64_t Sys::ReadDirectory(const char* path, size_t names_max,
                           std::vector<std::string>* names) {
  DIR* const directory = opendir(path);
  if (directory == nullptr) return -errno;
  size_t added = 0;
  while (added < names_max) {
    const dirent* const entry = readdir(directory);
    if (entry == nullptr) break;
    const absl::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    names->emplace_back(name);
    ++added;
  }
  closedir(directory);
  return static_cast<int64_t>(added);
}

int64_t Sys::Socket(int domain, int type) {
  return AddOwnDescriptor(
      OrErrno(socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
}
int64_t Sys::Bind(int fd, const sockaddr* address, socklen_t bytes) {
  return OrErrno(bind(fd, address, bytes));
}
int64_t Sys::Listen(int fd, int backlog) {
  return OrErrno(listen(fd, backlog));
}
int64_t Sys::Accept(int fd) {
  return AddOwnDescriptor(
      OrErrno(accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)));
}
int64_t Sys::Connect(int fd, const sockaddr* address, socklen_t bytes) {
  return OrErrno(connect(fd, address, bytes));
}
int64_t Sys::Shutdown(int fd) { return OrErrno(shutdown(fd, SHUT_RDWR)); }
int64_t Sys::SendMsg(int fd, const msghdr& message, int flags) {
  const bool is_plain = message.msg_iovlen == 1 &&
                        message.msg_name == nullptr &&
                        message.msg_controllen == 0;
  if (is_plain) {
    const iovec& piece = *message.msg_iov;
    return OrErrno(send(fd, piece.iov_base, piece.iov_len, flags));
  }
  return OrErrno(sendmsg(fd, &message, flags));
}
int64_t Sys::Recv(int fd, void* bytes, size_t bytes_max, int flags) {
  return OrErrno(recv(fd, bytes, bytes_max, flags));
}
int64_t Sys::RecvMsg(int fd, msghdr* message, int flags) {
  return OrErrno(recvmsg(fd, message, flags));
}
int64_t Sys::GetSockOpt(int fd, int level, int name, void* value,
                        socklen_t* bytes) {
  return OrErrno(getsockopt(fd, level, name, value, bytes));
}
int64_t Sys::SetSockOpt(int fd, int level, int name, const void* value,
                        socklen_t bytes) {
  return OrErrno(setsockopt(fd, level, name, value, bytes));
}

int64_t Sys::EpollCreate() {
  return AddOwnDescriptor(OrErrno(epoll_create1(EPOLL_CLOEXEC)));
}
int64_t Sys::EpollCtl(int epoll_fd, int operation, int fd, epoll_event* event) {
  return OrErrno(epoll_ctl(epoll_fd, operation, fd, event));
}
int64_t Sys::EpollWait(int epoll_fd, epoll_event* events, int events_max,
                       int64_t timeout_ns) {
  const timespec timeout = ToTimespec(timeout_ns < 0 ? 0 : timeout_ns);
  const int64_t ready =
      OrErrno(epoll_pwait2(epoll_fd, events, events_max,
                           timeout_ns < 0 ? nullptr : &timeout, nullptr));
  // EPERM: a sandbox that does not know the call.
  if (ready != -ENOSYS && ready != -EPERM) return ready;
  // As before Linux 5.11: whole milliseconds, rather too long than too short.
  constexpr int64_t kNsPerMs = 1'000'000;
  constexpr int64_t kMsMax = std::numeric_limits<int>::max();
  const int64_t rounded_ms =
      timeout_ns / kNsPerMs + (timeout_ns % kNsPerMs != 0 ? 1 : 0);
  const int64_t timeout_ms = timeout_ns < 0 ? -1 : std::min(rounded_ms, kMsMax);
  return OrErrno(
      epoll_wait(epoll_fd, events, events_max, static_cast<int>(timeout_ms)));
}
int64_t Sys::EventFd() {
  return AddOwnDescriptor(OrErrno(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
}
int64_t Sys::TimerFd() {
  return AddOwnDescriptor(
      OrErrno(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)));
}
int64_t Sys::TimerFdSet(int fd, int64_t after_ns) {
  itimerspec setting = {};
  setting.it_value = ToTimespec(after_ns);
  return OrErrno(timerfd_settime(fd, /*flags=*/0, &setting, nullptr));
}
int64_t Sys::FutexWait(const std::atomic<uint32_t>* word, uint32_t expected,
                       int64_t timeout_ns) {
  const timespec timeout = ToTimespec(timeout_ns < 0 ? 0 : timeout_ns);
  return OrErrno(syscall(SYS_futex, word, FUTEX_WAIT, expected,
                         timeout_ns < 0 ? nullptr : &timeout, nullptr, 0));
}
int64_t Sys::FutexWake(const std::atomic<uint32_t>* word, int waiters_max) {
  return OrErrno(
      syscall(SYS_futex, word, FUTEX_WAKE, waiters_max, nullptr, nullptr, 0));
}

const int Sys::kMapPopulated = MAP_POPULATE;
void* Sys::Map(size_t bytes, int protection, int flags, int fd,
               int64_t* error) {
  void* const address = mmap(nullptr, bytes, protection, flags, fd, 0);
  if (address != MAP_FAILED) return address;
  *error = -errno;
  return nullptr;
}
int64_t Sys::Unmap(void* address, size_t bytes) {
  return OrErrno(munmap(address, bytes));
}

int64_t Sys::MapOver(void* address, size_t bytes, int fd) {
  const int kind = fd == -1 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  void* const mapped =
      mmap(address, bytes, PROT_READ | PROT_WRITE, kind | MAP_FIXED, fd, 0);
  return mapped == MAP_FAILED ? -errno : 0;
}
int64_t Sys::KeepFromChildren(void* address, size_t bytes) {
  return OrErrno(madvise(address, bytes, MADV_DONTFORK));
}
int64_t Sys::MemfdCreate(const char* name) {
  return OrErrno(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
}
int64_t Sys::Reserve(int fd, size_t bytes) {
  // Beyond this limit the kernel would refuse with the same errno, and end the
  // process by SIGXFSZ.
  rlimit file_size;
  if (getrlimit(RLIMIT_FSIZE, &file_size) == 0 &&
      file_size.rlim_cur != RLIM_INFINITY && bytes > file_size.rlim_cur) {
    return -EFBIG;
  }
  return OrErrno(fallocate(fd, /*mode=*/0, 0, static_cast<off_t>(bytes)));
}
int64_t Sys::AddSeals(int fd, int seals) {
  return OrErrno(fcntl(fd, F_ADD_SEALS, seals));
}
int64_t Sys::GetSeals(int fd) { return OrErrno(fcntl(fd, F_GET_SEALS)); }

int64_t Sys::GetPid() { return getpid(); }
int64_t Sys::PidfdOpen(int64_t pid) {
  return AddOwnDescriptor(OrErrno(syscall(SYS_pidfd_open, pid, 0)));
}
int64_t Sys::GetEffectiveUid() { return geteuid(); }
int64_t Sys::HostName(char* bytes, size_t bytes_max) {
  return OrErrno(gethostname(bytes, bytes_max));
}
int64_t Sys::GetRandom(void* bytes, size_t bytes_count) {
  return OrErrno(getrandom(bytes, bytes_count, 0));
}
int64_t Sys::SchedYield() { return OrErrno(sched_yield()); }
int64_t Sys::RegisterBarrier() {
  return OrErrno(
      syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
}
int64_t Sys::BarrierInAllThreads() {
  return OrErrno(
      syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
}
int64_t Sys::RegisterSharedBarrier() {
  return OrErrno(
      syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0));
}
int64_t Sys::BarrierInAllProcesses() {
  return OrErrno(
      syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0));
}

int64_t Sys::MonotonicNs() { return ReadClock(CLOCK_MONOTONIC); }
int64_t Sys::RealtimeNs() { return ReadClock(CLOCK_REALTIME); }

absl::Status ErrnoStatus(int64_t result, absl::string_view what) {
  const int error = static_cast<int>(-result);
  char text[128];
  // The GNU strerror_r, which may return a string of its own.
  return absl::Status(
      CodeOf(error),
      absl::StrCat(what, ": ", strerror_r(error, text, sizeof text)));
}

}  // namespace mycelium
