#ifndef MYCELIUM_BUS_OPTIONS_H_
#define MYCELIUM_BUS_OPTIONS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/log.h"
#include "mycelium/bus/flow_event.h"
#include "mycelium/routing/subscription.h"
#include "mycelium/schema/digest.h"
#include "mycelium/topology/settings.h"

namespace mycelium {

// Who runs what arrives on links.
enum class PollMode {
  // A thread of the node's own; while it sleeps, one of gRPC's that brings
  // something.
  kThread,
  kCaller,  // Whoever calls MessageBus::Poll(), or waits in another call.
};

// For a call that waits, besides its timeout: asked every 50 ms, by the thread
// that waits and with no lock held. Once it returns false the wait is over: a
// call that receives, flushes or waits for others returns CANCELLED, and
// nothing was taken; one that ends something says what becomes of that.
using KeepWaiting = std::function<bool()>;
inline constexpr absl::Duration kKeepWaitingPeriod = absl::Milliseconds(50);

// What became of the link to another node.
struct ConnectionEvent {
  enum class State {
    kConnected,
    kReconnected,   // The same process as before; nothing was lost.
    kDisconnected,  // For the reason in `status`; tried again.
    kRefused,       // One side does not want the other, as `status` says.
    kGone,          // Left, or did not come back in time: its lanes are over.
  };
  std::string peer;  // May be empty where it never said its name.
  std::string transport;
  State state = State::kConnected;
  absl::Status status;
};

// An exception out of a callback here is logged and goes no further; one out of
// `log` is nowhere to be seen.
struct BusOptions {
  // This process, among others. Empty: made up, or as the topology says, which
  // knows no other. As all names here: at most 255 bytes of UTF-8 without
  // control characters.
  std::string node;

  // Who runs the links, the timers and the inline handlers. Like `wait`, the
  // environment, the log and the callbacks it is the node's: of two services of
  // one node in a process, the first that opens a bus decides.
  PollMode poll = PollMode::kThread;

  // How threads wait: the poll thread, Subscriber::Receive(), and Publish(),
  // which spins for 10 us at most when it has found shared memory, or a queue
  // of this process, full. None: as the topology says, else as `settings` do.
  std::optional<WaitMode> wait;

  // If given, this service and one that was given another do not get each
  // other's messages: both get FAILED_PRECONDITION.
  std::optional<Digest> schema_digest;

  // From here to `allow_anonymous`, but for `delivers_locally`: for a bus
  // without a topology. With one they are in its file, and INVALID_ARGUMENT
  // here.
  //
  // Which types of other nodes are taken for those of this one: the same only,
  // or also compatible versions of them (docs/schema.md).
  SchemaPolicy schema = SchemaPolicy::kExact;

  // Bounds and settings. Each has the least
  // and the most of the table in docs/topology.md (lanes from 4 KiB), and twice
  // `limits.frame_bytes_max` must fit into `settings.lane_bytes`.
  Limits limits;
  RouteSettings settings;
  // Whether subscriptions of this node get what it publishes itself.
  bool delivers_locally = true;
  // Which users may connect besides our own.
  std::vector<int64_t> allow_uids;
  // Between hosts: encryption; or that what leaves the machine may be in the
  // clear; and that peers of other machines without a certificate may connect.
  Tls tls;
  bool insecure = false;
  bool allow_anonymous = false;

  // Called on the thread that polls, one call at a time. Must not wait.
  std::function<void(const ConnectionEvent&)> on_connection;

  // Called on the thread that polls when messages were dropped or a publisher
  // waited for room in vain: soon after the first, then at most once a second
  // with all that happened meanwhile. Must not wait.
  std::function<void(const FlowEvent&)> on_flow;

  // Null: nothing is logged.
  LogSink log = StderrLog();

  // The world; tests bring their own. Must outlive the bus.
  Environment* environment = &Environment::Real();
};

struct PublisherOptions {
  std::string topic;          // Empty: the type's full name.
  bool publish_time = false;  // Stamp each message with the time.
  // Without any subscription a message is UNAVAILABLE, as it is for
  // PublisherTo(), and not counted as dropped.
  bool require_subscriber = false;
  // The longest that one Publish() waits for room, whichever subscription has
  // none: 0 to 1 h. None: as is configured for the one that has none.
  std::optional<absl::Duration> publish_timeout;
};

// A publisher that a subscription hears no more of.
struct PublisherGone {
  std::string node;
  std::string service;
  std::string topic;
};

// An exception out of a callback here is logged and goes no further. Unlike the
// handler, which is waited for, a callback may be under way, or about to be
// called, on another thread when Unsubscribe() or the destructor of the
// subscriber returns: what it uses it owns, by a shared_ptr say, or it lives
// until the node has ended.
struct SubscriberOptions {
  std::string topic;  // Empty: the type's full name.
  // Tells this one from another subscription of the service to the topic.
  std::string name;
  // Subscribe() only: where the handler runs.
  DeliveryMode delivery = DeliveryMode::kInline;
  // What happens to a publisher when this subscription's lane is full. None: as
  // the topology says.
  std::optional<Overflow> overflow;
  // Of a lossy one: how many messages wait before one is dropped, and how many
  // more may be on their way where a socket carries them. 1 to kDepthMax and
  // kWindowMax. None: as the topology says.
  std::optional<int64_t> depth;
  std::optional<int64_t> window;
  // Called once for each reason that SubscriberBase::status() may give, on the
  // thread that found out. Of one that fell behind, what other nodes published
  // before was handled by then; what was published in this process still comes.
  std::function<void(const absl::Status&)> on_error;
  // Called on the thread that polls when a publisher of another node that this
  // subscription was matched with is gone, and will not come back as the same
  // process: what it had not sent is lost.
  std::function<void(const PublisherGone&)> on_publisher_gone;
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_OPTIONS_H_
