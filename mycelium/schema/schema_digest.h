#ifndef MYCELIUM_SCHEMA_SCHEMA_DIGEST_H_
#define MYCELIUM_SCHEMA_SCHEMA_DIGEST_H_

#include <string>

#include "absl/types/span.h"
#include "google/protobuf/descriptor.h"
#include "mycelium/schema/digest.h"

namespace mycelium {

// Digests of the texts of canonical_text.h. Every language gets its digests
// from these two functions, so no two languages can disagree.
//
// Thread safety: all may be called from any thread. Descriptors are borrowed
// for the call.
//
// Example:
//   const Digest type = TypeDigest(*Quote::descriptor());
//   const Digest schema =
//       SchemaDigestOf({Quote::descriptor(), Order::descriptor()});

// The SHA-256 of CanonicalText(type).
Digest TypeDigest(const google::protobuf::Descriptor& type);

// One line `full_name hexdigest` per type, sorted, each type once: `types` may
// be in any order and contain a type twice. None may be null.
std::string SchemaText(
    absl::Span<const google::protobuf::Descriptor* const> types);

// The SHA-256 of SchemaText(types). Without types it is the digest of the empty
// text, which is not Digest().
Digest SchemaDigestOf(
    absl::Span<const google::protobuf::Descriptor* const> types);

}  // namespace mycelium

#endif  // MYCELIUM_SCHEMA_SCHEMA_DIGEST_H_
