#include "mycelium/base/waiter.h"

#include <algorithm>
#include <cerrno>
#include <limits>

namespace mycelium {

int64_t SystemWaiter::LeftNs(TimeNs deadline) {
  if (deadline == kNever) return -1;
  return std::max<int64_t>(0, deadline - clock_.NowNs());
}

void SystemWaiter::WaitWord(const std::atomic<uint32_t>& word,
                            uint32_t expected, TimeNs deadline) {
  sys_.FutexWait(&word, expected, LeftNs(deadline));
}

void SystemWaiter::WakeWord(const std::atomic<uint32_t>& word) {
  sys_.FutexWake(&word, std::numeric_limits<int>::max());
}

int64_t SystemWaiter::WaitEpoll(int epoll_fd, epoll_event* events,
                                int events_max, TimeNs deadline) {
  // A deadline of zero is a look without sleeping: no clock is read for it.
  const int64_t left_ns = deadline <= 0 ? 0 : LeftNs(deadline);
  const int64_t ready = sys_.EpollWait(epoll_fd, events, events_max, left_ns);
  return ready == -EINTR ? 0 : ready;
}

void SystemWaiter::GiveWay() { sys_.SchedYield(); }

}  // namespace mycelium
