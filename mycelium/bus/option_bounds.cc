#include "mycelium/bus/option_bounds.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mycelium/topology/setting_bounds.h"
#include "mycelium/topology/topology.h"
#include "mycelium/transport/lane/ring.h"

namespace mycelium {
namespace {

struct Given {
  absl::string_view group;  // Of BusOptions.
  absl::string_view key;    // Of SettingBounds.
  int64_t value;
};

absl::Status OutOfBounds(absl::string_view where, const SettingBounds& bounds,
                         int64_t value, int64_t min) {
  return absl::InvalidArgumentError(
      absl::StrCat(where, bounds.key, " is ", FormatSetting(bounds.unit, value),
                   "; ", FormatSetting(bounds.unit, min), " to ",
                   FormatSetting(bounds.unit, bounds.max), " are allowed"));
}

std::array<Given, 13> NumbersOf(const BusOptions& options) {
  const RouteSettings& settings = options.settings;
  const Limits& limits = options.limits;
  const auto ns = [](absl::Duration duration) {
    return absl::ToInt64Nanoseconds(duration);
  };
  return {{
      {"settings", "depth", settings.depth},
      {"settings", "window", settings.window},
      {"settings", "lane_bytes", settings.lane_bytes},
      {"settings", "publish_timeout", ns(settings.publish_timeout)},
      {"settings", "retain", ns(settings.retain)},
      {"settings", "spin", ns(settings.spin)},
      {"limits", "handshake", ns(limits.handshake)},
      {"limits", "frame_bytes_max", limits.frame_bytes_max},
      {"limits", "links", limits.links},
      {"limits", "reconnect_min", ns(limits.reconnect_min)},
      {"limits", "reconnect_max", ns(limits.reconnect_max)},
      {"limits", "keepalive", ns(limits.keepalive)},
      {"limits", "redeliver_max", limits.redeliver_max},
  }};
}

absl::Status CheckUids(const std::vector<int64_t>& uids) {
  if (uids.size() > kAllowUidsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("BusOptions: allow_uids has ", uids.size(),
                     " entries; at most ", kAllowUidsMax));
  }
  for (const int64_t uid : uids) {
    if (uid >= 0 && uid < kUidEnd) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("BusOptions: allow_uids has ", uid,
                     ", which is no uid; 0 to ", kUidEnd - 1));
  }
  return absl::OkStatus();
}

// The first option that a topology sets and that differs from its default here.
std::string FirstOfTopology(const BusOptions& options) {
  const BusOptions defaults;
  const auto given = NumbersOf(options);
  const auto usual = NumbersOf(defaults);
  for (size_t i = 0; i < given.size(); ++i) {
    if (given[i].value != usual[i].value) {
      return absl::StrCat(given[i].group, ".", given[i].key);
    }
  }
  const Tls& tls = options.tls;
  if (options.settings.overflow != defaults.settings.overflow) {
    return "settings.overflow";
  }
  if (options.settings.wait != defaults.settings.wait) return "settings.wait";
  if (options.schema != defaults.schema) return "schema";
  if (!options.allow_uids.empty()) return "allow_uids";
  if (tls.enabled() || !tls.key.empty() || tls.require_client_certificate) {
    return "tls";
  }
  if (options.insecure) return "insecure";
  if (options.allow_anonymous) return "allow_anonymous";
  return "";
}

}  // namespace

absl::Status CheckOptionsBesideTopology(const BusOptions& options,
                                        absl::string_view path) {
  const std::string first = FirstOfTopology(options);
  if (first.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("BusOptions: ", first,
                   " is for a bus without a topology, and has no "
                   "effect with one: say it in ",
                   path));
}

absl::Status CheckOptionBounds(const BusOptions& options) {
  const RouteSettings& settings = options.settings;
  const Limits& limits = options.limits;
  for (const Given& given : NumbersOf(options)) {
    const SettingBounds& bounds = BoundsOf(given.key);
    const int64_t min = given.key == "lane_bytes"
                            ? static_cast<int64_t>(kRingBytesMin)
                            : bounds.min;
    if (given.value >= min && given.value <= bounds.max) continue;
    return OutOfBounds(absl::StrCat("BusOptions: ", given.group, "."), bounds,
                       given.value, min);
  }
  if (limits.frame_bytes_max > FrameBytesFor(settings.lane_bytes)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "BusOptions: settings.lane_bytes ", settings.lane_bytes,
        " takes frames of at most ", FrameBytesFor(settings.lane_bytes),
        ", but limits.frame_bytes_max is ", limits.frame_bytes_max));
  }
  if (limits.reconnect_min > limits.reconnect_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("BusOptions: limits.reconnect_min ",
                     absl::FormatDuration(limits.reconnect_min),
                     " is longer than limits.reconnect_max ",
                     absl::FormatDuration(limits.reconnect_max)));
  }
  return CheckUids(options.allow_uids);
}

absl::Status CheckPublishTimeout(absl::Duration timeout) {
  const SettingBounds& bounds = BoundsOf("publish_timeout");
  const int64_t ns = absl::ToInt64Nanoseconds(timeout);
  if (ns >= bounds.min && ns <= bounds.max) return absl::OkStatus();
  return OutOfBounds("PublisherOptions: ", bounds, ns, bounds.min);
}

}  // namespace mycelium
