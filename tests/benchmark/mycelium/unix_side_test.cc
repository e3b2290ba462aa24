#include "tests/benchmark/mycelium/unix_side.h"

#include "gtest/gtest.h"

namespace mycelium::bench {
namespace {

// A side whose bus was never opened.
class UnixSideTest : public testing::Test {
 protected:
  ControlBlock control_ = {};
  UsageMeter meter_;
  UnixShared shared_ = {};
  Stage stage_{/*role=*/0,       /*roles=*/1, &control_,
               &meter_,          &shared_,    /*samples=*/nullptr,
               /*samples_max=*/0};
  const Case what_;
  UnixSide side_{stage_, what_, PollMode::kCaller};
};

TEST_F(UnixSideTest, WaitEndsWhenItsConditionHolds) {
  int looks = 0;
  EXPECT_EQ(side_.Until([&] { return ++looks > 0; }), absl::OkStatus());
  EXPECT_EQ(looks, 1);
}

TEST_F(UnixSideTest, FailureOfTheLastMessageIsNotLost) {
  const absl::Status failure = absl::DataLossError("messages out of order");
  EXPECT_EQ(side_.Until([&] {
    side_.Fail(failure);  // As a handler does, which counts afterwards.
    return true;
  }),
            failure);
  EXPECT_EQ(side_.Until([] { return true; }), failure);
}

TEST_F(UnixSideTest, WaitEndsWhenTheOtherSideGivesUp) {
  control_.aborted = true;
  EXPECT_EQ(side_.Until([] { return false; }).code(),
            absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace mycelium::bench
