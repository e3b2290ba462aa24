#include "tests/support/faulty_sys.h"

#include <sys/uio.h>

#include <algorithm>
#include <utility>

namespace mycelium::test {

const std::vector<std::string>& FaultySys::Kinds() {
  static const auto* const kinds = new std::vector<std::string>{
      "open",          "close",      "read",         "write",      "fstat",
      "lstat",         "unlink",     "mkdir",        "chmod",      "flock",
      "socket",        "bind",       "listen",       "accept",     "connect",
      "shutdown",      "sendmsg",    "recv",         "recvmsg",    "getsockopt",
      "setsockopt",    "epoll_wait", "epoll_create", "epoll_ctl",  "eventfd",
      "timerfd",       "futex_wait", "timerfd_set",  "futex_wake", "map",
      "unmap",         "hostname",   "getrandom",    "map_over",   "dontfork",
      "memfd_create",  "reserve",    "add_seals",    "get_seals",  "pidfd_open",
      "read_directory"};
  return *kinds;
}

void FaultySys::Fail(const std::string& call, std::vector<int64_t> results) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const int64_t result : results) answers_[call].push_back(result);
}

void FaultySys::SendAtMost(std::vector<size_t> bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const size_t count : bytes) short_sends_.push_back(count);
}

size_t FaultySys::Left(const std::string& call) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto entry = answers_.find(call);
  return entry == answers_.end() ? 0 : entry->second.size();
}

void FaultySys::FailNth(const std::string& call, uint64_t nth, int64_t result) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Verdict verdict;
  verdict.fails = true;
  verdict.result = result;
  chosen_ = {call, nth, verdict, false};
}

void FaultySys::ShortenNth(const std::string& call, uint64_t nth,
                           size_t bytes_max) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Verdict verdict;
  verdict.bytes_max = bytes_max;
  chosen_ = {call, nth, verdict, false};
}

bool FaultySys::fired() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return chosen_.made;
}

FaultySys::Counts FaultySys::counts() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return counts_;
}

size_t FaultySys::mapped() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return mappings_.size();
}

void FaultySys::CutConnections() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const int fd : accepted_) Sys::Shutdown(fd);
}

FaultySys::Verdict FaultySys::Judge(absl::string_view call) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const std::string kind(call);
  const uint64_t number = ++counts_[kind];
  Verdict verdict;
  if (chosen_.call == kind && chosen_.nth == number) {
    chosen_.made = true;
    return chosen_.verdict;
  }
  const auto entry = answers_.find(kind);
  if (entry != answers_.end() && !entry->second.empty()) {
    verdict.fails = true;
    verdict.result = entry->second.front();
    entry->second.pop_front();
  } else if (kind == "sendmsg" && !short_sends_.empty()) {
    verdict.bytes_max = short_sends_.front();
    short_sends_.pop_front();
  }
  return verdict;
}

// The calls of which only the result matters.
#define MYCELIUM_FAULTY(call, real)      \
  do {                                   \
    const Verdict verdict = Judge(call); \
    if (verdict.fails) {                 \
      return verdict.result;             \
    }                                    \
    return real;                         \
  } while (false)

int64_t FaultySys::Open(const char* path, int flags, mode_t mode) {
  MYCELIUM_FAULTY("open", Sys::Open(path, flags, mode));
}
int64_t FaultySys::Fstat(int fd, struct stat* out) {
  MYCELIUM_FAULTY("fstat", Sys::Fstat(fd, out));
}
int64_t FaultySys::Lstat(const char* path, struct stat* out) {
  MYCELIUM_FAULTY("lstat", Sys::Lstat(path, out));
}
int64_t FaultySys::Unlink(const char* path) {
  MYCELIUM_FAULTY("unlink", Sys::Unlink(path));
}
int64_t FaultySys::Mkdir(const char* path, mode_t mode) {
  MYCELIUM_FAULTY("mkdir", Sys::Mkdir(path, mode));
}
int64_t FaultySys::Chmod(const char* path, mode_t mode) {
  MYCELIUM_FAULTY("chmod", Sys::Chmod(path, mode));
}
int64_t FaultySys::Flock(int fd, int operation) {
  MYCELIUM_FAULTY("flock", Sys::Flock(fd, operation));
}
int64_t FaultySys::ReadDirectory(const char* path, size_t names_max,
                                 std::vector<std::string>* names) {
  MYCELIUM_FAULTY("read_directory", Sys::ReadDirectory(path, names_max, names));
}
int64_t FaultySys::Socket(int domain, int type) {
  MYCELIUM_FAULTY("socket", Sys::Socket(domain, type));
}
int64_t FaultySys::Bind(int fd, const sockaddr* address, socklen_t bytes) {
  MYCELIUM_FAULTY("bind", Sys::Bind(fd, address, bytes));
}
int64_t FaultySys::Listen(int fd, int backlog) {
  MYCELIUM_FAULTY("listen", Sys::Listen(fd, backlog));
}
int64_t FaultySys::Connect(int fd, const sockaddr* address, socklen_t bytes) {
  MYCELIUM_FAULTY("connect", Sys::Connect(fd, address, bytes));
}
int64_t FaultySys::Shutdown(int fd) {
  MYCELIUM_FAULTY("shutdown", Sys::Shutdown(fd));
}
int64_t FaultySys::GetSockOpt(int fd, int level, int name, void* value,
                              socklen_t* bytes) {
  MYCELIUM_FAULTY("getsockopt", Sys::GetSockOpt(fd, level, name, value, bytes));
}
int64_t FaultySys::SetSockOpt(int fd, int level, int name, const void* value,
                              socklen_t bytes) {
  MYCELIUM_FAULTY("setsockopt", Sys::SetSockOpt(fd, level, name, value, bytes));
}
int64_t FaultySys::EpollCreate() {
  MYCELIUM_FAULTY("epoll_create", Sys::EpollCreate());
}
int64_t FaultySys::EpollCtl(int epoll_fd, int operation, int fd,
                            epoll_event* event) {
  MYCELIUM_FAULTY("epoll_ctl", Sys::EpollCtl(epoll_fd, operation, fd, event));
}
int64_t FaultySys::EpollWait(int epoll_fd, epoll_event* events, int events_max,
                             int64_t timeout_ns) {
  MYCELIUM_FAULTY("epoll_wait",
                  Sys::EpollWait(epoll_fd, events, events_max, timeout_ns));
}
int64_t FaultySys::EventFd() { MYCELIUM_FAULTY("eventfd", Sys::EventFd()); }
int64_t FaultySys::TimerFd() { MYCELIUM_FAULTY("timerfd", Sys::TimerFd()); }
int64_t FaultySys::TimerFdSet(int fd, int64_t after_ns) {
  MYCELIUM_FAULTY("timerfd_set", Sys::TimerFdSet(fd, after_ns));
}
int64_t FaultySys::FutexWait(const std::atomic<uint32_t>* word,
                             uint32_t expected, int64_t timeout_ns) {
  MYCELIUM_FAULTY("futex_wait", Sys::FutexWait(word, expected, timeout_ns));
}
int64_t FaultySys::FutexWake(const std::atomic<uint32_t>* word,
                             int waiters_max) {
  MYCELIUM_FAULTY("futex_wake", Sys::FutexWake(word, waiters_max));
}
int64_t FaultySys::HostName(char* bytes, size_t bytes_max) {
  MYCELIUM_FAULTY("hostname", Sys::HostName(bytes, bytes_max));
}
int64_t FaultySys::GetRandom(void* bytes, size_t bytes_count) {
  MYCELIUM_FAULTY("getrandom", Sys::GetRandom(bytes, bytes_count));
}

#undef MYCELIUM_FAULTY

int64_t FaultySys::Close(int fd) {
  const Verdict verdict = Judge("close");
  {
    // Done before the number is free for another descriptor.
    const std::lock_guard<std::mutex> lock(mutex_);
    accepted_.erase(fd);
  }
  const int64_t result = Sys::Close(fd);
  return verdict.fails ? verdict.result : result;
}

int64_t FaultySys::Accept(int fd) {
  const Verdict verdict = Judge("accept");
  if (verdict.fails) return verdict.result;
  const int64_t accepted = Sys::Accept(fd);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (accepted >= 0) accepted_.insert(static_cast<int>(accepted));
  return accepted;
}

int64_t FaultySys::Read(int fd, void* bytes, size_t bytes_max) {
  const Verdict verdict = Judge("read");
  if (verdict.fails) return verdict.result;
  return Sys::Read(fd, bytes, std::min(bytes_max, verdict.bytes_max));
}

int64_t FaultySys::Write(int fd, const void* bytes, size_t bytes_count) {
  const Verdict verdict = Judge("write");
  if (verdict.fails) return verdict.result;
  return Sys::Write(fd, bytes, std::min(bytes_count, verdict.bytes_max));
}

int64_t FaultySys::Recv(int fd, void* bytes, size_t bytes_max, int flags) {
  const Verdict verdict = Judge("recv");
  if (verdict.fails) return verdict.result;
  return Sys::Recv(fd, bytes, std::min(bytes_max, verdict.bytes_max), flags);
}

int64_t FaultySys::RecvMsg(int fd, msghdr* message, int flags) {
  const Verdict verdict = Judge("recvmsg");
  if (verdict.fails) return verdict.result;
  if (message->msg_iovlen != 1) return Sys::RecvMsg(fd, message, flags);
  iovec piece = message->msg_iov[0];
  piece.iov_len = std::min(piece.iov_len, verdict.bytes_max);
  iovec* const whole = std::exchange(message->msg_iov, &piece);
  const int64_t got = Sys::RecvMsg(fd, message, flags);
  message->msg_iov = whole;
  return got;
}

int64_t FaultySys::SendMsg(int fd, const msghdr& message, int flags) {
  Verdict verdict = Judge("sendmsg");
  if (verdict.fails) return verdict.result;
  std::vector<iovec> pieces;
  for (size_t i = 0; i < message.msg_iovlen && verdict.bytes_max > 0; ++i) {
    pieces.push_back(message.msg_iov[i]);
    pieces.back().iov_len = std::min(pieces.back().iov_len, verdict.bytes_max);
    verdict.bytes_max -= pieces.back().iov_len;
  }
  msghdr shorter = message;
  shorter.msg_iov = pieces.data();
  shorter.msg_iovlen = pieces.size();
  return Sys::SendMsg(fd, shorter, flags);
}

void* FaultySys::Map(size_t bytes, int protection, int flags, int fd,
                     int64_t* error) {
  const Verdict verdict = Judge("map");
  if (verdict.fails) {
    *error = verdict.result;
    return nullptr;
  }
  void* const address = Sys::Map(bytes, protection, flags, fd, error);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (address != nullptr) mappings_[address] = bytes;
  return address;
}

int64_t FaultySys::MapOver(void* address, size_t bytes, int fd) {
  const Verdict verdict = Judge("map_over");
  return verdict.fails ? verdict.result : Sys::MapOver(address, bytes, fd);
}

int64_t FaultySys::KeepFromChildren(void* address, size_t bytes) {
  const Verdict verdict = Judge("dontfork");
  return verdict.fails ? verdict.result : Sys::KeepFromChildren(address, bytes);
}

int64_t FaultySys::MemfdCreate(const char* name) {
  const Verdict verdict = Judge("memfd_create");
  return verdict.fails ? verdict.result : Sys::MemfdCreate(name);
}

int64_t FaultySys::Reserve(int fd, size_t bytes) {
  const Verdict verdict = Judge("reserve");
  return verdict.fails ? verdict.result : Sys::Reserve(fd, bytes);
}

int64_t FaultySys::AddSeals(int fd, int seals) {
  const Verdict verdict = Judge("add_seals");
  return verdict.fails ? verdict.result : Sys::AddSeals(fd, seals);
}

int64_t FaultySys::GetSeals(int fd) {
  const Verdict verdict = Judge("get_seals");
  return verdict.fails ? verdict.result : Sys::GetSeals(fd);
}

int64_t FaultySys::PidfdOpen(int64_t pid) {
  const Verdict verdict = Judge("pidfd_open");
  return verdict.fails ? verdict.result : Sys::PidfdOpen(pid);
}

int64_t FaultySys::Unmap(void* address, size_t bytes) {
  const Verdict verdict = Judge("unmap");
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    mappings_.erase(address);
  }
  const int64_t result = Sys::Unmap(address, bytes);
  return verdict.fails ? verdict.result : result;
}

}  // namespace mycelium::test
