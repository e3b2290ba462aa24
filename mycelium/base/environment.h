#ifndef MYCELIUM_BASE_ENVIRONMENT_H_
#define MYCELIUM_BASE_ENVIRONMENT_H_

#include <cstdint>

#include "mycelium/base/clock.h"
#include "mycelium/base/sys.h"
#include "mycelium/base/waiter.h"

namespace mycelium {

// What the code takes from the world: the kernel, time, sleep and chance.
// A test replaces any of the four.
struct Environment {
  Sys& sys;
  Clock& clock;
  Waiter& waiter;

  // Where every random choice of a node starts. Zero asks the kernel for one.
  uint64_t seed = 0;

  // The real world. Lives for ever.
  static Environment& Real();
};

}  // namespace mycelium

#endif  // MYCELIUM_BASE_ENVIRONMENT_H_
