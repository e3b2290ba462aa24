#ifndef MYCELIUM_BASE_RANDOM_H_
#define MYCELIUM_BASE_RANDOM_H_

#include <cstdint>
#include <random>

#include "mycelium/base/environment.h"

namespace mycelium {

// The random choices of one node, all from one seed, so that a run can be
// replayed. Not for secrets.
//
// Thread safety: none; each owner has its own.
class Random final {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  uint64_t Next64() { return engine_(); }

  // A value in [0, bound). REQUIRES: bound > 0.
  uint64_t Below(uint64_t bound) {
    return std::uniform_int_distribution<uint64_t>(0, bound - 1)(engine_);
  }

 private:
  std::mt19937_64 engine_;
};

// The seed of `environment`, or a fresh one from the kernel if that is zero.
uint64_t SeedFrom(Environment& environment);

}  // namespace mycelium

#endif  // MYCELIUM_BASE_RANDOM_H_
