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
// came. Each operation takes the same time however many there are.
//
// Thread safety: none.
class FlowReportTable final {
 public:
  // How many different flows that are over are told apart; and beyond those,
  // how many pairs of nodes.
  static constexpr size_t kEndedMax = 4096;

  // Adds `report` to the one of the same flow and transport, or as a new one.
  void Fold(const FlowReport& report) { LedgerOf(report) += report.ledger; }
  // The same for a flow that is over. If there are kEndedMax already, a new one
  // is added to its OthersOf(); and if there are as many of those, to a report
  // that does not name the nodes either.
  void FoldEnded(const FlowReport& report);
  // The flow that stands for all flows between the same nodes that are not told
  // apart.
  static FlowReport OthersOf(const FlowReport& report);
  bool Has(const FlowReport& report) const {
    return place_of_key_.contains(KeyOf(report));
  }
  // The ledger of the report of the same flow and transport; empty if that is
  // new. Valid until the next report is added.
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
