#ifndef MYCELIUM_TRANSPORT_LINK_TRAFFIC_H_
#define MYCELIUM_TRANSPORT_LINK_TRAFFIC_H_

#include <cstdint>

namespace mycelium {

// What a link has carried, on all its connections. Added up from what its lanes
// know of themselves, so that nothing is counted when a message passes.
struct LinkTraffic {
  // Frames that were published into lanes to the peer, those that a lossy lane
  // dropped later included, and the bytes of lanes that they took: headers,
  // padding and all.
  uint64_t frames_sent = 0;
  uint64_t bytes_sent = 0;
  // The same of the peer's lanes, as far as this side has taken them.
  uint64_t frames_received = 0;
  uint64_t bytes_received = 0;
  // How often a publisher waited for room in vain, and took the peer for
  // stalled from then on.
  uint64_t stalls = 0;

  LinkTraffic& operator+=(const LinkTraffic& other) {
    frames_sent += other.frames_sent;
    bytes_sent += other.bytes_sent;
    frames_received += other.frames_received;
    bytes_received += other.bytes_received;
    stalls += other.stalls;
    return *this;
  }
  LinkTraffic& operator-=(const LinkTraffic& other) {
    frames_sent -= other.frames_sent;
    bytes_sent -= other.bytes_sent;
    frames_received -= other.frames_received;
    bytes_received -= other.bytes_received;
    stalls -= other.stalls;
    return *this;
  }
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_LINK_TRAFFIC_H_
