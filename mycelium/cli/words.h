#ifndef MYCELIUM_CLI_WORDS_H_
#define MYCELIUM_CLI_WORDS_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace mycelium {

// "350ms", "12s", "3m5s": as exact as somebody wants to know who looks.
std::string ForPeople(uint64_t ms);

// A text of others for a terminal: what would control it is a question mark.
std::string Harmless(absl::string_view text);

}  // namespace mycelium

#endif  // MYCELIUM_CLI_WORDS_H_
