#include "mycelium/base/heavy_barrier.h"

#include <cstdint>
#include <mutex>

#include "mycelium/base/clock.h"
#include "mycelium/base/environment.h"

namespace mycelium {
namespace {

std::once_flag g_asked;
std::atomic<bool> g_has{false};
std::atomic<bool> g_takes_shared{false};
std::atomic<bool> g_has_shared{false};

// How long to wait instead of a barrier: a processor's store buffer empties
// itself within microseconds.
constexpr int64_t kWithoutBarrierNs = 10'000'000;

// There is none any more, but whoever relied on it has to go on.
void GoOnWithout(std::atomic<bool>& has) {
  has.store(false);
  // In real time: a test's clock does not move processors.
  Environment& real = Environment::Real();
  const std::atomic<uint32_t> nobody_wakes{0};
  const TimeNs until = real.clock.NowNs() + kWithoutBarrierNs;
  while (real.clock.NowNs() < until) {
    real.waiter.WaitWord(nobody_wakes, 0, until);
  }
}

}  // namespace

void AskForHeavyBarrier(Sys& sys) {
  std::call_once(g_asked, [&sys] {
    g_has.store(sys.RegisterBarrier() == 0);
    g_takes_shared.store(sys.RegisterSharedBarrier() == 0);
    // A sandbox may let one command pass and not the other.
    g_has_shared.store(takes_shared_heavy_barriers() &&
                       sys.BarrierInAllProcesses() == 0);
  });
}

bool has_heavy_barrier() { return g_has.load(std::memory_order_relaxed); }

void HeavyBarrier(Sys& sys) {
  // For this thread. The kernel runs a barrier here as well; this one says so
  // to readers of the code, ThreadSanitizer among them.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (sys.BarrierInAllThreads() != 0) GoOnWithout(g_has);
}

bool takes_shared_heavy_barriers() {
  return g_takes_shared.load(std::memory_order_relaxed);
}

bool has_shared_heavy_barrier() {
  return g_has_shared.load(std::memory_order_relaxed);
}

void SharedHeavyBarrier(Sys& sys) {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // As above.
  if (sys.BarrierInAllProcesses() != 0) GoOnWithout(g_has_shared);
}

}  // namespace mycelium
