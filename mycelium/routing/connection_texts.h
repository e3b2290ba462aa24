#ifndef MYCELIUM_ROUTING_CONNECTION_TEXTS_H_
#define MYCELIUM_ROUTING_CONNECTION_TEXTS_H_

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "mycelium/routing/peer_text.h"
#include "mycelium/routing/schema_mismatch.h"
#include "mycelium/schema/digest.h"

namespace mycelium {

// The canonical texts that the publishing node has sent on one connection. Both
// ends remember them: the sender need not send a text again for each publisher
// and refusal, and the receiver then gets only the digest. Beyond kCountMax
// texts, or kBytesMax bytes of them, those that came first are forgotten. Both
// ends follow from what was sent, so the receiver has every text that the
// sender takes it to have. This also holds if the sender begins anew: what it
// had sent before is then remembered by the receiver only, as older texts.
//
// Thread safety: none.
class ConnectionTexts final {
 public:
  static constexpr size_t kCountMax = 256;
  static constexpr size_t kBytesMax = 1 << 20;
  static_assert(kBytesMax >= kExplanationBytesMax);

  // Whether the other end has the text of the type with that digest.
  bool Has(const Digest& type) const { return Find(type) != nullptr; }

  // For the sender: that text, of so many bytes, is sent.
  void Send(const Digest& type, size_t bytes) {
    if (!Has(type)) Add({type, bytes, nullptr});
  }

  // For the receiver: that text came for that digest. An empty text, or one
  // that is too long, cannot have been meant and is ignored. If there is a text
  // for that digest already, that one stays, but becomes the newest.
  void Take(const Digest& type, const std::string& text) {
    if (text.empty() || text.size() > kExplanationBytesMax) return;
    const auto known =
        std::find_if(entries_.begin(), entries_.end(),
                     [&](const Entry& entry) { return entry.type == type; });
    if (known == entries_.end()) {
      return Add({type, text.size(), std::make_unique<PeerText>(text)});
    }
    std::rotate(known, known + 1, entries_.end());
  }
  // The text that came for that digest, which need not be the digest of the
  // text. Null: none came, or it is forgotten. Valid until the next call.
  PeerText* TextOf(const Digest& type) const {
    const Entry* const entry = Find(type);
    return entry == nullptr ? nullptr : entry->text.get();
  }

  // The connection is over.
  void Clear() {
    entries_.clear();
    bytes_ = 0;
  }

 private:
  struct Entry {
    Digest type;
    size_t bytes;
    std::unique_ptr<PeerText> text;
  };

  const Entry* Find(const Digest& type) const {
    for (const Entry& entry : entries_) {
      if (entry.type == type) return &entry;
    }
    return nullptr;
  }
  void Add(Entry entry) {
    bytes_ += entry.bytes;
    entries_.push_back(std::move(entry));
    while (entries_.size() > kCountMax || bytes_ > kBytesMax) {
      bytes_ -= entries_.front().bytes;
      entries_.pop_front();
    }
  }

  std::deque<Entry> entries_;  // The oldest first.
  size_t bytes_ = 0;
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_CONNECTION_TEXTS_H_
