#include "mycelium/cli/words.h"

#include "absl/time/time.h"

namespace mycelium {

std::string ForPeople(uint64_t ms) {
  constexpr uint64_t kMsPerSecond = 1000;
  const absl::Duration exact = absl::Milliseconds(ms);
  return absl::FormatDuration(
      ms < kMsPerSecond ? exact : absl::Trunc(exact, absl::Seconds(1)));
}

}  // namespace mycelium
