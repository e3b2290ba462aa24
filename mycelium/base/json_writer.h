#ifndef MYCELIUM_BASE_JSON_WRITER_H_
#define MYCELIUM_BASE_JSON_WRITER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace mycelium {

// Writes one JSON text. Calls follow the structure: a name before each member
// of an object, none before an element of an array. It does not check that they
// do.
//
// Thread safety: none.
//
// Example:
//   JsonWriter json(JsonWriter::Layout::kOneLine);
//   json.Begin('{').Member("pid", int64_t{7}).End('}');
//   Save(json.text());  // {"pid": 7}
class JsonWriter final {
 public:
  enum class Layout {
    kOneLine,
    kIndented,  // Each member and element on a line of its own.
  };
  explicit JsonWriter(Layout layout) : layout_(layout) {}

  // An object '{', or an array '['; `End` takes the other bracket.
  JsonWriter& Begin(char bracket);
  JsonWriter& End(char bracket);

  JsonWriter& Name(absl::string_view name);
  // Quotes, backslashes and control bytes are escaped. What is not UTF-8 is
  // written as EscapedUtf8() has it.
  JsonWriter& String(absl::string_view text);
  JsonWriter& Number(int64_t number);
  JsonWriter& Number(uint64_t number);
  // JSON has no infinities and no NaN: they are written as null.
  JsonWriter& Number(double number);
  JsonWriter& Number(std::optional<double> number);
  JsonWriter& Bool(bool value);
  JsonWriter& Null();

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

  const std::string& text() const { return text_; }

 private:
  void BeginValue();
  void NewLine();
  void Quote(absl::string_view text);

  const Layout layout_;
  std::string text_;
  int depth_ = 0;
  bool is_first_ = true;   // Nothing stands in this bracket yet.
  bool has_name_ = false;  // A value is due.
};

}  // namespace mycelium

#endif  // MYCELIUM_BASE_JSON_WRITER_H_
