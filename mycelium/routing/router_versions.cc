// The part of Router that matches two versions of a type.
#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "mycelium/routing/router.h"
#include "mycelium/routing/schema_mismatch.h"

namespace mycelium {
namespace {

Digest DigestFrom(const std::string& bytes) {
  absl::StatusOr<Digest> digest = Digest::FromBytes(bytes);
  return digest.ok() ? *digest : Digest();
}

}  // namespace

void Router::SetSubscribe(Remote& remote, const v1::Subscribe& subscribe) {
  const Digest digest = DigestFrom(subscribe.type_digest());
  auto shared = TextOf(*remote.link, digest);  // It may have it itself.
  remote.subscribe = subscribe;
  // Without the text, whose memory clear_canonical_text() would keep.
  const std::unique_ptr<std::string> text(
      remote.subscribe.release_canonical_text());
  remote.digest = digest;
  remote.takes_versions = subscribe.takes_versions();
  remote.versions.clear();
  remote.text = nullptr;
  remote.explained = 0;
  remote.text_wanted = false;
  remote.told_of.clear();
  if (!remote.takes_versions) return;
  if (!subscribe.canonical_text().empty()) {
    SetText(remote, subscribe.canonical_text());
  } else if (shared != nullptr) {
    remote.text = std::move(shared);
    remote.explained = ++explanations_;
  }
}

std::shared_ptr<PeerText> Router::TextOf(const Link& link,
                                         const Digest& digest) const {
  for (const auto& [serial, other] : remotes_) {
    if (other.link == &link && other.text != nullptr &&
        other.text->digest() == digest) {
      return other.text;
    }
  }
  return nullptr;
}

void Router::SetText(Remote& remote, const std::string& text) {
  if (text.size() > kExplanationBytesMax) return;
  auto said = std::make_shared<PeerText>(text);
  remote.text = TextOf(*remote.link, said->digest());
  if (remote.text == nullptr) remote.text = std::move(said);
  remote.explained = ++explanations_;
  BoundTexts(*remote.link);
}

void Router::BoundTexts(const Link& link) {
  size_t bytes = 0;
  std::map<const PeerText*, uint64_t> newest;
  for (const auto& [serial, remote] : remotes_) {
    if (remote.link != &link || remote.text == nullptr) continue;
    uint64_t& explained = newest[remote.text.get()];
    if (explained == 0) bytes += remote.text->text().size();
    explained = std::max(explained, remote.explained);
  }
  while (bytes > kExplanationsBytesMax) {
    const auto oldest = std::min_element(
        newest.begin(), newest.end(),
        [](const auto& a, const auto& b) { return a.second < b.second; });
    const PeerText* const text = oldest->first;
    bytes -= text->text().size();
    newest.erase(oldest);
    for (auto& [serial, remote] : remotes_) {
      if (remote.link == &link && remote.text.get() == text) {
        remote.text = nullptr;
      }
    }
  }
}

bool Router::MayRead(const MessageType& type, const Remote& remote) const {
  if (remote.digest == type.digest) return true;
  // One that has the digest only could not tell the peer what it reads.
  if (type.canonical_text.empty()) return false;
  if (remote.versions.count(type.digest) > 0) return true;
  return callbacks_.schema == SchemaPolicy::kCompatible &&
         remote.takes_versions && remote.text != nullptr &&
         remote.text->digest() == remote.digest &&
         remote.text->Against(type).kind == Verdict::Kind::kCompatible;
}

bool Router::NeedsText(const MessageType& type, const Remote& remote) const {
  return callbacks_.schema == SchemaPolicy::kCompatible &&
         remote.takes_versions && remote.text == nullptr &&
         !type.canonical_text.empty();
}

void Router::KeepVersion(const MessageType& type, Remote& remote) {
  if (remote.digest == type.digest || remote.versions.count(type.digest) > 0) {
    return;
  }
  remote.versions[type.digest] = remote.text->Against(type).difference;
}

void Router::NoteVersion(const MessageType& type, Remote& remote,
                         Deferred* deferred) {
  const auto version = remote.versions.find(type.digest);
  if (version == remote.versions.end() || !version->second.has_value()) return;
  const std::string note =
      OtherVersionNote(remote.subscribe.topic(), type.name, remote.link->peer(),
                       *version->second);
  version->second.reset();
  if (callbacks_.on_other_version == nullptr) return;
  deferred->push_back([this, note] { callbacks_.on_other_version(note); });
}

bool Router::MayReadWhatIsKept(const Remote& orphan,
                               const v1::Subscribe& subscribe) {
  Remote reader;
  reader.link = orphan.link;
  SetSubscribe(reader, subscribe);
  for (const auto& publisher : PublishersTo(orphan.subscribe.topic())) {
    if (MayRead(publisher->type, reader)) continue;
    for (const Flow& flow : publisher->flows) {
      if (flow.remote == orphan.serial) return false;
    }
  }
  return true;
}

}  // namespace mycelium
