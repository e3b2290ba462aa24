#ifndef MYCELIUM_TOPOLOGY_TABLE_READER_H_
#define MYCELIUM_TOPOLOGY_TABLE_READER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mycelium/topology/diagnostics.h"
#include "mycelium/topology/environment.h"
#include "mycelium/topology/toml_document.h"

namespace mycelium {

// Takes typed values out of one TOML table. A value that is missing, of the
// wrong type or out of bounds comes back as nothing; the latter two are also
// reported. Finish() reports each key that was not asked for. So the keys that
// a table may hold stand in one place, the code that reads it.
//
// Ownership: borrows all four constructor arguments.
//
// Example:
//   TableReader reader(table, "[limits]", env, diagnostics);
//   if (auto links = reader.Setting("links")) limits.links = *links;
//   reader.Finish();
class TableReader final {
 public:
  TableReader(const TomlValue& table, absl::string_view where,
              const EnvLookup& env, Diagnostics& diagnostics);

  // The value, of any type, or nullptr.
  const TomlValue* Find(absl::string_view key);
  // The position of the value, or of the table if the value is missing.
  SourcePosition PositionOf(absl::string_view key) const;

  std::optional<bool> Bool(absl::string_view key);
  std::optional<std::string> String(absl::string_view key);
  // A string in which each ${NAME} is replaced from the environment.
  std::optional<std::string> ExpandedString(absl::string_view key);
  // An array of strings. Elements of other types are reported and left out.
  std::vector<const TomlValue*> Strings(absl::string_view key,
                                        size_t items_max);
  // A number within BoundsOf(key), in that unit.
  std::optional<int64_t> Setting(absl::string_view key);
  std::optional<absl::Duration> DurationSetting(absl::string_view key);
  // The array's tables ([[key]]); an element that is not a table is reported
  // and left out.
  std::vector<const TomlValue*> Tables(absl::string_view key, size_t items_max);
  // The table, if it is one.
  const TomlValue* Table(absl::string_view key);

  // Replaces ${NAME} in a value of the table.
  std::optional<std::string> Expand(absl::string_view key,
                                    const TomlValue& value);

  void Error(SourcePosition position, absl::string_view what);
  void WrongType(absl::string_view key, absl::string_view expected,
                 const TomlValue& value);
  // "unknown <noun> "<word>"; nearest: ...; known: ...".
  void UnknownWord(const TomlValue& value, absl::string_view noun,
                   absl::Span<const absl::string_view> known);

  void Finish();

  const std::string& where() const { return where_; }
  SourcePosition position() const { return table_.position; }

 private:
  const TomlValue* OfKind(absl::string_view key, TomlValue::Kind kind,
                          absl::string_view expected);
  std::vector<const TomlValue*> Items(absl::string_view key,
                                      TomlValue::Kind kind, size_t items_max,
                                      absl::string_view expected);

  const TomlValue& table_;
  const std::string where_;
  const EnvLookup& env_;
  Diagnostics& diagnostics_;
  std::vector<absl::string_view> known_;
};

}  // namespace mycelium

#endif  // MYCELIUM_TOPOLOGY_TABLE_READER_H_
