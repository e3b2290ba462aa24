#ifndef MYCELIUM_ROUTING_FLOW_REPORT_TABLE_H_
#define MYCELIUM_ROUTING_FLOW_REPORT_TABLE_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "mycelium/routing/flow_report.h"

namespace mycelium {

// Reports of flows, one for each flow and transport, in the order in which they
// came. Each step takes the same time however many there are.
//
// Thread safety: none.
class FlowReportTable final {
 public:
  // How many different flows are told apart of those that are over.
  static constexpr size_t kEndedMax = 4096;

  // Adds `report` to the one of the same flow and transport, or as a new one.
  void Fold(const FlowReport& report) { LedgerOf(report) += report.ledger; }
  // The same for a flow that is over, whose names a peer chose: where there are
  // kEndedMax, a new one is added to one that has no names.
  void FoldEnded(const FlowReport& report);
  // Of the report of the same flow and transport; empty if that is new. Valid
  // until the next one is added.
  Ledger& LedgerOf(const FlowReport& report);

  const std::vector<FlowReport>& reports() const { return reports_; }
  std::vector<FlowReport> Release() && { return std::move(reports_); }

 private:
  static std::string KeyOf(const FlowReport& report);

  std::vector<FlowReport> reports_;
  absl::flat_hash_map<std::string, size_t> place_of_key_;
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_FLOW_REPORT_TABLE_H_
