#include "mycelium/schema/schema_digest.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mycelium/schema/canonical_text.h"

namespace mycelium {

using google::protobuf::Descriptor;

Digest TypeDigest(const Descriptor& type) {
  return Digest::Of(CanonicalText(type));
}

std::string SchemaText(absl::Span<const Descriptor* const> types) {
  std::set<std::string> lines;
  for (const Descriptor* type : types) {
    lines.insert(
        absl::StrCat(type->full_name(), " ", TypeDigest(*type).ToHex(), "\n"));
  }
  return absl::StrJoin(lines, "");
}

Digest SchemaDigestOf(absl::Span<const Descriptor* const> types) {
  return Digest::Of(SchemaText(types));
}

}  // namespace mycelium
