// The part of NodeRuntime that tells observers what it is doing.
#include <algorithm>
#include <utility>

#include "mycelium/base/utf8.h"
#include "mycelium/base/version.h"
#include "mycelium/bus/connection_state.h"
#include "mycelium/bus/node_runtime.h"
#include "mycelium/bus/status_bound.h"
#include "mycelium/routing/schema_mismatch.h"
#include "mycelium/topology/topology.h"

namespace mycelium {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;
// The most that Shown() keeps of a text; addresses are shorter.
constexpr size_t kReasonBytesMax = 1024;

uint64_t MsBetween(TimeNs from, TimeNs to) {
  return to > from ? static_cast<uint64_t>((to - from) / kNsPerMs) : 0;
}

// Makes a text fit for observers. It may contain a path, which need not be
// UTF-8, or text from a peer, which may be long. One field that is not UTF-8
// would make an observer refuse all that the node says. Names need none of
// this: they are checked.
std::string Shown(absl::string_view text) {
  std::string shown = EscapedUtf8(text);
  size_t bytes = std::min(shown.size(), kReasonBytesMax);
  // Does not cut within a character.
  while (bytes < shown.size() && bytes > 0 && (shown[bytes] & 0xC0) == 0x80) {
    --bytes;
  }
  shown.resize(bytes);
  return shown;
}

// Whether there is something to tell of a flow. A reader of many flows wants to
// see these first.
bool IsUneasy(const FlowReport& flow) {
  return flow.ledger.in_flight > 0 || flow.ledger.dropped_total() > 0;
}

}  // namespace

v1::NodeStatus NodeRuntime::Status() const {
  v1::NodeStatus status;
  status.set_node(node_);
  status.set_version(Version());
  status.set_pid(environment_.sys.GetPid());
  status.set_incarnation(incarnation_);
  status.set_up_for_ms(MsBetween(began_, environment_.clock.NowNs()));
  if (topology_ != nullptr) {
    const absl::StatusOr<Digest> digest =
        Digest::FromHex(ContentDigest(*topology_));
    if (digest.ok()) status.set_topology_digest(std::string(digest->bytes()));
  }
  {
    MutexLock lock(mutex_);
    for (const auto& [name, digest] : services_) {
      v1::ServiceStatus& service = *status.add_services();
      service.set_name(name);
      if (digest.has_value()) {
        service.set_schema_digest(std::string(digest->bytes()));
      }
    }
  }
  for (const auto& [id, listening] : listeners_) {
    v1::EndpointStatus& endpoint = *status.add_endpoints();
    endpoint.set_transport(listening.transport);
    endpoint.set_address(Shown(listening.listener->address()));
  }
  AddLinks(&status);
  AddRefusals(&status);
  AddEnds(&status);
  AddFlows(&status);
  LeaveOutBeyond(kStatusBytesMax, &status);
  return status;
}

void NodeRuntime::AddLinks(v1::NodeStatus* status) const {
  const TimeNs now = environment_.clock.NowNs();
  for (PeerTable::State& state : peers_->States()) {
    v1::LinkStatus& link = *status->add_links();
    link.set_peer(std::move(state.peer));
    link.set_transport(std::move(state.transport));
    link.set_address(Shown(state.address));
    link.set_rule(Shown(state.rule));
    link.set_is_up(state.is_up);
    link.set_state(state.told.has_value()
                       ? std::string(ConnectionStateWord(*state.told))
                       : "dialling");
    link.set_state_for_ms(MsBetween(state.since, now));
    link.set_last_error(Shown(state.last_error));
    link.set_fallback(Shown(state.fallback));
  }
}

void NodeRuntime::AddRefusals(v1::NodeStatus* status) const {
  for (const RefusalTable::Held& held : refusals_.All()) {
    const auto subscription = dispatcher_->Find(held.subscription);
    if (subscription == nullptr) continue;
    v1::RefusalStatus& refusal = *status->add_refusals();
    refusal.set_topic(subscription->options().topic);
    refusal.set_service(subscription->options().service);
    refusal.set_subscription_name(subscription->options().name);
    refusal.set_peer(held.cause.peer);
    refusal.set_why(Shown(held.status.message()));
  }
}

void NodeRuntime::AddEnds(v1::NodeStatus* status) const {
  for (const v1::ServiceStatus& service : status->services()) {
    for (const auto& publisher : router_->PublishersOf(service.name())) {
      const Origin& origin = publisher->origin();
      v1::PublisherStatus& end = *status->add_publishers();
      end.set_topic(origin.topic);
      end.set_type(origin.type);
      end.set_service(origin.service);
      end.set_target_service(origin.target_service);
      end.set_subscribers(router_->SubscriberCount(*publisher));
      for (const absl::Status& why : router_->Refusals(*publisher)) {
        const auto mismatch = SchemaMismatchOf(why);
        v1::RefusalStatus& refusal = *status->add_refusals();
        refusal.set_topic(origin.topic);
        refusal.set_service(origin.service);
        if (mismatch.has_value()) refusal.set_peer(mismatch->remote_node());
        refusal.set_of_publisher(true);
        refusal.set_why(Shown(why.message()));
      }
    }
  }
  for (const auto& subscription : dispatcher_->All()) {
    if (subscription->closed()) continue;
    v1::SubscriptionStatus& end = *status->add_subscriptions();
    end.set_topic(subscription->options().topic);
    end.set_type(subscription->options().type.name);
    end.set_service(subscription->options().service);
    end.set_name(subscription->options().name);
  }
}

void NodeRuntime::AddFlows(v1::NodeStatus* status) const {
  std::vector<FlowReport> reports = FlowReports();
  std::stable_partition(reports.begin(), reports.end(), IsUneasy);
  for (FlowReport& report : reports) {
    v1::FlowStatus& flow = *status->add_flows();
    flow.set_topic(std::move(report.topic));
    flow.set_publisher_node(std::move(report.publisher_node));
    flow.set_publisher_service(std::move(report.publisher_service));
    flow.set_subscriber_node(std::move(report.subscriber_node));
    flow.set_subscriber_service(std::move(report.subscriber_service));
    flow.set_subscription_name(std::move(report.subscription_name));
    flow.set_transport(std::move(report.transport));
    flow.set_accepted(report.ledger.accepted);
    flow.set_delivered(report.ledger.delivered);
    flow.set_in_flight(report.ledger.in_flight);
    for (size_t i = 0; i < kDropReasonCount; ++i) {
      if (report.ledger.dropped[i] == 0) continue;
      v1::DropStatus& drop = *flow.add_dropped();
      drop.set_reason(std::string(DropReasonWord(static_cast<DropReason>(i))));
      drop.set_messages(report.ledger.dropped[i]);
    }
  }
}

}  // namespace mycelium
