#include "mycelium/topology/route_reader.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "mycelium/topology/name_faults.h"
#include "mycelium/topology/nearest_word.h"

namespace mycelium {
namespace {

template <typename Enum>
std::optional<Enum> ReadWord(
    TableReader& reader, absl::string_view key,
    std::optional<Enum> (*value_of)(absl::string_view word),
    const std::vector<absl::string_view>& words) {
  const std::optional<std::string> word = reader.String(key);
  if (!word.has_value()) return std::nullopt;
  const std::optional<Enum> value = value_of(*word);
  if (!value.has_value()) reader.UnknownWord(*reader.Find(key), key, words);
  return value;
}

// "*" is another way to leave an end open.
std::string ReadEnd(TableReader& reader, absl::string_view key) {
  const std::optional<std::string> name = reader.String(key);
  if (!name.has_value() || *name == "*") return "";
  if (name->empty()) {
    reader.Error(reader.PositionOf(key),
                 absl::StrCat(key, " is empty; leave the key out for any"));
  }
  return *name;
}

std::vector<std::string> ReadTopics(TableReader& reader) {
  std::vector<std::string> topics;
  for (const TomlValue* value : reader.Strings("topics", kTopicsPerRouteMax)) {
    const std::string fault = NameFault(value->text);
    if (!fault.empty()) {
      reader.Error(value->position, absl::StrCat("topic ", fault));
      continue;
    }
    topics.push_back(value->text);
  }
  // Sorted, so that two routes are compared in one pass.
  std::sort(topics.begin(), topics.end());
  topics.erase(std::unique(topics.begin(), topics.end()), topics.end());
  return topics;
}

std::string TextOf(const TomlValue& table, absl::string_view key) {
  for (const TomlEntry& entry : table.entries) {
    if (entry.key == key) return entry.value.text;
  }
  return "";
}

}  // namespace

std::string RouteName(const Route& route) {
  return absl::StrCat(
      "route ",
      Quoted(absl::StrCat(route.from.empty() ? "*" : route.from, " -> ",
                          route.to.empty() ? "*" : route.to)));
}

RouteOverrides ReadOverrides(TableReader& reader) {
  RouteOverrides overrides;
  overrides.transport = ReadWord<TransportKind>(
      reader, "transport", TransportKindOf, TransportWords());
  overrides.overflow =
      ReadWord<Overflow>(reader, "overflow", OverflowOf, OverflowWords());
  overrides.wait = ReadWord<WaitMode>(reader, "wait", WaitModeOf, WaitWords());
  overrides.depth = reader.Setting("depth");
  overrides.window = reader.Setting("window");
  overrides.lane_bytes = reader.Setting("lane_bytes");
  overrides.publish_timeout = reader.DurationSetting("publish_timeout");
  overrides.retain = reader.DurationSetting("retain");
  overrides.spin = reader.DurationSetting("spin");
  return overrides;
}

Route ReadRoute(const TomlValue& table, const EnvLookup& env,
                Diagnostics& diagnostics) {
  Route route;
  route.from = TextOf(table, "from");
  route.to = TextOf(table, "to");
  TableReader reader(table, RouteName(route), env, diagnostics);
  route.position = table.position;
  route.from = ReadEnd(reader, "from");
  route.from_position = reader.PositionOf("from");
  route.to = ReadEnd(reader, "to");
  route.to_position = reader.PositionOf("to");
  const TomlValue* const topics = reader.Find("topics");
  route.topics = ReadTopics(reader);
  if (topics != nullptr && topics->kind == TomlValue::Kind::kArray &&
      topics->items.empty()) {
    reader.Error(topics->position,
                 "topics is empty; leave the key out for all topics");
  }
  route.overrides = ReadOverrides(reader);
  route.transport_position = reader.PositionOf("transport");
  route.lane_bytes_position = reader.PositionOf("lane_bytes");
  reader.Finish();
  return route;
}

}  // namespace mycelium
