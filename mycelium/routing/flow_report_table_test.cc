#include "mycelium/routing/flow_report_table.h"

#include <string>

#include "gtest/gtest.h"

namespace mycelium {
namespace {

FlowReport Report(const std::string& topic, uint64_t accepted) {
  FlowReport report;
  report.topic = topic;
  report.ledger.accepted = accepted;
  return report;
}

TEST(FlowReportTableTest, SameFlowIsAddedUp) {
  FlowReportTable table;
  table.Fold(Report("a", 1));
  table.Fold(Report("b", 10));
  table.Fold(Report("a", 2));
  ASSERT_EQ(table.reports().size(), 2u);
  EXPECT_EQ(table.reports()[0].ledger.accepted, 3u);
  EXPECT_EQ(table.reports()[1].ledger.accepted, 10u);
}

TEST(FlowReportTableTest, FlowsThatDifferInOneNameAreToldApart) {
  std::string FlowReport::*const names[] = {&FlowReport::topic,
                                            &FlowReport::publisher_node,
                                            &FlowReport::subscriber_node,
                                            &FlowReport::publisher_service,
                                            &FlowReport::transport,
                                            &FlowReport::subscriber_service,
                                            &FlowReport::subscription_name};
  FlowReportTable table;
  for (const auto name : names) {
    // The same letters in the same order, in another place.
    FlowReport report;
    report.*name = "x";
    table.Fold(report);
  }
  EXPECT_EQ(table.reports().size(), std::size(names));
}

TEST(FlowReportTableTest, EndedFlowsBeyondTheLimitAreAddedToOneWithoutNames) {
  constexpr size_t kMost = FlowReportTable::kEndedMax;
  FlowReportTable table;
  for (size_t i = 0; i < kMost + 3; ++i) {
    table.FoldEnded(Report(std::to_string(i), 1));
  }
  table.FoldEnded(Report("0", 1));
  ASSERT_EQ(table.reports().size(), kMost + 1);
  EXPECT_EQ(table.reports().front().ledger.accepted, 2u);
  EXPECT_EQ(table.reports().back().topic, "");
  EXPECT_EQ(table.reports().back().ledger.accepted, 3u);
}

TEST(FlowReportTableTest, EndedFlowsThatAreNotToldApartStillNameTheNodes) {
  constexpr size_t kMost = FlowReportTable::kEndedMax;
  FlowReportTable table;
  for (size_t i = 0; i < kMost; ++i) {
    table.FoldEnded(Report(std::to_string(i), 1));
  }
  const auto between = [](size_t node) {
    FlowReport report = Report("new", 1);
    report.publisher_node = "one";
    report.subscriber_node = std::to_string(node);
    return report;
  };
  for (size_t round = 0; round < 2; ++round) {
    for (size_t node = 0; node < kMost; ++node) table.FoldEnded(between(node));
  }
  ASSERT_EQ(table.reports().size(), 2 * kMost);
  EXPECT_EQ(table.reports().back().publisher_node, "one");
  EXPECT_EQ(table.reports().back().subscriber_node, std::to_string(kMost - 1));
  EXPECT_EQ(table.reports().back().ledger.accepted, 2u);
  for (size_t node = kMost; node < kMost + 5; ++node) {
    table.FoldEnded(between(node));
  }
  ASSERT_EQ(table.reports().size(), 2 * kMost + 1);
  EXPECT_EQ(table.reports().back().publisher_node, "");
  EXPECT_EQ(table.reports().back().ledger.accepted, 5u);
}

TEST(FlowReportTableTest, LedgerOfANewFlowIsEmpty) {
  FlowReportTable table;
  EXPECT_EQ(table.LedgerOf(Report("a", 5)).accepted, 0u);
  table.LedgerOf(Report("a", 5)).accepted = 7;
  EXPECT_EQ(std::move(table).Release().at(0).ledger.accepted, 7u);
}

}  // namespace
}  // namespace mycelium
