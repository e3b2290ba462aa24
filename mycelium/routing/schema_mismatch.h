#ifndef MYCELIUM_ROUTING_SCHEMA_MISMATCH_H_
#define MYCELIUM_ROUTING_SCHEMA_MISMATCH_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "mycelium/message/message_type.h"
#include "mycelium/schema/verdict.h"
#include "proto/mycelium/v1/schema_mismatch.pb.h"

namespace mycelium {

// The FAILED_PRECONDITION that both sides get when the types of a topic differ,
// with a mycelium.v1.SchemaMismatch as its payload. Says so if the two types
// would be compatible.
// `verdict`: of CompareTypes(); none if the other side's type is not known.
absl::Status SchemaMismatchError(absl::string_view topic,
                                 const MessageType& local,
                                 const Digest& remote_digest,
                                 const std::optional<Verdict>& verdict,
                                 absl::string_view remote_node);
// `remote_text`: the canonical text of the other side's type; empty: not known.
absl::Status SchemaMismatchError(absl::string_view topic,
                                 const MessageType& local,
                                 const Digest& remote_digest,
                                 absl::string_view remote_text,
                                 absl::string_view remote_node);

// The same if the types are equal, but the two services have been given schema
// digests that differ.
struct ServiceSchema {
  std::string service;
  std::string digest;  // 32 bytes; empty: none was given.

  bool ClashesWith(const ServiceSchema& other) const {
    return !digest.empty() && !other.digest.empty() && digest != other.digest;
  }
};
absl::Status ServiceMismatchError(absl::string_view topic,
                                  const ServiceSchema& local,
                                  const ServiceSchema& remote,
                                  absl::string_view remote_node);

// Compares `ours` with the type of another node, whose canonical text is
// `theirs`, of at most kExplanationBytesMax. If other nodes do not take the
// text of `ours`, no version of that type is compatible.
Verdict CompareTypes(const MessageType& ours, absl::string_view theirs);

// The log line that says that a compatible version is taken.
std::string OtherVersionNote(absl::string_view topic, absl::string_view type,
                             absl::string_view remote_node,
                             absl::string_view difference);

// What is sent to explain a refusal: the text, or nothing if it is longer than
// kExplanationBytesMax or is not UTF-8. Without it the difference stays
// unnamed.
inline constexpr size_t kExplanationBytesMax = 256 * 1024;
std::string SendableCanonicalText(const std::string& canonical_text);

// The payload of a status that one of the above has made; else none.
std::optional<v1::SchemaMismatch> SchemaMismatchOf(const absl::Status& status);

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_SCHEMA_MISMATCH_H_
