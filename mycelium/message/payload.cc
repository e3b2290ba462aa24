#include "mycelium/message/payload.h"

#include <cstring>

namespace mycelium {

void Payload::Serialize(std::byte* out) const {
  if (object != nullptr) {
    type->serialize(object, out);
  } else if (!bytes.empty()) {
    std::memcpy(out, bytes.data(), bytes.size());
  }
}

}  // namespace mycelium
