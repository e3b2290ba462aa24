// What becomes of lanes that the peer maps, from one connection to the next.
#include <memory>

#include "gtest/gtest.h"
#include "mycelium/transport/framed_link_fixture.h"

namespace mycelium {
namespace {

class FramedLinkMappedTest : public FramedLinkTest {
 protected:
  FramedLinkMappedTest() {
    FramedLink::Options options = LinkOptions();
    options.transport = "shm";
    options.shared_memory = &memory_;
    link_ =
        std::make_unique<FramedLink>(environment_, *loop_, options, handler_);
    Connect(/*resumes=*/false, /*shares=*/true);
    lane_ = Open(1);
    Publish(*lane_, 64);
    wire_.TakeRecords();
  }

  // The same process as ever, unless incarnation_ says another one.
  void Connect(bool resumes, bool shares) {
    v1::Hello hello;
    hello.set_incarnation(incarnation_);
    hello.set_shared_memory(shares);
    hello.set_resume_incarnation(resumes ? 1 : 0);
    hello.set_lanes_shared(says_lanes_were_shared_);
    hello.add_resume()->set_lane(1);
    hello.mutable_resume(0)->set_received(received_);
    hello.mutable_resume(0)->set_handled(0);
    link_->Attach(std::make_shared<WireChannel>(wire_), hello,
                  resumes ? incarnation_ : 0,
                  /*shared_memory_offered=*/shares);
  }

  SharedByNobody memory_;
  std::shared_ptr<Lane> lane_;
  uint64_t received_ = 0;
  uint64_t incarnation_ = 2;
  bool says_lanes_were_shared_ = false;
};

// Its word was on the connection that broke.
TEST_F(FramedLinkMappedTest, RoomThatAPeerMadeWhileItWasAwayIsToldOf) {
  while (lane_->HasRoom(16 * 1024)) Publish(*lane_, 8 * 1024);
  bool is_told = false;
  lane_->CallWhenRoom(16 * 1024, [&] { is_told = true; });
  link_->Detach();
  EXPECT_FALSE(is_told);
  lane_->ring_positions().released.store(lane_->committed());
  EXPECT_FALSE(is_told);
  Connect(/*resumes=*/true, /*shares=*/true);
  EXPECT_TRUE(is_told);
}

// What the peer has of it came over the socket, and so does the rest.
TEST_F(FramedLinkMappedTest, LaneThatIsSentToAProcessIsNotMappedByIt) {
  EXPECT_TRUE(lane_->mapped());
  Connect(/*resumes=*/false, /*shares=*/false);
  link_->AdoptLane(*lane_, 1);
  EXPECT_FALSE(lane_->mapped());
  ASSERT_EQ(wire_.TakeRecords().back().kind, RecordKind::kData);
  received_ = lane_->committed();
  Connect(/*resumes=*/true, /*shares=*/true);
  EXPECT_FALSE(lane_->mapped());
  wire_.TakeRecords();
  Publish(*lane_, 64);
  const auto records = wire_.TakeRecords();
  ASSERT_FALSE(records.empty());
  EXPECT_EQ(records.back().kind, RecordKind::kData);
  EXPECT_EQ(records.back().position, received_);
}

// Who found that out was another thread, and the loop comes to it later.
TEST_F(FramedLinkMappedTest, WhatTheLastProcessStoredIsNotTheNextOnesFault) {
  lane_->ring_positions().released.store(3);
  EXPECT_EQ(lane_->released(), 0u);
  EXPECT_TRUE(lane_->is_corrupt());
  incarnation_ = 3;
  Connect(/*resumes=*/false, /*shares=*/true);
  RunAt(clock_.now);
  EXPECT_TRUE(link_->is_up());
  EXPECT_FALSE(lane_->is_corrupt());
  // Its own is.
  handler_.goes_down = true;
  link_->AdoptLane(*lane_, 1);
  lane_->ring_positions().released.store(5);
  EXPECT_EQ(lane_->released(), 0u);
  RunAt(clock_.now);
  EXPECT_FALSE(link_->is_up());
}

// Whoever it was told to before is gone, with the lane.
TEST_F(FramedLinkMappedTest, LaneThatHasEndedIsNotTheNextProcesssFault) {
  link_->CloseLane(*lane_, 0);
  lane_->ring_positions().released.store(3);
  EXPECT_EQ(lane_->released(), 0u);
  incarnation_ = 3;
  Connect(/*resumes=*/false, /*shares=*/true);
  RunAt(clock_.now);
  EXPECT_TRUE(link_->is_up());
}

// The peer, but not we, had a connection that shared memory.
TEST_F(FramedLinkMappedTest, LanesGoOnAtBothEndsOrAtNone) {
  Connect(/*resumes=*/false, /*shares=*/false);
  const int before = handler_.replaced;
  Connect(/*resumes=*/true, /*shares=*/false);
  EXPECT_EQ(handler_.replaced, before) << "nothing was shared";
  says_lanes_were_shared_ = true;
  Connect(/*resumes=*/true, /*shares=*/false);
  EXPECT_EQ(handler_.replaced, before + 1);
  Connect(/*resumes=*/true, /*shares=*/true);
  EXPECT_EQ(handler_.replaced, before + 1);
  v1::Hello ours;
  link_->FillResume(&ours);
  EXPECT_TRUE(ours.lanes_shared());
}

// Who waits for room in a lane may have it for longer than there is a link.
// What is read of that then only AddressSanitizer sees.
TEST_F(FramedLinkMappedTest, LaneOfALinkThatIsGoneReportsToNobody) {
  link_->Detach();
  link_->Forget();
  RunAt(clock_.now);
  link_ = nullptr;
  lane_->ring_positions().released.store(3);
  EXPECT_EQ(lane_->released(), 0u);
  RunAt(clock_.now);
}

}  // namespace
}  // namespace mycelium
