#ifndef MYCELIUM_TRANSPORT_OUT_LANE_H_
#define MYCELIUM_TRANSPORT_OUT_LANE_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "mycelium/transport/lane/lane.h"

namespace mycelium {

// A lane to the peer, as its FramedLink keeps it.
//
// Thread safety: under the link's lock of lanes, except for what is atomic.
struct OutLane {
  std::shared_ptr<Lane> lane;
  uint32_t subscription = 0;
  uint32_t disconnected = 0;
  // Changed inside the gate, or of a parked lane with the lock of lanes.
  std::atomic<uint64_t> sent{0};
  uint64_t reached = 0;               // By `sent`, on any connection.
  uint64_t noted = 0;                 // How far `waiting_` counts it.
  std::atomic<uint64_t> received{0};  // As the peer said.
  uint64_t arrived = 0;               // The same, with what it cannot take.
  bool announced = false;             // On this connection.
  bool known_to_peer = false;         // Announced to this process.
  bool parked = false;                // Not sent for now.
  bool held = false;                  // Nor on this connection: LaneWaits.
  bool refused = false;               // Not to be mapped by this process.
  bool draining = false;              // Closed once it is empty.
  bool closing = false;               // Erased when nothing points to it.
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_OUT_LANE_H_
