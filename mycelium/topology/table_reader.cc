#include "mycelium/topology/table_reader.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "mycelium/topology/env_expansion.h"
#include "mycelium/topology/nearest_word.h"
#include "mycelium/topology/setting_bounds.h"

namespace mycelium {

TableReader::TableReader(const TomlValue& table, absl::string_view where,
                         const EnvLookup& env, Diagnostics& diagnostics)
    : table_(table), where_(where), env_(env), diagnostics_(diagnostics) {}

const TomlValue* TableReader::Find(absl::string_view key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
    known_.push_back(key);
  }
  for (const TomlEntry& entry : table_.entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

SourcePosition TableReader::PositionOf(absl::string_view key) const {
  for (const TomlEntry& entry : table_.entries) {
    if (entry.key == key) return entry.value.position;
  }
  return table_.position;
}

const TomlValue* TableReader::OfKind(absl::string_view key,
                                     TomlValue::Kind kind,
                                     absl::string_view expected) {
  const TomlValue* const value = Find(key);
  if (value == nullptr || value->kind == kind) return value;
  WrongType(key, expected, *value);
  return nullptr;
}

std::optional<bool> TableReader::Bool(absl::string_view key) {
  const TomlValue* const value =
      OfKind(key, TomlValue::Kind::kBoolean, "true or false");
  if (value == nullptr) return std::nullopt;
  return value->boolean;
}

std::optional<std::string> TableReader::String(absl::string_view key) {
  const TomlValue* const value =
      OfKind(key, TomlValue::Kind::kString, "a string");
  if (value == nullptr) return std::nullopt;
  return value->text;
}

std::optional<std::string> TableReader::ExpandedString(absl::string_view key) {
  const TomlValue* const value =
      OfKind(key, TomlValue::Kind::kString, "a string");
  if (value == nullptr) return std::nullopt;
  return Expand(key, *value);
}

std::optional<std::string> TableReader::Expand(absl::string_view key,
                                               const TomlValue& value) {
  absl::StatusOr<std::string> expanded = ExpandEnv(value.text, env_);
  if (expanded.ok()) return *std::move(expanded);
  Error(value.position, absl::StrCat(key, ": ", expanded.status().message()));
  return std::nullopt;
}

std::vector<const TomlValue*> TableReader::Items(absl::string_view key,
                                                 TomlValue::Kind kind,
                                                 size_t items_max,
                                                 absl::string_view expected) {
  const TomlValue* const array = OfKind(key, TomlValue::Kind::kArray, expected);
  std::vector<const TomlValue*> items;
  if (array == nullptr) return items;
  for (const TomlValue& item : array->items) {
    if (items.size() == items_max) {
      Error(item.position, absl::StrCat(key, ": ", array->items.size(),
                                        " given; at most ", items_max));
      break;
    }
    if (item.kind == kind) {
      items.push_back(&item);
    } else {
      WrongType(key, expected, item);
    }
  }
  return items;
}

std::vector<const TomlValue*> TableReader::Strings(absl::string_view key,
                                                   size_t items_max) {
  return Items(key, TomlValue::Kind::kString, items_max, "an array of strings");
}

std::vector<const TomlValue*> TableReader::Tables(absl::string_view key,
                                                  size_t items_max) {
  return Items(key, TomlValue::Kind::kTable, items_max,
               absl::StrCat("tables, each headed [[", key, "]]"));
}

const TomlValue* TableReader::Table(absl::string_view key) {
  return OfKind(key, TomlValue::Kind::kTable, "a table");
}

std::optional<int64_t> TableReader::Setting(absl::string_view key) {
  const SettingBounds& bounds = BoundsOf(key);
  const TomlValue* const value = Find(key);
  if (value == nullptr) return std::nullopt;

  const bool is_text = value->kind == TomlValue::Kind::kString;
  const bool is_integer = value->kind == TomlValue::Kind::kInteger;
  absl::StatusOr<int64_t> number = value->integer;
  if (is_text && bounds.unit == SettingUnit::kDuration) {
    number = ParseDurationNs(value->text);
  } else if (is_text && bounds.unit == SettingUnit::kBytes) {
    number = ParseBytes(value->text);
  } else if (!is_integer || bounds.unit == SettingUnit::kDuration) {
    WrongType(key,
              bounds.unit == SettingUnit::kDuration
                  ? "a duration such as \"250ms\" or \"5s\""
              : bounds.unit == SettingUnit::kBytes
                  ? "an integer or a size such as \"4MiB\""
                  : "an integer",
              *value);
    return std::nullopt;
  }
  if (!number.ok()) {
    Error(value->position, absl::StrCat(key, ": ", Quoted(value->text), " is ",
                                        number.status().message()));
    return std::nullopt;
  }
  if (*number < bounds.min || *number > bounds.max) {
    Error(value->position,
          absl::StrCat(key, " ", FormatSetting(bounds.unit, *number),
                       " is out of bounds; ",
                       FormatSetting(bounds.unit, bounds.min), " to ",
                       FormatSetting(bounds.unit, bounds.max)));
    return std::nullopt;
  }
  return *number;
}

std::optional<absl::Duration> TableReader::DurationSetting(
    absl::string_view key) {
  const std::optional<int64_t> ns = Setting(key);
  if (!ns.has_value()) return std::nullopt;
  return absl::Nanoseconds(*ns);
}

void TableReader::Error(SourcePosition position, absl::string_view what) {
  diagnostics_.Add(position, where_, what);
}

void TableReader::WrongType(absl::string_view key, absl::string_view expected,
                            const TomlValue& value) {
  Error(value.position, absl::StrCat(key, ": expected ", expected, ", got ",
                                     KindName(value.kind)));
}

void TableReader::UnknownWord(const TomlValue& value, absl::string_view noun,
                              absl::Span<const absl::string_view> known) {
  const absl::string_view nearest = NearestWord(value.text, known);
  Error(value.position,
        absl::StrCat("unknown ", noun, " ", Quoted(value.text),
                     NearestHint("", known),
                     nearest.empty() ? "" : "; nearest: ", nearest));
}

void TableReader::Finish() {
  for (const TomlEntry& entry : table_.entries) {
    if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) {
      continue;
    }
    Error(entry.position, absl::StrCat("unknown key ", Quoted(entry.key),
                                       NearestHint(entry.key, known_)));
  }
}

}  // namespace mycelium
