#include "mycelium/testing/driven_time.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/testing/ledger_check.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;

class DrivenTimeTest : public ::testing::Test {
 protected:
  DrivenTimeTest() {
    BusOptions options = time_.Options();
    options.on_flow = [this](const FlowEvent&) { told_at_ = time_.Elapsed(); };
    bus_ = *MessageBus::Create(options);
  }

  DrivenTime time_;
  std::unique_ptr<MessageBus> bus_;
  absl::Duration told_at_;
};

TEST_F(DrivenTimeTest, StandsStill) {
  const auto notes =
      bus_->Subscribe<Note>([](const Note&, const MessageInfo&) {});
  ASSERT_TRUE(notes.ok());
  auto publisher = bus_->Publisher<Note>();
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(publisher->Publish(Note()).ok());
  EXPECT_EQ(time_.Elapsed(), absl::ZeroDuration());
  EXPECT_EQ(CheckAllDelivered({bus_.get()}), absl::OkStatus());
}

TEST_F(DrivenTimeTest, WhoWaitsInVainIsAtTheEndOfIt) {
  auto notes = bus_->Subscriber<Note>();
  EXPECT_EQ(notes->Receive(absl::Minutes(1)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(time_.Elapsed(), absl::Minutes(1));
}

TEST_F(DrivenTimeTest, WhatIsThereIsNotWaitedFor) {
  auto notes = bus_->Subscriber<Note>();
  auto publisher = bus_->Publisher<Note>();
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  ASSERT_TRUE(notes->Receive(absl::Minutes(1)).ok());
  notes->Finish();
  EXPECT_EQ(time_.Elapsed(), absl::ZeroDuration());
  EXPECT_EQ(CheckAllDelivered({bus_.get()}), absl::OkStatus());
}

TEST_F(DrivenTimeTest, PublisherGivesUpInNoTime) {
  auto notes = bus_->Subscriber<Note>();
  PublisherOptions patient;
  patient.publish_timeout = absl::Seconds(20);
  auto publisher = bus_->Publisher<Note>(patient);
  absl::Status sent;
  while (sent.ok()) sent = publisher->Publish(Note());
  EXPECT_EQ(sent.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(time_.Elapsed(), absl::Seconds(20));
  ASSERT_TRUE(bus_->Poll(absl::Seconds(2)).ok());
  EXPECT_GE(told_at_, absl::Seconds(20));  // That it has stalled.
  EXPECT_EQ(CheckLedger({bus_.get()}), absl::OkStatus());
}

TEST_F(DrivenTimeTest, IsWhatMessagesSayOfWhenTheyWerePublished) {
  std::vector<absl::Time> times;
  const auto notes =
      bus_->Subscribe<Note>([&times](const Note&, const MessageInfo& info) {
        times.push_back(absl::FromUnixNanos(info.publish_time_ns()));
      });
  ASSERT_TRUE(notes.ok());
  PublisherOptions stamps;
  stamps.publish_time = true;
  auto publisher = bus_->Publisher<Note>(stamps);
  const absl::Time begin = time_.Now();
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  time_.Advance(absl::Minutes(1));
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  EXPECT_EQ(times, (std::vector<absl::Time>{begin, begin + absl::Minutes(1)}));
  EXPECT_EQ(time_.Elapsed(), absl::Minutes(1));
}

}  // namespace
}  // namespace mycelium
