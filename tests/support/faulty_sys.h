#ifndef TESTS_SUPPORT_FAULTY_SYS_H_
#define TESTS_SUPPORT_FAULTY_SYS_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "mycelium/base/sys.h"

namespace mycelium::test {

// The kernel, except for calls that a test makes fail. Each call has a kind,
// which is the name of the member of Sys in small letters: "sendmsg",
// "epoll_ctl". A test chooses which calls fail in one of two ways: the next
// ones of a kind, from a list that is used up, or the n-th one of a kind. All
// other calls are the real ones.
//
// A close or an unmap that fails has been done all the same, as on Linux. A
// caller that tries again closes another descriptor.
//
// Thread safety: all members may be called from any thread.
//
// Example:
//   FaultySys sys;
//   sys.Fail("accept", {-EMFILE, -EMFILE});
//   sys.FailNth("sendmsg", 3, -EPIPE);
class FaultySys : public Sys {
 public:
  using Counts = std::map<std::string, uint64_t>;

  // Every kind except the clocks, the identity and giving way, which cannot
  // fail, and barriers, without which there is no bias, and no error either.
  static const std::vector<std::string>& Kinds();

  // The next calls of that kind return these results.
  void Fail(const std::string& call, std::vector<int64_t> results);
  // The next sends take at most so many bytes each.
  void SendAtMost(std::vector<size_t> bytes);
  // How many answers of that kind are left.
  size_t Left(const std::string& call) const;

  // The `nth` call of that kind returns `result`. The first one is 1, counted
  // from the object's construction.
  void FailNth(const std::string& call, uint64_t nth, int64_t result);
  // The `nth` read, write, recv, recvmsg or sendmsg moves at most `bytes_max`
  // bytes.
  void ShortenNth(const std::string& call, uint64_t nth, size_t bytes_max);
  // Whether the chosen call has been made.
  bool fired() const;

  // How many calls of each kind were made.
  Counts counts() const;
  // How many mappings are not unmapped.
  size_t mapped() const;
  // Ends, below the bus, every connection that was accepted.
  void CutConnections();

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
  void* Map(size_t bytes, int protection, int flags, int fd,
            int64_t* error) override;
  int64_t Unmap(void* address, size_t bytes) override;
  int64_t MapOver(void* address, size_t bytes, int fd) override;
  int64_t KeepFromChildren(void* address, size_t bytes) override;
  int64_t MemfdCreate(const char* name) override;
  int64_t Reserve(int fd, size_t bytes) override;
  int64_t AddSeals(int fd, int seals) override;
  int64_t GetSeals(int fd) override;
  int64_t PidfdOpen(int64_t pid) override;
  int64_t HostName(char* bytes, size_t bytes_max) override;
  int64_t GetRandom(void* bytes, size_t bytes_count) override;

 private:
  // What happens to a call.
  struct Verdict {
    bool fails = false;
    int64_t result = 0;
    size_t bytes_max = ~size_t{0};
  };
  struct Chosen {
    std::string call;
    uint64_t nth = 0;
    Verdict verdict;
    bool made = false;
  };

  // Counts the call and decides what happens to it.
  Verdict Judge(absl::string_view call);

  mutable std::mutex mutex_;
  Counts counts_;
  std::map<std::string, std::deque<int64_t>> answers_;
  std::deque<size_t> short_sends_;
  Chosen chosen_;
  std::map<void*, size_t> mappings_;
  std::set<int> accepted_;  // Descriptors that are open.
};

}  // namespace mycelium::test

#endif  // TESTS_SUPPORT_FAULTY_SYS_H_
