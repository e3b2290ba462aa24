#ifndef TESTS_BENCHMARK_LOOPBACK_PORT_H_
#define TESTS_BENCHMARK_LOOPBACK_PORT_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace mycelium::bench {

// A port of 127.0.0.1 at which nobody listens now.
inline int FreeLoopbackPort() {
  sockaddr_in name = {};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof name;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool bound =
      bind(fd, reinterpret_cast<sockaddr*>(&name), bytes) == 0 &&
      getsockname(fd, reinterpret_cast<sockaddr*>(&name), &bytes) == 0;
  close(fd);
  return bound ? ntohs(name.sin_port) : 0;
}

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_LOOPBACK_PORT_H_
