#include "tests/faults/stepped_world.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace mycelium::test {

void SteppedWorld::WaitWord(const std::atomic<uint32_t>& word,
                            uint32_t expected, TimeNs deadline) {
  if (word.load() == expected && now_ < deadline) Step(deadline);
}

int64_t SteppedWorld::WaitEpoll(int epoll_fd, epoll_event* events,
                                int events_max, TimeNs deadline) {
  const int64_t ready = sys_.EpollWait(epoll_fd, events, events_max, 0);
  if (ready == -EINTR) return 0;
  if (ready == 0 && now_ < deadline) Step(deadline);
  return ready;
}

void SteppedWorld::Step(TimeNs deadline) {
  if (!running_others_ && run_others_ != nullptr) {
    running_others_ = true;
    const bool ran = run_others_();
    running_others_ = false;
    if (ran) return;
  }
  now_ += std::min<int64_t>(kStepNs, deadline - now_);
  if (now_ < kHangNs) return;
  std::fprintf(stderr, "somebody has waited for an hour: this is a hang\n");
  std::abort();
}

}  // namespace mycelium::test
