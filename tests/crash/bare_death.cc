#include "tests/crash/bare_death.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <vector>

#include "tests/crash/processes.h"

namespace mycelium::test {
namespace {

struct Page {
  std::atomic<uint32_t> waits;  // A thread does, for the socket to end.
  std::atomic<int64_t> killed_at;
};

void* SleepForEver(void* /*unused*/) {
  while (true) pause();
}

int Die(Page& page, size_t ballast_bytes) {
  std::vector<char> ballast(ballast_bytes);
  for (size_t at = 0; at < ballast.size(); at += 4096) ballast[at] = 1;
  pthread_t other = {};
  if (pthread_create(&other, nullptr, &SleepForEver, nullptr) != 0) return 1;
  (void)AwaitChange(page.waits, [&] { return page.waits != 0; });
  page.killed_at = NowNs();
  (void)kill(getpid(), SIGKILL);
  return 1;
}

}  // namespace

int64_t NsUntilBareDeathIsSeen(size_t ballast_bytes) {
  SharedPage<Page> page;
  std::array<int, 2> ends = {};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return 0;
  }
  Process dies([&] {
    close(ends[0]);
    return Die(*page, ballast_bytes);
  });
  close(ends[1]);
  Signal(page->waits);
  pollfd end = {ends[0], POLLIN, 0};
  (void)poll(&end, 1, static_cast<int>(kHangSeconds) * 1000);
  const int64_t seen_at = NowNs();
  (void)dies.Wait();
  close(ends[0]);
  return seen_at - page->killed_at;
}

}  // namespace mycelium::test
