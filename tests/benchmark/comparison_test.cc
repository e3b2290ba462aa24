#include "tests/benchmark/comparison.h"

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace mycelium::bench {
namespace {

// Gives the answers that it was given, one for each run; the last answer stays.
class ScriptedSystem final : public System {
 public:
  ScriptedSystem(std::string name, std::vector<RoundResult> script)
      : name_(std::move(name)), script_(script.begin(), script.end()) {}

  std::string name() const override { return name_; }
  std::string variant() const override { return name_ + "-variant"; }
  bool Supports(const Case&) const override { return true; }
  absl::StatusOr<RoundResult> Run(const Case&, const CpuPair&) override {
    ++runs;
    if (!status.ok()) return status;
    RoundResult result = script_.front();
    if (script_.size() > 1) script_.pop_front();
    return result;
  }

  int runs = 0;
  absl::Status status;

 private:
  const std::string name_;
  std::deque<RoundResult> script_;
};

Comparison::Probe Probes(std::vector<double> values) {
  auto left =
      std::make_shared<std::deque<double>>(values.begin(), values.end());
  return [left] {
    const double value = left->front();
    if (left->size() > 1) left->pop_front();
    return value;
  };
}

RoundResult Latency(int64_t ns) {
  RoundResult result;
  result.latencies_ns = {ns};
  result.messages = 2;
  result.elapsed_ns = 1'000'000;
  return result;
}

RoundResult Flood(int64_t elapsed_ns) {
  RoundResult result;
  result.messages = 1000;
  result.elapsed_ns = elapsed_ns;
  return result;
}

class ComparisonTest : public testing::Test {
 protected:
  std::vector<Row> RunRounds(int rounds, ScriptedSystem* floor,
                             ScriptedSystem* candidate, Case what = {}) {
    options_.rounds = rounds;
    comparison_ = std::make_unique<Comparison>(options_, probe_);
    comparison_->AddContest({floor, what}, {{candidate, what}});
    comparison_->Run([](const std::string&) {});
    return comparison_->Rows(comparison_->main_class());
  }

  ComparisonOptions options_;
  Comparison::Probe probe_ = Probes({60});
  std::unique_ptr<Comparison> comparison_;
};

TEST_F(ComparisonTest, RatioAndDifferenceAreTakenPerRoundBeforeTheMedian) {
  // The ratios are 2, 1.5, 1.1 and the differences 100, 150, 100. The medians
  // of the times are 450 and 300; their difference, 150, is not the median
  // difference.
  ScriptedSystem floor("floor", {Latency(100), Latency(300), Latency(1000)});
  ScriptedSystem candidate("x", {Latency(200), Latency(450), Latency(1100)});
  const std::vector<Row> rows = RunRounds(3, &floor, &candidate);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].system, "floor");
  EXPECT_FALSE(rows[0].floor_ratio.has_value());
  EXPECT_EQ(rows[1].floor, "floor-variant");
  EXPECT_EQ(rows[1].p50_ns, 450);
  EXPECT_EQ(rows[1].max_ns, 1100);
  EXPECT_EQ(rows[1].floor_ratio, 1.5);
  EXPECT_EQ(rows[1].over_floor_ns, 100);
  EXPECT_EQ(rows[1].rounds, 3);
}

TEST_F(ComparisonTest, FloodComparesRatesAndHasNoDifference) {
  Case what;
  what.mode = Mode::kFlood;
  ScriptedSystem floor("floor", {Flood(1000)});
  ScriptedSystem candidate("x", {Flood(2000)});
  const std::vector<Row> rows = RunRounds(1, &floor, &candidate, what);
  EXPECT_EQ(rows[1].msgs_per_s, 5e8);
  EXPECT_EQ(rows[1].floor_ratio, 0.5);
  EXPECT_FALSE(rows[1].over_floor_ns.has_value());
  EXPECT_FALSE(rows[1].p50_ns.has_value());
}

TEST_F(ComparisonTest, MeansOfSeveralMessagesHaveNoTail) {
  RoundResult means = Latency(90);
  means.messages_per_sample = 2;
  ScriptedSystem floor("floor", {Latency(60)});
  ScriptedSystem candidate("x", {means});
  const std::vector<Row> rows = RunRounds(1, &floor, &candidate);
  EXPECT_EQ(rows[0].p99_ns, 60);
  EXPECT_EQ(rows[1].p50_ns, 90);
  EXPECT_EQ(rows[1].floor_ratio, 1.5);
  EXPECT_FALSE(rows[1].p99_ns.has_value());
  EXPECT_FALSE(rows[1].p999_ns.has_value());
  EXPECT_FALSE(rows[1].max_ns.has_value());
}

TEST_F(ComparisonTest, LateWakesAreThoseOfRoundsThatCount) {
  RoundResult late = Latency(90);
  late.late_wakes = 2;
  probe_ = Probes({60, 60, 60, 240});
  ScriptedSystem floor("floor", {Latency(60), Latency(60)});
  ScriptedSystem candidate("x", {late, late});
  (void)RunRounds(2, &floor, &candidate);
  EXPECT_EQ(comparison_->tally().late_wakes, 2);
}

TEST_F(ComparisonTest, ClassesAreNeverMixed) {
  probe_ = Probes({60, 60, 240, 240, 60, 60});
  ScriptedSystem floor("floor", {Latency(60), Latency(240), Latency(62)});
  ScriptedSystem candidate("x", {Latency(80), Latency(400), Latency(90)});
  const std::vector<Row> near = RunRounds(3, &floor, &candidate);
  EXPECT_EQ(comparison_->main_class(), FloorClass::kNear);
  EXPECT_EQ(near[1].rounds, 2);
  EXPECT_EQ(near[1].max_ns, 90);
  const std::vector<Row> far = comparison_->Rows(FloorClass::kFar);
  EXPECT_EQ(far[1].rounds, 1);
  EXPECT_EQ(far[1].p50_ns, 400);
}

TEST_F(ComparisonTest, RoundDuringWhichTheClassChangedCountsForNeither) {
  probe_ = Probes({60, 240, 240, 240});
  ScriptedSystem floor("floor", {Latency(60), Latency(240)});
  ScriptedSystem candidate("x", {Latency(400), Latency(401)});
  const std::vector<Row> rows = RunRounds(2, &floor, &candidate);
  EXPECT_EQ(comparison_->tally().changed_rounds, 1);
  EXPECT_EQ(comparison_->tally().far_rounds, 1);
  EXPECT_EQ(comparison_->tally().near_rounds, 0);
  EXPECT_EQ(rows[1].p50_ns, 401);
}

TEST_F(ComparisonTest, DisturbedRunIsDroppedCountedAndRepeated) {
  RoundResult disturbed = Latency(9999);
  disturbed.foreign_ns = disturbed.elapsed_ns;
  ScriptedSystem floor("floor", {Latency(60)});
  ScriptedSystem candidate("x", {disturbed, disturbed, Latency(90)});
  const std::vector<Row> rows = RunRounds(1, &floor, &candidate);
  EXPECT_EQ(comparison_->tally().dropped_runs, 2);
  EXPECT_EQ(comparison_->tally().dropped_rounds, 0);
  EXPECT_EQ(rows[1].p50_ns, 90);
}

TEST(DisturbedTest, WhatIsAllowedDependsOnHowTheCaseWaits) {
  RoundResult result;
  result.elapsed_ns = 100'000'000;
  Case what;
  what.wait = Wait::kSpin;
  result.foreign_ns = 3'000'000;
  EXPECT_TRUE(Disturbed(what, result));
  what.wait = Wait::kBlock;
  EXPECT_FALSE(Disturbed(what, result));
  result.foreign_ns = 30'000'000;
  EXPECT_TRUE(Disturbed(what, result));
  what.transport = "grpc";
  EXPECT_FALSE(Disturbed(what, result));
  result.foreign_ns = 50'000'000;
  EXPECT_TRUE(Disturbed(what, result));
}

TEST_F(ComparisonTest, RoundThatStaysDisturbedHasNoFigures) {
  RoundResult disturbed = Latency(9999);
  disturbed.foreign_ns = disturbed.elapsed_ns;
  ScriptedSystem floor("floor", {Latency(60)});
  ScriptedSystem candidate("x", {disturbed});
  options_.repetitions_max = 2;
  const std::vector<Row> rows = RunRounds(1, &floor, &candidate);
  EXPECT_EQ(candidate.runs, 3);
  EXPECT_EQ(comparison_->tally().dropped_rounds, 1);
  EXPECT_FALSE(rows[1].p50_ns.has_value());
  EXPECT_EQ(rows[1].rounds, 0);
}

TEST_F(ComparisonTest, ErrorIsNamedAndCostsTheRound) {
  ScriptedSystem floor("floor", {Latency(60)});
  ScriptedSystem candidate("x", {Latency(90)});
  candidate.status = absl::UnavailableError("no peer");
  RunRounds(1, &floor, &candidate);
  ASSERT_EQ(comparison_->tally().errors.size(), 1u);
  EXPECT_NE(comparison_->tally().errors[0].find("no peer"), std::string::npos);
  EXPECT_EQ(comparison_->tally().dropped_rounds, 1);
}

TEST_F(ComparisonTest, FiguresPerMessageAreAbsentWhenNotCounted) {
  RoundResult counted = Latency(90);
  counted.messages = 4;
  counted.allocations = 8;
  counted.cpu_ns = 100;
  ScriptedSystem floor("floor", {Latency(60)});
  ScriptedSystem candidate("x", {counted});
  const std::vector<Row> rows = RunRounds(1, &floor, &candidate);
  EXPECT_EQ(rows[1].allocations_per_msg, 2);
  EXPECT_EQ(rows[1].cpu_ns_per_msg, 25);
  EXPECT_FALSE(rows[1].syscalls_per_msg.has_value());
  EXPECT_FALSE(rows[0].allocations_per_msg.has_value());
}

TEST_F(ComparisonTest, CandidateWithoutAFloorIsMeasuredAlone) {
  ScriptedSystem candidate("x", {Latency(90)});
  const std::vector<Row> rows = RunRounds(1, nullptr, &candidate);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].p50_ns, 90);
  EXPECT_EQ(rows[0].floor, "");
  EXPECT_FALSE(rows[0].floor_ratio.has_value());
}

TEST(ClassOfTest, FarBeginsAtTheLimit) {
  EXPECT_EQ(ClassOf(129.9), FloorClass::kNear);
  EXPECT_EQ(ClassOf(130), FloorClass::kFar);
}

}  // namespace
}  // namespace mycelium::bench
