#include "mycelium/routing/origin_table.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace mycelium {
namespace {

std::string KeyOf(const Origin& origin) {
  // With their lengths, since a peer may put anything into its names.
  std::string key = origin.digest.ToHex();
  for (const std::string* part :
       {&origin.node, &origin.service, &origin.topic, &origin.type,
        &origin.target_service, &origin.transport}) {
    absl::StrAppend(&key, " ", part->size(), ":", *part);
  }
  return key;
}

}  // namespace

std::shared_ptr<const Origin> OriginTable::Intern(Origin origin, size_t most) {
  std::string key = KeyOf(origin);
  MutexLock lock(known_->mutex);
  const auto known = known_->origins.find(key);
  if (known != known_->origins.end()) {
    if (std::shared_ptr<const Origin> kept = known->second.lock()) return kept;
  } else if (known_->origins.size() >= most) {
    return nullptr;
  }
  const auto forget = [table = known_, key](const Origin* gone) {
    {
      MutexLock lock(table->mutex);
      // Another origin may have come under that key.
      const auto entry = table->origins.find(key);
      if (entry != table->origins.end() && entry->second.expired()) {
        table->origins.erase(entry);
      }
    }
    delete gone;
  };
  const std::shared_ptr<Origin> added(new Origin(std::move(origin)), forget);
  known_->origins[std::move(key)] = added;
  return added;
}

size_t OriginTable::size() const {
  MutexLock lock(known_->mutex);
  return known_->origins.size();
}

}  // namespace mycelium
