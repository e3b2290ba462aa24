#ifndef MYCELIUM_BUS_NODE_RUNTIME_H_
#define MYCELIUM_BUS_NODE_RUNTIME_H_

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/base/fork_guard.h"
#include "mycelium/base/random.h"
#include "mycelium/base/spin_backoff.h"
#include "mycelium/bus/endpoint_options.h"
#include "mycelium/bus/flow_watch.h"
#include "mycelium/bus/options.h"
#include "mycelium/bus/peer_table.h"
#include "mycelium/bus/refusal_table.h"
#include "mycelium/routing/dispatcher.h"
#include "mycelium/routing/fan_out.h"
#include "mycelium/routing/flow_report_table.h"
#include "mycelium/routing/peer_text.h"
#include "mycelium/routing/room_waiter.h"
#include "mycelium/routing/router.h"
#include "mycelium/routing/wait_graph.h"
#include "mycelium/topology/topology.h"
#include "mycelium/transport/lane/loan_memory.h"
#include "mycelium/transport/transport.h"
#include "proto/mycelium/v1/status.pb.h"

namespace mycelium {

// What one connection looks like from here.
struct LinkReport {
  std::string peer;  // Empty while no node has answered at `address`.
  std::string transport;
  std::string address;  // Empty if it is up and the peer dialled us.
  std::string rule;     // Why this transport.
  bool is_up = false;
  std::string last_error;  // Empty while it is up.
  // Why messages, or those of one lane at least, go over the socket though
  // shared memory is configured: the first few reasons, with "; " between them.
  // Empty: none do.
  std::string fallback;
};

// One node: the loop, the links to other nodes, and the publishers and
// subscriptions of every service that this process hosts. Buses of one process
// and node share it, which is why they exchange pointers.
//
// Thread safety: all members may be called from any thread.
//
// Ownership: shared. If the last owner lets go in a handler that the loop runs,
// the node's own thread ends the node when the handler has returned.
class NodeRuntime final : public RoomWaiter {
 public:
  // `topology`: null for a bus without one. `node` is then only a name.
  static absl::StatusOr<std::shared_ptr<NodeRuntime>> Create(
      const BusOptions& options, std::string node,
      std::shared_ptr<const Topology> topology);
  ~NodeRuntime() override;

  const std::string& node() const { return node_; }
  const Topology* topology() const { return topology_.get(); }
  const BusOptions& options() const { return options_; }
  Environment& environment() { return environment_; }
  Router& router() { return *router_; }

  // Listens where the topology says and dials the other nodes. Once.
  absl::Status Start();

  // FAILED_PRECONDITION: the calling process was forked after this was made.
  // There every call with a status returns this, and the others do nothing.
  absl::Status CheckNotForked() const { return guard_.Check(node_); }
  bool is_inherited() const { return guard_.is_inherited(); }

  // FAILED_PRECONDITION: a shutdown has begun, or the process forked.
  absl::Status CheckOpen() const;

  // Adds a service that this process hosts, with the digest that it insists on.
  //   ALREADY_EXISTS      it has a bus in this process
  //   INVALID_ARGUMENT    it is no name that a topology could have
  //   RESOURCE_EXHAUSTED  with it, what peers are told of the services when
  //                       they connect would exceed kServicesBytesMax
  //   UNAVAILABLE         a shutdown has begun
  absl::Status AddService(const std::string& service,
                          std::optional<Digest> schema_digest);
  void RemoveService(const std::string& service);

  // Endpoints without a topology. Listen() returns what StopListening() takes.
  // All of them, and Start(): DEADLINE_EXCEEDED if a handler keeps the node's
  // thread for longer than kBusyMax. Then nothing was done.
  absl::StatusOr<uint64_t> ListenUnix(const std::string& path,
                                      EndpointOptions options = {});
  // UNAVAILABLE: this node could share no memory when it was made.
  // INVALID_ARGUMENT and FAILED_PRECONDITION: see BindShmEndpoint(). `service`:
  // whose endpoint it is.
  absl::StatusOr<uint64_t> ListenShm(const std::string& path,
                                     const std::string& service = "",
                                     EndpointOptions options = {});
  // Whether that was done by `deadline`. If not, it is done when the handler
  // that keeps the node's thread returns.
  bool StopListening(uint64_t listener, TimeNs deadline);
  absl::Status DialUnix(const std::string& path);
  // If one side has no shared memory, the link goes over the socket.
  // `lane_bytes`: see PeerTable::Dial().
  absl::Status DialShm(const std::string& path, uint64_t lane_bytes = 0);
  // The same between hosts. UNIMPLEMENTED: this program has no gRPC.
  struct BoundListener {
    uint64_t id;
    std::string address;  // With the port that the kernel chose, if it did.
  };
  absl::StatusOr<BoundListener> ListenRemote(const std::string& address,
                                             EndpointOptions options = {});
  absl::Status DialRemote(const std::string& address);

  absl::StatusOr<std::shared_ptr<FanOut>> AddPublisher(
      const std::string& service, const std::string& target_service,
      const MessageType& type, const PublisherOptions& options);
  void RemovePublisher(FanOut& publisher);
  // Memory for loans that peers may map. `bytes` is a power of two. Null if
  // none is available, which is logged unless this node shares none at all.
  std::shared_ptr<LoanMemory> MakeLoanMemory(size_t bytes);
  // INVALID_ARGUMENT if no frame has room for a payload of that size.
  absl::Status CheckPayloadBytes(size_t bytes) const;
  absl::StatusOr<std::shared_ptr<Subscription>> AddSubscription(
      const std::string& service, const MessageType& type, DeliveryMode mode,
      const SubscriberOptions& options, MessageHandler handler);
  // Waits for an inline handler that runs, however long that takes. Takes a
  // share: what the handler had captured ends here, and may own the other.
  void RemoveSubscription(std::shared_ptr<Subscription> subscription);
  // The same without waiting: what the handler leaves counts when it returns.
  void ShutSubscription(std::shared_ptr<Subscription> subscription);

  // Why subscriptions do not get what some publishers publish.
  RefusalTable& refusals() { return refusals_; }

  // Runs what is due, waiting for something until `deadline` or WakePoll().
  // True if something ran. Does not wait if the caller's bus is `closed`, which
  // may change later. FAILED_PRECONDITION under PollMode::kThread.
  absl::StatusOr<bool> Poll(TimeNs deadline, const std::atomic<bool>& closed);
  // The same for what comes within a fraction of a microsecond, if the caller
  // polls this node and its loop spins.
  bool PollQuickly() {
    return options_.poll == PollMode::kCaller && spin_ns_ > 0 &&
           !loop_->InLoop() && loop_->RunQuickly();
  }
  // Has all threads that wait in Poll() return.
  void WakePoll();
  // After Poll() or PollQuickly(), for a caller without a share of the node:
  // destroys it if a handler has let go of the last one.
  void EndPoll() {
    if (orphaned_ && !loop_->InLoop()) delete this;
  }
  bool is_polled_by_caller() const {
    return options_.poll == PollMode::kCaller;
  }
  int poll_descriptor() const {
    if (is_inherited()) return -1;
    // To show timers in it costs a thread of the node's own for nothing.
    return options_.poll == PollMode::kCaller ? loop_->descriptor()
                                              : loop_->bare_descriptor();
  }

  // Waits for what other threads, or the loop, bring about.
  Outcome WaitFor(EventCount& event, absl::FunctionRef<bool()> ready,
                  TimeNs deadline) override;
  // Spins for 10 us at most.
  void Rest(absl::FunctionRef<bool()> is_over, TimeNs deadline) override;
  // WaitFor(), spinning for up to `spin_ns` before it sleeps (SpinBackoff).
  Outcome SpinAndWaitFor(EventCount& event, absl::FunctionRef<bool()> ready,
                         TimeNs deadline, int64_t spin_ns);
  // The same as long as `keep_waiting`, which may be null, returns true. Once
  // it returns false: CANCELLED.
  absl::StatusOr<Outcome> WaitWhile(const KeepWaiting& keep_waiting,
                                    EventCount& event,
                                    absl::FunctionRef<bool()> ready,
                                    TimeNs deadline, int64_t spin_ns);

  // The same on a thread that never runs the loop, without a deadline.
  void SpinAndSleep(EventCount& event, absl::FunctionRef<bool()> ready,
                    int64_t spin_ns);

  // How long a call that ends something waits for the rest: until a time, which
  // becomes the present once `keep_waiting`, which may be null, returns false.
  struct Patience {
    TimeNs until;
    KeepWaiting keep_waiting = nullptr;
    bool is_ended = false;  // By `keep_waiting`, which is not asked again.

    // What such a call returns: CANCELLED if the patience was ended, whatever
    // became of the parts; else `ended`.
    absl::Status StatusOf(absl::Status ended) const;
  };
  // WaitFor() with patience, but until `least` in any case.
  Outcome WaitPatiently(EventCount& event, absl::FunctionRef<bool()> ready,
                        Patience& patience, TimeNs least = 0);

  // Waits until everything that was published before has been handled.
  absl::Status Flush(TimeNs deadline,
                     const KeepWaiting& keep_waiting = nullptr);

  // Ends the publishers and subscriptions of one service, for its bus. Waits
  // for what it published and what came for it. DEADLINE_EXCEEDED if some was
  // not handled in time, CANCELLED if `patience` was ended before. For the last
  // service that is not closed this is Shutdown(). REQUIRES: AddService() was
  // called, neither this nor RemoveService() since, and not from a handler.
  absl::Status CloseService(const std::string& service, Patience patience);
  // FAILED_PRECONDITION: called from a handler, which `call` would wait for, or
  // the process forked.
  absl::Status CheckOutsideHandlers(absl::string_view call) const;

  // Says goodbye to the peers and ends. Waits for what is in flight, and a
  // little longer for the peers' last word; statuses as of CloseService(). What
  // was not handled by then counts as dropped[shutdown], unless a peer has said
  // that it took it over. A second call waits for the end of the first one.
  absl::Status Shutdown(Patience patience);
  // Whether that is done: another runtime may be this node from now on.
  bool has_ended() const { return ended_->load(std::memory_order_acquire); }
  // The same for a caller that may look after this is destroyed.
  std::shared_ptr<const std::atomic<bool>> ended() const { return ended_; }
  // UNAVAILABLE: that node shuts down, or is being destroyed.
  static absl::Status Ending(const std::string& node);

  std::vector<FlowReport> FlowReports() const;
  std::vector<LinkReport> LinkReports() const;
  // All that and more, as observers are told it. On the loop.
  v1::NodeStatus Status() const;

  // How much is remembered of publishers and subscriptions, for tests, except
  // what is kept of ended ones and has a bound of its own. Not in a handler.
  size_t EntryCount();

 private:
  NodeRuntime(const BusOptions& options, std::string node,
              std::shared_ptr<const Topology> topology);

  static void Release(NodeRuntime* runtime);  // It has no owner any more.
  absl::Status Init();
  Router::Callbacks RoutingCallbacks(const Limits& limits);
  PeerTable::Options OptionsOfPeers(const Limits& limits);
  PeerTable::Callbacks PeerCallbacks();
  void RunThread();
  // Whether a thread that waits has to run the loop itself.
  bool HasNoThread() const {
    return options_.poll == PollMode::kCaller ||
           stop_.load(std::memory_order_acquire);
  }
  void MakeTransports(const Limits& limits);
  absl::Status StartTopology();
  absl::Status ListenLocally(const TopologyNode& self);
  absl::Status ListenBeyond(const TopologyNode& self);  // Over gRPC.
  absl::Status CheckRemote() const;
  absl::StatusOr<BoundListener> ListenOn(Transport& transport,
                                         const std::string& path,
                                         EndpointOptions options);
  DropCounts DropsOf(const std::string& peer) const;
  absl::Status DialOn(Transport& transport, const std::string& path,
                      uint64_t lane_bytes);
  // Over shared memory if this node has any to share.
  Transport& LocalTransportFor(TransportKind kind) {
    return kind == TransportKind::kShm && shm_ != nullptr ? *shm_ : *unix_;
  }
  void StopThread();
  void ReportTaken();
  int64_t SpinNsOf(const RouteSettings& settings) const;
  absl::Status WaitForLanes(const std::vector<std::shared_ptr<Lane>>& lanes,
                            Patience& patience);
  absl::Status FlushAll(Patience& patience);
  void EndPatience(Patience& patience);
  absl::Status FlushService(const std::string& service, Patience& patience);
  // Shutdown(). `is_first`: for the call that has set `shut_down_`; the others
  // wait for that one.
  absl::Status ShutdownAs(bool is_first, Patience patience);
  // As Patience::until: waits for nothing in flight, but for handlers, as long
  // as they take.
  static constexpr TimeNs kInDestructor = 0;
  bool BeginShutdown();  // Whether this call is the first.
  // How long a call that needs the node's thread waits for a handler that keeps
  // it. That handler may wait for the caller, which no one would notice.
  static constexpr int64_t kBusyMaxNs = 10'000'000'000;
  // Runs `task` on the loop and returns what it returned. DEADLINE_EXCEEDED:
  // the loop was busy for kBusyMaxNs, and `task` will not run.
  absl::Status OnLoop(absl::FunctionRef<absl::Status()> task);
  // Runs `task` on the loop, waiting as WaitPatiently() does. False: it will
  // run later.
  bool OnLoopBy(std::function<void()> task, Patience& patience,
                TimeNs least = 0);
  RouteSettings SettingsFor(const Origin& origin, const std::string& node,
                            const std::string& service) const;
  absl::Status Unmatched(const Origin& origin,
                         const PublisherOptions& options) const;
  SchemaPolicy schema() const {
    return topology_ != nullptr ? topology_->schema : options_.schema;
  }
  // Tells that peer what the subscription's type is.
  void ExplainType(const std::string& peer, const Subscription& subscription);
  // Warns of a type that no node can take another version of.
  void WarnIfNotComparable(const MessageType& type) const;
  // The schema digest that a service insists on, 32 bytes or none.
  std::string SchemaDigestOf(const std::string& service) const;
  void SetRefusal(Subscription& subscription, const RefusalTable::Cause& cause,
                  const absl::Status& status, bool is_news = true);
  std::vector<FlowReport> ReportsOf(const Subscription& subscription) const;
  // Subscriptions that have not ended, and ended ones that are not folded yet.
  std::vector<std::shared_ptr<Subscription>> SubscriptionsAndEnded() const;
  // Parts of Status().
  void AddLinks(v1::NodeStatus* status) const;
  void AddRefusals(v1::NodeStatus* status) const;
  void AddEnds(v1::NodeStatus* status) const;
  void AddFlows(v1::NodeStatus* status) const;
  // Ends a subscription, and waits for its handler. DEADLINE_EXCEEDED: the
  // handler still runs.
  absl::Status RemoveSubscriptionBy(
      const std::shared_ptr<Subscription>& subscription, Patience& patience);
  // What is left to do for that when nothing is handled any more.
  void Retire(const std::shared_ptr<Subscription>& subscription);
  // Takes it from the publishers, here and at peers, that are matched with it.
  void TakeOut(const std::shared_ptr<Subscription>& subscription);
  // Lets go of subscriptions that nothing counts for any more. Destroy them
  // without the lock.
  std::vector<std::shared_ptr<Subscription>> FoldEndedSubscriptions()
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnPublisherGone(const Dispatcher::Parted& parted);
  void OnRefusedByPeer(const std::string& peer,
                       const v1::SubscribeRefused& refused, PeerText* theirs);
  void OnLaneWaits(const RefusalTable::Cause& cause, uint32_t subscription,
                   const absl::Status& status);

  const BusOptions options_;
  const std::string node_;
  const std::shared_ptr<const Topology> topology_;
  Environment& environment_;
  Random random_;
  const uint64_t incarnation_;
  const TimeNs began_;
  const int64_t spin_ns_;  // How long the loop spins before it sleeps.
  const ForkGuard guard_;
  SpinBackoff receivers_backoff_;
  WaitGraph waits_;

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<FlowWatch> watch_;
  std::unique_ptr<Router> router_;
  std::unique_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<Transport> unix_;
  absl::StatusOr<std::unique_ptr<SharedMemory>>
      memory_;                         // Or why there is none.
  std::unique_ptr<Transport> shm_;     // Null without it.
  std::unique_ptr<Transport> remote_;  // Null: not in this program.
  std::unique_ptr<PeerTable> peers_;
  struct Listening {
    std::string transport;
    std::unique_ptr<Listener> listener;
  };
  std::map<uint64_t, Listening> listeners_;  // On the loop.
  uint64_t next_listener_ = 1;               // On the loop.

  enum class Started { kNo, kUnderWay, kYes };
  std::atomic<Started> started_{Started::kNo};
  EventCount started_event_;  // It is not under way any more.

  mutable Mutex mutex_;
  bool shut_down_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, std::optional<Digest>> services_
      ABSL_GUARDED_BY(mutex_);
  std::set<std::string> closing_ ABSL_GUARDED_BY(mutex_);  // Of them.
  // Of subscriptions, by their ids.
  std::map<uint32_t, std::function<void(const absl::Status&)>> on_error_
      ABSL_GUARDED_BY(mutex_);
  std::map<uint32_t, std::function<void(const PublisherGone&)>>
      on_publisher_gone_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<Subscription>> ended_subscriptions_
      ABSL_GUARDED_BY(mutex_);
  FlowReportTable ended_reports_ ABSL_GUARDED_BY(mutex_);

  RefusalTable refusals_;
  std::atomic<uint32_t> next_publisher_{1};
  std::atomic<uint32_t> next_subscription_{1};
  std::atomic<uint32_t> next_loan_memory_{1};
  std::atomic<bool> stop_{false};
  // On the loop: its thread, or the thread that polls, destroys this.
  bool orphaned_ = false;
  const std::shared_ptr<std::atomic<bool>> ended_ =
      std::make_shared<std::atomic<bool>>(false);
  EventCount done_event_;   // Of OnLoop().
  EventCount ended_event_;  // Also what a thread in Poll() waits for.
  std::thread thread_;
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_NODE_RUNTIME_H_
