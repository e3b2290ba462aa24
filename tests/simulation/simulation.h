#ifndef TESTS_SIMULATION_SIMULATION_H_
#define TESTS_SIMULATION_SIMULATION_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "mycelium/testing/trace.h"
#include "mycelium/topology/settings.h"

namespace mycelium::test {

// The result of one seed.
struct SimulationResult {
  uint64_t seed = 0;
  uint64_t hash = 0;
  uint64_t events = 0;      // All of them, of which these are more than a
  uint64_t happenings = 0;  // thread's turn or the passing of time.
  int64_t virtual_ms = 0;
  std::array<uint64_t, Trace::kKinds> counts = {};
  std::map<Overflow, uint64_t> policies;  // Of how many subscriptions.
  uint64_t flows = 0;
  uint64_t strict_flows = 0;  // Between which nothing may be lost.
  // The longest time in which nothing moved between two nodes that were well.
  int64_t longest_stand_ms = 0;
  std::vector<std::string> violations;

  bool ok() const { return violations.empty(); }
};

// The fewest happenings of a seed.
inline constexpr uint64_t kEventsMin = 10'000;

// The kinds that count as faults: each must occur in a batch of seeds.
const std::vector<Happening>& FaultKinds();

// Runs the world of a seed to its end. There is trouble until there were enough
// faults and events. Then there are no more faults, until everything has
// drained. Then each publisher sends one more message to each subscription, and
// all nodes leave. With `print`, prints every event.
SimulationResult Simulate(uint64_t seed, bool print);

// The findings of Simulate(), in a line or a few.
std::string Describe(const SimulationResult& result);

}  // namespace mycelium::test

#endif  // TESTS_SIMULATION_SIMULATION_H_
