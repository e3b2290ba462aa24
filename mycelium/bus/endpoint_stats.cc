#include "mycelium/bus/endpoint_stats.h"

#include <utility>

namespace mycelium {

EndpointCounts& EndpointCounts::operator+=(const EndpointCounts& other) {
  connections += other.connections;
  handshake_failures += other.handshake_failures;
  traffic += other.traffic;
  for (size_t i = 0; i < dropped.size(); ++i) dropped[i] += other.dropped[i];
  return *this;
}

EndpointCounts& EndpointCounts::operator-=(const EndpointCounts& other) {
  connections -= other.connections;
  handshake_failures -= other.handshake_failures;
  traffic -= other.traffic;
  for (size_t i = 0; i < dropped.size(); ++i) dropped[i] -= other.dropped[i];
  return *this;
}

EndpointCounts EndpointStats::Read() const {
  if (guard_.is_inherited()) return {};
  MutexLock lock(mutex_);
  EndpointCounts counts = kept_;
  for (const auto& [link, read] : links_) counts += read();
  return counts;
}

void EndpointStats::CountConnection() {
  MutexLock lock(mutex_);
  ++kept_.connections;
}

void EndpointStats::CountHandshakeFailure() {
  MutexLock lock(mutex_);
  ++kept_.handshake_failures;
}

void EndpointStats::AddLink(const void* link,
                            std::function<EndpointCounts()> read) {
  MutexLock lock(mutex_);
  links_[link] = std::move(read);
}

void EndpointStats::RemoveLink(const void* link) {
  MutexLock lock(mutex_);
  const auto known = links_.find(link);
  if (known == links_.end()) return;
  kept_ += known->second();
  links_.erase(known);
}

}  // namespace mycelium
