#include "mycelium/bus/flow_watch.h"

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/base/event_loop_fakes.h"
#include "tests/support/driven_clock.h"

namespace mycelium {
namespace {

class FlowWatchTest : public ::testing::Test {
 protected:
  // The flow has dropped so many in all, and the watch looks.
  void Dropped(uint64_t messages) {
    FlowReport report;
    report.topic = "t";
    report.ledger.accepted = messages;
    report.ledger.dropped[static_cast<size_t>(DropReason::kSubscriberGone)] =
        messages;
    reports_ = {report};
    watch_.NoteDrop();
    loop_->RunOnce(kNever, 0);
  }

  test::DrivenClock clock_;
  test::DrivenWaiter waiter_{clock_};
  Environment environment_{Sys::Real(), clock_, waiter_};
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create(environment_);
  std::vector<FlowReport> reports_;
  std::vector<uint64_t> told_;
  int lines_ = 0;
  FlowWatch watch_{
      environment_, *loop_, [this] { return reports_; },
      [this](const FlowEvent& event) { told_.push_back(event.messages); },
      [this](LogLevel, absl::string_view) { ++lines_; }};
};

TEST_F(FlowWatchTest, WhatWasDroppedSinceTheLastLookIsTold) {
  Dropped(5);
  Dropped(7);
  EXPECT_EQ(told_, std::vector<uint64_t>({5, 2}));
  EXPECT_EQ(lines_, 2);
}

TEST_F(FlowWatchTest, LookPausesASecondBeforeTheNext) {
  Dropped(1);
  const TimeNs first = clock_.now;
  Dropped(2);
  EXPECT_EQ(clock_.now, first + 1'000'000'000);
}

TEST_F(FlowWatchTest, FlowThatBeginsAnewIsCountedFromNothing) {
  Dropped(5);
  // Of the same names, after the flow was forgotten.
  Dropped(2);
  Dropped(3);
  EXPECT_EQ(told_, std::vector<uint64_t>({5, 2, 1}));
}

TEST_F(FlowWatchTest, WhatWasToldOfAFlowIsNotToldAgainWhereItIsAddedToOthers) {
  Dropped(5);
  FlowReport others;
  others.transport = "others";
  others.ledger.dropped[static_cast<size_t>(DropReason::kSubscriberGone)] = 7;
  reports_ = {others};
  watch_.NoteDrop();
  loop_->RunOnce(kNever, 0);
  EXPECT_EQ(told_, std::vector<uint64_t>({5, 2}));
}

}  // namespace
}  // namespace mycelium
