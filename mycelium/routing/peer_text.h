#ifndef MYCELIUM_ROUTING_PEER_TEXT_H_
#define MYCELIUM_ROUTING_PEER_TEXT_H_

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "mycelium/message/message_type.h"
#include "mycelium/routing/schema_mismatch.h"
#include "mycelium/schema/digest.h"
#include "mycelium/schema/verdict.h"

namespace mycelium {

// The canonical text that a peer gives for a type of its own, and how types of
// ours compare with it. Each comparison is made once, since it is linear in the
// texts, and all the subscriptions that a peer may have may have one text.
//
// Thread safety: none. Owns the text.
class PeerText final {
 public:
  // `text` has at most kExplanationBytesMax.
  explicit PeerText(std::string text)
      : text_(std::move(text)), digest_(Digest::Of(text_)) {}

  const std::string& text() const { return text_; }
  // The text's digest. The peer may have named another one with the text.
  const Digest& digest() const { return digest_; }

  // The verdict as seen from `ours`. Valid until the next call.
  const Verdict& Against(const MessageType& ours) {
    if (verdicts_.size() >= kVerdictsMax && verdicts_.count(ours.digest) == 0) {
      verdicts_.clear();
    }
    const auto [entry, is_new] = verdicts_.try_emplace(ours.digest);
    if (is_new) entry->second = CompareTypes(ours, text_);
    return entry->second;
  }

  // The verdict for the error of a refusal; none if a text is missing. A peer
  // that declared another digest than that of its text has explained nothing.
  std::optional<Verdict> Explain(const MessageType& ours,
                                 const Digest& declared) {
    if (text_.empty() || ours.canonical_text.empty()) return std::nullopt;
    if (digest_ == declared) return Against(ours);
    return Verdict{Verdict::Kind::kIncompatible,
                   "the other side: its text is not what its digest was taken "
                   "of"};
  }

 private:
  const std::string text_;
  const Digest digest_;
  // By our type. A topic has few types, but a peer may name any.
  static constexpr size_t kVerdictsMax = 16;
  std::map<Digest, Verdict> verdicts_;
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_PEER_TEXT_H_
