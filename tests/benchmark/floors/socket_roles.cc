#include "tests/benchmark/floors/socket_roles.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tests/benchmark/clock.h"
#include "tests/benchmark/pinned_run.h"

namespace mycelium::bench {
namespace {

constexpr size_t kFloodWriteBytes = 64 << 10;

// One end of the pair.
class Socket final {
 public:
  Socket(int fd, const Case& what)
      : fd_(fd), flags_(what.wait == Wait::kBlock ? 0 : MSG_DONTWAIT) {}

  [[nodiscard]] bool WriteAll(const char* bytes, size_t count) {
    while (count > 0) {
      const ssize_t written = send(fd_, bytes, count, flags_ | MSG_NOSIGNAL);
      ++syscalls_;
      if (written < 0 && !Retry()) return false;
      if (written <= 0) continue;
      bytes += written;
      count -= static_cast<size_t>(written);
    }
    return true;
  }

  [[nodiscard]] bool ReadAll(char* bytes, size_t count) {
    while (count > 0) {
      const size_t taken = ReadSome(bytes, count);
      if (taken == 0) return false;
      bytes += taken;
      count -= taken;
    }
    return true;
  }

  // 0 at the end of the stream and on errors.
  size_t ReadSome(char* bytes, size_t bytes_max) {
    ssize_t taken;
    do {
      taken = recv(fd_, bytes, bytes_max, flags_);
      ++syscalls_;
    } while (taken < 0 && Retry());
    return taken < 0 ? 0 : static_cast<size_t>(taken);
  }

  int64_t syscalls() const { return syscalls_; }

 private:
  static bool Retry() { return errno == EAGAIN || errno == EINTR; }

  const int fd_;
  const int flags_;
  int64_t syscalls_ = 0;
};

absl::Status Lost() { return absl::AbortedError("the other side gave up"); }

absl::Status Broken() {
  return absl::InternalError(absl::StrCat("socket: ", strerror(errno)));
}

absl::Status Ping(Stage& stage, const Case& what, Socket socket) {
  std::vector<char> bytes(what.bytes, 'x');
  auto round_trip = [&] {
    return socket.WriteAll(bytes.data(), bytes.size()) &&
           socket.ReadAll(bytes.data(), bytes.size());
  };
  for (int64_t i = 0; i < what.warm_up; ++i) {
    if (!round_trip()) return Broken();
  }
  if (!stage.Begin()) return Lost();
  const int64_t syscalls = socket.syscalls();
  int64_t last_ns = NowNs();
  stage.MarkFirst(last_ns);
  for (int64_t i = 0; i < what.messages; ++i) {
    std::memcpy(bytes.data(), &i, sizeof i);
    if (!round_trip()) return Broken();
    const int64_t now_ns = NowNs();
    stage.AddSample((now_ns - last_ns) / 2);
    last_ns = now_ns;
  }
  stage.End();
  stage.MarkLast(last_ns, 2 * what.messages);
  stage.AddSyscalls(socket.syscalls() - syscalls);
  int64_t echoed;
  std::memcpy(&echoed, bytes.data(), sizeof echoed);
  if (echoed == what.messages - 1) return absl::OkStatus();
  return absl::DataLossError("the last reply is not an echo");
}

absl::Status Pong(Stage& stage, const Case& what, Socket socket) {
  std::vector<char> bytes(what.bytes);
  auto echo = [&] {
    return socket.ReadAll(bytes.data(), bytes.size()) &&
           socket.WriteAll(bytes.data(), bytes.size());
  };
  for (int64_t i = 0; i < what.warm_up; ++i) {
    if (!echo()) return Broken();
  }
  if (!stage.Begin()) return Lost();
  const int64_t syscalls = socket.syscalls();
  for (int64_t i = 0; i < what.messages; ++i) {
    if (!echo()) return Broken();
  }
  stage.End();
  stage.AddSyscalls(socket.syscalls() - syscalls);
  return absl::OkStatus();
}

absl::Status SendAtRate(Stage& stage, const Case& what, Socket socket) {
  std::vector<char> bytes(what.bytes, 'x');
  const double interval_ns = 1e9 / what.rate_per_s;
  if (!stage.Begin()) return Lost();
  const int64_t start_ns = NowNs();
  stage.MarkFirst(start_ns);
  for (int64_t i = 0; i < what.warm_up + what.messages; ++i) {
    const int64_t intended_ns =
        start_ns + static_cast<int64_t>(interval_ns * static_cast<double>(i));
    SpinUntil(intended_ns);
    std::memcpy(bytes.data(), &intended_ns, sizeof intended_ns);
    if (!socket.WriteAll(bytes.data(), bytes.size())) return Broken();
  }
  stage.End();
  stage.AddSyscalls(socket.syscalls());
  return absl::OkStatus();
}

absl::Status ReceiveAtRate(Stage& stage, const Case& what, Socket socket) {
  std::vector<char> bytes(what.bytes);
  if (!stage.Begin()) return Lost();
  int64_t now_ns = 0;
  for (int64_t i = 0; i < what.warm_up + what.messages; ++i) {
    if (!socket.ReadAll(bytes.data(), bytes.size())) return Broken();
    now_ns = NowNs();
    int64_t intended_ns;
    std::memcpy(&intended_ns, bytes.data(), sizeof intended_ns);
    if (i >= what.warm_up) stage.AddSample(now_ns - intended_ns);
  }
  stage.End();
  stage.AddSyscalls(socket.syscalls());
  stage.MarkLast(now_ns, what.warm_up + what.messages);
  return absl::OkStatus();
}

// Writes `messages` messages, as many per call as kFloodWriteBytes holds.
bool WriteFlood(Socket& socket, const Case& what, int64_t messages,
                std::vector<char>& buffer, std::vector<char>& message) {
  const int64_t batch = static_cast<int64_t>(buffer.size() / what.bytes);
  for (int64_t sent = 0; sent < messages;) {
    const int64_t count = std::min(batch, messages - sent);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t number = sent + i;
      std::memcpy(message.data(), &number, sizeof number);
      std::memcpy(buffer.data() + i * what.bytes, message.data(), what.bytes);
    }
    if (!socket.WriteAll(buffer.data(), count * what.bytes)) return false;
    sent += count;
  }
  return true;
}

// Reads and checks `messages` messages; returns how many were in order, or -1
// if the stream broke. The bytes of an incomplete message stay at the start of
// `buffer`.
int64_t ReadFlood(Socket& socket, const Case& what, int64_t messages,
                  std::vector<char>& buffer) {
  size_t filled = 0;
  int64_t handled = 0;
  int64_t in_order = 0;
  while (handled < messages) {
    const size_t wanted = std::min(
        buffer.size(), static_cast<size_t>(messages - handled) * what.bytes);
    const size_t taken =
        socket.ReadSome(buffer.data() + filled, wanted - filled);
    if (taken == 0) return -1;
    filled += taken;
    size_t offset = 0;
    for (; filled - offset >= what.bytes; offset += what.bytes) {
      int64_t number;
      std::memcpy(&number, buffer.data() + offset, sizeof number);
      in_order += number == handled++ ? 1 : 0;
      Consume(buffer.data() + offset);
    }
    filled -= offset;
    if (offset > 0) std::memmove(buffer.data(), buffer.data() + offset, filled);
  }
  return in_order;
}

std::vector<char> FloodBuffer(const Case& what) {
  return std::vector<char>(std::max<size_t>(kFloodWriteBytes / what.bytes, 1) *
                           what.bytes);
}

absl::Status WriteAtOnce(Stage& stage, const Case& what, Socket socket) {
  std::vector<char> buffer = FloodBuffer(what);
  std::vector<char> message(what.bytes, 'x');
  if (!WriteFlood(socket, what, what.warm_up, buffer, message)) return Broken();
  if (!stage.Begin()) return Lost();
  const int64_t syscalls = socket.syscalls();
  stage.MarkFirst(NowNs());
  if (!WriteFlood(socket, what, what.messages, buffer, message)) {
    return Broken();
  }
  stage.End();
  stage.AddSyscalls(socket.syscalls() - syscalls);
  return absl::OkStatus();
}

absl::Status ReadAtOnce(Stage& stage, const Case& what, Socket socket) {
  std::vector<char> buffer = FloodBuffer(what);
  if (ReadFlood(socket, what, what.warm_up, buffer) < 0) return Broken();
  if (!stage.Begin()) return Lost();
  const int64_t syscalls = socket.syscalls();
  const int64_t in_order = ReadFlood(socket, what, what.messages, buffer);
  const int64_t last_ns = NowNs();
  stage.End();
  if (in_order < 0) return Broken();
  stage.MarkLast(last_ns, what.messages);
  stage.AddSyscalls(socket.syscalls() - syscalls);
  if (in_order == what.messages) return absl::OkStatus();
  return absl::DataLossError("messages out of order");
}

}  // namespace

absl::StatusOr<RoundResult> RunOverSockets(const int fds[2], const Case& what,
                                           const CpuPair& cpus) {
  PinnedRun run;
  run.cpus = {cpus.first, cpus.second};
  run.deadline_ms = what.deadline_ms;
  run.samples_max = what.mode == Mode::kFlood ? 0 : what.messages;
  run.sampling_role = what.mode == Mode::kOpen ? 1 : 0;
  using Side = absl::Status (*)(Stage&, const Case&, Socket);
  Side first = Ping;
  Side second = Pong;
  if (what.mode == Mode::kOpen) {
    first = SendAtRate;
    second = ReceiveAtRate;
  } else if (what.mode == Mode::kFlood) {
    first = WriteAtOnce;
    second = ReadAtOnce;
  }
  run.roles = {
      [&](Stage& stage) { return first(stage, what, Socket(fds[0], what)); },
      [&](Stage& stage) { return second(stage, what, Socket(fds[1], what)); }};
  return RunPinned(run);
}

}  // namespace mycelium::bench
