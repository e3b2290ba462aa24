#ifndef MYCELIUM_SCHEMA_GENERATED_CODE_H_
#define MYCELIUM_SCHEMA_GENERATED_CODE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "google/protobuf/descriptor.h"

namespace mycelium {

// The constants that `mycelium_schema` writes, so that a program knows its
// digests without computing them and without Protobuf. `types` are borrowed
// for the call, must not be null, and may be in any order.
//
// Thread safety: may be called from any thread.

// A C++ header with kSchemaDigest and kTypeDigests in `cc_namespace` (`a::b`).
// `include_path` is what users write after #include; the include guard is made
// from it.
//
// INVALID_ARGUMENT unless `cc_namespace` is made of identifiers.
absl::StatusOr<std::string> CcHeader(
    absl::Span<const google::protobuf::Descriptor* const> types,
    absl::string_view cc_namespace, absl::string_view include_path);

// A Python module with SCHEMA_DIGEST and TYPE_DIGESTS.
std::string PyModule(
    absl::Span<const google::protobuf::Descriptor* const> types);

}  // namespace mycelium

#endif  // MYCELIUM_SCHEMA_GENERATED_CODE_H_
