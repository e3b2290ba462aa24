#ifndef MYCELIUM_BASE_HARMLESS_H_
#define MYCELIUM_BASE_HARMLESS_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace mycelium {

// A text of others for a terminal or a log: what would control a terminal, or
// begin a line, is a question mark. One with more than `bytes_max` bytes is cut
// there, between characters, and ends with dots.
std::string Harmless(absl::string_view text,
                     size_t bytes_max = absl::string_view::npos);

}  // namespace mycelium

#endif  // MYCELIUM_BASE_HARMLESS_H_
