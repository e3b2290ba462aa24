#ifndef MYCELIUM_ROUTING_ROUTER_ENTRIES_H_
#define MYCELIUM_ROUTING_ROUTER_ENTRIES_H_

// What a Router remembers. Plain data, under its lock.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "mycelium/base/environment.h"
#include "mycelium/message/message_type.h"
#include "mycelium/routing/fan_out.h"
#include "mycelium/routing/flow_table.h"
#include "mycelium/routing/lane_rule.h"
#include "mycelium/routing/peer_text.h"
#include "mycelium/routing/schema_mismatch.h"
#include "mycelium/routing/subscription.h"
#include "mycelium/schema/digest.h"
#include "mycelium/transport/lane/lane.h"
#include "mycelium/transport/lane/ledger.h"
#include "mycelium/transport/link.h"

namespace mycelium {

// A subscription of a peer.
struct RemoteSubscription {
  Link* link = nullptr;
  uint64_t serial = 0;     // Unique in this node's life, unlike the peer's id.
  bool is_orphan = false;  // Its process is gone; `deadline` applies.
  TimeNs deadline = 0;
  v1::Subscribe subscribe;
  Digest digest;
  // If it is inline, lane 0 for what is not lossy.
  std::map<LaneRule, std::shared_ptr<Lane>> lanes;
  std::shared_ptr<FlowTable> drops;
  // The text of its type, if the peer has said it: with the subscription, or to
  // explain a refusal. Remotes of one type share it.
  std::shared_ptr<PeerText> text;
  uint64_t explained = 0;  // The place of `text` among all that came; 0: none.
  bool takes_versions = false;
  // Other versions, of publishers, that it reads; with each the difference,
  // until that is said.
  std::map<Digest, std::optional<std::string>> versions;
  bool text_wanted = false;       // Asked for on this connection; not here yet.
  std::set<uint32_t> asked;       // Publishers that wait for its text.
  std::set<uint32_t> refused_by;  // Publishers; the peer was told of each.
  std::set<std::string> told_of;  // Refusals, as on_refusal has said them.
  bool said = true;               // On the connection that is up.
  bool disconnected = false;
  // The last round in which there was no lane for it, or no room for some
  // publisher on its link; and why, as the peer was told.
  uint64_t lacked_in = 0;
  std::string lacks;
};

// One publisher's messages to one subscription: the counters, and where the
// frames are that are not handled yet.
struct PublisherFlow {
  std::string node;  // Empty: this process.
  std::string service;
  std::string name;
  std::shared_ptr<FlowCounters> counters;
  std::shared_ptr<Subscription> local;
  Link* link = nullptr;
  uint64_t remote = 0;        // Serial.
  uint32_t subscription = 0;  // As the peer calls it.
  Digest reads;               // The peer's type.
  std::shared_ptr<Lane> lane;
  std::shared_ptr<FlowTable> drops;  // That has the counters, if it is lossy.
  uint64_t from_sequence = 0;        // In the lane; 0: not settled yet.
  uint64_t until_sequence = 0;       // 0: still open.
  bool told = false;                 // The peer's process knows of the match.

  bool Has(uint64_t sequence) const {
    return sequence >= from_sequence &&
           (until_sequence == 0 || sequence < until_sequence);
  }
};

struct PublisherEntry {
  std::shared_ptr<FanOut> fan_out;
  MessageType type;
  ServiceSchema schema;
  absl::Status when_unmatched;
  bool closed = false;
  std::vector<PublisherFlow> flows;
  std::map<const Link*, size_t> flows_on;  // How many; not 0.
  std::vector<absl::Status> refusals;
  bool awaits_explanation = false;  // One refusal is not final yet.
  bool lacks = false;               // RetryLanes() tries it again.
};

// Lane 0 of a link.
struct SharedLane {
  std::shared_ptr<Lane> lane;
  bool parked = false;  // Since Orphan().
  // Publishers with frames that have been counted as dropped but still lie in
  // the lane. No subscription gets these frames, but the peer that reads them
  // must know their publishers.
  struct Left {
    v1::Control declaration;
    uint64_t mark = 0;  // Lane::Mark() behind the last.
  };
  std::map<uint32_t, Left> left;
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_ROUTER_ENTRIES_H_
