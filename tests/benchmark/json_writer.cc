#include "tests/benchmark/json_writer.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mycelium::bench {

void JsonWriter::Separate() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (has_element_.empty()) return;
  if (has_element_.back()) text_ += ", ";
  has_element_.back() = true;
}

void JsonWriter::BeginObject() {
  Separate();
  text_ += '{';
  has_element_.push_back(false);
}

void JsonWriter::EndObject() { Close('}'); }

void JsonWriter::BeginArray() {
  Separate();
  text_ += '[';
  has_element_.push_back(false);
}

void JsonWriter::EndArray() { Close(']'); }

void JsonWriter::Close(char bracket) {
  has_element_.pop_back();
  text_ += bracket;
}

void JsonWriter::Key(absl::string_view key) {
  Separate();
  AppendQuoted(key);
  text_ += ": ";
  after_key_ = true;
}

void JsonWriter::String(absl::string_view value) {
  Separate();
  AppendQuoted(value);
}

void JsonWriter::Number(int64_t value) {
  Separate();
  absl::StrAppend(&text_, value);
}

void JsonWriter::Number(double value) {
  if (!std::isfinite(value)) return Null();
  Separate();
  absl::StrAppendFormat(&text_, "%.9g", value);
}

void JsonWriter::Number(std::optional<double> value) {
  if (!value.has_value()) return Null();
  Number(*value);
}

void JsonWriter::Null() {
  Separate();
  text_ += "null";
}

void JsonWriter::AppendQuoted(absl::string_view value) {
  text_ += '"';
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      text_ += '\\';
      text_ += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&text_, "\\u%04x", c);
    } else {
      text_ += c;
    }
  }
  text_ += '"';
}

}  // namespace mycelium::bench
