#include "mycelium/base/heavy_barrier.h"

#include <cstdint>

#include "mycelium/base/clock.h"
#include "mycelium/base/environment.h"

namespace mycelium {
namespace {

enum class Offer : int { kNotAsked, kAsking, kYes, kNo };
std::atomic<Offer> g_offer{Offer::kNotAsked};

// How long to wait instead of a barrier: a processor's store buffer empties
// itself within microseconds.
constexpr int64_t kWithoutBarrierNs = 10'000'000;

}  // namespace

void AskForHeavyBarrier(Sys& sys) {
  Offer seen = Offer::kNotAsked;
  if (!g_offer.compare_exchange_strong(seen, Offer::kAsking)) return;
  g_offer.store(sys.RegisterBarrier() == 0 ? Offer::kYes : Offer::kNo);
}

bool has_heavy_barrier() {
  return g_offer.load(std::memory_order_relaxed) == Offer::kYes;
}

void HeavyBarrier(Sys& sys) {
  // For this thread. The kernel runs a barrier here as well; this one says so
  // to readers of the code, ThreadSanitizer among them.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (sys.BarrierInAllThreads() == 0) return;
  g_offer.store(Offer::kNo);
  // In real time: a test's clock does not move processors.
  Environment& real = Environment::Real();
  const std::atomic<uint32_t> nobody_wakes{0};
  const TimeNs until = real.clock.NowNs() + kWithoutBarrierNs;
  while (real.clock.NowNs() < until) {
    real.waiter.WaitWord(nobody_wakes, 0, until);
  }
}

}  // namespace mycelium
