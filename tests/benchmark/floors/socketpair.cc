#include "tests/benchmark/floors/socketpair.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tests/benchmark/floors/socket_roles.h"

namespace mycelium::bench {

bool SocketpairFloor::Supports(const Case& what) const {
  return what.transport == "unix" && what.mode != Mode::kWake &&
         what.kind == Kind::kRaw;
}

absl::StatusOr<RoundResult> SocketpairFloor::Run(const Case& what,
                                                 const CpuPair& cpus) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
    return absl::InternalError(absl::StrCat("socketpair: ", strerror(errno)));
  }
  absl::StatusOr<RoundResult> result = RunOverSockets(fds, what, cpus);
  close(fds[0]);
  close(fds[1]);
  return result;
}

}  // namespace mycelium::bench
