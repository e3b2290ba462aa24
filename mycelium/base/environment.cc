#include "mycelium/base/environment.h"

namespace mycelium {

Environment& Environment::Real() {
  static auto* const clock = new SystemClock(Sys::Real());
  static auto* const waiter = new SystemWaiter(Sys::Real(), *clock);
  static auto* const real =
      new Environment{Sys::Real(), *clock, *waiter, /*seed=*/0};
  return *real;
}

}  // namespace mycelium
