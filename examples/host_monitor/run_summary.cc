#include "examples/host_monitor/run_summary.h"

#include <google/protobuf/util/json_util.h>

#include <fstream>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "mycelium/transport/lane/drop_reason.h"

namespace host_monitor {
namespace {

FlowState StateOf(const mycelium::FlowReport& flow) {
  FlowState state;
  state.set_topic(flow.topic);
  state.set_publisher(
      absl::StrCat(flow.publisher_node, "/", flow.publisher_service));
  if (!flow.subscriber_service.empty()) {
    state.set_subscriber(
        absl::StrCat(flow.subscriber_node, "/", flow.subscriber_service));
  }
  state.set_transport(flow.transport);
  state.set_accepted(flow.ledger.accepted);
  state.set_delivered(flow.ledger.delivered);
  state.set_in_flight(flow.ledger.in_flight);
  for (size_t i = 0; i < mycelium::kDropReasonCount; ++i) {
    const auto reason = static_cast<mycelium::DropReason>(i);
    const uint64_t dropped = flow.ledger.dropped_for(reason);
    if (dropped == 0) continue;
    const std::string word(mycelium::DropReasonWord(reason));
    (*state.mutable_dropped())[word] = dropped;
  }
  return state;
}

}  // namespace

RunReport ReportOf(const mycelium::MessageBus& bus) {
  RunReport report;
  report.set_node(bus.node());
  for (const mycelium::LinkReport& link : bus.LinkReports()) {
    LinkState& state = *report.add_links();
    state.set_peer(link.peer);
    state.set_transport(link.transport);
    state.set_rule(link.rule);
    state.set_fallback(link.fallback);
  }
  for (const mycelium::FlowReport& flow : bus.FlowReports()) {
    *report.add_flows() = StateOf(flow);
  }
  return report;
}

std::string ToText(const RunReport& report) {
  std::string text = absl::StrCat("node ", report.node(), "\n");
  for (const LinkState& link : report.links()) {
    absl::StrAppendFormat(
        &text, "  link to %s: %s (%s)%s%s\n", link.peer(), link.transport(),
        link.rule(),
        link.fallback().empty() ? "" : "; not shared: ", link.fallback());
  }
  for (const FlowState& flow : report.flows()) {
    const std::string subscriber =
        flow.subscriber().empty() ? "nobody" : flow.subscriber();
    absl::StrAppendFormat(
        &text, "  %s, %s -> %s (%s): accepted %d, delivered %d, in flight %d",
        flow.topic(), flow.publisher(), subscriber, flow.transport(),
        flow.accepted(), flow.delivered(), flow.in_flight());
    const std::map<std::string, uint64_t> dropped(flow.dropped().begin(),
                                                  flow.dropped().end());
    for (const auto& [reason, messages] : dropped) {
      absl::StrAppendFormat(&text, ", dropped %d (%s)", messages, reason);
    }
    text += "\n";
  }
  return text;
}

absl::Status WriteJson(const RunReport& report, const std::string& path) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto made =
      google::protobuf::util::MessageToJsonString(report, &json, options);
  if (!made.ok()) return absl::InternalError(made.ToString());
  std::ofstream file(path, std::ios::trunc);
  file << json << std::flush;
  if (file) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(path, ": cannot be written"));
}

}  // namespace host_monitor
