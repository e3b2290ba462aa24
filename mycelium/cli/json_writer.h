#ifndef MYCELIUM_CLI_JSON_WRITER_H_
#define MYCELIUM_CLI_JSON_WRITER_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace mycelium {

// Writes one JSON text, indented. Calls follow the structure: a name before
// each member of an object, none before an element of an array.
//
// Thread safety: none.
//
// Example:
//   JsonWriter json;
//   json.Begin('{').Name("pid").Number(7).End('}');
//   const std::string text = json.Text();
class JsonWriter final {
 public:
  // An object '{', or an array '['; `End` takes the other bracket.
  JsonWriter& Begin(char bracket);
  JsonWriter& End(char bracket);

  JsonWriter& Name(absl::string_view name);
  JsonWriter& String(absl::string_view text);  // UTF-8.
  JsonWriter& Number(int64_t number);
  JsonWriter& Number(uint64_t number);
  JsonWriter& Bool(bool value);

  // Common members.
  JsonWriter& Member(absl::string_view name, absl::string_view text) {
    return Name(name).String(text);
  }
  JsonWriter& Member(absl::string_view name, const char* text) {
    return Name(name).String(text);
  }
  JsonWriter& Member(absl::string_view name, int64_t number) {
    return Name(name).Number(number);
  }
  JsonWriter& Member(absl::string_view name, uint64_t number) {
    return Name(name).Number(number);
  }
  JsonWriter& Member(absl::string_view name, bool value) {
    return Name(name).Bool(value);
  }

  // What was written, with a newline behind it.
  std::string Text() const { return text_ + "\n"; }

 private:
  void BeginValue();
  void NewLine();
  void Quote(absl::string_view text);

  std::string text_;
  int depth_ = 0;
  bool is_first_ = true;   // Nothing stands in this bracket yet.
  bool has_name_ = false;  // A value is due.
};

}  // namespace mycelium

#endif  // MYCELIUM_CLI_JSON_WRITER_H_
