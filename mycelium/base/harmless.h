#ifndef MYCELIUM_BASE_HARMLESS_H_
#define MYCELIUM_BASE_HARMLESS_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace mycelium {

// Makes a text of others fit for a terminal or a log: what would control a
// terminal, or begin a line, becomes a question mark. A text of more than
// `bytes_max` bytes is cut there, between characters, and ends with dots.
std::string Harmless(absl::string_view text,
                     size_t bytes_max = absl::string_view::npos);

}  // namespace mycelium

#endif  // MYCELIUM_BASE_HARMLESS_H_
