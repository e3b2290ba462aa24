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
  for (auto& [link, counted] : links_) counts += CountsOf(counted);
  return counts;
}

EndpointCounts EndpointStats::CountsOf(Counted& counted) {
  EndpointCounts counts = counted.read();
  for (size_t i = 0; i < counts.dropped.size(); ++i) {
    const uint64_t now = counts.dropped[i];
    const uint64_t last = std::exchange(counted.dropped_last[i], now);
    // `now` is less if the nodes' names of ended flows were given up meanwhile.
    if (now > last) counted.dropped[i] += now - last;
  }
  counts.dropped = counted.dropped;
  counts -= counted.before;
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
  Counted& counted = links_[link];
  counted.read = std::move(read);
  counted.before = counted.read();
  counted.dropped_last = std::exchange(counted.before.dropped, {});
}

void EndpointStats::RemoveLink(const void* link) {
  MutexLock lock(mutex_);
  const auto known = links_.find(link);
  if (known == links_.end()) return;
  kept_ += CountsOf(known->second);
  links_.erase(known);
}

}  // namespace mycelium
