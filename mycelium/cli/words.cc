#include "mycelium/cli/words.h"

#include "absl/time/time.h"

namespace mycelium {

std::string ForPeople(uint64_t ms) {
  constexpr uint64_t kMsPerSecond = 1000;
  const absl::Duration exact = absl::Milliseconds(ms);
  return absl::FormatDuration(
      ms < kMsPerSecond ? exact : absl::Trunc(exact, absl::Seconds(1)));
}

std::string Harmless(absl::string_view text) {
  std::string harmless;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F are controls too: C2 80 to C2 9F.
    const bool is_late_control = byte == 0xC2 && i + 1 < text.size() &&
                                 static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (is_late_control) ++i;
    const bool is_control = byte < 0x20 || byte == 0x7F || is_late_control;
    harmless += is_control ? '?' : text[i];
  }
  return harmless;
}

}  // namespace mycelium
