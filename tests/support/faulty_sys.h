#ifndef TESTS_SUPPORT_FAULTY_SYS_H_
#define TESTS_SUPPORT_FAULTY_SYS_H_

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "mycelium/base/sys.h"

namespace mycelium::test {

// The kernel, but for calls that a test makes fail: each kind of call has a
// list of answers, used up from the front. Without one, the real call is made.
//
// Thread safety: all members may be called from any thread.
//
// Example:
//   FaultySys sys;
//   sys.Fail("accept", {-EMFILE, -EMFILE});
class FaultySys : public Sys {
 public:
  // The next calls of that kind return these.
  void Fail(const std::string& call, std::vector<int64_t> results) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const int64_t result : results) answers_[call].push_back(result);
  }

  // The next sends take at most so many bytes each.
  void SendAtMost(std::vector<size_t> bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const size_t count : bytes) short_sends_.push_back(count);
  }

  // How many answers of that kind are left.
  size_t Left(const std::string& call) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto entry = answers_.find(call);
    return entry == answers_.end() ? 0 : entry->second.size();
  }

  int64_t Accept(int fd) override {
    int64_t result;
    return Answer("accept", &result) ? result : Sys::Accept(fd);
  }
  int64_t Listen(int fd, int backlog) override {
    int64_t result;
    return Answer("listen", &result) ? result : Sys::Listen(fd, backlog);
  }
  int64_t Bind(int fd, const sockaddr* address, socklen_t bytes) override {
    int64_t result;
    return Answer("bind", &result) ? result : Sys::Bind(fd, address, bytes);
  }
  int64_t Connect(int fd, const sockaddr* address, socklen_t bytes) override {
    int64_t result;
    return Answer("connect", &result) ? result
                                      : Sys::Connect(fd, address, bytes);
  }
  int64_t Socket(int domain, int type) override {
    int64_t result;
    return Answer("socket", &result) ? result : Sys::Socket(domain, type);
  }
  int64_t Recv(int fd, void* bytes, size_t bytes_max, int flags) override {
    int64_t result;
    return Answer("recv", &result) ? result
                                   : Sys::Recv(fd, bytes, bytes_max, flags);
  }
  int64_t SendMsg(int fd, const msghdr& message, int flags) override {
    int64_t result;
    if (Answer("sendmsg", &result)) return result;
    size_t bytes_max = ~size_t{0};
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!short_sends_.empty()) {
        bytes_max = short_sends_.front();
        short_sends_.pop_front();
      }
    }
    std::vector<iovec> pieces;
    for (size_t i = 0; i < message.msg_iovlen && bytes_max > 0; ++i) {
      pieces.push_back(message.msg_iov[i]);
      pieces.back().iov_len = std::min(pieces.back().iov_len, bytes_max);
      bytes_max -= pieces.back().iov_len;
    }
    msghdr shorter = message;
    shorter.msg_iov = pieces.data();
    shorter.msg_iovlen = pieces.size();
    return Sys::SendMsg(fd, shorter, flags);
  }

 private:
  bool Answer(const std::string& call, int64_t* result) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto entry = answers_.find(call);
    if (entry == answers_.end() || entry->second.empty()) return false;
    *result = entry->second.front();
    entry->second.pop_front();
    return true;
  }

  mutable std::mutex mutex_;
  std::map<std::string, std::deque<int64_t>> answers_;
  std::deque<size_t> short_sends_;
};

}  // namespace mycelium::test

#endif  // TESTS_SUPPORT_FAULTY_SYS_H_
