#include "mycelium/base/cpu_relax.h"

#include <algorithm>
#include <chrono>
#include <limits>

namespace mycelium {
namespace {

constexpr int kMeasured = 64;
constexpr int kTries = 5;
// No pause is taken to be shorter, in case the clock stands still.
constexpr int64_t kPausePsMin = 200;

int64_t MeasurePausePs() {
  using std::chrono::steady_clock;
  auto best = steady_clock::duration::max();
  for (int i = 0; i < kTries; ++i) {
    const auto begin = steady_clock::now();
    CpuRelax(kMeasured);
    best = std::min(best, steady_clock::now() - begin);
  }
  const int64_t ns = std::chrono::nanoseconds(best).count();
  return std::max(kPausePsMin, ns * 1000 / kMeasured);
}

}  // namespace

int PausesIn(int64_t ns) {
  static const int64_t pause_ps = MeasurePausePs();
  const int64_t pauses = (ns * 1000 + pause_ps / 2) / pause_ps;
  return static_cast<int>(
      std::clamp<int64_t>(pauses, 1, std::numeric_limits<int>::max()));
}

}  // namespace mycelium
