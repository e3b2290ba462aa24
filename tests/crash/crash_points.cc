#include "tests/crash/crash_points.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cstring>

#include "mycelium/base/release_fence.h"
#include "mycelium/base/shared_word.h"

namespace mycelium::test {
namespace {

// The counts of this process; null: no points. Set once, before there are
// threads.
CrashPage* counting = nullptr;
uint64_t kill_at_store = 0;
uint64_t kill_at_call = 0;

void Pass(std::atomic<uint64_t>& passed, uint64_t kill_at) {
  if (passed.fetch_add(1, std::memory_order_relaxed) + 1 != kill_at) return;
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  counting->killed_at = now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
  (void)kill(getpid(), SIGKILL);
}

void PassStore() {
  if (counting != nullptr) Pass(counting->stores, kill_at_store);
}

void PassCall() {
  if (counting != nullptr) Pass(counting->calls, kill_at_call);
}

}  // namespace

void ArmCrashPoints(CrashPage& page, uint64_t store, uint64_t call) {
  counting = &page;
  kill_at_store = store;
  kill_at_call = call;
}

void PassCrashPoint() { PassStore(); }

bool HasStorePoints() {
#ifdef MYCELIUM_SHARED_WORD_HOOKS
  return true;
#else
  return false;
#endif
}

int64_t CrashSys::Open(const char* path, int flags, mode_t mode) {
  PassCall();
  return Sys::Open(path, flags, mode);
}
int64_t CrashSys::Close(int fd) {
  PassCall();
  return Sys::Close(fd);
}
int64_t CrashSys::Read(int fd, void* bytes, size_t bytes_max) {
  PassCall();
  return Sys::Read(fd, bytes, bytes_max);
}
int64_t CrashSys::Write(int fd, const void* bytes, size_t bytes_count) {
  PassCall();
  return Sys::Write(fd, bytes, bytes_count);
}
int64_t CrashSys::Fstat(int fd, struct stat* out) {
  PassCall();
  return Sys::Fstat(fd, out);
}
int64_t CrashSys::Lstat(const char* path, struct stat* out) {
  PassCall();
  return Sys::Lstat(path, out);
}
int64_t CrashSys::Unlink(const char* path) {
  PassCall();
  return Sys::Unlink(path);
}
int64_t CrashSys::Mkdir(const char* path, mode_t mode) {
  PassCall();
  return Sys::Mkdir(path, mode);
}
int64_t CrashSys::Chmod(const char* path, mode_t mode) {
  PassCall();
  return Sys::Chmod(path, mode);
}
int64_t CrashSys::Flock(int fd, int operation) {
  PassCall();
  return Sys::Flock(fd, operation);
}
int64_t CrashSys::ReadDirectory(const char* path, size_t names_max,
                                std::vector<std::string>* names) {
  PassCall();
  return Sys::ReadDirectory(path, names_max, names);
}
int64_t CrashSys::SchedYield() {
  PassCall();
  return Sys::SchedYield();
}
int64_t CrashSys::RegisterBarrier() {
  PassCall();
  return Sys::RegisterBarrier();
}
int64_t CrashSys::BarrierInAllThreads() {
  PassCall();
  return Sys::BarrierInAllThreads();
}
int64_t CrashSys::RegisterSharedBarrier() {
  PassCall();
  return Sys::RegisterSharedBarrier();
}
int64_t CrashSys::BarrierInAllProcesses() {
  PassCall();
  return Sys::BarrierInAllProcesses();
}
int64_t CrashSys::Socket(int domain, int type) {
  PassCall();
  return Sys::Socket(domain, type);
}
int64_t CrashSys::Bind(int fd, const sockaddr* address, socklen_t bytes) {
  PassCall();
  return Sys::Bind(fd, address, bytes);
}
int64_t CrashSys::Listen(int fd, int backlog) {
  PassCall();
  return Sys::Listen(fd, backlog);
}
int64_t CrashSys::Accept(int fd) {
  PassCall();
  return Sys::Accept(fd);
}
int64_t CrashSys::Connect(int fd, const sockaddr* address, socklen_t bytes) {
  PassCall();
  return Sys::Connect(fd, address, bytes);
}
int64_t CrashSys::Shutdown(int fd) {
  PassCall();
  return Sys::Shutdown(fd);
}
int64_t CrashSys::SendMsg(int fd, const msghdr& message, int flags) {
  PassCall();
  return Sys::SendMsg(fd, message, flags);
}
int64_t CrashSys::Recv(int fd, void* bytes, size_t bytes_max, int flags) {
  PassCall();
  return Sys::Recv(fd, bytes, bytes_max, flags);
}
int64_t CrashSys::RecvMsg(int fd, msghdr* message, int flags) {
  PassCall();
  return Sys::RecvMsg(fd, message, flags);
}
int64_t CrashSys::GetSockOpt(int fd, int level, int name, void* value,
                             socklen_t* bytes) {
  PassCall();
  return Sys::GetSockOpt(fd, level, name, value, bytes);
}
int64_t CrashSys::SetSockOpt(int fd, int level, int name, const void* value,
                             socklen_t bytes) {
  PassCall();
  return Sys::SetSockOpt(fd, level, name, value, bytes);
}
int64_t CrashSys::EpollCreate() {
  PassCall();
  return Sys::EpollCreate();
}
int64_t CrashSys::EpollCtl(int epoll_fd, int operation, int fd,
                           epoll_event* event) {
  PassCall();
  return Sys::EpollCtl(epoll_fd, operation, fd, event);
}
int64_t CrashSys::EpollWait(int epoll_fd, epoll_event* events, int events_max,
                            int64_t timeout_ns) {
  PassCall();
  return Sys::EpollWait(epoll_fd, events, events_max, timeout_ns);
}
int64_t CrashSys::EventFd() {
  PassCall();
  return Sys::EventFd();
}
int64_t CrashSys::TimerFd() {
  PassCall();
  return Sys::TimerFd();
}
int64_t CrashSys::TimerFdSet(int fd, int64_t after_ns) {
  PassCall();
  return Sys::TimerFdSet(fd, after_ns);
}
int64_t CrashSys::FutexWait(const std::atomic<uint32_t>* word,
                            uint32_t expected, int64_t timeout_ns) {
  PassCall();
  return Sys::FutexWait(word, expected, timeout_ns);
}
int64_t CrashSys::FutexWake(const std::atomic<uint32_t>* word,
                            int waiters_max) {
  PassCall();
  return Sys::FutexWake(word, waiters_max);
}
int64_t CrashSys::Unmap(void* address, size_t bytes) {
  PassCall();
  return Sys::Unmap(address, bytes);
}
int64_t CrashSys::MapOver(void* address, size_t bytes, int fd) {
  PassCall();
  return Sys::MapOver(address, bytes, fd);
}
int64_t CrashSys::KeepFromChildren(void* address, size_t bytes) {
  PassCall();
  return Sys::KeepFromChildren(address, bytes);
}
int64_t CrashSys::MemfdCreate(const char* name) {
  PassCall();
  return Sys::MemfdCreate(name);
}
int64_t CrashSys::Reserve(int fd, size_t bytes) {
  PassCall();
  return Sys::Reserve(fd, bytes);
}
int64_t CrashSys::AddSeals(int fd, int seals) {
  PassCall();
  return Sys::AddSeals(fd, seals);
}
int64_t CrashSys::GetSeals(int fd) {
  PassCall();
  return Sys::GetSeals(fd);
}
int64_t CrashSys::GetPid() {
  PassCall();
  return Sys::GetPid();
}
int64_t CrashSys::PidfdOpen(int64_t pid) {
  PassCall();
  return Sys::PidfdOpen(pid);
}
int64_t CrashSys::GetEffectiveUid() {
  PassCall();
  return Sys::GetEffectiveUid();
}
int64_t CrashSys::HostName(char* bytes, size_t bytes_max) {
  PassCall();
  return Sys::HostName(bytes, bytes_max);
}
int64_t CrashSys::GetRandom(void* bytes, size_t bytes_count) {
  PassCall();
  return Sys::GetRandom(bytes, bytes_count);
}

void* CrashSys::Map(size_t bytes, int protection, int flags, int fd,
                    int64_t* error) {
  PassCall();
  return Sys::Map(bytes, protection, flags, fd, error);
}

}  // namespace mycelium::test

#ifdef MYCELIUM_SHARED_WORD_HOOKS
// Does what shared_word.h does without hooks, with a point before each store.
namespace mycelium::shared_word_hooks {
namespace {

using test::PassStore;

template <typename T>
T* WordAt(void* at) {
  return static_cast<T*>(at);
}

}  // namespace

uint64_t Load(const void* at, size_t bytes, std::memory_order order) {
  const int how = static_cast<int>(order);
  return bytes == 4 ? __atomic_load_n(static_cast<const uint32_t*>(at), how)
                    : __atomic_load_n(static_cast<const uint64_t*>(at), how);
}

void Store(void* at, size_t bytes, uint64_t value, std::memory_order order) {
  PassStore();
  const int how = static_cast<int>(order);
  if (bytes == 4) {
    __atomic_store_n(WordAt<uint32_t>(at), static_cast<uint32_t>(value), how);
  } else {
    __atomic_store_n(WordAt<uint64_t>(at), value, how);
  }
}

uint64_t Exchange(void* at, size_t bytes, uint64_t value,
                  std::memory_order order) {
  PassStore();
  const int how = static_cast<int>(order);
  return bytes == 4 ? __atomic_exchange_n(WordAt<uint32_t>(at),
                                          static_cast<uint32_t>(value), how)
                    : __atomic_exchange_n(WordAt<uint64_t>(at), value, how);
}

uint64_t FetchAdd(void* at, size_t bytes, uint64_t value,
                  std::memory_order order) {
  PassStore();
  const int how = static_cast<int>(order);
  return bytes == 4 ? __atomic_fetch_add(WordAt<uint32_t>(at),
                                         static_cast<uint32_t>(value), how)
                    : __atomic_fetch_add(WordAt<uint64_t>(at), value, how);
}

bool CompareExchange(void* at, size_t bytes, uint64_t* expected,
                     uint64_t desired, std::memory_order) {
  PassStore();
  if (bytes == 8) {
    return __atomic_compare_exchange_n(WordAt<uint64_t>(at), expected, desired,
                                       false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
  }
  auto found = static_cast<uint32_t>(*expected);
  const bool done = __atomic_compare_exchange_n(
      WordAt<uint32_t>(at), &found, static_cast<uint32_t>(desired), false,
      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
  *expected = found;
  return done;
}

uint64_t LoadRacing(const std::byte* at) {
  return __atomic_load_n(reinterpret_cast<const uint64_t*>(at),
                         __ATOMIC_ACQUIRE);
}

void ReleaseFence() { std::atomic_thread_fence(std::memory_order_release); }

void CopyToShared(std::byte* to, const void* from, size_t bytes) {
  PassStore();
  const size_t half = bytes / 2;
  std::memcpy(to, from, half);
  PassStore();
  std::memcpy(to + half, static_cast<const std::byte*>(from) + half,
              bytes - half);
}

void CopyFromShared(void* to, const std::byte* from, size_t bytes) {
  std::memcpy(to, from, bytes);
}

void ClearShared(std::byte* to, size_t bytes) {
  PassStore();
  std::memset(to, 0, bytes);
}

}  // namespace mycelium::shared_word_hooks
#endif
