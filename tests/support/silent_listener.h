#ifndef TESTS_SUPPORT_SILENT_LISTENER_H_
#define TESTS_SUPPORT_SILENT_LISTENER_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "gtest/gtest.h"

namespace mycelium::test {

// A TCP socket of this machine: the kernel accepts connections to it, and
// nothing is ever said on them.
//
// Thread safety: one thread at a time.
class SilentListener final {
 public:
  SilentListener()
      : fd_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_in name = {};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof name;
    auto* const address = reinterpret_cast<sockaddr*>(&name);
    EXPECT_EQ(bind(fd_, address, bytes), 0);
    EXPECT_EQ(listen(fd_, 8), 0);
    EXPECT_EQ(getsockname(fd_, address, &bytes), 0);
    address_ = "127.0.0.1:" + std::to_string(ntohs(name.sin_port));
  }
  SilentListener(const SilentListener&) = delete;
  SilentListener& operator=(const SilentListener&) = delete;
  ~SilentListener() { close(fd_); }

  const std::string& address() const { return address_; }

  // Whether a client has connected; its connection is closed.
  bool HasVisitor() const {
    const int visitor = accept(fd_, nullptr, nullptr);
    if (visitor >= 0) close(visitor);
    return visitor >= 0;
  }

 private:
  const int fd_;
  std::string address_;
};

}  // namespace mycelium::test

#endif  // TESTS_SUPPORT_SILENT_LISTENER_H_
