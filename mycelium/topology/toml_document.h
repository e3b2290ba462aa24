#ifndef MYCELIUM_TOPOLOGY_TOML_DOCUMENT_H_
#define MYCELIUM_TOPOLOGY_TOML_DOCUMENT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "mycelium/topology/diagnostics.h"
#include "mycelium/topology/source_position.h"

namespace mycelium {

struct TomlEntry;

// One value of a TOML text as a plain tree. Nothing else knows the TOML
// library: its headers are costly to compile, and its errors have a form that
// is not ours.
struct TomlValue {
  enum class Kind {
    kString,
    kInteger,
    kFloat,
    kBoolean,
    kTime,  // A date, a time or both: no topology key takes one.
    kArray,
    kTable,
  };

  Kind kind = Kind::kTable;
  SourcePosition position;
  std::string text;      // Of a string.
  int64_t integer = 0;   // Of an integer.
  bool boolean = false;  // Of a boolean.
  std::vector<TomlValue> items;
  std::vector<TomlEntry> entries;  // Of a table, in the order of the file.
};

struct TomlEntry {
  std::string key;
  SourcePosition position;  // Of the key.
  TomlValue value;
};

// "a string", "an integer", ...
absl::string_view KindName(TomlValue::Kind kind);

// How deep keys and values may nest; a topology needs four levels.
inline constexpr int kTomlDepthMax = 16;

// The table that `text` describes, or nothing and one error in `diagnostics`.
std::optional<TomlValue> ParseToml(absl::string_view text,
                                   Diagnostics& diagnostics);

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_TOML_DOCUMENT_H_
