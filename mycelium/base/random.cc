#include "mycelium/base/random.h"

namespace mycelium {

uint64_t SeedFrom(Environment& environment) {
  if (environment.seed != 0) return environment.seed;
  uint64_t seed = 0;
  if (environment.sys.GetRandom(&seed, sizeof seed) < 0 || seed == 0) {
    seed = static_cast<uint64_t>(environment.clock.WallNs());
  }
  return seed;
}

}  // namespace mycelium
