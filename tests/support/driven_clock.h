#ifndef TESTS_SUPPORT_DRIVEN_CLOCK_H_
#define TESTS_SUPPORT_DRIVEN_CLOCK_H_

#include <cstdint>

#include "mycelium/base/clock.h"

namespace mycelium::test {

// Time goes on when the test says so.
//
// Thread safety: none.
class DrivenClock final : public Clock {
 public:
  TimeNs NowNs() override { return now; }
  int64_t WallNs() override { return now; }
  TimeNs now = 1000;
};

}  // namespace mycelium::test

#endif  // TESTS_SUPPORT_DRIVEN_CLOCK_H_
