#ifndef MYCELIUM_TOPOLOGY_SETTING_BOUNDS_H_
#define MYCELIUM_TOPOLOGY_SETTING_BOUNDS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace mycelium {

// Numbers in a topology file: how each is written and within which bounds it
// must lie. The table in docs/topology.md shows the same; a test compares the
// two.

enum class SettingUnit {
  kDuration,  // A string for absl::ParseDuration; counted in nanoseconds.
  kBytes,     // An integer, or a string such as "64KiB".
  kCount,     // An integer.
};

struct SettingBounds {
  absl::string_view key;
  SettingUnit unit;
  int64_t min;
  int64_t max;
};

// The bounds of all settings.
absl::Span<const SettingBounds> AllSettingBounds();

// The bounds of a key. REQUIRES: it is one of AllSettingBounds().
const SettingBounds& BoundsOf(absl::string_view key);

// "250ms" in nanoseconds. INVALID_ARGUMENT if it is not a duration.
absl::StatusOr<int64_t> ParseDurationNs(absl::string_view text);

// "4096", "64KiB", "4MiB", "1GiB", also with a blank before the unit.
// INVALID_ARGUMENT if it is not a size, or too large for an int64_t.
absl::StatusOr<int64_t> ParseBytes(absl::string_view text);

// The value as a file would write it: "1.5s", "4MiB", "16".
std::string FormatSetting(SettingUnit unit, int64_t value);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_SETTING_BOUNDS_H_
