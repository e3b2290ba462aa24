#include "mycelium/transport/framed_link.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/transport/framed_link_fixture.h"
#include "tests/support/notification.h"
#include "tests/support/sleeping_thread.h"

namespace mycelium {
namespace {

TEST_F(FramedLinkTest, EachFrameGoesAtOnceOnAnIdleLink) {
  for (Lane* const lane : {one_.get(), two_.get(), one_.get()}) {
    const uint64_t position = lane->committed();
    Publish(*lane, 64);
    EXPECT_EQ(wire_.sends, 1);
    const auto records = wire_.TakeRecords();
    ASSERT_EQ(records.size(), 1u);
    EXPECT_EQ(records[0].kind, RecordKind::kData);
    EXPECT_EQ(records[0].lane, lane->id());
    EXPECT_EQ(records[0].position, position);
    EXPECT_EQ(records[0].body.size(),
              AlignedFrameBytes(sizeof(FrameHeader) + 64));
  }
}

TEST_F(FramedLinkTest, FrameFollowsTheControlMessageThatWasQueuedBeforeIt) {
  // Who closes a lane holds the lock that who sends waits for.
  const std::shared_ptr<Lane> closing = Open(3);
  for (int i = 0; i < 2; ++i) {  // It is full, and nothing is on its way.
    Acknowledge(*closing, Publish(*closing, 30'000), /*handled=*/0);
  }
  test::Notification locked, go_on;
  closing->CallWhenRoom(30'000, [&] {
    locked.Notify();
    go_on.WaitForNotification();
  });
  std::thread closer([&] { link_->CloseLane(*closing, 0); });
  locked.WaitForNotification();
  wire_.TakeRecords();
  test::SleepingThread first([&] { Publish(*one_, 64); });
  first.AwaitSleep();  // Inside the gate, with nothing looked at yet.
  v1::Control control;
  control.mutable_unmatched()->set_publisher(7);
  link_->SendControl(control);
  Publish(*one_, 64);
  go_on.Notify();
  first.Join();
  closer.join();
  constexpr size_t kFrame = AlignedFrameBytes(sizeof(FrameHeader) + 64);
  size_t data_bytes = 0;
  bool is_said = false;
  for (const Wire::Record& record : wire_.TakeRecords()) {
    if (record.kind == RecordKind::kData && record.lane == one_->id()) {
      data_bytes += record.body.size();
      EXPECT_TRUE(is_said || data_bytes == kFrame);
    }
    is_said |= record.kind == RecordKind::kControl &&
               record.body == control.SerializeAsString();
  }
  EXPECT_TRUE(is_said);
  EXPECT_EQ(data_bytes, 2 * kFrame);
}

// How many control messages come before the last frame of a lane that is
// shared.
uint32_t StampOfLast(Lane& lane, uint64_t position) {
  FrameHeader header;
  std::memcpy(&header, lane.CommittedFrom(position).bytes.data(),
              sizeof header);
  return header.lost_before;
}

TEST_F(FramedLinkTest, ControlMessageThatIsDroppedKeepsFramesBackToo) {
  SharedByNobody memory;
  FramedLink::Options options = LinkOptions();
  options.transport = "shm";
  options.shared_memory = &memory;
  link_ = std::make_unique<FramedLink>(environment_, *loop_, options, handler_);
  v1::Hello hello;
  hello.set_incarnation(2);
  hello.set_shared_memory(true);
  wire_.takes = 0;  // The peer reads nothing.
  link_->Attach(std::make_shared<WireChannel>(wire_), hello, 0,
                /*shared_memory_offered=*/true);
  const std::shared_ptr<Lane> lane = Open(1);
  v1::Control large;
  large.mutable_canonical_text()->set_canonical_text(
      std::string(1'000'000, 't'));
  for (int i = 0; i < 70; ++i) link_->SendControl(large);
  const uint64_t before = lane->committed();
  Publish(*lane, 64);
  const uint64_t after = lane->committed();
  v1::Control dropped;
  dropped.mutable_unmatched()->set_publisher(7);
  link_->SendControl(dropped);
  Publish(*lane, 64);
  EXPECT_EQ(StampOfLast(*lane, after), StampOfLast(*lane, before) + 1);
  wire_.takes = ~size_t{0};
  wire_.handler->OnWritable();
  for (const Wire::Record& record : wire_.TakeRecords()) {
    EXPECT_NE(record.body, dropped.SerializeAsString());
  }
}

TEST_F(FramedLinkTest, FrameThatIsHalfSentGoesOnFirst) {
  wire_.takes = 30;  // The header of the record, and a little.
  Publish(*one_, 64);
  EXPECT_EQ(wire_.sent.size(), 30u);
  Publish(*two_, 64);
  EXPECT_EQ(wire_.sent.size(), 30u);
  wire_.takes = ~size_t{0};
  wire_.handler->OnWritable();
  const auto records = wire_.TakeRecords();
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].lane, one_->id());
  EXPECT_EQ(records[1].lane, two_->id());
}

TEST_F(FramedLinkTest, FramesOnBothSidesOfTheWrapGoInTwoRecords) {
  while (one_->committed() + 16 * 1024 < kLaneBytes) {
    Acknowledge(*one_, Publish(*one_, 8 * 1024));
  }
  wire_.TakeRecords();
  wire_.takes = 0;
  const uint64_t before = Publish(*one_, 8);
  Publish(*one_, 16 * 1024);  // Behind a pad.
  wire_.takes = ~size_t{0};
  wire_.handler->OnWritable();
  const auto records = wire_.TakeRecords();
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].position + records[0].body.size(), before);
  EXPECT_EQ(records[1].position, kLaneBytes);
}

TEST_F(FramedLinkTest, LittleWaitsWhileMuchIsUnderWay) {
  const uint64_t sent = Publish(*one_, 16 * 1024);
  EXPECT_EQ(wire_.TakeRecords().size(), 1u);
  Publish(*one_, 64);
  Publish(*two_, 64);
  EXPECT_EQ(wire_.sends, 0);
  // What has waited goes with it, of all lanes.
  Acknowledge(*one_, sent);
  const auto records = wire_.TakeRecords();
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].lane, one_->id());
  EXPECT_EQ(records[1].lane, two_->id());
  Publish(*two_, 64);
  EXPECT_EQ(wire_.TakeRecords().size(), 1u) << "little is under way again";
}

TEST_F(FramedLinkTest, MuchGoesHoweverMuchIsUnderWay) {
  Publish(*one_, 16 * 1024);
  wire_.TakeRecords();
  for (int round = 0; round < 2; ++round) {
    size_t waiting = 0;
    while (waiting + 2048 < 32 * 1024) {
      Publish(*two_, 2048 - sizeof(FrameHeader));
      waiting += 2048;
      ASSERT_EQ(wire_.sends, 0) << waiting << " bytes";
    }
    Publish(*two_, 2048 - sizeof(FrameHeader));
    size_t bytes = 0;
    for (const Wire::Record& record : wire_.TakeRecords()) {
      bytes += record.body.size();
    }
    EXPECT_EQ(bytes, 32u * 1024);
    // So that as much is under way as before.
    Acknowledge(*two_, two_->committed());
  }
}

TEST_F(FramedLinkTest, AcknowledgementsThatRodeAlongAreNotFollowedByOthers) {
  PeerOpensLane();
  const TimeNs start = clock_.now;
  PeerPublishes(100);  // Sets a timer.
  RunAt(start + kAckDelayNs / 2);
  PeerPublishes(2048);
  Publish(*one_, 8);
  auto records = wire_.TakeRecords();
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].kind, RecordKind::kAck);
  PeerPublishes(100);
  RunAt(start + kAckDelayNs);
  EXPECT_EQ(wire_.sends, 0) << "that frame has not waited for so long";
  RunAt(start + kAckDelayNs + kAckDelayNs / 2);
  records = wire_.TakeRecords();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].kind, RecordKind::kAck);
}

// Whoever handles them may keep things as they are from frame to frame.
TEST_F(FramedLinkTest, NothingElseHappensWithinARowOfFramesUnannounced) {
  PeerOpensLane();
  const uint64_t sent = Publish(*one_, 20 * 1024);
  Publish(*one_, 20 * 1024);
  Publish(*one_, 20 * 1024);
  v1::Control unsubscribe;
  unsubscribe.mutable_unsubscribe()->set_subscription(1);
  const std::string control = unsubscribe.SerializeAsString();
  one_->CallWhenRoom(16 * 1024, [&] { handler_.calls += 'r'; });
  handler_.calls.clear();
  wire_.Together([&] {
    PeerPublishes(100);
    PeerPublishes(100);
    wire_.Deliver(MakeRecordHeader(RecordKind::kControl, control.size()),
                  control);
    PeerPublishes(100);
    Acknowledge(*one_, sent);
  });
  EXPECT_EQ(handler_.calls, "(ff|cf|r)");
  handler_.calls.clear();
  PeerPublishes(100);
  EXPECT_EQ(handler_.calls, "(f)");
}

}  // namespace
}  // namespace mycelium
