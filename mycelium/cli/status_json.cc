#include "mycelium/cli/status_json.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "mycelium/base/json_writer.h"

namespace mycelium {
namespace {

template <typename Entries, typename Write>
void WriteList(JsonWriter& json, absl::string_view name, const Entries& entries,
               Write write) {
  json.Name(name).Begin('[');
  for (const auto& entry : entries) {
    json.Begin('{');
    write(entry);
    json.End('}');
  }
  json.End(']');
}

void WriteLinks(JsonWriter& json, const v1::NodeStatus& status) {
  WriteList(json, "links", status.links(), [&](const v1::LinkStatus& link) {
    json.Member("peer", link.peer())
        .Member("transport", link.transport())
        .Member("address", link.address())
        .Member("rule", link.rule())
        .Member("is_up", link.is_up())
        .Member("state", link.state())
        .Member("state_for_ms", link.state_for_ms())
        .Member("last_error", link.last_error())
        .Member("fallback", link.fallback());
  });
}

void WriteEnds(JsonWriter& json, const v1::NodeStatus& status) {
  WriteList(json, "publishers", status.publishers(),
            [&](const v1::PublisherStatus& publisher) {
              json.Member("topic", publisher.topic())
                  .Member("type", publisher.type())
                  .Member("service", publisher.service())
                  .Member("target_service", publisher.target_service())
                  .Member("subscribers", publisher.subscribers());
            });
  WriteList(json, "subscriptions", status.subscriptions(),
            [&](const v1::SubscriptionStatus& subscription) {
              json.Member("topic", subscription.topic())
                  .Member("type", subscription.type())
                  .Member("service", subscription.service())
                  .Member("name", subscription.name());
            });
  WriteList(json, "refusals", status.refusals(),
            [&](const v1::RefusalStatus& refusal) {
              json.Member("topic", refusal.topic())
                  .Member("service", refusal.service())
                  .Member("subscription_name", refusal.subscription_name())
                  .Member("peer", refusal.peer())
                  .Member("of_publisher", refusal.of_publisher())
                  .Member("why", refusal.why());
            });
}

void WriteFlows(JsonWriter& json, const v1::NodeStatus& status) {
  WriteList(json, "flows", status.flows(), [&](const v1::FlowStatus& flow) {
    json.Member("topic", flow.topic())
        .Member("publisher_node", flow.publisher_node())
        .Member("publisher_service", flow.publisher_service())
        .Member("subscriber_node", flow.subscriber_node())
        .Member("subscriber_service", flow.subscriber_service())
        .Member("subscription_name", flow.subscription_name())
        .Member("transport", flow.transport())
        .Member("accepted", flow.accepted())
        .Member("delivered", flow.delivered())
        .Member("in_flight", flow.in_flight());
    json.Name("dropped").Begin('{');
    for (const v1::DropStatus& drop : flow.dropped()) {
      json.Member(drop.reason(), drop.messages());
    }
    json.End('}');
  });
}

void WriteLeftOut(JsonWriter& json, const v1::NodeStatus& status) {
  json.Name("left_out").Begin('{');
  json.Member("services", status.services_left_out())
      .Member("endpoints", status.endpoints_left_out())
      .Member("links", status.links_left_out())
      .Member("refusals", status.refusals_left_out())
      .Member("publishers", status.publishers_left_out())
      .Member("subscriptions", status.subscriptions_left_out())
      .Member("flows", status.flows_left_out());
  json.End('}');
}

// The status of a node that answered.
void WriteStatus(JsonWriter& json, const v1::NodeStatus& status) {
  json.Member("version", status.version())
      .Member("incarnation", absl::StrFormat("%016x", status.incarnation()))
      .Member("up_for_ms", status.up_for_ms())
      .Member("topology_digest",
              absl::BytesToHexString(status.topology_digest()));
  WriteList(json, "services", status.services(),
            [&](const v1::ServiceStatus& service) {
              json.Member("name", service.name())
                  .Member("schema_digest",
                          absl::BytesToHexString(service.schema_digest()));
            });
  WriteList(json, "endpoints", status.endpoints(),
            [&](const v1::EndpointStatus& endpoint) {
              json.Member("transport", endpoint.transport())
                  .Member("address", endpoint.address());
            });
  WriteLinks(json, status);
  WriteEnds(json, status);
  WriteFlows(json, status);
  WriteLeftOut(json, status);
}

}  // namespace

std::string StatusJson(const HostView& view,
                       const std::vector<Problem>& problems) {
  JsonWriter json(JsonWriter::Layout::kIndented);
  json.Begin('{');
  json.Member("all_connected", problems.empty());
  WriteList(json, "nodes", view.nodes, [&](const SeenNode& node) {
    json.Member("name", node.name)
        .Member("state", NodeStateWord(node.state))
        .Member("why", node.why)
        .Member("path", node.path)
        .Member("in_topology", node.in_topology)
        .Member("pid", node.pid)
        .Member("uid", node.uid);
    if (node.state == NodeState::kRunning) WriteStatus(json, node.status);
  });
  WriteList(json, "not_talking", problems, [&](const Problem& problem) {
    json.Member("kind", problem.kind)
        .Member("node", problem.node)
        .Member("peer", problem.peer)
        .Member("topic", problem.topic)
        .Member("why", problem.text);
  });
  json.End('}');
  return json.text() + "\n";
}

}  // namespace mycelium
