#ifndef MYCELIUM_BUS_ENDPOINT_STATS_H_
#define MYCELIUM_BUS_ENDPOINT_STATS_H_

#include <array>
#include <cstdint>
#include <functional>
#include <map>

#include "mycelium/base/fork_guard.h"
#include "mycelium/base/mutex.h"
#include "mycelium/transport/lane/drop_reason.h"
#include "mycelium/transport/link_traffic.h"

namespace mycelium {

using DropCounts = std::array<uint64_t, kDropReasonCount>;

// What an endpoint has counted, over all the links that were accepted there.
struct EndpointCounts {
  uint64_t connections = 0;  // Whose handshake has succeeded.
  // Connections that were refused, sent garbage or stayed silent. Does not
  // count a peer that was refused because the two are connected already or
  // because its name is taken; nor observers.
  uint64_t handshake_failures = 0;

  // Frames and bytes each way, and how often a publisher waited for room in
  // vain. A frame that several subscriptions of the peer share counts once.
  LinkTraffic traffic;

  // Accepted messages to and from the peers that were not delivered, on this
  // side of the links, by DropReason. Without kNoSubscriber, which belongs to
  // no link; and what the peer drops, the peer counts itself. Flows that are
  // over may have been too many to be told apart by node: of those the incoming
  // ones are missing.
  DropCounts dropped = {};

  uint64_t dropped_for(DropReason reason) const {
    return dropped[static_cast<size_t>(reason)];
  }

  // Of each counter.
  EndpointCounts& operator+=(const EndpointCounts& other);
  EndpointCounts& operator-=(const EndpointCounts& other);
};

// The counters of one endpoint, or of several that share them. Given to
// BindShmEndpoint(), BindUnixEndpoint() or BindGrpcEndpoint(). A message that
// passes costs no counting here: Read() asks the lanes and ledgers of the
// links.
//
// Thread safety: all members may be called from any thread. Read() takes locks
// that publishers take: for monitoring, a few times a second at most.
//
// Ownership: shared by its reader and the bus, and may outlive the bus. In the
// child of a fork() every count reads as 0, and another bus cannot use it.
//
// Example:
//   auto stats = std::make_shared<mycelium::EndpointStats>();
//   auto endpoint = mycelium::BindShmEndpoint(path, *bus, std::nullopt,
//                                             mycelium::kShmCapacity, stats);
//   ...
//   Report(stats->Read().connections);
class EndpointStats final {
 public:
  EndpointCounts Read() const;

  // For the bus.
  void CountConnection();
  void CountHandshakeFailure();
  // From now until RemoveLink(), counts by how much the counts of `read` grow;
  // RemoveLink() keeps the last state. `read` is called at once and then from
  // any thread, and must not call the stats. The drops that it returns may
  // become fewer: that is not counted.
  void AddLink(const void* link, std::function<EndpointCounts()> read);
  void RemoveLink(const void* link);

 private:
  struct Counted {
    std::function<EndpointCounts()> read;
    EndpointCounts before;         // All but the drops.
    DropCounts dropped_last = {};  // What `read` returned last, and …
    DropCounts dropped = {};       // … by how much it rose, altogether.
  };
  static EndpointCounts CountsOf(Counted& counted);

  const ForkGuard guard_;
  mutable Mutex mutex_;
  EndpointCounts kept_ ABSL_GUARDED_BY(mutex_);
  mutable std::map<const void*, Counted> links_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_ENDPOINT_STATS_H_
