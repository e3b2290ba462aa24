#ifndef MYCELIUM_SCHEMA_SCHEMA_DIGEST_H_
#define MYCELIUM_SCHEMA_SCHEMA_DIGEST_H_

#include <string>

#include "absl/types/span.h"
#include "google/protobuf/descriptor.h"
#include "mycelium/schema/digest.h"

namespace mycelium {

// Digests of what is in canonical_text.h. Every language gets its digests from
// these two functions, so no two can disagree.
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
// come in any order and repeat themselves. None may be null.
std::string SchemaText(
    absl::Span<const google::protobuf::Descriptor* const> types);

// The SHA-256 of SchemaText(types). The digest of no types is that of no text,
// which is not Digest().
Digest SchemaDigestOf(
    absl::Span<const google::protobuf::Descriptor* const> types);

}  // namespace mycelium

#endif  // MYCELIUM_SCHEMA_SCHEMA_DIGEST_H_
