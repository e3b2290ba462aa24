#ifndef MYCELIUM_ROUTING_LINK_PUBLISHERS_H_
#define MYCELIUM_ROUTING_LINK_PUBLISHERS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mycelium/message/message_info.h"
#include "mycelium/routing/subscription.h"
#include "mycelium/schema/digest.h"
#include "mycelium/transport/link.h"

namespace mycelium {

// The publishers of the peer of one link, each with the subscriptions that it
// was matched to, as the peer says it. A publisher whose messages are all here
// is forgotten in time, which is what keeps the peer within link_bounds.h.
//
// Thread safety: none; it is on the loop.
//
// Ownership: borrows the link; shares origins, subscriptions and counters.
class LinkPublishers final {
 public:
  // Frames of a publisher, from one sequence of the lane to another, that are
  // for one subscription.
  struct Match {
    uint32_t id;
    std::shared_ptr<Subscription> subscription;  // Null: it was gone already.
    // Null: the match is with subscription 0, which says only that frames of
    // the publisher may come that the peer has counted as dropped.
    std::shared_ptr<FlowCounters> flow;
    uint32_t lane;
    uint64_t from_sequence;
    uint64_t until_sequence;
    bool said = true;  // On the connection that is up.
    // As what its messages count if there is no subscription.
    DropReason dropped_as = DropReason::kSubscriberGone;
  };
  struct Publisher {
    std::shared_ptr<const Origin> origin;
    Digest digest;  // As declared; its origin may have another one.
    std::vector<Match> matches;
    // If so, and it has no matches any more, its frames are all here.
    bool was_matched = false;

    // Forgets the matches that end with the frame of that sequence.
    void EndMatches(uint32_t lane, uint64_t sequence);
  };

  // Of each name that a declaration has.
  static constexpr size_t kNameBytesMax = 255;

  explicit LinkPublishers(const Link& link) : link_(link) {}

  // The entry of a publisher, made if need be. Valid until the next
  // declaration. INVALID_ARGUMENT, RESOURCE_EXHAUSTED: the publisher is beyond
  // a bound and is refused.
  absl::StatusOr<Publisher*> Declare(const v1::PublisherDeclare& declare);
  // Whether some of the peer's publishers were refused, so are not here.
  bool has_refused() const { return has_refused_; }

  // Null: the publisher was never declared, is forgotten or was refused.
  Publisher* Find(uint32_t publisher) {
    if (last_ == nullptr || last_id_ != publisher) {
      const auto entry = publishers_.find(publisher);
      if (entry == publishers_.end()) return nullptr;
      last_id_ = publisher;
      last_ = &entry->second;
    }
    return last_;
  }

  // Null: the peer says that match for the first time.
  static Match* FindMatch(Publisher& publisher, const v1::Matched& matched);
  // A new match, which has no subscription yet and lasts until it is unmatched.
  // Valid until the next one. RESOURCE_EXHAUSTED: the publisher has too many
  // matches that are not over.
  absl::StatusOr<Match*> AddMatch(Publisher& publisher,
                                  const v1::Matched& matched) const;
  void Unmatch(const v1::Unmatched& unmatched);
  // The peer will say again which matches there are; the others are over at
  // EndOfMatches().
  void AwaitMatches();
  void EndOfMatches();
  void OnLaneClosed(uint32_t lane);

  // Calls `visit(const Publisher&, const Match&)`.
  template <typename Visit>
  void ForEachMatch(Visit visit) const {
    for (const auto& [id, publisher] : publishers_) {
      for (const Match& match : publisher.matches) visit(publisher, match);
    }
  }
  // Publishers and matches, for tests.
  size_t entry_count() const;

 private:
  static constexpr size_t kBeforeLookMin = 64;

  // Forgets the matches of which all frames are here.
  void ForgetPassed(Publisher& publisher) const;
  // Forgets the publishers that were matched and have no matches any more.
  void ForgetOver();
  // At the bound: also those of which no match was said on this connection.
  void ForgetEnded();

  const Link& link_;
  absl::flat_hash_map<uint32_t, Publisher> publishers_;
  bool has_refused_ = false;
  // With so many publishers, those that are over are looked for.
  size_t before_look_ = kBeforeLookMin;
  // What was found last; null once `publishers_` has changed.
  uint32_t last_id_ = 0;
  Publisher* last_ = nullptr;
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_LINK_PUBLISHERS_H_
