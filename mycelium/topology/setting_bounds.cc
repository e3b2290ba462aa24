#include "mycelium/topology/setting_bounds.h"

#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "mycelium/topology/settings.h"

namespace mycelium {
namespace {

constexpr int64_t kKiB = 1 << 10;
constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kGiB = 1 << 30;

constexpr int64_t kUs = 1'000;
constexpr int64_t kMs = 1'000 * kUs;
constexpr int64_t kSecond = 1'000 * kMs;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kHour = 60 * kMinute;

constexpr SettingBounds kBounds[] = {
    {"depth", SettingUnit::kCount, 1, kDepthMax},
    {"window", SettingUnit::kCount, 1, kWindowMax},
    {"lane_bytes", SettingUnit::kBytes, 64 * kKiB, kGiB},
    {"publish_timeout", SettingUnit::kDuration, 0, kHour},
    {"retain", SettingUnit::kDuration, 0, 24 * kHour},
    {"spin", SettingUnit::kDuration, 0, 10 * kMs},
    {"handshake", SettingUnit::kDuration, 10 * kMs, kMinute},
    {"frame_bytes_max", SettingUnit::kBytes, kKiB, 256 * kMiB},
    {"links", SettingUnit::kCount, 1, 4096},
    {"reconnect_min", SettingUnit::kDuration, kMs, kMinute},
    {"reconnect_max", SettingUnit::kDuration, kMs, kHour},
    {"keepalive", SettingUnit::kDuration, 100 * kMs, kHour},
    {"redeliver_max", SettingUnit::kCount, 0, 1'000'000},
};

struct ByteUnit {
  absl::string_view suffix;
  int64_t bytes;
};
constexpr ByteUnit kByteUnits[] = {{"GiB", kGiB}, {"MiB", kMiB}, {"KiB", kKiB}};

}  // namespace

absl::Span<const SettingBounds> AllSettingBounds() { return kBounds; }

const SettingBounds& BoundsOf(absl::string_view key) {
  const SettingBounds* bounds = kBounds;
  while (bounds->key != key) ++bounds;
  return *bounds;
}

absl::StatusOr<int64_t> ParseDurationNs(absl::string_view text) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration)) {
    return absl::InvalidArgumentError(
        "no duration such as \"250ms\" or \"5s\"");
  }
  return absl::ToInt64Nanoseconds(duration);
}

absl::StatusOr<int64_t> ParseBytes(absl::string_view text) {
  int64_t unit = 1;
  for (const ByteUnit& known : kByteUnits) {
    if (absl::ConsumeSuffix(&text, known.suffix)) {
      unit = known.bytes;
      absl::ConsumeSuffix(&text, " ");
      break;
    }
  }
  int64_t count;
  // Digits only: SimpleAtoi would also take blanks and signs.
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") ==
                                           absl::string_view::npos;
  if (!digits || !absl::SimpleAtoi(text, &count) ||
      count > std::numeric_limits<int64_t>::max() / unit) {
    return absl::InvalidArgumentError(
        "no size such as 4096, \"64KiB\" or \"4MiB\"");
  }
  return count * unit;
}

std::string FormatSetting(SettingUnit unit, int64_t value) {
  if (unit == SettingUnit::kDuration) {
    return absl::FormatDuration(absl::Nanoseconds(value));
  }
  if (unit == SettingUnit::kBytes && value != 0) {
    for (const ByteUnit& known : kByteUnits) {
      if (value % known.bytes == 0) {
        return absl::StrCat(value / known.bytes, known.suffix);
      }
    }
  }
  return absl::StrCat(value);
}

}  // namespace mycelium
