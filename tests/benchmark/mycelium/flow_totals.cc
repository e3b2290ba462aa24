#include "tests/benchmark/mycelium/flow_totals.h"

#include "absl/strings/str_cat.h"

namespace mycelium::bench {

FlowTotals TotalsOf(const MessageBus& bus) {
  FlowTotals totals;
  for (const FlowReport& flow : bus.FlowReports()) {
    totals.accepted += static_cast<int64_t>(flow.ledger.accepted);
    totals.delivered += static_cast<int64_t>(flow.ledger.delivered);
    totals.dropped += static_cast<int64_t>(flow.ledger.dropped_total());
  }
  return totals;
}

absl::Status CheckTotals(const FlowTotals& totals, int64_t messages) {
  if (totals.accepted == messages && totals.delivered == messages &&
      totals.dropped == 0) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(
      "ledger: ", messages, " messages published, accepted ", totals.accepted,
      ", delivered ", totals.delivered, ", dropped ", totals.dropped));
}

}  // namespace mycelium::bench
