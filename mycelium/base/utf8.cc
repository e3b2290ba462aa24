#include "mycelium/base/utf8.h"

#include <cstddef>

#include "absl/strings/str_format.h"

namespace mycelium {
namespace {

// How many bytes the character has that `text` starts with; 0 if it starts
// with none. The bounds are those of the Unicode standard, table 3-7.
size_t CharacterBytes(absl::string_view text) {
  const auto byte = [&](size_t i) -> unsigned {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return text.empty() ? 0 : 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  const size_t bytes = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  // Below `least` a shorter form exists. Above `most` are surrogates, and what
  // is beyond the last character.
  const unsigned least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < least || byte(1) > most) return 0;
  for (size_t i = 2; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  return bytes;
}

}  // namespace

bool IsUtf8(absl::string_view text) {
  while (!text.empty()) {
    const size_t bytes = CharacterBytes(text);
    if (bytes == 0) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

std::string EscapedUtf8(absl::string_view text) {
  std::string escaped;
  escaped.reserve(text.size());
  while (!text.empty()) {
    size_t bytes = CharacterBytes(text);
    if (bytes == 0) {
      bytes = 1;
      absl::StrAppendFormat(&escaped, "\\x%02x",
                            static_cast<unsigned char>(text[0]));
    } else {
      escaped.append(text.data(), bytes);
    }
    text.remove_prefix(bytes);
  }
  return escaped;
}

}  // namespace mycelium
