#include "mycelium/routing/link_publishers.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/routing/link_bounds.h"

namespace mycelium {
namespace {

template <typename Predicate>
void EraseMatches(LinkPublishers::Publisher& publisher, Predicate is_over) {
  auto& matches = publisher.matches;
  matches.erase(std::remove_if(matches.begin(), matches.end(), is_over),
                matches.end());
}

}  // namespace

void LinkPublishers::Publisher::EndMatches(uint32_t lane, uint64_t sequence) {
  EraseMatches(*this, [&](const Match& match) {
    return match.lane == lane && sequence + 1 >= match.until_sequence;
  });
}

absl::StatusOr<LinkPublishers::Publisher*> LinkPublishers::Declare(
    const v1::PublisherDeclare& declare) {
  last_ = nullptr;
  for (const std::string* name : {&declare.service(), &declare.topic(),
                                  &declare.type(), &declare.target_service()}) {
    if (name->size() <= kNameBytesMax) continue;
    has_refused_ = true;
    return absl::InvalidArgumentError(absl::StrCat(
        "publisher ", declare.publisher(), " is refused: it has a name of ",
        name->size(), " bytes; at most ", kNameBytesMax));
  }
  if (publishers_.size() >= before_look_) ForgetOver();
  if (publishers_.size() >= kLinkPublishersMax) ForgetEnded();
  if (publishers_.size() >= kLinkPublishersMax &&
      !publishers_.contains(declare.publisher())) {
    has_refused_ = true;
    return absl::ResourceExhaustedError(absl::StrCat(
        "publisher ", declare.publisher(), " of \"", declare.topic(),
        "\" is refused: there are ", kLinkPublishersMax,
        " already, which is the most at a time"));
  }
  return &publishers_[declare.publisher()];
}

LinkPublishers::Match* LinkPublishers::FindMatch(Publisher& publisher,
                                                 const v1::Matched& matched) {
  for (Match& match : publisher.matches) {
    if (match.id == matched.subscription() &&
        match.from_sequence == matched.from_sequence()) {
      return &match;
    }
  }
  return nullptr;
}

absl::StatusOr<LinkPublishers::Match*> LinkPublishers::AddMatch(
    Publisher& publisher, const v1::Matched& matched) const {
  if (publisher.matches.size() >= kPublisherMatchesMax) ForgetPassed(publisher);
  if (publisher.matches.size() >= kPublisherMatchesMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("publisher ", matched.publisher(), " has more than ",
                     kPublisherMatchesMax, " matches"));
  }
  publisher.was_matched = true;
  Match& match = publisher.matches.emplace_back();
  match.id = matched.subscription();
  match.lane = matched.lane();
  match.from_sequence = matched.from_sequence();
  match.until_sequence = std::numeric_limits<uint64_t>::max();
  return &match;
}

void LinkPublishers::Unmatch(const v1::Unmatched& unmatched) {
  const auto entry = publishers_.find(unmatched.publisher());
  if (entry == publishers_.end()) return;
  for (Match& match : entry->second.matches) {
    if (match.id == unmatched.subscription()) {
      match.until_sequence =
          std::min(match.until_sequence, unmatched.until_sequence());
    }
  }
  ForgetPassed(entry->second);
}

void LinkPublishers::AwaitMatches() {
  for (auto& [id, publisher] : publishers_) {
    for (Match& match : publisher.matches) match.said = false;
  }
}

void LinkPublishers::EndOfMatches() {
  for (auto& [id, publisher] : publishers_) {
    EraseMatches(publisher, [](const Match& match) { return !match.said; });
  }
}

void LinkPublishers::OnLaneClosed(uint32_t lane) {
  for (auto& [id, publisher] : publishers_) {
    EraseMatches(publisher,
                 [&](const Match& match) { return match.lane == lane; });
  }
}

size_t LinkPublishers::entry_count() const {
  size_t count = publishers_.size();
  for (const auto& [id, publisher] : publishers_) {
    count += publisher.matches.size();
  }
  return count;
}

void LinkPublishers::ForgetPassed(Publisher& publisher) const {
  EraseMatches(publisher, [&](const Match& match) {
    return match.until_sequence <= link_.NextSequence(match.lane);
  });
}

void LinkPublishers::ForgetOver() {
  for (auto old = publishers_.begin(); old != publishers_.end();) {
    const auto entry = old++;
    ForgetPassed(entry->second);
    if (entry->second.was_matched && entry->second.matches.empty()) {
      publishers_.erase(entry);
    }
  }
  // Each look is paid for by as many publishers that were declared since the
  // last one.
  before_look_ = std::min(kLinkPublishersMax,
                          std::max(kBeforeLookMin, 2 * publishers_.size()));
}

void LinkPublishers::ForgetEnded() {
  for (auto old = publishers_.begin(); old != publishers_.end();) {
    const auto entry = old++;
    const auto& matches = entry->second.matches;
    ForgetPassed(entry->second);
    const bool is_over =
        std::none_of(matches.begin(), matches.end(),
                     [](const Match& match) { return match.said; });
    if (entry->second.was_matched && is_over) publishers_.erase(entry);
  }
}

}  // namespace mycelium
