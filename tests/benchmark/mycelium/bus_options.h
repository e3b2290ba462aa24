#ifndef TESTS_BENCHMARK_MYCELIUM_BUS_OPTIONS_H_
#define TESTS_BENCHMARK_MYCELIUM_BUS_OPTIONS_H_

#include <algorithm>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "mycelium/base/log.h"
#include "mycelium/bus/options.h"
#include "tests/benchmark/case.h"
#include "tests/benchmark/mycelium/counting_environment.h"

namespace mycelium::bench {

// The options of a bus for a case: as users get them, except for how the bus
// waits and for limits that a large payload would exceed. `world` outlives the
// bus.
inline BusOptions OptionsFor(const Case& what, PollMode poll,
                             CountingEnvironment& world) {
  BusOptions options;
  options.poll = poll;
  options.wait = what.wait == Wait::kSpin    ? WaitMode::kSpin
                 : what.wait == Wait::kBlock ? WaitMode::kBlock
                                             : WaitMode::kAdaptive;
  const auto bytes = static_cast<int64_t>(what.bytes);
  options.settings.lane_bytes =
      std::max(static_cast<int64_t>(what.ring_bytes), 4 * bytes);
  options.limits.frame_bytes_max =
      std::min(std::max(options.limits.frame_bytes_max, 2 * bytes),
               options.settings.lane_bytes / 2);
  options.environment = &world.environment;
  options.log = [](LogLevel level, absl::string_view text) {
    if (level >= LogLevel::kWarning) StderrLog()(level, text);
  };
  return options;
}

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_MYCELIUM_BUS_OPTIONS_H_
