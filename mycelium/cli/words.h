#ifndef MYCELIUM_CLI_WORDS_H_
#define MYCELIUM_CLI_WORDS_H_

#include <cstdint>
#include <string>

namespace mycelium {

// "350ms", "12s", "3m5s": as exact as a person who looks wants to know.
std::string ForPeople(uint64_t ms);

}  // namespace mycelium

#endif  // MYCELIUM_CLI_WORDS_H_
