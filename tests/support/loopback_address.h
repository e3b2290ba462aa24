#ifndef TESTS_SUPPORT_LOOPBACK_ADDRESS_H_
#define TESTS_SUPPORT_LOOPBACK_ADDRESS_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <random>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace mycelium::test {

// An address of this machine at which nobody listens. Loopback has 2^24 hosts;
// one of them is taken at random, so that tests that run at the same time do
// not meet. No two addresses of a process have the same port, so that nodes may
// combine the ports of several with the host of one.
//
// Thread safety: made on one thread at a time.
struct LoopbackAddress {
  LoopbackAddress() {
    static std::set<int> taken;
    do {
      Choose();
    } while (!taken.insert(port).second);
  }

  std::string host_port() const { return host + ":" + std::to_string(port); }
  // The two keys of a node of a topology.
  std::string keys() const {
    return "host = \"" + host + "\"\nport = " + std::to_string(port) + "\n";
  }

  std::string host;
  int port = 0;

 private:
  void Choose() {
    std::random_device random;
    in_addr address = {};
    address.s_addr = htonl(0x7F000000u | (random() & 0x00FFFFFEu) | 0x010000u);
    char text[INET_ADDRSTRLEN] = {};
    inet_ntop(AF_INET, &address, text, sizeof text);
    host = text;
    // The kernel knows a free port.
    sockaddr_in name = {};
    name.sin_family = AF_INET;
    name.sin_addr = address;
    socklen_t bytes = sizeof name;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&name), bytes), 0);
    EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&name), &bytes), 0);
    close(fd);
    port = ntohs(name.sin_port);
  }
};

}  // namespace mycelium::test

#endif  // TESTS_SUPPORT_LOOPBACK_ADDRESS_H_
