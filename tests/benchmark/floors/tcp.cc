#include "tests/benchmark/floors/tcp.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tests/benchmark/floors/socket_roles.h"

namespace mycelium::bench {
namespace {

bool SetNoDelay(int fd) {
  const int on = 1;
  return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0;
}

// Connects two sockets over loopback. `fds` gets every socket that was opened,
// also on failure; the rest is -1.
bool Connect(int listener, int fds[2]) {
  sockaddr_in name = {};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof name;
  auto* const address = reinterpret_cast<sockaddr*>(&name);
  if (bind(listener, address, bytes) != 0 || listen(listener, 1) != 0 ||
      getsockname(listener, address, &bytes) != 0) {
    return false;
  }
  fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fds[0] < 0 || connect(fds[0], address, bytes) != 0) return false;
  fds[1] = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  return fds[1] >= 0 && SetNoDelay(fds[0]) && SetNoDelay(fds[1]);
}

}  // namespace

bool TcpFloor::Supports(const Case& what) const {
  return what.transport == "grpc" && what.kind == Kind::kRaw &&
         what.wait == Wait::kBlock && what.mode != Mode::kWake;
}

absl::StatusOr<RoundResult> TcpFloor::Run(const Case& what,
                                          const CpuPair& cpus) {
  int fds[2] = {-1, -1};
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool connected = listener >= 0 && Connect(listener, fds);
  absl::StatusOr<RoundResult> result =
      connected ? RunOverSockets(fds, what, cpus)
                : absl::InternalError(absl::StrCat("tcp: ", strerror(errno)));
  for (const int fd : {listener, fds[0], fds[1]}) {
    if (fd >= 0) close(fd);
  }
  return result;
}

}  // namespace mycelium::bench
