#include "mycelium/testing/ledger_check.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace mycelium {
namespace {

// The flows of the nodes of `buses`, each once, with the counts of both ends.
std::vector<FlowReport> Merge(absl::Span<const MessageBus* const> buses,
                              std::set<std::string>* nodes) {
  std::vector<FlowReport> flows;
  for (const MessageBus* const bus : buses) {
    if (!nodes->insert(bus->node()).second) continue;
    for (FlowReport& report : bus->FlowReports()) {
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
  std::string text = absl::StrCat(
      flow.topic, ", ", flow.publisher_node, "/", flow.publisher_service,
      " -> ", flow.subscriber_node, "/", flow.subscriber_service, ": accepted ",
      ledger.accepted, ", delivered ", ledger.delivered);
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

absl::Status Check(absl::Span<const MessageBus* const> buses,
                   bool (*is_right)(const Ledger&)) {
  std::set<std::string> nodes;
  uint64_t accepted = 0;
  std::vector<std::string> wrong;
  for (const FlowReport& flow : Merge(buses, &nodes)) {
    accepted += flow.ledger.accepted;
    if (!is_right(flow.ledger)) wrong.push_back(Describe(flow, nodes));
  }
  if (!wrong.empty()) {
    return absl::FailedPreconditionError(absl::StrJoin(wrong, "\n"));
  }
  if (accepted > 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("no message was accepted by ", absl::StrJoin(nodes, ", "),
                   ": there is nothing to check"));
}

}  // namespace

absl::Status CheckLedger(absl::Span<const MessageBus* const> buses) {
  return Check(buses, [](const Ledger& ledger) { return ledger.Balances(); });
}

absl::Status CheckAllDelivered(absl::Span<const MessageBus* const> buses) {
  return Check(buses, [](const Ledger& ledger) {
    return ledger.delivered == ledger.accepted &&
           ledger.in_flight + ledger.dropped_total() == 0;
  });
}

}  // namespace mycelium
