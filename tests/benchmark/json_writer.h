#ifndef TESTS_BENCHMARK_JSON_WRITER_H_
#define TESTS_BENCHMARK_JSON_WRITER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace mycelium::bench {

// Writes one JSON document, value by value, and takes care of commas and
// escapes. It does not check that the calls nest; its few callers do.
//
// Example:
//   JsonWriter json;
//   json.BeginObject();
//   json.Key("bytes");
//   json.Number(64);
//   json.EndObject();
//   Save(json.text());  // {"bytes": 64}
class JsonWriter final {
 public:
  void BeginObject();
  void EndObject();
  void BeginArray();
  void EndArray();

  // Names the value that the next call writes.
  void Key(absl::string_view key);

  // Bytes that are not valid in a JSON string are escaped; `value` is taken to
  // be UTF-8.
  void String(absl::string_view value);
  void Number(int64_t value);
  // JSON has no infinities and no NaN: they are written as null.
  void Number(double value);
  void Number(std::optional<double> value);
  void Null();

  const std::string& text() const { return text_; }

 private:
  void Separate();
  void Close(char bracket);
  void AppendQuoted(absl::string_view value);

  std::string text_;
  // Per open bracket: whether it has an element yet.
  std::vector<bool> has_element_;
  bool after_key_ = false;
};

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_JSON_WRITER_H_
