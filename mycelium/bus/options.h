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

// Which thread runs what arrives on links.
enum class PollMode {
  // A thread of the node's own. While it sleeps, a thread of gRPC that brings
  // something may run it instead.
  kThread,
  // A thread that calls MessageBus::Poll(), or that waits in another call.
  kCaller,
};

// For a call that waits, in addition to its timeout. The thread that waits
// calls it every 50 ms, with no lock held. Once it returns false the wait is
// over: a call that receives, flushes or waits for others returns CANCELLED and
// has taken nothing. A call that ends something says what becomes of that.
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
  std::string peer;  // May be empty if the peer never said its name.
  std::string transport;
  State state = State::kConnected;
  absl::Status status;
};

// If a callback here throws, the exception is logged and goes no further. An
// exception thrown by `log` is lost without a trace.
struct BusOptions {
  // The name of this process among the others. Empty: a made-up name, or with a
  // topology the name in it; a topology accepts no other. As all names here: at
  // most 255 bytes of UTF-8 without control characters.
  std::string node;

  // Which thread runs the links, the timers and the inline handlers. Like
  // `wait`, the environment, the log and the callbacks, this belongs to the
  // node: if a process has several services of one node, the first bus that is
  // opened decides.
  PollMode poll = PollMode::kThread;

  // How threads wait: the poll thread, Subscriber::Receive(), and Publish(),
  // which spins for 10 us at most when it finds shared memory, or a queue of
  // this process, full. None: as the topology says, else as `settings` do.
  std::optional<WaitMode> wait;

  // If this service and another were given different digests, neither gets the
  // other's messages: both get FAILED_PRECONDITION. None: not compared.
  std::optional<Digest> schema_digest;

  // The fields from here to `allow_anonymous`, except `delivers_locally`, are
  // for a bus without a topology. With a topology its file sets them, and
  // giving one here is INVALID_ARGUMENT.
  //
  // Which types of other nodes are taken for those of this one: only the same
  // type, or also compatible versions of it (docs/schema.md).
  SchemaPolicy schema = SchemaPolicy::kExact;

  // Bounds and settings. The table in docs/topology.md has the least and the
  // most for each; here lanes may be as small as 4 KiB. Twice
  // `limits.frame_bytes_max` must fit into `settings.lane_bytes`.
  Limits limits;
  RouteSettings settings;
  // Whether subscriptions of this node get what it publishes itself.
  bool delivers_locally = true;
  // Which users may connect besides our own.
  std::vector<int64_t> allow_uids;
  // Between hosts. `tls`: encryption. `insecure`: what leaves the machine may
  // be in the clear instead. `allow_anonymous`: peers on other machines may
  // connect without a certificate.
  Tls tls;
  bool insecure = false;
  bool allow_anonymous = false;

  // Called on the thread that polls, one call at a time. Must not wait.
  std::function<void(const ConnectionEvent&)> on_connection;

  // Called on the thread that polls when messages were dropped, or a publisher
  // waited for room in vain: soon after the first time, then at most once a
  // second with all that happened meanwhile. Must not wait.
  std::function<void(const FlowEvent&)> on_flow;

  // Null: nothing is logged.
  LogSink log = StderrLog();

  // The world; tests bring their own. Must outlive the bus.
  Environment* environment = &Environment::Real();
};

struct PublisherOptions {
  std::string topic;          // Empty: the type's full name.
  bool publish_time = false;  // Stamp each message with the time.
  // While there is no subscription, publishing returns UNAVAILABLE, as it does
  // for PublisherTo(), and the message does not count as dropped.
  bool require_subscriber = false;
  // The longest that one Publish() waits for room, whichever subscription has
  // none: 0 to 1 h. None: as configured for the subscription without room.
  std::optional<absl::Duration> publish_timeout;
};

// A publisher from which a subscription gets no more messages.
struct PublisherGone {
  std::string node;
  std::string service;
  std::string topic;
};

// If a callback here throws, the exception is logged and goes no further.
// Unsubscribe() and the subscriber's destructor wait for the handler, but not
// for a callback: it may be under way, or about to be called, on another thread
// when they return. So what a callback uses must be owned by the callback, by a
// shared_ptr for example, or live until the node has ended.
struct SubscriberOptions {
  std::string topic;  // Empty: the type's full name.
  // Tells this subscription from others of the same service to the topic.
  std::string name;
  // Subscribe() only: where the handler runs.
  DeliveryMode delivery = DeliveryMode::kInline;
  // What happens to a publisher when this subscription's lane is full. None: as
  // the topology says.
  std::optional<Overflow> overflow;
  // For a lossy subscription. `depth`: how many messages wait before one is
  // dropped, 1 to kDepthMax. `window`: how many more may be on their way where
  // a socket carries them, 1 to kWindowMax. None: as the topology says.
  std::optional<int64_t> depth;
  std::optional<int64_t> window;
  // Called once for each reason that SubscriberBase::status() may give, on the
  // thread that found out. When it says that the subscription fell behind, what
  // other nodes published before has been handled; what was published in this
  // process still comes.
  std::function<void(const absl::Status&)> on_error;
  // Called on the thread that polls when a publisher of another node, with
  // which this subscription was matched, is gone and will not come back as the
  // same process: what it had not sent is lost.
  std::function<void(const PublisherGone&)> on_publisher_gone;
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_OPTIONS_H_
