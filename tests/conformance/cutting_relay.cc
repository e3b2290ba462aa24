#include "tests/conformance/cutting_relay.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "gtest/gtest.h"

namespace mycelium::test {
namespace {

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(),
              std::min(path.size(), sizeof(address.sun_path) - 1));
  return address;
}

}  // namespace

CuttingRelay::CuttingRelay(const std::string& path, const std::string& target,
                           uint64_t seed, uint64_t bytes_max)
    : target_(target), random_(seed), bytes_max_(bytes_max) {
  listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  orders_ = eventfd(0, EFD_CLOEXEC);
  const sockaddr_un address = AddressOf(path);
  EXPECT_EQ(bind(listener_, reinterpret_cast<const sockaddr*>(&address),
                 sizeof(address)),
            0);
  EXPECT_EQ(listen(listener_, 8), 0);
  thread_ = std::thread([this] { Run(); });
}

CuttingRelay::~CuttingRelay() {
  over_ = true;
  Cut();
  thread_.join();
  close(listener_);
  close(orders_);
}

void CuttingRelay::Cut() { (void)eventfd_write(orders_, 1); }

void CuttingRelay::Run() {
  while (!over_) {
    pollfd fds[] = {{listener_, POLLIN, 0}, {orders_, POLLIN, 0}};
    if (poll(fds, 2, -1) <= 0) continue;
    if (fds[1].revents != 0) {
      eventfd_t ignored;
      (void)eventfd_read(orders_, &ignored);
      continue;
    }
    const int from = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    const int to = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_un address = AddressOf(target_);
    if (connect(to, reinterpret_cast<const sockaddr*>(&address),
                sizeof(address)) == 0) {
      Relay(from, to);
    }
    close(from);
    close(to);
  }
}

void CuttingRelay::Relay(int from, int to) {
  const uint64_t bytes_max = bytes_max_;
  uint64_t budget = bytes_max == 0 ? std::numeric_limits<uint64_t>::max()
                                   : 1 + random_() % bytes_max;
  while (true) {
    pollfd fds[] = {{from, POLLIN, 0}, {to, POLLIN, 0}, {orders_, POLLIN, 0}};
    if (poll(fds, 3, -1) <= 0) continue;
    if (fds[2].revents != 0) {
      eventfd_t ignored;
      (void)eventfd_read(orders_, &ignored);
      break;
    }
    if ((fds[0].revents != 0 && !Pass(from, to, &budget)) ||
        (budget > 0 && fds[1].revents != 0 && !Pass(to, from, &budget))) {
      ++closed_;
      return;
    }
    if (budget == 0) break;
  }
  ++cuts_;
}

bool CuttingRelay::Pass(int from, int to, uint64_t* budget) {
  char bytes[16 * 1024];
  const ssize_t count =
      recv(from, bytes, std::min<uint64_t>(sizeof(bytes), *budget), 0);
  if (count <= 0) return false;
  *budget -= static_cast<uint64_t>(count);
  passed_ += static_cast<uint64_t>(count);
  // Waits for room; this ends, because the ends always read.
  for (ssize_t sent = 0; sent < count;) {
    const ssize_t more =
        send(to, bytes + sent, static_cast<size_t>(count - sent), MSG_NOSIGNAL);
    if (more <= 0) return false;
    sent += more;
  }
  return true;
}

}  // namespace mycelium::test
