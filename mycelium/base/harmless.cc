#include "mycelium/base/harmless.h"

namespace mycelium {
namespace {

// Of UTF-8: all bytes of a character but the first.
bool IsContinuation(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

}  // namespace

std::string Harmless(absl::string_view text, size_t bytes_max) {
  const bool is_cut = text.size() > bytes_max;
  if (is_cut) {
    while (bytes_max > 0 && IsContinuation(text[bytes_max])) --bytes_max;
    text = text.substr(0, bytes_max);
  }
  std::string harmless;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F are controls too: C2 80 to C2 9F.
    const bool is_late_control = byte == 0xC2 && i + 1 < text.size() &&
                                 static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (is_late_control) ++i;
    const bool is_control = byte < 0x20 || byte == 0x7F || is_late_control;
    harmless += is_control ? '?' : text[i];
  }
  if (is_cut) harmless += "...";
  return harmless;
}

}  // namespace mycelium
