#include "tests/schema/right/schema.h"
#include "tests/schema/same_name.h"

namespace mycelium::test {

const std::array<std::uint8_t, 32>& DigestOfRight() {
  return schema::kSchemaDigest;
}

}  // namespace mycelium::test
