#ifndef TESTS_SCHEMA_SAME_NAME_H_
#define TESTS_SCHEMA_SAME_NAME_H_

#include <array>
#include <cstdint>

namespace mycelium::test {

// What schema::kSchemaDigest is where the header of that package was included.
const std::array<std::uint8_t, 32>& DigestOfLeft();
const std::array<std::uint8_t, 32>& DigestOfRight();

}  // namespace mycelium::test

#endif  // TESTS_SCHEMA_SAME_NAME_H_
