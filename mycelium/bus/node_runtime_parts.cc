// What NodeRuntime is made of, and what its parts ask of it.
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mycelium/base/start_thread.h"
#include "mycelium/bus/node_runtime.h"
#include "mycelium/routing/schema_mismatch.h"
#include "mycelium/topology/route_rules.h"

namespace mycelium {

absl::Status NodeRuntime::Init() {
  absl::StatusOr<std::unique_ptr<EventLoop>> loop =
      EventLoop::Create(environment_, options_.log);
  if (!loop.ok()) return loop.status();
  loop_ = *std::move(loop);
  const Limits limits =
      topology_ != nullptr ? topology_->limits : options_.limits;
  watch_ = std::make_unique<FlowWatch>(
      environment_, *loop_, [this] { return FlowReports(); }, options_.on_flow,
      options_.log);
  router_ = std::make_unique<Router>(environment_, RoutingCallbacks(limits));
  dispatcher_ = std::make_unique<Dispatcher>(
      environment_, schema(),
      [this](const std::string& note) { options_.log(LogLevel::kInfo, note); },
      [this] { watch_->NoteDrop(); });
  MakeTransports(limits);
  peers_ = std::make_unique<PeerTable>(environment_, *loop_, random_, *router_,
                                       *dispatcher_, OptionsOfPeers(limits),
                                       PeerCallbacks());
  if (options_.poll == PollMode::kCaller) return absl::OkStatus();
  loop_->SetLending();
  absl::StatusOr<std::thread> thread =
      StartThread(absl::StrCat("node ", node_), [this] { RunThread(); });
  if (!thread.ok()) {
    peers_ = nullptr;  // Nothing was started, and nobody runs the loop.
    return thread.status();
  }
  thread_ = *std::move(thread);
  return absl::OkStatus();
}

Router::Callbacks NodeRuntime::RoutingCallbacks(const Limits& limits) {
  Router::Callbacks routing;
  routing.settings = [this](const Origin& origin, const std::string& node,
                            const std::string& service) {
    return SettingsFor(origin, node, service);
  };
  routing.on_local_refusal = [this](Subscription& subscription,
                                    uint32_t publisher,
                                    const absl::Status& status) {
    SetRefusal(subscription, {"", publisher}, status);
  };
  routing.on_refusal = [this](const absl::Status& status) {
    options_.log(LogLevel::kError, std::string(status.message()));
  };
  routing.schema = schema();
  routing.on_other_version = [this](const std::string& note) {
    options_.log(LogLevel::kInfo, note);
  };
  routing.on_drop = [this] { watch_->NoteDrop(); };
  routing.matches_local = options_.delivers_locally;
  routing.redeliver_max = static_cast<uint64_t>(limits.redeliver_max);
  routing.retry_later = [this] {
    loop_->RunAt(environment_.clock.NowNs() + PeerTable::kLaneRetryNs,
                 [this] { router_->RetryLanes(); });
  };
  return routing;
}

PeerTable::Options NodeRuntime::OptionsOfPeers(const Limits& limits) {
  PeerTable::Options options;
  options.node = node_;
  options.incarnation = incarnation_;
  options.limits = limits;
  options.retain = [this](const std::string& peer) {
    return topology_ != nullptr ? LongestRetain(*topology_, node_, peer)
                                : options_.settings.retain;
  };
  if (topology_ != nullptr) {
    absl::StatusOr<Digest> digest = Digest::FromHex(ContentDigest(*topology_));
    if (digest.ok()) options.topology_digest = std::string(digest->bytes());
  }
  options.schema = schema();
  options.shared_memory = memory_.ok() ? memory_->get() : nullptr;
  options.no_memory = std::string(memory_.status().message());
  if (topology_ != nullptr) {
    options.shares_with = [this](const std::string& peer) {
      return SharesMemory(*topology_, node_, peer);
    };
  }
  options.on_connection = options_.on_connection;
  options.log = options_.log;
  return options;
}

PeerTable::Callbacks NodeRuntime::PeerCallbacks() {
  PeerTable::Callbacks callbacks;
  callbacks.services = [this] {
    MutexLock lock(mutex_);
    return services_;
  };
  callbacks.on_refused =
      [this](const std::string& peer, const v1::SubscribeRefused& refused,
             PeerText* theirs) { OnRefusedByPeer(peer, refused, theirs); };
  callbacks.on_publisher_gone = [this](const Dispatcher::Parted& parted) {
    OnPublisherGone(parted);
  };
  callbacks.on_up = [this](const std::string& peer, bool resumed) {
    if (resumed) {
      refusals_.ExpectRepeats(peer);
    } else {
      refusals_.RemovePeer(peer);
    }
  };
  callbacks.on_repeated = [this](const std::string& peer) {
    refusals_.EndOfRepeats(peer);
  };
  callbacks.on_gone = [this](const std::string& peer) {
    refusals_.RemovePeer(peer);
  };
  callbacks.on_disconnected = [this](const std::string& peer,
                                     uint32_t subscription) {
    const auto found = dispatcher_->Find(subscription);
    if (found == nullptr) return;
    SetRefusal(
        *found, {peer, 0},
        DisconnectedError(found->options().topic, absl::StrCat("node ", peer)));
  };
  callbacks.on_lane_waits = [this](const std::string& peer, uint32_t lane,
                                   uint32_t subscription,
                                   const absl::Status& status) {
    OnLaneWaits({peer, /*publisher=*/0, lane}, subscription, status);
  };
  callbacks.on_room_awaited = [this](const Subscription& queue,
                                     const v1::RoomAwaited& awaited) {
    waits_.OnAwaited(awaited, queue);
  };
  callbacks.status = [this] { return Status(); };
  callbacks.drops = [this](const std::string& peer) { return DropsOf(peer); };
  return callbacks;
}

}  // namespace mycelium
