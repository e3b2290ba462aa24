#include "tests/benchmark/contests.h"

#include <cmath>
#include <limits>
#include <utility>

#include "gtest/gtest.h"

namespace mycelium::bench {
namespace {

// Supports one transport, and only raw bytes.
class OneTransport final : public System {
 public:
  OneTransport(std::string name, std::string variant, std::string transport)
      : name_(std::move(name)),
        variant_(std::move(variant)),
        transport_(std::move(transport)) {}

  std::string name() const override { return name_; }
  std::string variant() const override { return variant_; }
  bool Supports(const Case& what) const override {
    return what.transport == transport_ && what.kind == Kind::kRaw;
  }
  absl::StatusOr<RoundResult> Run(const Case&, const CpuPair&) override {
    return absl::UnimplementedError("");
  }

 private:
  const std::string name_, variant_, transport_;
};

class ContestsTest : public testing::Test {
 protected:
  ContestsTest() {
    floors_.push_back(
        std::make_unique<OneTransport>("floor", "handover", "shm"));
    second_floors_.push_back(
        std::make_unique<OneTransport>("floor", "tcp", "shm"));
    for (const char* variant : {"caller", "thread"}) {
      candidates_.push_back(
          std::make_unique<OneTransport>("mycelium", variant, "shm"));
    }
    request_.transports = {"shm"};
    request_.sizes = {"64"};
    request_.modes = {"latency", "flood"};
    request_.kinds = {"raw", "protobuf"};
    request_.waits = {"spin"};
    request_.rounds = 5;
    request_.run_ms = 200;
    request_.open_rate = 10'000;
    request_.ring_bytes = 4096;
    request_.deadline_ms = 30'000;
  }

  absl::StatusOr<std::vector<Contest>> Contests() const {
    return ContestsOf(request_, floors_, second_floors_, candidates_);
  }
  absl::StatusCode Code() const { return Contests().status().code(); }

  // Whether the message of the refusal has `text`.
  testing::AssertionResult IsRefused(const std::string& text) const {
    const absl::Status status = Contests().status();
    if (status.code() == absl::StatusCode::kInvalidArgument &&
        status.message().find(text) != absl::string_view::npos) {
      return testing::AssertionSuccess();
    }
    return testing::AssertionFailure() << status;
  }

  Request request_;
  Systems floors_, second_floors_, candidates_;
};

TEST_F(ContestsTest, EachCaseHasItsFloorsAndCandidates) {
  const auto contests = Contests();
  ASSERT_TRUE(contests.ok()) << contests.status();
  ASSERT_EQ(contests->size(), 2u);  // One a mode.
  for (const Contest& contest : *contests) {
    EXPECT_EQ(contest.floor.system, floors_[0].get());
    ASSERT_EQ(contest.candidates.size(), 3u);
    EXPECT_EQ(contest.candidates[0].system->variant(), "tcp");
    EXPECT_EQ(contest.candidates[1].system->variant(), "caller");
    EXPECT_EQ(contest.candidates[2].system->variant(), "thread");
  }
}

TEST_F(ContestsTest, FloorRunsFloorsOfAllTransportsAndNoCandidate) {
  request_.transports = {"floor"};
  const auto contests = Contests();
  ASSERT_TRUE(contests.ok()) << contests.status();
  for (const Contest& contest : *contests) {
    EXPECT_EQ(contest.candidates.size(), 1u);
  }
}

TEST_F(ContestsTest, UnknownWordsAreRefused) {
  const Request good = request_;
  for (Words Request::*flag :
       {&Request::transports, &Request::sizes, &Request::modes, &Request::kinds,
        &Request::waits, &Request::variants}) {
    request_ = good;
    (request_.*flag).push_back("shmem");
    EXPECT_TRUE(IsRefused("\"shmem\""));
  }
}

TEST_F(ContestsTest, VariantOfNoCandidateThatIsMeasuredIsRefused) {
  request_.variants = {"caller"};
  const auto contests = Contests();
  ASSERT_TRUE(contests.ok()) << contests.status();
  EXPECT_EQ(contests->front().candidates.size(), 2u);
  request_.variants = {"tcp"};  // A floor is there in any case.
  EXPECT_TRUE(IsRefused("variant \"tcp\""));
  request_.variants = {"caller"};
  request_.transports = {"floor"};
  EXPECT_TRUE(IsRefused("variant \"caller\""));
}

TEST_F(ContestsTest, NumbersOutOfTheirRangeAreRefused) {
  const Request good = request_;
  const std::vector<std::pair<int64_t Request::*, std::vector<int64_t>>> bad = {
      {&Request::rounds, {0, -1}},
      {&Request::messages, {-1}},
      {&Request::run_ms, {0, -1, 86'400'001}},
      {&Request::ring_bytes, {-1, 0, 4095, (1 << 30) + 1}},
      {&Request::deadline_ms, {0, -1, 86'400'001}},
      {&Request::soak, {-1}}};
  for (const auto& [flag, values] : bad) {
    for (const int64_t value : values) {
      request_ = good;
      request_.*flag = value;
      EXPECT_TRUE(IsRefused("is not a number from")) << value;
    }
  }
  request_ = good;
  for (const double rate :
       {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    request_.open_rate = rate;
    EXPECT_TRUE(IsRefused("--open_rate=")) << rate;
  }
  request_.open_rate = 1;
  request_.ring_bytes = 1 << 30;
  EXPECT_EQ(Code(), absl::StatusCode::kOk);
}

TEST_F(ContestsTest, SizesOutOfTheirRangeAreRefused) {
  for (const char* size : {"", "15", "-64", "67108865"}) {
    request_.sizes = {size};
    EXPECT_TRUE(IsRefused("size")) << size;
  }
}

TEST_F(ContestsTest, WhatNoSystemSupportsIsRefused) {
  request_.transports = {"grpc"};
  EXPECT_TRUE(IsRefused("no system supports"));
  request_.transports = {"shm"};
  request_.modes.clear();
  EXPECT_TRUE(IsRefused("no system supports"));
}

TEST_F(ContestsTest, SoakFloodsForAsLongAsItTakes) {
  request_.soak = 10'000'000;
  const auto contests = Contests();
  ASSERT_TRUE(contests.ok()) << contests.status();
  ASSERT_EQ(contests->size(), 1u);
  const Case& what = contests->front().candidates.back().what;
  EXPECT_EQ(what.mode, Mode::kFlood);
  EXPECT_EQ(what.messages, 10'000'000);
  EXPECT_EQ(what.warm_up, 100'000);
  EXPECT_EQ(what.deadline_ms, 200'000);
  request_.modes = {"latency"};
  EXPECT_TRUE(IsRefused("no system supports"));
}

TEST(CpusTest, FirstTwoOrTwoDifferentNumbers) {
  const auto first = CpusOf({}, {3, 5, 7});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->first, 3);
  EXPECT_EQ(first->second, 5);
  const auto named = CpusOf({"7", "3"}, {3, 5, 7});
  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_EQ(named->first, 7);
  EXPECT_EQ(named->second, 3);
  EXPECT_EQ(CpusOf({}, {3}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  for (const Words& words :
       {Words{"0", "one", "1"}, Words{"0", "0"}, Words{"0"}, Words{"-1", "0"},
        Words{"0", "1024"}}) {
    EXPECT_EQ(CpusOf(words, {0, 1}).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace mycelium::bench
