#include "mycelium/schema/canonical_text_parser.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "mycelium/schema/canonical_text.h"

namespace mycelium {
namespace {

constexpr absl::string_view kScalarTypes[] = {
    "double",  "float",    "int64",    "uint64", "int32",
    "fixed64", "fixed32",  "bool",     "string", "bytes",
    "uint32",  "sfixed32", "sfixed64", "sint32", "sint64"};
constexpr absl::string_view kNamedTypes[] = {"group", "message", "enum"};
constexpr absl::string_view kLabels[] = {"optional", "required", "repeated"};

template <typename Words>
bool IsOneOf(absl::string_view word, const Words& words) {
  return absl::c_linear_search(words, word);
}

bool IsName(absl::string_view text) {
  return !text.empty() && absl::c_all_of(text, [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '.';
  });
}

// Only the one way that CanonicalText() writes a number.
bool ParseNumber(absl::string_view text, int32_t* number) {
  return absl::SimpleAtoi(text, number) && absl::StrCat(*number) == text;
}

// The text up to the next space, which is taken away with it.
absl::string_view TakeWord(absl::string_view* rest) {
  const size_t end = std::min(rest->find(' '), rest->size());
  const absl::string_view word = rest->substr(0, end);
  rest->remove_prefix(std::min(end + 1, rest->size()));
  return word;
}

// Takes ` key=word` if it comes next; false if there is a malformed one.
bool TakeAttribute(absl::string_view key, absl::string_view* rest,
                   absl::string_view* value) {
  if (!absl::ConsumePrefix(rest, key)) return true;
  *value = TakeWord(rest);
  return IsName(*value);
}

bool TakeDefault(absl::string_view* rest, absl::string_view* value) {
  if (!absl::ConsumePrefix(rest, "default=")) return true;
  *value = std::exchange(*rest, "");
  return !value->empty() && absl::c_all_of(*value, [](unsigned char c) {
    return absl::ascii_isprint(c);
  });
}

// Reads line by line and checks each against what came before it.
class Parser final {
 public:
  absl::StatusOr<ParsedText> Parse(absl::string_view text);

 private:
  absl::string_view ParseLine(absl::string_view line);
  absl::string_view ParseType(absl::string_view line);
  absl::string_view ParseField(absl::string_view line);
  absl::string_view ParseValue(absl::string_view line);
  absl::string_view CheckReferences() const;

  ParsedText parsed_;
  int line_number_ = 0;
};

absl::StatusOr<ParsedText> Parser::Parse(absl::string_view text) {
  if (text.size() > kCanonicalTextBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("schema text of ", text.size(), " bytes, at most ",
                     kCanonicalTextBytesMax, " are read"));
  }
  absl::string_view wrong;
  while (!text.empty() && wrong.empty()) {
    ++line_number_;
    const size_t end = text.find('\n');
    if (end == text.npos) {
      wrong = "line without an end";
      break;
    }
    wrong = ParseLine(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  if (wrong.empty()) wrong = CheckReferences();
  if (!wrong.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("schema text:", line_number_, ": ", wrong));
  }
  return std::move(parsed_);
}

// Each of these returns what is wrong with the line, or nothing.
absl::string_view Parser::ParseLine(absl::string_view line) {
  if (line_number_ == 1) {
    return line == kCanonicalTextHeader ? "" : "unknown form of text";
  }
  if (line_number_ == 2) {
    if (!absl::ConsumePrefix(&line, "root ") || !IsName(line)) {
      return "expected the root type";
    }
    parsed_.root = line;
    return "";
  }
  if (absl::EndsWith(line, " ")) return "space at the end";
  if (!absl::ConsumePrefix(&line, "  ")) return ParseType(line);
  if (parsed_.types.empty()) return "expected a type";
  return parsed_.types.back().is_enum ? ParseValue(line) : ParseField(line);
}

absl::string_view Parser::ParseType(absl::string_view line) {
  ParsedText::Type type;
  type.is_enum = absl::ConsumePrefix(&line, "enum ");
  if (!type.is_enum && !absl::ConsumePrefix(&line, "message ")) {
    return "expected a type";
  }
  type.name = TakeWord(&line);
  type.mark = line;
  const bool mark_known = type.is_enum
                              ? type.mark == "open" || type.mark == "closed"
                              : type.mark.empty() || type.mark == "map_entry" ||
                                    type.mark == "message_set";
  if (!IsName(type.name) || !mark_known) return "malformed type";
  if (!parsed_.types.empty() && type.name <= parsed_.types.back().name) {
    return "type out of order";
  }
  parsed_.types.push_back(std::move(type));
  return "";
}

absl::string_view Parser::ParseField(absl::string_view line) {
  ParsedText::Field field;
  if (!ParseNumber(TakeWord(&line), &field.number)) return "malformed number";
  field.name = TakeWord(&line);
  field.label = TakeWord(&line);
  field.type = TakeWord(&line);
  if (!IsName(field.name) || !IsOneOf(field.label, kLabels)) {
    return "malformed field";
  }
  if (IsOneOf(field.type, kNamedTypes)) {
    field.type_name = TakeWord(&line);
    if (!IsName(field.type_name)) return "malformed type name";
  } else if (!IsOneOf(field.type, kScalarTypes)) {
    return "unknown type";
  }
  if (!TakeAttribute("oneof=", &line, &field.oneof) ||
      !TakeAttribute("presence=", &line, &field.presence) ||
      !TakeAttribute("packing=", &line, &field.packing) ||
      !TakeAttribute("values=", &line, &field.values) ||
      !TakeDefault(&line, &field.default_value) || !line.empty()) {
    return "malformed attribute";
  }
  std::vector<ParsedText::Field>& fields = parsed_.types.back().fields;
  if (!fields.empty() && field.number <= fields.back().number) {
    return "field out of order";
  }
  fields.push_back(field);
  return "";
}

absl::string_view Parser::ParseValue(absl::string_view line) {
  ParsedText::Value value;
  if (!ParseNumber(TakeWord(&line), &value.number)) return "malformed number";
  value.name = line;
  if (!IsName(value.name)) return "malformed value";
  std::vector<ParsedText::Value>& values = parsed_.types.back().values;
  if (!values.empty() &&
      std::make_pair(value.number, value.name) <=
          std::make_pair(values.back().number, values.back().name)) {
    return "value out of order";
  }
  values.push_back(value);
  return "";
}

absl::string_view Parser::CheckReferences() const {
  const ParsedText::Type* root = parsed_.Find(parsed_.root);
  if (root == nullptr || root->is_enum) return "the root type is missing";
  for (const ParsedText::Type& type : parsed_.types) {
    for (const ParsedText::Field& field : type.fields) {
      if (field.type_name.empty()) continue;
      const ParsedText::Type* named = parsed_.Find(field.type_name);
      if (named == nullptr || named->is_enum != (field.type == "enum")) {
        return "the type of a field is missing";
      }
    }
  }
  return "";
}

}  // namespace

const ParsedText::Type* ParsedText::Find(absl::string_view name) const {
  const auto found = std::lower_bound(
      types.begin(), types.end(), name,
      [](const Type& type, absl::string_view key) { return type.name < key; });
  return found != types.end() && found->name == name ? &*found : nullptr;
}

absl::StatusOr<ParsedText> ParseCanonicalText(absl::string_view text) {
  return Parser().Parse(text);
}

}  // namespace mycelium
