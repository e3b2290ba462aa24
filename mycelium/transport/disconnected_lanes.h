#ifndef MYCELIUM_TRANSPORT_DISCONNECTED_LANES_H_
#define MYCELIUM_TRANSPORT_DISCONNECTED_LANES_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>

#include "proto/mycelium/v1/handshake.pb.h"

namespace mycelium {

// Lanes to a peer that were closed because a subscription was disconnected,
// which it must be told: the connection may have lost the word. Those of a
// subscription are remembered until the peer has ended it. A peer has not ended
// more than it may have.
//
// Thread safety: none.
class DisconnectedLanes final {
 public:
  void Add(uint32_t lane, uint32_t subscription) {
    lanes_[lane] = subscription;
  }

  // Which subscription was disconnected with that lane; 0: none.
  uint32_t Find(uint32_t lane) const {
    const auto known = lanes_.find(lane);
    return known == lanes_.end() ? 0 : known->second;
  }

  // The peer has ended it. Its id does not come again.
  void Forget(uint32_t subscription) {
    for (auto lane = lanes_.begin(); lane != lanes_.end();) {
      lane = lane->second == subscription ? lanes_.erase(lane) : ++lane;
    }
  }

  // Of those that it does not have any more, the peer has heard.
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
  std::map<uint32_t, uint32_t> lanes_;  // And their subscriptions.
};

}  // namespace mycelium

#endif  // MYCELIUM_TRANSPORT_DISCONNECTED_LANES_H_
