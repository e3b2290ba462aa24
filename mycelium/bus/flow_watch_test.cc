#include "mycelium/bus/flow_watch.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
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
  std::vector<FlowEvent> events_;
  int lines_ = 0;
  std::string text_;
  FlowWatch watch_{environment_, *loop_, [this] { return reports_; },
                   [this](const FlowEvent& event) {
                     told_.push_back(event.messages);
                     events_.push_back(event);
                   },
                   [this](LogLevel, absl::string_view line) {
                     ++lines_;
                     absl::StrAppend(&text_, line, "\n");
                   }};
};

TEST_F(FlowWatchTest, WhatWasDroppedSinceTheLastLookIsTold) {
  Dropped(5);
  Dropped(7);
  EXPECT_EQ(told_, std::vector<uint64_t>({5, 2}));
  EXPECT_EQ(lines_, 2);
}

TEST_F(FlowWatchTest, DropsAreToldWithTheSubscriberAndTheReason) {
  FlowReport lost;
  lost.topic = "t";
  lost.publisher_service = "feed";
  lost.subscriber_service = "brain";
  lost.subscription_name = "left half";
  lost.transport = "shm";
  lost.ledger.dropped[static_cast<size_t>(DropReason::kOverflow)] = 3;
  FlowReport unheard = lost;
  unheard.subscriber_service = unheard.subscription_name = "";
  unheard.ledger = Ledger();
  unheard.ledger.dropped[static_cast<size_t>(DropReason::kNoSubscriber)] = 1;
  FlowReport all_arrived = lost;
  all_arrived.topic = "u";
  all_arrived.ledger = Ledger();
  reports_ = {lost, unheard, all_arrived};
  watch_.NoteDrop();
  loop_->RunOnce(kNever, 0);
  ASSERT_EQ(events_.size(), 2u);
  EXPECT_EQ(events_[0].flow.subscriber_service, "brain");
  EXPECT_EQ(events_[0].flow.subscription_name, "left half");
  EXPECT_EQ(events_[0].reason, DropReason::kOverflow);
  EXPECT_EQ(events_[0].messages, 3u);
  EXPECT_EQ(events_[1].reason, DropReason::kNoSubscriber);
  EXPECT_EQ(text_,
            "topic \"t\", feed -> brain/left half (shm): 3 messages dropped: "
            "overflow; 3 in all\n"
            "topic \"t\", feed -> nobody (shm): 1 messages dropped: "
            "no_subscriber; 1 in all\n");
}

TEST_F(FlowWatchTest, PublisherToNobodyIsLoggedOnce) {
  FlowReport unheard;
  unheard.topic = "t";
  for (const uint64_t messages : {1, 3, 7}) {
    unheard.ledger.dropped[static_cast<size_t>(DropReason::kNoSubscriber)] =
        messages;
    reports_ = {unheard};
    watch_.NoteDrop();
    loop_->RunOnce(kNever, 0);
  }
  EXPECT_EQ(told_, std::vector<uint64_t>({1, 2, 4}));
  EXPECT_EQ(lines_, 1);
}

TEST_F(FlowWatchTest, LookPausesASecondBeforeTheNext) {
  Dropped(1);
  const TimeNs first = clock_.now;
  Dropped(2);
  EXPECT_EQ(clock_.now, first + 1'000'000'000);
}

TEST_F(FlowWatchTest, FlowThatBeginsAnewIsCountedFromNothing) {
  Dropped(5);
  // A flow of the same names, after the first was forgotten.
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
