#include "mycelium/testing/simulated_process.h"

#include <algorithm>

namespace mycelium {

SimulatedProcess::SimulatedProcess(SimulatedWorld& world, int place,
                                   int64_t pid, uint64_t seed)
    : world_(world),
      place_(place),
      sys_(world.kernel(), place, pid, seed),
      clock_(*this),
      waiter_(*this),
      environment_{sys_, clock_, waiter_, seed} {}

void SimulatedProcess::Crash(SimulatedThread& thread) {
  sys_.Crash();
  world_.Finish(thread);
}

void SimulatedProcess::SkipTo(TimeNs time) {
  if (time != kNever) skipped_to_ = std::max(skipped_to_, time);
}

TimeNs SimulatedProcess::ProcessClock::NowNs() {
  return std::max(process_.world_.now(), process_.skipped_to_);
}

void SimulatedProcess::ProcessWaiter::WaitWord(
    const std::atomic<uint32_t>& word, uint32_t expected, TimeNs deadline) {
  if (word.load() != expected) return;
  if (!process_.world_.WaitWord(&word, deadline)) process_.SkipTo(deadline);
}

void SimulatedProcess::ProcessWaiter::WakeWord(
    const std::atomic<uint32_t>& word) {
  process_.world_.WakeWord(&word);
}

int64_t SimulatedProcess::ProcessWaiter::WaitEpoll(int epoll_fd,
                                                   epoll_event* events,
                                                   int events_max,
                                                   TimeNs deadline) {
  SimulatedSys& sys = process_.sys_;
  while (deadline > process_.clock_.NowNs()) {
    // Waits even if something is ready: other threads may come first.
    if (!process_.world_.Wait(deadline,
                              [&] { return sys.IsReady(epoll_fd); })) {
      process_.SkipTo(deadline);
      return 0;
    }
    const int64_t ready = sys.EpollWait(epoll_fd, events, events_max, 0);
    if (ready != 0) return ready;
  }
  return sys.EpollWait(epoll_fd, events, events_max, 0);
}

}  // namespace mycelium
