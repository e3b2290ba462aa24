#include "mycelium/routing/schema_mismatch.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "mycelium/base/utf8.h"
#include "mycelium/schema/verdict.h"

namespace mycelium {
namespace {

constexpr absl::string_view kTypeUrl =
    "type.googleapis.com/mycelium.v1.SchemaMismatch";

}  // namespace

absl::Status SchemaMismatchError(absl::string_view topic,
                                 const MessageType& local,
                                 const Digest& remote_digest,
                                 absl::string_view remote_text,
                                 absl::string_view remote_node) {
  std::optional<Verdict> verdict;
  if (!remote_text.empty() && !local.canonical_text.empty()) {
    verdict = CompareTypes(local, remote_text);
  }
  return SchemaMismatchError(topic, local, remote_digest, verdict, remote_node);
}

absl::Status SchemaMismatchError(absl::string_view topic,
                                 const MessageType& local,
                                 const Digest& remote_digest,
                                 const std::optional<Verdict>& verdict,
                                 absl::string_view remote_node) {
  v1::SchemaMismatch mismatch;
  mismatch.set_topic(std::string(topic));
  mismatch.set_type(local.name);
  mismatch.set_local_digest(std::string(local.digest.bytes()));
  mismatch.set_remote_digest(std::string(remote_digest.bytes()));
  mismatch.set_remote_node(std::string(remote_node));
  // No text says so: a raw type has none.
  const Digest raw = RawMessageType(local.name).digest;
  if (local.digest == raw) {
    mismatch.set_difference("raw bytes -> another type");
  } else if (remote_digest == raw) {
    mismatch.set_difference("another type -> raw bytes");
  } else if (verdict.has_value()) {
    mismatch.set_difference(verdict->difference);
    if (verdict->kind == Verdict::Kind::kCompatible) {
      mismatch.mutable_difference()->append(
          remote_node.empty()
              ? "; compatible, but a process has one version of a type"
              : "; compatible, but schema = \"compatible\" is not in force at "
                "both nodes");
    }
  }
  absl::Status status = absl::FailedPreconditionError(absl::StrCat(
      "topic \"", topic, "\": type ", local.name, " differs from that of ",
      remote_node.empty() ? "another service of this process"
                          : absl::StrCat("node ", remote_node),
      mismatch.difference().empty() ? "" : ": ", mismatch.difference(),
      " (digests ", local.digest.ToHex().substr(0, 12), " here, ",
      remote_digest.ToHex().substr(0, 12), " there)"));
  status.SetPayload(kTypeUrl, absl::Cord(mismatch.SerializeAsString()));
  return status;
}

absl::Status ServiceMismatchError(absl::string_view topic,
                                  const ServiceSchema& local,
                                  const ServiceSchema& remote,
                                  absl::string_view remote_node) {
  v1::SchemaMismatch mismatch;
  mismatch.set_topic(std::string(topic));
  mismatch.set_local_digest(local.digest);
  mismatch.set_remote_digest(remote.digest);
  mismatch.set_remote_node(std::string(remote_node));
  mismatch.set_local_service(local.service);
  mismatch.set_remote_service(remote.service);
  const auto hex = [](const std::string& bytes) {
    const absl::StatusOr<Digest> digest = Digest::FromBytes(bytes);
    return digest.ok() ? digest->ToHex() : "of a wrong size";
  };
  absl::Status status = absl::FailedPreconditionError(absl::StrCat(
      "topic \"", topic, "\": service ", local.service, " has schema digest ",
      hex(local.digest), ", service ", remote.service, " of ",
      remote_node.empty() ? "this process" : absl::StrCat("node ", remote_node),
      " has ", hex(remote.digest)));
  status.SetPayload(kTypeUrl, absl::Cord(mismatch.SerializeAsString()));
  return status;
}

Verdict CompareTypes(const MessageType& ours, absl::string_view theirs) {
  Verdict verdict = CompareVersions(ours.canonical_text, theirs);
  if (verdict.kind == Verdict::Kind::kCompatible &&
      SendableCanonicalText(ours.canonical_text).empty()) {
    verdict = {Verdict::Kind::kIncompatible,
               absl::StrCat("this side: schema text of ",
                            ours.canonical_text.size(), " bytes, at most ",
                            kExplanationBytesMax, " are compared")};
  }
  return verdict;
}

std::string OtherVersionNote(absl::string_view topic, absl::string_view type,
                             absl::string_view remote_node,
                             absl::string_view difference) {
  return absl::StrCat("topic \"", topic, "\": node ", remote_node,
                      " has another version of ", type,
                      ", which is compatible: ", difference);
}

std::string SendableCanonicalText(const std::string& canonical_text) {
  // A type that is made by hand may have anything there; a peer takes UTF-8.
  const bool is_sendable =
      canonical_text.size() <= kExplanationBytesMax && IsUtf8(canonical_text);
  return is_sendable ? canonical_text : std::string();
}

std::optional<v1::SchemaMismatch> SchemaMismatchOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kTypeUrl);
  v1::SchemaMismatch mismatch;
  if (!payload.has_value() ||
      !mismatch.ParseFromString(std::string(*payload))) {
    return std::nullopt;
  }
  return mismatch;
}

}  // namespace mycelium
