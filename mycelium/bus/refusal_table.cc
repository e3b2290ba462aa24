#include "mycelium/bus/refusal_table.h"

#include <iterator>
#include <utility>

namespace mycelium {

template <typename Predicate>
void RefusalTable::EraseIf(Predicate predicate) {
  MutexLock lock(mutex_);
  for (auto& [subscription, refusals] : refusals_) {
    for (auto entry = refusals.begin(); entry != refusals.end();) {
      if (!predicate(entry->first, entry->second)) {
        ++entry;
        continue;
      }
      entry = refusals.erase(entry);
      count_.fetch_sub(1);
    }
  }
}

void RefusalTable::AddPublisher(uint32_t publisher) {
  MutexLock lock(mutex_);
  publishers_.insert(publisher);
}

void RefusalTable::RemovePublisher(uint32_t publisher) {
  {
    MutexLock lock(mutex_);
    publishers_.erase(publisher);
  }
  EraseIf([&](const Cause& cause, const Refusal&) {
    return cause.peer.empty() && cause.publisher == publisher;
  });
}

void RefusalTable::AddSubscription(uint32_t subscription) {
  MutexLock lock(mutex_);
  refusals_[subscription];
}

void RefusalTable::RemoveSubscription(uint32_t subscription) {
  MutexLock lock(mutex_);
  const auto entry = refusals_.find(subscription);
  if (entry == refusals_.end()) return;
  count_.fetch_sub(entry->second.size());
  refusals_.erase(entry);
}

bool RefusalTable::Set(uint32_t subscription, const Cause& cause,
                       absl::Status status, bool is_news) {
  MutexLock lock(mutex_);
  const auto entry = refusals_.find(subscription);
  if (entry == refusals_.end()) return false;
  if (cause.peer.empty() && cause.publisher != 0 &&
      publishers_.count(cause.publisher) == 0) {
    return false;
  }
  Refusals& refusals = entry->second;
  const auto known = refusals.find(cause);
  if (known != refusals.end()) {
    known->second.is_stale = false;
    if (known->second.status == status) return false;
    known->second.status = std::move(status);
    known->second.is_told = !is_news;
    return true;
  }
  if (refusals.size() >= kRefusalsMax) return false;
  Refusal& refusal = refusals[cause];
  refusal.status = std::move(status);
  refusal.is_told = !is_news;
  count_.fetch_add(1);
  return true;
}

void RefusalTable::Clear(uint32_t subscription, const Cause& cause) {
  MutexLock lock(mutex_);
  const auto entry = refusals_.find(subscription);
  if (entry == refusals_.end()) return;
  count_.fetch_sub(entry->second.erase(cause));
}

void RefusalTable::RemovePeer(const std::string& peer) {
  EraseIf(
      [&](const Cause& cause, const Refusal&) { return cause.peer == peer; });
}

void RefusalTable::ExpectRepeats(const std::string& peer) {
  MutexLock lock(mutex_);
  for (auto& [subscription, refusals] : refusals_) {
    for (auto& [cause, refusal] : refusals) {
      if (cause.peer == peer && cause.publisher != 0) refusal.is_stale = true;
    }
  }
}

void RefusalTable::EndOfRepeats(const std::string& peer) {
  EraseIf([&](const Cause& cause, const Refusal& refusal) {
    return cause.peer == peer && refusal.is_stale;
  });
}

absl::Status RefusalTable::Of(uint32_t subscription) const {
  MutexLock lock(mutex_);
  const auto entry = refusals_.find(subscription);
  if (entry == refusals_.end() || entry->second.empty()) {
    return absl::OkStatus();
  }
  return entry->second.begin()->second.status;
}

bool RefusalTable::HasNews(uint32_t subscription) const {
  if (!has_any()) return false;
  MutexLock lock(mutex_);
  const auto entry = refusals_.find(subscription);
  if (entry == refusals_.end()) return false;
  for (const auto& [cause, refusal] : entry->second) {
    if (!refusal.is_told) return true;
  }
  return false;
}

absl::Status RefusalTable::TakeNews(uint32_t subscription) {
  if (!has_any()) return absl::OkStatus();
  MutexLock lock(mutex_);
  const auto entry = refusals_.find(subscription);
  if (entry == refusals_.end()) return absl::OkStatus();
  for (auto& [cause, refusal] : entry->second) {
    if (refusal.is_told) continue;
    refusal.is_told = true;
    return refusal.status;
  }
  return absl::OkStatus();
}

size_t RefusalTable::entry_count() const {
  MutexLock lock(mutex_);
  return refusals_.size() + publishers_.size() + count_.load();
}

std::vector<RefusalTable::Held> RefusalTable::All() const {
  std::vector<Held> all;
  if (!has_any()) return all;
  MutexLock lock(mutex_);
  for (const auto& [subscription, refusals] : refusals_) {
    for (const auto& [cause, refusal] : refusals) {
      all.push_back({subscription, cause, refusal.status});
    }
  }
  return all;
}

}  // namespace mycelium
