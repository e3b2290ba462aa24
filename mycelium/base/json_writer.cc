#include "mycelium/base/json_writer.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "mycelium/base/utf8.h"

namespace mycelium {

void JsonWriter::NewLine() {
  if (layout_ == Layout::kOneLine) return;
  text_ += '\n';
  text_.append(static_cast<size_t>(depth_) * 2, ' ');
}

void JsonWriter::BeginValue() {
  if (has_name_) {
    has_name_ = false;
    return;
  }
  if (depth_ == 0) return;
  if (!is_first_) text_ += layout_ == Layout::kOneLine ? ", " : ",";
  is_first_ = false;
  NewLine();
}

JsonWriter& JsonWriter::Begin(char bracket) {
  BeginValue();
  text_ += bracket;
  ++depth_;
  is_first_ = true;
  return *this;
}

JsonWriter& JsonWriter::End(char bracket) {
  --depth_;
  if (!is_first_) NewLine();
  text_ += bracket;
  is_first_ = false;
  return *this;
}

JsonWriter& JsonWriter::Name(absl::string_view name) {
  BeginValue();
  Quote(name);
  text_ += ": ";
  has_name_ = true;
  return *this;
}

JsonWriter& JsonWriter::String(absl::string_view text) {
  BeginValue();
  Quote(text);
  return *this;
}

JsonWriter& JsonWriter::Number(int64_t number) {
  BeginValue();
  absl::StrAppend(&text_, number);
  return *this;
}

JsonWriter& JsonWriter::Number(uint64_t number) {
  BeginValue();
  absl::StrAppend(&text_, number);
  return *this;
}

JsonWriter& JsonWriter::Number(double number) {
  if (!std::isfinite(number)) return Null();
  BeginValue();
  absl::StrAppendFormat(&text_, "%.9g", number);
  return *this;
}

JsonWriter& JsonWriter::Number(std::optional<double> number) {
  return number.has_value() ? Number(*number) : Null();
}

JsonWriter& JsonWriter::Null() {
  BeginValue();
  text_ += "null";
  return *this;
}

JsonWriter& JsonWriter::Bool(bool value) {
  BeginValue();
  text_ += value ? "true" : "false";
  return *this;
}

void JsonWriter::Quote(absl::string_view text) {
  text_ += '"';
  for (const char c : EscapedUtf8(text)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      text_ += '\\';
      text_ += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      absl::StrAppendFormat(&text_, "\\u%04x", byte);
    } else {
      text_ += c;
    }
  }
  text_ += '"';
}

}  // namespace mycelium
