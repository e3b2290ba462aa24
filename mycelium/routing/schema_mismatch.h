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
// with a mycelium.v1.SchemaMismatch as its payload. Says so if the two would be
// compatible.
// `verdict`: of CompareTypes(), or none where the other side's type is not
// known.
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

// The same where the types are equal, but the two services have been given
// schema digests that differ.
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

// `ours` and the type that another node has, whose canonical text is `theirs`,
// of at most kExplanationBytesMax. Of a type whose own text other nodes do not
// take no version is compatible.
Verdict CompareTypes(const MessageType& ours, absl::string_view theirs);

// That a compatible version is taken, for the log.
std::string OtherVersionNote(absl::string_view topic, absl::string_view type,
                             absl::string_view remote_node,
                             absl::string_view difference);

// What is sent to explain a refusal: the text, or nothing if it is longer than
// kExplanationBytesMax or no UTF-8, in which case the difference stays unnamed.
inline constexpr size_t kExplanationBytesMax = 256 * 1024;
std::string SendableCanonicalText(const std::string& canonical_text);

// The payload of such a status, if it is one.
std::optional<v1::SchemaMismatch> SchemaMismatchOf(const absl::Status& status);

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_SCHEMA_MISMATCH_H_
