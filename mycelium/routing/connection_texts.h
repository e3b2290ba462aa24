#ifndef MYCELIUM_ROUTING_CONNECTION_TEXTS_H_
#define MYCELIUM_ROUTING_CONNECTION_TEXTS_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <string>

#include "mycelium/routing/peer_text.h"
#include "mycelium/routing/schema_mismatch.h"
#include "mycelium/schema/digest.h"

namespace mycelium {

// The canonical texts that the publishing node has sent on one connection, as
// both ends remember them: the sender, so that it need not send one again for
// each publisher and refusal, and the receiver, who is told of the digest only
// then. Beyond kCountMax texts, or kBytesMax bytes of them, those that came
// first are forgotten. Both follow from what was sent, so they agree.
//
// Thread safety: none.
class ConnectionTexts final {
 public:
  static constexpr size_t kCountMax = 256;
  static constexpr size_t kBytesMax = 1 << 20;
  static_assert(kBytesMax >= kExplanationBytesMax);

  // Whether the other end has the text of the type with that digest.
  bool Has(const Digest& type) const { return Find(type) != nullptr; }

  // The sender: that text, of so many bytes, is sent.
  void Send(const Digest& type, size_t bytes) {
    if (!Has(type)) Add({type, bytes, nullptr});
  }

  // The receiver: that text came for that digest. What cannot have been meant
  // is ignored: no text, or one that is too long; and so is one that is here.
  void Take(const Digest& type, const std::string& text) {
    if (text.empty() || text.size() > kExplanationBytesMax) return;
    if (Has(type)) return;
    Add({type, text.size(), std::make_unique<PeerText>(text)});
  }
  // What came for that digest, which need not be the text's. Null: nothing, or
  // it is forgotten. Valid until the next call.
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
