#include "mycelium/routing/flow_report_table.h"

#include "absl/strings/str_cat.h"

namespace mycelium {

std::string FlowReportTable::KeyOf(const FlowReport& report) {
  std::string key;
  for (const std::string* part :
       {&report.topic, &report.publisher_node, &report.publisher_service,
        &report.subscriber_node, &report.subscriber_service,
        &report.subscription_name, &report.transport}) {
    absl::StrAppend(&key, part->size(), ":", *part);
  }
  return key;
}

Ledger& FlowReportTable::LedgerOf(const FlowReport& report) {
  const auto [place, is_new] =
      place_of_key_.try_emplace(KeyOf(report), reports_.size());
  if (is_new) {
    reports_.push_back(report);
    reports_.back().ledger = Ledger();
  }
  return reports_[place->second].ledger;
}

FlowReport FlowReportTable::OthersOf(const FlowReport& report) {
  FlowReport others;
  others.publisher_node = report.publisher_node;
  others.subscriber_node = report.subscriber_node;
  others.transport = "others";
  others.ledger = report.ledger;
  return others;
}

void FlowReportTable::FoldEnded(const FlowReport& report) {
  if (reports_.size() < kEndedMax || Has(report)) return Fold(report);
  FlowReport others = OthersOf(report);
  if (reports_.size() >= 2 * kEndedMax && !Has(others)) {
    others.publisher_node.clear();
    others.subscriber_node.clear();
  }
  Fold(others);
}

}  // namespace mycelium
