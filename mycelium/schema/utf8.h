#ifndef MYCELIUM_SCHEMA_UTF8_H_
#define MYCELIUM_SCHEMA_UTF8_H_

#include "absl/strings/string_view.h"
#include "google/protobuf/stubs/common.h"

namespace mycelium {

// Whether a peer takes `text` in a `string` field: Protobuf asks the same when
// it parses one, and refuses the whole message otherwise.
inline bool IsUtf8(absl::string_view text) {
  return google::protobuf::internal::IsStructurallyValidUTF8(
      text.data(), static_cast<int>(text.size()));
}

}  // namespace mycelium

#endif  // MYCELIUM_SCHEMA_UTF8_H_
