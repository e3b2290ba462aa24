#include "tests/benchmark/report.h"

#include <string>
#include <utility>

#include "gtest/gtest.h"

namespace mycelium::bench {
namespace {

Report OneRow() {
  Report report;
  report.machine.cpu_model = "CPU \"X\"";
  report.machine.kernel = "Linux 6";
  report.tally.near_rounds = 5;
  report.tally.handover_ns = {60, 245, 70, 240, 250, 62};
  Row row;
  row.system = "mycelium";
  row.variant = "thread";
  row.rounds = 5;
  row.what.transport = "unix";
  row.p50_ns = 1234.5;
  row.floor = "socketpair";
  row.floor_ratio = 1.1;
  row.allocations_per_msg = 0;
  report.rows.push_back(row);
  return report;
}

TEST(ReportTest, JsonHasTheDocumentedFieldsInOrder) {
  EXPECT_EQ(
      ToJson(OneRow()),
      R"({"machine": {"cpu": "CPU \"X\"", "kernel": "Linux 6", )"
      R"("pinned_cpus": [0, 1], "floor_class": "near", "handover_ns": 62, )"
      R"("near_rounds": 5, "far_rounds": 0, "changed_rounds": 0, )"
      R"("dropped_rounds": 0, "dropped_runs": 0, "late_wakes": 0, "errors": 0, )"
      R"("other_class_rows": []}, "rows": [)"
      R"({"system": "mycelium", "variant": "thread", "transport": "unix", )"
      R"("kind": "raw", )"
      R"("mode": "latency", "wait": "spin", "bytes": 64, "p50_ns": 1234.5, )"
      R"("p99_ns": null, "p999_ns": null, "max_ns": null, )"
      R"("msgs_per_s": null, "floor": "socketpair", "floor_ratio": 1.1, )"
      R"("over_floor_ns": null, "allocations_per_msg": 0, )"
      R"("syscalls_per_msg": null, "cpu_ns_per_msg": null, "rounds": 5}]})"
      "\n");
}

TEST(ReportTest, RowWithoutAFloorNamesNone) {
  Report report = OneRow();
  report.rows[0].floor.clear();
  EXPECT_NE(ToJson(report).find(R"("floor": null)"), std::string::npos);
}

TEST(ReportTest, TextNamesTheMachineItsClassAndWhatWasLeftOut) {
  Report report = OneRow();
  report.tally.dropped_runs = 3;
  report.tally.late_wakes = 2;
  report.tally.errors = {"unix: no peer"};
  const std::string text = ToText(report);
  EXPECT_NE(text.find("Linux 6, pinned to CPUs 0 and 1, near (hand-over 62"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("3 disturbed runs"), std::string::npos) << text;
  EXPECT_NE(text.find("2 sleepers were told a second time"), std::string::npos)
      << text;
  EXPECT_NE(text.find("error: unix: no peer"), std::string::npos) << text;
  EXPECT_EQ(text.find("other class"), std::string::npos) << text;
}

class CarriesOneMessage final : public System {
 public:
  std::string name() const override { return "mycelium"; }
  std::string variant() const override { return "thread"; }
  bool Supports(const Case&) const override { return true; }
  absl::StatusOr<RoundResult> Run(const Case&, const CpuPair&) override {
    RoundResult result;
    result.latencies_ns = {100};
    result.messages = 1;
    result.elapsed_ns = 100;
    return result;
  }
};

// Of one round, before and after which a hand-over takes so long.
Report ReportBetween(double before_ns, double after_ns) {
  ComparisonOptions options;
  options.rounds = 1;
  bool is_after = false;
  Comparison comparison(options, [&] {
    return std::exchange(is_after, true) ? after_ns : before_ns;
  });
  CarriesOneMessage system;
  comparison.AddContest({}, {{&system, Case()}});
  comparison.Run([](const std::string&) {});
  return MakeReport(Machine(), CpuPair(), comparison);
}

TEST(ReportTest, RowOfWhichNoRoundCountsIsMissing) {
  const Report report = ReportBetween(60, 240);
  EXPECT_FALSE(report.is_complete());
  EXPECT_NE(ToText(report).find("no round counted: mycelium thread "),
            std::string::npos)
      << ToText(report);
}

TEST(ReportTest, RowOfAnyClassIsThere) {
  EXPECT_TRUE(ReportBetween(60, 60).is_complete());
  EXPECT_TRUE(ReportBetween(240, 240).is_complete());
  Report failed = ReportBetween(60, 60);
  failed.tally.errors = {"unix: no peer"};
  EXPECT_FALSE(failed.is_complete());
}

TEST(ReportTest, OnlyTheFirstFloorOfAContestBeginsABlock) {
  Report report;
  const auto add = [&](const char* system, const char* variant) {
    Row row;
    row.system = system;
    row.variant = variant;
    row.floor = "handover";
    report.rows.push_back(row);
  };
  add("floor", "handover");
  add("mycelium", "caller");
  add("floor", "codec");
  add("mycelium", "thread");
  add("floor", "handover");
  const std::string text = ToText(report);
  EXPECT_EQ(text.find("\n\nfloor      codec"), std::string::npos) << text;
  EXPECT_NE(text.find("\nfloor      codec"), std::string::npos) << text;
  EXPECT_NE(text.find("\n\nfloor      handover"), std::string::npos) << text;
}

TEST(ReportTest, RowsOfTheOtherClassStandApart) {
  Report report = OneRow();
  report.other_class_rows = report.rows;
  report.other_class_rows[0].p50_ns = 98'765;
  const std::string text = ToText(report);
  EXPECT_LT(text.find("1234"), text.find("other class"));
  EXPECT_GT(text.find("98.8k"), text.find("other class"));
}

}  // namespace
}  // namespace mycelium::bench
