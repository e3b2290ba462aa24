#ifndef TESTS_SOAK_SOAK_SIDE_H_
#define TESTS_SOAK_SOAK_SIDE_H_

#include <cstdint>
#include <string>

#include "tests/soak/soak_page.h"

namespace mycelium::test {

// The two processes that exchange the messages of a soak: numbers from 1 to
// `messages`, with bytes that follow from them. Each function returns once all
// were handled, the counts are in the page, and its standard input has ended.
// It returns 0 if all went well. `transport`: "unix", "shm" or "grpc".

int RunPublisher(const std::string& transport, const std::string& socket,
                 uint64_t messages, SoakCounts& counts);
int RunSubscriber(const std::string& transport, const std::string& socket,
                  uint64_t messages, SoakCounts& counts);

}  // namespace mycelium::test

#endif  // TESTS_SOAK_SOAK_SIDE_H_
