#include "mycelium/bus/node_runtime.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "mycelium/base/heavy_barrier.h"
#include "mycelium/bus/guarded_callback.h"
#include "mycelium/bus/hello_rules.h"
#include "mycelium/bus/option_bounds.h"
#include "mycelium/routing/schema_mismatch.h"
#include "mycelium/topology/name_faults.h"
#include "mycelium/topology/route_rules.h"
#include "mycelium/topology/service_host.h"

namespace mycelium {
namespace {

// How much is shown of what a peer says about a refusal.
constexpr size_t kRefusalReasonBytesMax = 1024;
constexpr size_t kDigestBytesShown = 64;

absl::Status CheckName(absl::string_view what, const std::string& name) {
  const std::string fault = NameFault(name);
  if (fault.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(what, " ", fault));
}

absl::Status CheckNames(const std::string& topic, const std::string& type,
                        const std::string& subscription) {
  if (absl::Status checked = CheckName("topic", topic); !checked.ok()) {
    return checked;
  }
  if (absl::Status checked = CheckName("type", type); !checked.ok()) {
    return checked;
  }
  if (subscription.empty()) return absl::OkStatus();
  return CheckName("subscription name", subscription);
}

absl::Status CheckCount(absl::string_view what, std::optional<int64_t> count,
                        int64_t most) {
  if (!count.has_value() || (*count >= 1 && *count <= most)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "subscription: ", what, " is ", *count, "; 1 to ", most, " are allowed"));
}

// The user's options, with their callbacks guarded, so that all parts can use
// them.
BusOptions TakeOver(BusOptions options) {
  options.log = Guarded(std::move(options.log));
  options.on_connection =
      Guarded("on_connection", std::move(options.on_connection), options.log);
  options.on_flow = Guarded("on_flow", std::move(options.on_flow), options.log);
  return options;
}

}  // namespace

absl::StatusOr<std::shared_ptr<NodeRuntime>> NodeRuntime::Create(
    const BusOptions& options, std::string node,
    std::shared_ptr<const Topology> topology) {
  if (topology == nullptr) {
    if (absl::Status checked = CheckName("node", node); !checked.ok()) {
      return checked;
    }
    if (absl::Status checked = CheckOptionBounds(options); !checked.ok()) {
      return checked;
    }
  }
  std::shared_ptr<NodeRuntime> runtime(
      new NodeRuntime(options, std::move(node), std::move(topology)), &Release);
  if (absl::Status made = runtime->Init(); !made.ok()) return made;
  return runtime;
}

NodeRuntime::NodeRuntime(const BusOptions& options, std::string node,
                         std::shared_ptr<const Topology> topology)
    : options_(TakeOver(options)),
      node_(std::move(node)),
      topology_(std::move(topology)),
      environment_(*options.environment),
      random_(SeedFrom(environment_)),
      incarnation_(random_.Next64() | 1),
      began_(environment_.clock.NowNs()),
      spin_ns_(SpinNsOf(topology_ != nullptr ? topology_->defaults
                                             : options_.settings)),
      receivers_backoff_(environment_),
      waits_(environment_, node_, incarnation_, random_.Next64(),
             [this](const Lane& lane, v1::RoomAwaited awaited) {
               router_->TellAwaited(lane, std::move(awaited));
             }) {
  AskForHeavyBarrier(environment_.sys);
}

void NodeRuntime::Release(NodeRuntime* runtime) {
  if (runtime->is_inherited()) return ForkGuard::KeepForEver(runtime);
  if (runtime->loop_ == nullptr || !runtime->loop_->InLoop()) {
    delete runtime;
    return;
  }
  // The loop is up the stack: let it unwind first.
  runtime->orphaned_ = true;
  runtime->stop_.store(true, std::memory_order_release);
  runtime->loop_->Wake();  // The caller may have borrowed the loop.
}

void NodeRuntime::RunThread() {
  while (!stop_.load(std::memory_order_acquire)) {
    if (spin_ns_ > 0 && loop_->RunQuickly()) continue;
    (void)loop_->RunOnce(kNever, spin_ns_);
  }
  if (!orphaned_) return;
  thread_.detach();
  delete this;
}

NodeRuntime::~NodeRuntime() {
  if (peers_ == nullptr) return;  // Init() failed: nothing was started.
  (void)ShutdownAs(BeginShutdown(), {kInDestructor});
  (void)WaitFor(
      ended_event_, [this] { return has_ended(); }, kNever);
  StopThread();
  listeners_.clear();
  peers_.reset();
  remote_.reset();
}

void NodeRuntime::StopThread() {
  if (!thread_.joinable()) return;
  stop_.store(true, std::memory_order_release);
  loop_->Wake();
  thread_.join();
}

int64_t NodeRuntime::SpinNsOf(const RouteSettings& settings) const {
  switch (options_.wait.value_or(settings.wait)) {
    case WaitMode::kSpin:
      return kNever;
    case WaitMode::kAdaptive:
      return absl::ToInt64Nanoseconds(settings.spin);
    case WaitMode::kBlock:
      return 0;
  }
  return 0;
}

absl::Status NodeRuntime::AddService(const std::string& service,
                                     std::optional<Digest> schema_digest) {
  if (absl::Status checked = CheckName("service", service); !checked.ok()) {
    return checked;
  }
  MutexLock lock(mutex_);
  if (shut_down_) return Ending(node_);
  if (services_.count(service) > 0) {
    return absl::AlreadyExistsError(
        absl::StrCat("service ", service, " of node ", node_,
                     " has a bus in this process already"));
  }
  size_t used = 0;
  for (const auto& [name, digest] : services_) {
    used += ServiceBytes(name, digest);
  }
  const size_t bytes = ServiceBytes(service, schema_digest);
  if (used + bytes > kServicesBytesMax) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "service ", service, " of node ", node_, ": it takes ", bytes,
        " bytes of what peers are told when they connect, and the ",
        services_.size(), " services before it ", used, "; at most ",
        kServicesBytesMax, " in all"));
  }
  services_[service] = schema_digest;
  return absl::OkStatus();
}

void NodeRuntime::RemoveService(const std::string& service) {
  if (is_inherited()) return;
  MutexLock lock(mutex_);
  services_.erase(service);
  closing_.erase(service);
}

std::string NodeRuntime::SchemaDigestOf(const std::string& service) const {
  MutexLock lock(mutex_);
  const auto known = services_.find(service);
  return known == services_.end() || !known->second.has_value()
             ? ""
             : std::string(known->second->bytes());
}

RouteSettings NodeRuntime::SettingsFor(const Origin& origin,
                                       const std::string& node,
                                       const std::string& service) const {
  if (topology_ == nullptr) return options_.settings;
  return ::mycelium::SettingsFor(*topology_, origin.service,
                                 service.empty() ? node : service,
                                 origin.topic);
}

absl::Status NodeRuntime::Ending(const std::string& node) {
  return absl::UnavailableError(
      absl::StrCat("node ", node,
                   " of this process is ending; try again when Shutdown() or ",
                   "Close(), or what destroyed the last object of it, has "
                   "returned, and the ",
                   "handler if that was called from one"));
}

absl::Status NodeRuntime::CheckOpen() const {
  if (is_inherited()) return CheckNotForked();
  MutexLock lock(mutex_);
  if (!shut_down_) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("node ", node_, " has been shut down"));
}

absl::Status NodeRuntime::Unmatched(const Origin& origin,
                                    const PublisherOptions& options) const {
  if (origin.target_service.empty()) {
    if (!options.require_subscriber) return absl::OkStatus();
    return absl::UnavailableError(
        absl::StrCat("nobody is subscribed to topic \"", origin.topic,
                     "\"; message not sent"));
  }
  return absl::UnavailableError(absl::StrCat(
      "service ", origin.target_service, " has no subscription to topic \"",
      origin.topic, "\" that is connected; message not sent"));
}

absl::StatusOr<std::shared_ptr<FanOut>> NodeRuntime::AddPublisher(
    const std::string& service, const std::string& target_service,
    const MessageType& type, const PublisherOptions& options) {
  Origin origin;
  origin.node = node_;
  origin.service = service;
  origin.topic = options.topic.empty() ? type.name : options.topic;
  origin.type = type.name;
  origin.digest = type.digest;
  origin.target_service = target_service;
  origin.transport = "inproc";
  if (absl::Status checked = CheckNames(origin.topic, origin.type, "");
      !checked.ok()) {
    return checked;
  }
  if (!target_service.empty()) {
    if (absl::Status checked = CheckName("service", target_service);
        !checked.ok()) {
      return checked;
    }
  }
  if (options.publish_timeout.has_value()) {
    if (absl::Status checked = CheckPublishTimeout(*options.publish_timeout);
        !checked.ok()) {
      return checked;
    }
  }
  if (absl::Status open = CheckOpen(); !open.ok()) return open;
  if (topology_ != nullptr && !target_service.empty()) {
    const auto host = HostOf(*topology_, target_service);
    if (!host.ok()) return host.status();
  }
  FanOut::Options fan_out;
  fan_out.publisher_id = next_publisher_.fetch_add(1);
  fan_out.publish_time = options.publish_time;
  fan_out.publish_timeout = options.publish_timeout;
  fan_out.disconnect = [this](const Lane& lane) { router_->Disconnect(lane); };
  fan_out.waits = &waits_;
  fan_out.on_stall = [this](const Lane& lane) {
    watch_->NoteStall(lane.name());
  };
  fan_out.on_drop = [this] { watch_->NoteDrop(); };
  fan_out.discard = [this](std::function<void()> used) {
    loop_->Post([used = std::move(used)] {});
  };
  const absl::Status unmatched = Unmatched(origin, options);
  const std::shared_ptr<const Origin> kept =
      dispatcher_->Intern(std::move(origin));
  fan_out.origin = kept.get();
  auto publisher = std::make_shared<FanOut>(environment_, *this, fan_out);
  WarnIfNotComparable(type);
  refusals_.AddPublisher(fan_out.publisher_id);
  router_->AddPublisher(publisher, type, unmatched, SchemaDigestOf(service));
  // A shutdown that began meanwhile has closed the publisher, or does so later.
  if (absl::Status open = CheckOpen(); !open.ok()) {
    RemovePublisher(*publisher);
    return open;
  }
  return publisher;
}

absl::Status NodeRuntime::CheckPayloadBytes(size_t bytes) const {
  const Limits& limits =
      topology_ != nullptr ? topology_->limits : options_.limits;
  const size_t most =
      static_cast<size_t>(limits.frame_bytes_max) - sizeof(FrameHeader);
  if (bytes <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "a payload of ", bytes, " bytes is larger than the ", most,
      " that frame_bytes_max = ", limits.frame_bytes_max, " leaves"));
}

void NodeRuntime::RemovePublisher(FanOut& publisher) {
  if (is_inherited()) return;
  router_->RemovePublisher(publisher);
  refusals_.RemovePublisher(publisher.options().publisher_id);
}

absl::StatusOr<std::shared_ptr<Subscription>> NodeRuntime::AddSubscription(
    const std::string& service, const MessageType& type, DeliveryMode mode,
    const SubscriberOptions& options, MessageHandler handler) {
  Subscription::Options made;
  made.id = next_subscription_.fetch_add(1);
  made.service = service;
  made.service_digest = SchemaDigestOf(service);
  made.topic = options.topic.empty() ? type.name : options.topic;
  made.name = options.name;
  made.type = type;
  made.mode = mode;
  made.overflow = options.overflow;
  made.depth = options.depth;
  made.on_drop = [this] { watch_->NoteDrop(); };
  made.window = options.window;
  if (absl::Status checked = CheckNames(made.topic, type.name, made.name);
      !checked.ok()) {
    return checked;
  }
  if (absl::Status checked = CheckCount("depth", options.depth, kDepthMax);
      !checked.ok()) {
    return checked;
  }
  if (absl::Status checked = CheckCount("window", options.window, kWindowMax);
      !checked.ok()) {
    return checked;
  }
  if (absl::Status open = CheckOpen(); !open.ok()) return open;
  Origin anybody;
  anybody.topic = made.topic;
  const RouteSettings settings = SettingsFor(anybody, node_, service);
  made.lane_bytes = settings.lane_bytes;
  made.spin_ns = SpinNsOf(settings);
  made.frame_bytes_max = topology_ != nullptr
                             ? topology_->limits.frame_bytes_max
                             : options_.limits.frame_bytes_max;
  absl::StatusOr<std::shared_ptr<Subscription>> subscription =
      Subscription::Create(environment_, std::move(made), std::move(handler),
                           options_.log);
  if (!subscription.ok()) return subscription;
  {
    MutexLock lock(mutex_);
    const uint32_t id = (*subscription)->options().id;
    const std::string lane = (*subscription)->lane().name();
    if (options.on_error != nullptr) {
      on_error_[id] = Guarded(absl::StrCat(lane, ": on_error"),
                              options.on_error, options_.log);
    }
    if (options.on_publisher_gone != nullptr) {
      on_publisher_gone_[id] =
          Guarded(absl::StrCat(lane, ": on_publisher_gone"),
                  options.on_publisher_gone, options_.log);
    }
  }
  WarnIfNotComparable(type);
  refusals_.AddSubscription((*subscription)->options().id);
  dispatcher_->Add(*subscription);
  router_->AddLocal(*subscription);
  loop_->Post([this, added = *subscription] { peers_->Subscribe(*added); });
  // A thread that closed the subscription meanwhile may have taken it out
  // before it was in.
  if ((*subscription)->closed()) TakeOut(*subscription);
  // A shutdown that began meanwhile may have looked before the subscription was
  // there.
  if (absl::Status open = CheckOpen(); !open.ok()) {
    RemoveSubscription(*subscription);
    return open;
  }
  return subscription;
}

void NodeRuntime::WarnIfNotComparable(const MessageType& type) const {
  if (schema() == SchemaPolicy::kExact || type.canonical_text.empty() ||
      !SendableCanonicalText(type.canonical_text).empty()) {
    return;
  }
  options_.log(LogLevel::kWarning,
               absl::StrCat("type ", type.name, ": its canonical text of ",
                            type.canonical_text.size(),
                            " bytes cannot be compared by other nodes, which "
                            "take at most ",
                            kExplanationBytesMax,
                            "; no other version of it is compatible"));
}

void NodeRuntime::SetRefusal(Subscription& subscription,
                             const RefusalTable::Cause& cause,
                             const absl::Status& status, bool is_news) {
  if (!refusals_.Set(subscription.options().id, cause, status, is_news)) return;
  std::function<void(const absl::Status&)> on_error;
  {
    MutexLock lock(mutex_);
    const auto callback = on_error_.find(subscription.options().id);
    if (callback != on_error_.end()) on_error = callback->second;
  }
  options_.log(LogLevel::kError, std::string(status.message()));
  if (on_error != nullptr) on_error(status);
  subscription.queue().Notify();
}

void NodeRuntime::OnPublisherGone(const Dispatcher::Parted& parted) {
  std::function<void(const PublisherGone&)> callback;
  {
    MutexLock lock(mutex_);
    const auto known =
        on_publisher_gone_.find(parted.subscription->options().id);
    if (known == on_publisher_gone_.end()) return;
    callback = known->second;
  }
  callback({parted.origin->node, parted.origin->service, parted.origin->topic});
}

void NodeRuntime::OnLaneWaits(const RefusalTable::Cause& cause,
                              uint32_t subscription,
                              const absl::Status& status) {
  if (status.ok()) return refusals_.Clear(subscription, cause);
  const auto found = dispatcher_->Find(subscription);
  if (found == nullptr) return;
  SetRefusal(*found, cause,
             absl::Status(
                 status.code(),
                 absl::StrCat("topic \"", found->options().topic, "\" of node ",
                              cause.peer, ": ", status.message())),
             /*is_news=*/false);  // It is tried again.
}

void NodeRuntime::OnRefusedByPeer(const std::string& peer,
                                  const v1::SubscribeRefused& refused,
                                  PeerText* theirs) {
  const std::shared_ptr<Subscription> subscription =
      dispatcher_->Find(refused.subscription());
  if (subscription == nullptr) return;
  const RefusalTable::Cause cause = {peer, refused.publisher()};
  if (refused.over()) {
    refusals_.Clear(refused.subscription(), cause);
    return;
  }
  if (refused.asks()) return ExplainType(peer, *subscription);
  if (!refused.reason().empty()) {
    SetRefusal(
        *subscription, cause,
        absl::ResourceExhaustedError(absl::StrCat(
            "topic \"", subscription->options().topic, "\" of node ", peer,
            " is not delivered: ",
            absl::Utf8SafeCEscape(absl::string_view(refused.reason())
                                      .substr(0, kRefusalReasonBytesMax)))),
        /*is_news=*/false);  // It is tried again.
    return;
  }
  if (!refused.service_digest().empty()) {
    const Subscription::Options& ours = subscription->options();
    SetRefusal(*subscription, cause,
               ServiceMismatchError(
                   ours.topic, {ours.service, ours.service_digest},
                   {refused.service().substr(0, kTopicBytesMax),
                    refused.service_digest().substr(0, kDigestBytesShown)},
                   peer));
    return;
  }
  const MessageType& type = subscription->type();
  const absl::StatusOr<Digest> said = Digest::FromBytes(refused.type_digest());
  const Digest digest = said.ok() ? *said : Digest();
  std::optional<Verdict> verdict;
  if (theirs != nullptr) verdict = theirs->Explain(type, digest);
  SetRefusal(*subscription, cause,
             SchemaMismatchError(subscription->options().topic, type, digest,
                                 verdict, peer));
  if (!refused.has_text()) ExplainType(peer, *subscription);
}

void NodeRuntime::ExplainType(const std::string& peer,
                              const Subscription& subscription) {
  v1::Control control;
  v1::CanonicalText& text = *control.mutable_canonical_text();
  text.set_subscription(subscription.options().id);
  text.set_canonical_text(
      SendableCanonicalText(subscription.type().canonical_text));
  for (const auto& link : peers_->Links()) {
    if (link->peer() == peer) link->SendControl(control);
  }
}

}  // namespace mycelium
