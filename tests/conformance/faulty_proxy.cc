#include "tests/conformance/faulty_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "gtest/gtest.h"

namespace mycelium::test {
namespace {

constexpr int kLookMs = 5;  // How soon orders are noticed.
constexpr size_t kThrottledBytes = 400;
constexpr std::chrono::milliseconds kThrottle(1);

sockaddr_in NameOf(const std::string& host, int port) {
  sockaddr_in name = {};
  name.sin_family = AF_INET;
  name.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, host.c_str(), &name.sin_addr);
  return name;
}

int Socket() { return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }

void SetUp(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const timeval patience = {5, 0};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

}  // namespace

struct FaultyProxy::Connection {
  int from = -1;
  int to = -1;
  std::mt19937_64 random;
  Fault planned = Fault::kNone;
  uint64_t sets_in_after = 0;  // In bytes passed.
  uint64_t ends_after = 0;     // If it is one that passes.
  uint64_t passed = 0;
  Fault suffers = Fault::kNone;
  std::atomic<bool> over{false};
  std::thread thread;
};

FaultyProxy::FaultyProxy(const std::string& host, int target, uint64_t seed,
                         uint64_t bytes_max)
    : host_(host), target_(target), seed_(seed), bytes_max_(bytes_max) {
  listener_ = Socket();
  sockaddr_in name = NameOf(host, 0);
  socklen_t bytes = sizeof name;
  EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&name), bytes), 0);
  EXPECT_EQ(listen(listener_, 64), 0);
  getsockname(listener_, reinterpret_cast<sockaddr*>(&name), &bytes);
  port_ = ntohs(name.sin_port);
  accepting_ = std::thread([this] { Accept(); });
}

FaultyProxy::~FaultyProxy() {
  over_ = true;
  accepting_.join();
  for (const auto& connection : open_) connection->thread.join();
  close(listener_);
}

void FaultyProxy::Accept() {
  while (!over_) {
    pollfd ready = {listener_, POLLIN, 0};
    if (poll(&ready, 1, kLookMs) <= 0) continue;
    auto connection = std::make_unique<Connection>();
    connection->from = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    connection->random.seed(seed_ + ++connections_);
    connection->thread =
        std::thread([this, served = connection.get()] { Serve(*served); });
    open_.push_back(std::move(connection));
    const auto ended =
        std::partition(open_.begin(), open_.end(),
                       [](const auto& open) { return !open->over.load(); });
    std::for_each(ended, open_.end(),
                  [](const auto& open) { open->thread.join(); });
    open_.erase(ended, open_.end());
  }
}

void FaultyProxy::Serve(Connection& connection) {
  connection.to = Socket();
  const sockaddr_in name = NameOf(host_, target_);
  SetUp(connection.from);
  SetUp(connection.to);
  if (connect(connection.to, reinterpret_cast<const sockaddr*>(&name),
              sizeof name) == 0) {
    while (!over_ && Turn(connection, Decide(connection))) continue;
  }
  close(connection.from);
  close(connection.to);
  connection.over = true;
}

FaultyProxy::Fault FaultyProxy::Decide(Connection& connection) {
  const Fault imposed = imposed_;
  Fault fault = imposed;
  if (imposed == Fault::kByChance) {
    if (connection.planned == Fault::kNone ||
        connection.passed >= connection.ends_after) {
      connection.planned = static_cast<Fault>(
          1 +
          connection.random() % (static_cast<size_t>(Fault::kByChance) - 1));
      connection.sets_in_after =
          connection.passed + 1 + connection.random() % bytes_max_;
      connection.ends_after = connection.sets_in_after + bytes_max_ / 16;
    }
    fault = connection.passed >= connection.sets_in_after ? connection.planned
                                                          : Fault::kNone;
  }
  if (fault != connection.suffers) ++counts_[static_cast<size_t>(fault)];
  connection.suffers = fault;
  return fault;
}

bool FaultyProxy::Turn(Connection& connection, Fault fault) {
  const int ends[] = {connection.from, connection.to};
  if (fault == Fault::kDrop) return false;
  if (fault == Fault::kReset) {
    const linger now = {1, 0};
    for (const int end : ends) {
      setsockopt(end, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    return false;
  }
  if (fault == Fault::kHalfClose) shutdown(connection.to, SHUT_WR);
  const bool passes = fault != Fault::kHalfClose && fault != Fault::kBlackhole;
  // Where nothing passes, the ends are watched only for having hung up.
  const short events = passes ? POLLIN : POLLRDHUP;
  pollfd fds[] = {{ends[0], events, 0}, {ends[1], events, 0}};
  if (poll(fds, 2, kLookMs) <= 0) return true;
  if (!passes) return (fds[0].revents | fds[1].revents) == 0;
  if (fault == Fault::kDelay) {
    const auto delay = std::chrono::microseconds(connection.random() % 3000);
    std::this_thread::sleep_for(delay);  // waits: a slow network is the test's
  }
  if (fault == Fault::kThrottle) {
    std::this_thread::sleep_for(kThrottle);  // waits: as above
  }
  const size_t most = fault == Fault::kThrottle ? kThrottledBytes : 16 * 1024;
  return (fds[0].revents == 0 || Pass(connection, ends[0], ends[1], most)) &&
         (fds[1].revents == 0 || Pass(connection, ends[1], ends[0], most));
}

bool FaultyProxy::Pass(Connection& connection, int from, int to,
                       size_t bytes_max) {
  char bytes[16 * 1024];
  const ssize_t count = recv(from, bytes, std::min(bytes_max, sizeof bytes), 0);
  if (count <= 0) return false;
  connection.passed += static_cast<uint64_t>(count);
  for (ssize_t sent = 0; sent < count;) {
    const ssize_t more =
        send(to, bytes + sent, static_cast<size_t>(count - sent), MSG_NOSIGNAL);
    if (more <= 0) return false;
    sent += more;
  }
  return true;
}

}  // namespace mycelium::test
