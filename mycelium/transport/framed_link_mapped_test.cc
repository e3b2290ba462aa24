// What becomes of lanes that the peer maps, from one connection to the next.
#include <memory>
#include <vector>

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

// Whose handler is slow, and who has not died of anything.
TEST_F(FramedLinkMappedTest,
       LanesThatBeginAnewForTheSameProcessSuspectNothing) {
  FrameHeader poison;
  for (int changes = 0; changes < 3; ++changes) {
    Connect(/*resumes=*/true, /*shares=*/false);
    EXPECT_GT(lane_->redelivered_until(), 1u) << "they went on";
    EXPECT_FALSE(lane_->TakePoison(/*redeliveries_max=*/0, &poison));
    Connect(/*resumes=*/true, /*shares=*/true);
    link_->AdoptLane(*lane_, 1);
  }
  ++incarnation_;
  Connect(/*resumes=*/false, /*shares=*/true);
  EXPECT_TRUE(lane_->TakePoison(/*redeliveries_max=*/0, &poison));
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

// A handler of ours is at work, so the end of the connection is not told yet.
TEST_F(FramedLinkMappedTest, NothingIsResumedOnceALieIsFound) {
  PeerOpensLane();
  handler_.busy_lane = 9;
  PeerPublishes(100);
  handler_.goes_down = true;
  wire_.handler->OnClosed(absl::UnavailableError("the test has cut it"));
  ASSERT_TRUE(link_->is_draining());
  v1::Hello before;
  link_->FillResume(&before);
  ASSERT_TRUE(link_->IsResume(before));
  lane_->ring_positions().released.store(3);
  EXPECT_EQ(lane_->released(), 0u);
  RunAt(clock_.now);
  EXPECT_FALSE(link_->IsResume(before));
  v1::Hello after;
  link_->FillResume(&after);
  EXPECT_EQ(after.resume_incarnation(), 0u);
  // What came over the socket is still handed out.
  EXPECT_TRUE(link_->is_draining());
  const size_t before_end = handler_.calls.size();
  handler_.busy_lane.reset();
  link_->Resume();
  RunAt(clock_.now);
  EXPECT_FALSE(link_->is_draining());
  EXPECT_EQ(handler_.calls.substr(before_end), "f");
}

class NoDrops final : public DropSink {
 public:
  void OnDrop(const FrameView&, DropReason) override { ADD_FAILURE(); }
};

// What was moved to be sent is not where a peer that maps the lane reads.
TEST_F(FramedLinkMappedTest, LossyLaneThatHasBegunToBeSentIsSent) {
  Lane::Options options;
  options.capacity_bytes = kLaneBytes;
  options.lossy.emplace();
  options.lossy->depth = 4;
  options.window = 2;
  options.drop_sink = std::make_shared<NoDrops>();
  const std::shared_ptr<Lane> lossy = *link_->OpenLane(2, options);
  ASSERT_NE(lossy->shared(), nullptr);
  Connect(/*resumes=*/false, /*shares=*/false);
  link_->AdoptLane(*lane_, 1);
  link_->AdoptLane(*lossy, 2);
  // So much is under way that little waits, and is not announced yet.
  for (int i = 0; i < 3; ++i) Publish(*lane_, 8 * 1024);
  Publish(*lossy, 64);
  wire_.TakeRecords();
  Connect(/*resumes=*/true, /*shares=*/true);
  EXPECT_FALSE(lossy->mapped());
  bool is_sent = false;
  for (const Wire::Record& record : wire_.TakeRecords()) {
    is_sent |= record.kind == RecordKind::kData && record.lane == lossy->id();
  }
  EXPECT_TRUE(is_sent);
}

// The one that it was made for is gone, and who gets it is not known yet.
TEST_F(FramedLinkMappedTest, LaneThatIsMadeParkedIsNotAnnounced) {
  Lane::Options options;
  options.capacity_bytes = kLaneBytes;
  options.parked = true;
  const std::shared_ptr<Lane> lane = *link_->OpenLane(7, options);
  EXPECT_TRUE(lane->reader_away());
  v1::Control control;
  control.mutable_unmatched()->set_publisher(7);
  link_->SendControl(control);
  const auto opened = [&] {
    std::vector<uint32_t> subscriptions;
    for (const Wire::Record& record : wire_.TakeRecords()) {
      v1::Control said;
      if (record.kind == RecordKind::kControl &&
          said.ParseFromString(record.body) && said.has_lane_open()) {
        subscriptions.push_back(said.lane_open().subscription());
      }
    }
    return subscriptions;
  };
  EXPECT_TRUE(opened().empty());
  link_->AdoptLane(*lane, 9);
  EXPECT_EQ(opened(), std::vector<uint32_t>{9});
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
