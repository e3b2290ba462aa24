#include "mycelium/message/message_type.h"

#include "absl/strings/str_cat.h"

namespace mycelium {

MessageType RawMessageType(absl::string_view name) {
  return RawMessageType(name, Digest::Of(absl::StrCat("raw\n", name)));
}

MessageType RawMessageType(absl::string_view name, const Digest& digest) {
  MessageType type;
  type.name = std::string(name);
  type.digest = digest;
  return type;
}

}  // namespace mycelium
