#include "mycelium/testing/ledger_check.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace mycelium {
namespace {

using Topics = absl::Span<const absl::string_view>;

// The flows of the nodes of `buses`, each once, with the counts of both ends.
std::vector<FlowReport> Merge(absl::Span<const MessageBus* const> buses,
                              Topics topics) {
  std::set<const NodeRuntime*> seen;
  std::vector<FlowReport> flows;
  for (const MessageBus* const bus : buses) {
    if (!seen.insert(bus->runtime().get()).second) continue;
    for (FlowReport& report : bus->FlowReports()) {
      if (!topics.empty() && !absl::c_linear_search(topics, report.topic)) {
        continue;
      }
      const auto same = std::find_if(
          flows.begin(), flows.end(),
          [&](const FlowReport& flow) { return flow.SameFlow(report); });
      if (same == flows.end()) {
        flows.push_back(std::move(report));
      } else {
        same->ledger += report.ledger;
      }
    }
  }
  return flows;
}

std::string Describe(const FlowReport& flow,
                     const std::set<std::string>& nodes) {
  const Ledger& ledger = flow.ledger;
  std::string text = absl::StrCat(flow.topic, ", ", flow.publisher_node, "/",
                                  flow.publisher_service, " -> ");
  if (flow.subscriber_node.empty()) {
    absl::StrAppend(&text, "nobody");
  } else {
    absl::StrAppend(&text, flow.subscriber_node, "/", flow.subscriber_service);
  }
  if (!flow.subscription_name.empty()) {
    absl::StrAppend(&text, " (", flow.subscription_name, ")");
  }
  absl::StrAppend(&text, ": accepted ", ledger.accepted, ", delivered ",
                  ledger.delivered);
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    if (ledger.dropped[i] == 0) continue;
    absl::StrAppend(&text, ", dropped[",
                    DropReasonWord(static_cast<DropReason>(i)), "] ",
                    ledger.dropped[i]);
  }
  absl::StrAppend(&text, ", in flight ", ledger.in_flight);
  for (const std::string& node : {flow.publisher_node, flow.subscriber_node}) {
    if (node.empty() || nodes.count(node) != 0) continue;
    absl::StrAppend(&text, "; what ", node,
                    " counted is missing: its bus is not among those given");
  }
  return text;
}

absl::Status Check(absl::Span<const MessageBus* const> buses, Topics topics,
                   bool (*is_right)(const Ledger&)) {
  std::set<std::string> nodes;
  for (const MessageBus* const bus : buses) nodes.insert(bus->node());
  std::map<std::string, uint64_t> accepted;  // By topic.
  std::vector<std::string> wrong;
  for (const FlowReport& flow : Merge(buses, topics)) {
    accepted[flow.topic] += flow.ledger.accepted;
    if (!is_right(flow.ledger)) wrong.push_back(Describe(flow, nodes));
  }
  const auto is_empty = [](const auto& of_topic) {
    return of_topic.second == 0;
  };
  const std::string where =
      absl::StrCat(" was accepted by ", absl::StrJoin(nodes, ", "),
                   ": there is nothing to check");
  if (wrong.empty() && topics.empty() && absl::c_all_of(accepted, is_empty)) {
    wrong.push_back(absl::StrCat("no message", where));
  }
  for (const absl::string_view topic : topics) {
    if (accepted[std::string(topic)] > 0) continue;
    wrong.push_back(absl::StrCat("no message of ", topic, where));
  }
  if (wrong.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrJoin(wrong, "\n"));
}

}  // namespace

absl::Status CheckLedger(absl::Span<const MessageBus* const> buses,
                         Topics topics) {
  return Check(buses, topics,
               [](const Ledger& ledger) { return ledger.Balances(); });
}

absl::Status CheckAllDelivered(absl::Span<const MessageBus* const> buses,
                               Topics topics) {
  return Check(buses, topics, [](const Ledger& ledger) {
    return ledger.delivered == ledger.accepted &&
           ledger.in_flight + ledger.dropped_total() == 0;
  });
}

}  // namespace mycelium
