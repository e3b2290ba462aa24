#ifndef MYCELIUM_BASE_CLOCK_H_
#define MYCELIUM_BASE_CLOCK_H_

#include <cstdint>
#include <limits>

#include "absl/time/time.h"
#include "mycelium/base/sys.h"

namespace mycelium {

// A point on the monotonic clock, in nanoseconds since an arbitrary origin.
using TimeNs = int64_t;

// The deadline of a wait that only an event ends.
inline constexpr TimeNs kNever = std::numeric_limits<TimeNs>::max();

// Where time comes from. A test or a simulation drives its own.
//
// Thread safety: all members may be called from any thread.
class Clock {
 public:
  virtual ~Clock() = default;

  // Monotonic time: for deadlines and durations.
  virtual TimeNs NowNs() = 0;

  // Nanoseconds since the Unix epoch: for people and for publish times.
  virtual int64_t WallNs() = 0;
};

// The kernel's clocks.
class SystemClock final : public Clock {
 public:
  explicit SystemClock(Sys& sys) : sys_(sys) {}
  TimeNs NowNs() override { return sys_.MonotonicNs(); }
  int64_t WallNs() override { return sys_.RealtimeNs(); }

 private:
  Sys& sys_;
};

// The point `timeout` after `now`, which saturates: an infinite duration gives
// kNever, a negative one `now`.
inline TimeNs DeadlineAfter(TimeNs now, absl::Duration timeout) {
  if (timeout <= absl::ZeroDuration()) return now;
  const int64_t ns = absl::ToInt64Nanoseconds(timeout);
  return ns >= kNever - now ? kNever : now + ns;
}

}  // namespace mycelium

#endif  // MYCELIUM_BASE_CLOCK_H_
