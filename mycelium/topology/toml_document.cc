#include "mycelium/topology/toml_document.h"

#include <algorithm>
#include <tuple>

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_MAX_NESTED_VALUES 16
#include <toml++/toml.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace mycelium {
namespace {

static_assert(TOML_MAX_NESTED_VALUES == kTomlDepthMax);

SourcePosition At(const toml::source_region& source) {
  return {static_cast<int>(source.begin.line),
          static_cast<int>(source.begin.column)};
}

// Walks the bytes outside of strings and comments, and finds the first key of
// more than kTomlDepthMax parts. The library would nest a table per part, and
// overflow the stack when it destroys them.
class KeyDepthScanner {
 public:
  explicit KeyDepthScanner(absl::string_view text) : rest_(text) {}

  std::optional<SourcePosition> Find() {
    while (!rest_.empty()) {
      const char c = rest_.front();
      if (c == '#') {
        SkipTo('\n');
      } else if (c == '"' || c == '\'') {
        SkipString(c);
      } else {
        if (c == '.' && ++dots_ >= kTomlDepthMax) return position_;
        if (c == '\n' || c == '=' || c == ',' || c == '{') dots_ = 0;
        Skip(1);
      }
    }
    return std::nullopt;
  }

 private:
  void Skip(size_t bytes) {
    for (char c : rest_.substr(0, bytes)) {
      ++position_.column;
      if (c == '\n') position_ = {position_.line + 1, 1};
    }
    rest_.remove_prefix(std::min(bytes, rest_.size()));
  }

  void SkipTo(char end) { Skip(std::min(rest_.find(end), rest_.size())); }

  // A string that never ends takes the rest of its line: the library reports.
  void SkipString(char quote) {
    const std::string three(3, quote);
    const bool many_lines = rest_.substr(0, 3) == three;
    Skip(many_lines ? 3 : 1);
    while (!rest_.empty()) {
      if (!many_lines && rest_.front() == '\n') return;
      if (rest_.front() == '\\' && quote == '"') {
        Skip(2);
      } else if (many_lines && rest_.substr(0, 3) == three) {
        Skip(3);
        // One or two quotes may stand before those that end it.
        for (int i = 0; i < 2 && !rest_.empty() && rest_.front() == quote;
             ++i) {
          Skip(1);
        }
        return;
      } else if (!many_lines && rest_.front() == quote) {
        return Skip(1);
      } else {
        Skip(1);
      }
    }
  }

  absl::string_view rest_;
  SourcePosition position_{1, 1};
  int dots_ = 0;
};

TomlValue Convert(const toml::node& node) {
  using Kind = TomlValue::Kind;
  TomlValue value;
  value.position = At(node.source());
  if (const auto* text = node.as_string()) {
    value.kind = Kind::kString;
    value.text = text->get();
  } else if (const auto* integer = node.as_integer()) {
    value.kind = Kind::kInteger;
    value.integer = integer->get();
  } else if (const auto* boolean = node.as_boolean()) {
    value.kind = Kind::kBoolean;
    value.boolean = boolean->get();
  } else if (node.is_floating_point()) {
    value.kind = Kind::kFloat;
  } else if (const auto* array = node.as_array()) {
    value.kind = Kind::kArray;
    for (const toml::node& item : *array) value.items.push_back(Convert(item));
  } else if (const auto* table = node.as_table()) {
    value.kind = Kind::kTable;
    for (const auto& [key, item] : *table) {
      value.entries.push_back(
          {std::string(key.str()), At(key.source()), Convert(item)});
    }
    std::sort(value.entries.begin(), value.entries.end(),
              [](const TomlEntry& a, const TomlEntry& b) {
                return std::tie(a.position.line, a.position.column, a.key) <
                       std::tie(b.position.line, b.position.column, b.key);
              });
  } else {
    value.kind = Kind::kTime;
  }
  return value;
}

}  // namespace

absl::string_view KindName(TomlValue::Kind kind) {
  switch (kind) {
    case TomlValue::Kind::kString:
      return "a string";
    case TomlValue::Kind::kInteger:
      return "an integer";
    case TomlValue::Kind::kFloat:
      return "a float";
    case TomlValue::Kind::kBoolean:
      return "a boolean";
    case TomlValue::Kind::kTime:
      return "a date or time";
    case TomlValue::Kind::kArray:
      return "an array";
    case TomlValue::Kind::kTable:
      return "a table";
  }
  return "?";
}

std::optional<TomlValue> ParseToml(absl::string_view text,
                                   Diagnostics& diagnostics) {
  if (const auto position = KeyDepthScanner(text).Find()) {
    diagnostics.Add(
        *position, "TOML",
        absl::StrCat("a key has more than ", kTomlDepthMax, " parts"));
    return std::nullopt;
  }
  const toml::parse_result result =
      toml::parse(std::string_view(text.data(), text.size()));
  if (result.failed()) {
    const toml::parse_error& error = result.error();
    const std::string_view text_of_error = error.description();
    absl::string_view what(text_of_error.data(), text_of_error.size());
    // A macro means nothing to the author of a file.
    absl::ConsumeSuffix(&what, " (TOML_MAX_NESTED_VALUES)");
    diagnostics.Add(At(error.source()), "TOML", what);
    return std::nullopt;
  }
  return Convert(result.table());
}

}  // namespace mycelium
