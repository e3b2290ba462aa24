#ifndef MYCELIUM_TRANSPORT_DISCONNECTED_LANES_H_
#define MYCELIUM_TRANSPORT_DISCONNECTED_LANES_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>

#include "proto/mycelium/v1/handshake.pb.h"

namespace mycelium {

// Lanes to a peer that were closed because a subscription was disconnected. The
// peer must be told of that, and the connection may have lost the message. So
// the lanes of a subscription are remembered until the peer has ended the
// subscription. What is remembered is bounded: the subscriptions that a peer
// has not ended are no more than it may have.
//
// Thread safety: none.
class DisconnectedLanes final {
 public:
  void Add(uint32_t lane, uint32_t subscription) {
    lanes_[lane] = subscription;
  }

  // The subscription that was disconnected with that lane; 0: none.
  uint32_t Find(uint32_t lane) const {
    const auto known = lanes_.find(lane);
    return known == lanes_.end() ? 0 : known->second;
  }

  // The peer has ended that subscription, whose id does not come again.
  void Forget(uint32_t subscription) {
    for (auto lane = lanes_.begin(); lane != lanes_.end();) {
      lane = lane->second == subscription ? lanes_.erase(lane) : ++lane;
    }
  }

  // Forgets the lanes that the peer does not have any more: it has heard of
  // those.
  void KeepThoseOf(const v1::Hello& peer) {
    std::map<uint32_t, uint32_t> kept;
    for (const v1::LaneProgress& lane : peer.resume()) {
      const auto known = lanes_.find(lane.lane());
      if (known != lanes_.end()) kept.insert(*known);
    }
    lanes_ = std::move(kept);
  }

  void Clear() { lanes_.clear(); }
  size_t size() const { return lanes_.size(); }

 private:
  std::map<uint32_t, uint32_t> lanes_;  // To subscriptions.
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_DISCONNECTED_LANES_H_
