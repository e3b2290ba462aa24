#ifndef MYCELIUM_SCHEMA_CANONICAL_TEXT_PARSER_H_
#define MYCELIUM_SCHEMA_CANONICAL_TEXT_PARSER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mycelium {

// The largest canonical text that is read. A schema of thousands of fields has
// a few hundred kilobytes.
inline constexpr size_t kCanonicalTextBytesMax = 1 << 20;

// What CanonicalText() wrote, taken apart. Every view points into the text that
// was parsed, which must outlive it. Words that a line does not have are empty.
struct ParsedText {
  struct Field {
    int32_t number = 0;
    absl::string_view name;
    absl::string_view label;
    absl::string_view type;
    absl::string_view type_name;  // Of a message, group or enum; else empty.
    absl::string_view oneof;
    absl::string_view presence;
    absl::string_view packing;
    absl::string_view values;
    absl::string_view default_value;
  };
  struct Value {
    int32_t number = 0;
    absl::string_view name;
  };
  struct Type {
    bool is_enum = false;
    absl::string_view name;
    absl::string_view mark;     // open, closed, map_entry, message_set.
    std::vector<Field> fields;  // Ascending by number. Messages only.
    std::vector<Value> values;  // Ascending by number, name. Enums only.
  };

  // Null if there is no such type. Valid as long as this object is unchanged.
  const Type* Find(absl::string_view name) const;

  absl::string_view root;
  std::vector<Type> types;  // Ascending by name.
};

// Reads a canonical text, which need not be trusted: memory and time are linear
// in its size, which is bounded. A text that is accepted has only known words,
// well-formed names and printable defaults, is in canonical order, and has the
// root and every type that a field names.
//
// Otherwise INVALID_ARGUMENT with the line number; the message repeats nothing
// of the text. Borrows `text`: the result points into it.
//
// Thread safety: may be called from any thread.
absl::StatusOr<ParsedText> ParseCanonicalText(absl::string_view text);

}  // namespace mycelium

#endif  // MYCELIUM_SCHEMA_CANONICAL_TEXT_PARSER_H_
