// What becomes of a link's lanes when the peer cannot take them, or another
// process has taken its place.
#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/transport/framed_link_fixture.h"

namespace mycelium {
namespace {

TEST_F(FramedLinkTest, LaneDisconnectedWhileParkedTellsWhoAdoptsIt) {
  Publish(*one_, 64);
  v1::Hello hello;
  hello.set_incarnation(3);  // Another process.
  link_->Attach(std::make_shared<WireChannel>(wire_), hello, 0);
  link_->CloseLane(*one_, /*disconnected=*/1);
  link_->AdoptLane(*one_, 5);
  wire_.TakeRecords();
  Acknowledge(*one_, one_->committed());
  const auto records = wire_.TakeRecords();
  ASSERT_EQ(records.size(), 1u);
  v1::Control control;
  ASSERT_TRUE(control.ParseFromString(records[0].body));
  EXPECT_EQ(control.lane_closed().lane(), one_->id());
  EXPECT_EQ(control.lane_closed().disconnected_subscription(), 5u);
}

TEST_F(FramedLinkTest, LaneThatWasDisconnectedIsToldOfAgainAfterACut) {
  Publish(*one_, 64);
  link_->CloseLane(*one_, /*disconnected=*/1);
  PeerOpensLane();  // The peer is heard, so the link goes on with it.
  Acknowledge(*one_, one_->committed());
  handler_.goes_down = true;
  wire_.handler->OnClosed(absl::UnavailableError("cut"));
  wire_.TakeRecords();  // LaneClosed is lost.
  v1::Hello hello;
  hello.set_incarnation(2);
  hello.set_resume_incarnation(1);
  v1::LaneProgress& lane = *hello.add_resume();
  lane.set_lane(one_->id());
  lane.set_received(one_->committed());
  lane.set_handled(one_->committed());
  link_->Attach(std::make_shared<WireChannel>(wire_), hello, 2);
  std::vector<uint32_t> told;
  for (const Wire::Record& record : wire_.TakeRecords()) {
    v1::Control control;
    if (record.kind != RecordKind::kControl) continue;
    ASSERT_TRUE(control.ParseFromString(record.body));
    if (!control.has_lane_closed()) continue;
    EXPECT_EQ(control.lane_closed().lane(), one_->id());
    told.push_back(control.lane_closed().disconnected_subscription());
  }
  EXPECT_EQ(told, std::vector<uint32_t>{1});
}

TEST_F(FramedLinkTest, LaneOpenedWhileOthersAreParkedIsSentWhenItIsAdopted) {
  std::shared_ptr<Lane> opened;
  handler_.on_replaced = [&](Link& link) {
    opened = Open(7);
    link.ParkLane(*opened);
  };
  v1::Hello hello;
  hello.set_incarnation(3);
  link_->Attach(std::make_shared<WireChannel>(wire_), hello, 0);
  Publish(*opened, 64);
  EXPECT_TRUE(wire_.TakeRecords().empty());
  link_->AdoptLane(*opened, 9);
  const auto records = wire_.TakeRecords();
  ASSERT_EQ(records.size(), 2u);
  v1::Control control;
  ASSERT_TRUE(control.ParseFromString(records[0].body));
  EXPECT_EQ(control.lane_open().subscription(), 9u);
  EXPECT_EQ(records[1].lane, opened->id());
}

// It would be of subscriptions of the process that is gone.
TEST_F(FramedLinkTest, WhatIsSaidBeforeTheOwnerKnowsOfTheNextProcessIsNotSent) {
  handler_.on_replaced = [&](Link& link) {
    v1::Control control;
    control.mutable_matched()->set_subscription(1);
    link.SendControl(control);
  };
  v1::Hello hello;
  hello.set_incarnation(3);
  link_->Attach(std::make_shared<WireChannel>(wire_), hello, 0);
  EXPECT_TRUE(wire_.TakeRecords().empty());
  EXPECT_EQ(handler_.replaced, 2) << "by the first, and by this one";
}

// Which is asked what it is just before the link is up.
class AskedChannel final : public Channel {
 public:
  AskedChannel(Wire& wire, std::function<void()> when_asked)
      : channel_(wire), when_asked_(std::move(when_asked)) {}
  bool gathers() const override {
    when_asked_();
    return false;
  }
  void Start(Handler& handler) override { channel_.Start(handler); }
  absl::StatusOr<size_t> Send(absl::Span<const iovec> pieces) override {
    return channel_.Send(pieces);
  }
  void Close() override {}
  const std::string& peer_description() const override {
    return channel_.peer_description();
  }

 private:
  WireChannel channel_;
  const std::function<void()> when_asked_;
};

TEST_F(FramedLinkTest, LaneKnowsWheneverItIsOpenedWhetherItsReaderIsAway) {
  EXPECT_FALSE(one_->reader_away());
  link_->Detach();
  EXPECT_TRUE(one_->reader_away());
  const std::shared_ptr<Lane> meanwhile = Open(3);
  EXPECT_TRUE(meanwhile->reader_away());
  v1::Hello hello;
  hello.set_incarnation(2);
  hello.set_resume_incarnation(1);
  std::shared_ptr<Lane> shared, late;
  link_->Attach(std::make_shared<AskedChannel>(wire_,
                                               [&] {
                                                 if (late != nullptr) return;
                                                 EXPECT_FALSE(link_->is_up());
                                                 late = Open(4);
                                                 shared = Open(0);
                                                 link_->AdoptLane(*shared, 0);
                                               }),
                hello, 2);
  for (const auto& lane : link_->Lanes()) {
    EXPECT_FALSE(lane->reader_away()) << lane->name();
  }
}

TEST_F(FramedLinkTest, LaneThatThePeerCannotReadIsHeldAndHoldsUpNobody) {
  const uint64_t sent = Publish(*one_, 16 * 1024);
  wire_.TakeRecords();
  v1::Control waits;
  waits.mutable_lane_waits()->set_lane(one_->id());
  waits.mutable_lane_waits()->set_reason("no memory");
  const std::string body = waits.SerializeAsString();
  wire_.Deliver(MakeRecordHeader(RecordKind::kControl, body.size()), body);
  ASSERT_EQ(handler_.told.size(), 1u);
  EXPECT_EQ(handler_.told[0].message(),
            one_->name() + ": the peer cannot read it now: no memory");
  EXPECT_EQ(one_->reader_trouble().Get(), "no memory");
  Publish(*one_, 32 * 1024 - 64);
  Publish(*two_, 64);
  auto records = wire_.TakeRecords();
  ASSERT_EQ(records.size(), 1u) << "as if nothing were under way";
  EXPECT_EQ(records[0].lane, two_->id());
  // The same process is back: what it has not taken is sent again.
  v1::Hello hello;
  hello.set_incarnation(2);
  hello.set_resume_incarnation(1);
  link_->Attach(std::make_shared<WireChannel>(wire_), hello, 2);
  EXPECT_EQ(one_->reader_trouble().Get(), "");
  records = wire_.TakeRecords();
  const auto again = std::find_if(
      records.begin(), records.end(), [&](const Wire::Record& record) {
        return record.kind == RecordKind::kData && record.lane == one_->id();
      });
  ASSERT_NE(again, records.end());
  EXPECT_EQ(again->position, 0u);
  EXPECT_GT(again->body.size(), sent);
}

TEST_F(FramedLinkTest, FramesOfALaneThatWaitsAreSentAgainOnTheNextConnection) {
  PeerOpensLane();
  handler_.waiting_lane = 9;
  PeerPublishes(100);
  handler_.waiting_lane.reset();
  PeerPublishes(100);  // There is a gap before it: it is not taken either.
  RunAt(clock_.now + kAckDelayNs);
  EXPECT_EQ(wire_.sends, 0) << "nothing is acknowledged";
  EXPECT_EQ(link_->NextSequence(9), 1u);
  handler_.goes_down = true;
  link_->ResumeLane(9);
  RunAt(clock_.now);
  ASSERT_EQ(handler_.told.size(), 1u);
  EXPECT_EQ(handler_.told[0].code(), absl::StatusCode::kUnavailable);
  v1::Hello hello;
  hello.set_incarnation(2);
  hello.set_resume_incarnation(1);
  link_->Attach(std::make_shared<WireChannel>(wire_), hello, 2);
  wire_.TakeRecords();
  PeerOpensLane();
  peer_sequence_ = peer_position_ = 0;
  PeerPublishes(100);
  EXPECT_EQ(link_->NextSequence(9), 2u);
}

// The peer holds it back until there is another connection.
TEST_F(FramedLinkTest, LaneThatWaitedBeforeAnyFrameCameNeedsAConnectionToo) {
  PeerOpensLane();
  handler_.goes_down = true;
  link_->ResumeLane(9);
  RunAt(clock_.now);
  ASSERT_EQ(handler_.told.size(), 1u);
  EXPECT_EQ(handler_.told[0].code(), absl::StatusCode::kUnavailable);
}

TEST_F(FramedLinkTest, ProcessThatNeverHadALaneHasNotDiedOfWhatIsInIt) {
  Publish(*one_, 64);
  for (uint64_t incarnation = 3; incarnation < 8; ++incarnation) {
    v1::Hello hello;
    hello.set_incarnation(incarnation);
    link_->Attach(std::make_shared<WireChannel>(wire_), hello, 0);
  }
  FrameHeader poison;
  EXPECT_FALSE(one_->TakePoison(/*redeliveries_max=*/3, &poison));
}

TEST_F(FramedLinkTest, LaneThatIsDroppedLetsGoOfItsMemory) {
  v1::Hello hello;
  hello.set_incarnation(3);
  link_->Attach(std::make_shared<WireChannel>(wire_), hello, 0);
  link_->AdoptLane(*two_, 2);
  link_->DropLane(*one_);
  const std::weak_ptr<Lane> dropped = std::exchange(one_, nullptr);
  EXPECT_TRUE(dropped.expired());
}

v1::Control ControlIn(const Wire::Record& record) {
  v1::Control control;
  EXPECT_EQ(record.kind, RecordKind::kControl);
  EXPECT_TRUE(control.ParseFromString(record.body));
  return control;
}

// As of lane 0, while a handler is busy: no acknowledgement comes of it.
TEST_F(FramedLinkTest, WhatThePeerHasAndCannotTakeHoldsUpNobody) {
  const uint64_t sent = Publish(*one_, 20 * 1024);
  wire_.TakeRecords();
  Publish(*two_, 64);
  EXPECT_EQ(wire_.sends, 0) << "much is under way";
  v1::Control control;
  control.mutable_lane_arrived()->set_lane(one_->id());
  control.mutable_lane_arrived()->set_position(sent);
  const std::string body = control.SerializeAsString();
  const auto arrived = MakeRecordHeader(RecordKind::kControl, body.size());
  wire_.Deliver(arrived, body);
  auto records = wire_.TakeRecords();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].lane, two_->id());
  Publish(*two_, 64);
  EXPECT_EQ(wire_.TakeRecords().size(), 1u);
  EXPECT_FALSE(one_->empty());
  // On another connection it comes again, and is under way again.
  v1::Hello hello;
  hello.set_incarnation(2);
  hello.set_resume_incarnation(1);
  link_->Attach(std::make_shared<WireChannel>(wire_), hello, 2);
  wire_.TakeRecords();
  Publish(*two_, 64);
  EXPECT_EQ(wire_.sends, 0);
}

TEST_F(FramedLinkTest, PeerIsToldOfWhatHasArrivedAndCannotBeTaken) {
  PeerOpensLane();
  handler_.busy_lane = 9;
  for (int i = 0; i < 7; ++i) PeerPublishes(1024);
  EXPECT_EQ(wire_.sends, 0);
  PeerPublishes(1024);
  auto records = wire_.TakeRecords();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(ControlIn(records[0]).lane_arrived().lane(), 9u);
  EXPECT_EQ(ControlIn(records[0]).lane_arrived().position(), 8u * 1024);
  for (int i = 0; i < 8; ++i) PeerPublishes(1024);
  records = wire_.TakeRecords();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(ControlIn(records[0]).lane_arrived().position(), 16u * 1024);
}

TEST_F(FramedLinkTest, WhatComesBehindAFrameThatCannotBeTakenIsRead) {
  PeerOpensLane();
  const uint64_t end = Publish(*one_, 64);
  handler_.busy_lane = 9;
  PeerPublishes(100);
  Acknowledge(*one_, end);
  EXPECT_TRUE(one_->empty());
  PeerPublishes(100);
  PeerSaysGoodbye();
  wire_.TakeRecords();
  RunAt(clock_.now + kAckDelayNs);
  EXPECT_EQ(wire_.sends, 0) << "nothing is acknowledged";
  EXPECT_EQ(std::count(handler_.controls.begin(), handler_.controls.end(),
                       v1::Control::kGoodbye),
            0)
      << "it comes after what the peer had published";

  handler_.busy_lane.reset();
  link_->Resume();
  RunAt(clock_.now);
  EXPECT_EQ(handler_.handled, (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(link_->NextSequence(9), 3u);
  EXPECT_EQ(handler_.controls.back(), v1::Control::kGoodbye);
  const auto records = wire_.TakeRecords();
  const auto ack = std::find_if(records.begin(), records.end(),
                                [](const Wire::Record& record) {
                                  return record.kind == RecordKind::kAck;
                                });
  ASSERT_NE(ack, records.end());
  AckEntry told;
  std::memcpy(&told, ack->body.data(), sizeof told);
  EXPECT_EQ(told.handled, 256u);
}

TEST_F(FramedLinkTest, FramesThatWereKeptAreSentAgainOnTheNextConnection) {
  PeerOpensLane();
  PeerPublishes(100);
  handler_.busy_lane = 9;
  PeerPublishes(100);
  link_->Detach();
  v1::Hello hello;
  link_->FillResume(&hello);
  ASSERT_EQ(hello.resume_size(), 1);
  EXPECT_EQ(hello.resume(0).received(), 128u);
  // What was kept is not handed out any more, since it comes again.
  handler_.busy_lane.reset();
  link_->Resume();
  RunAt(clock_.now);
  EXPECT_EQ(handler_.handled, std::vector<uint64_t>{1});
  hello.set_incarnation(2);
  hello.set_resume_incarnation(1);
  link_->Attach(std::make_shared<WireChannel>(wire_), hello, 2);
  PeerOpensLane();
  peer_sequence_ = 1;
  peer_position_ = 128;
  PeerPublishes(100);
  EXPECT_EQ(handler_.handled, (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(handler_.left_behind, 0u);
}

TEST_F(FramedLinkTest, FramesThatWereKeptComeBeforeTheEndOfTheConnection) {
  PeerOpensLane();
  handler_.busy_lane = 9;
  PeerPublishes(100);
  handler_.goes_down = true;
  wire_.handler->OnClosed(absl::UnavailableError("gone"));
  EXPECT_TRUE(handler_.told.empty());
  EXPECT_TRUE(link_->is_draining());
  EXPECT_EQ(handler_.draining, 1);
  handler_.busy_lane.reset();
  link_->Resume();
  RunAt(clock_.now);
  EXPECT_EQ(handler_.handled, std::vector<uint64_t>{1});
  EXPECT_EQ(handler_.told.size(), 1u);
}

TEST_F(FramedLinkTest, DrainingThatIsEndedIsToldOfOnceAndHandsOutNothingMore) {
  PeerOpensLane();
  handler_.busy_lane = 9;
  PeerPublishes(100);
  handler_.goes_down = true;
  wire_.handler->OnClosed(absl::UnavailableError("gone"));
  link_->EndDraining();
  EXPECT_FALSE(link_->is_draining());
  EXPECT_EQ(handler_.told.size(), 1u);
  handler_.busy_lane.reset();
  link_->Resume();
  RunAt(clock_.now + kDrainNs);
  EXPECT_TRUE(handler_.handled.empty());
  EXPECT_EQ(handler_.told.size(), 1u);
}

TEST_F(FramedLinkTest, HelloIsOutOfDateOnceMoreIsReceivedOrAnotherComes) {
  PeerOpensLane();
  PeerPublishes(100);
  v1::Hello ours;
  link_->FillResume(&ours);
  EXPECT_EQ(ours.resume_incarnation(), 2u);
  EXPECT_TRUE(link_->IsResume(ours));
  EXPECT_FALSE(link_->IsResume(v1::Hello()));
  PeerPublishes(100);
  EXPECT_FALSE(link_->IsResume(ours));
  v1::Hello further;
  link_->FillResume(&further);
  EXPECT_TRUE(link_->IsResume(further));
  link_->Detach();
  link_->Forget();
  EXPECT_FALSE(link_->IsResume(further));
}

// A connection that has waited in a socket may be over at its other end. If it
// has brought nothing, the peer may not know that both began anew on it.
TEST_F(FramedLinkTest, NothingIsResumedWithAPeerThatWasNotHeard) {
  const auto offered = [&] {
    v1::Hello ours;
    link_->FillResume(&ours);
    return ours.resume_incarnation();
  };
  EXPECT_EQ(offered(), 0u);
  PeerOpensLane();
  EXPECT_EQ(offered(), 2u);
  v1::Hello anew;
  anew.set_incarnation(2);
  link_->Attach(std::make_shared<WireChannel>(wire_), anew, 0);
  EXPECT_EQ(offered(), 0u);
}

// A lane is opened on any thread, with locks of its owner held.
TEST_F(FramedLinkTest, LaneThatGetsNoSharedMemoryIsToldOfOnTheLoop) {
  class Full final : public SharedMemory {
   public:
    absl::StatusOr<std::shared_ptr<SharedLaneMemory>> Create(size_t) override {
      return absl::ResourceExhaustedError("no room");
    }
    absl::StatusOr<std::shared_ptr<LaneMemory>> Map(Fd, Fd, size_t) override {
      return absl::UnimplementedError("not asked for");
    }
  } memory;
  FramedLink::Options options = LinkOptions();
  options.transport = "shm";
  options.shared_memory = &memory;
  FramedLink link(environment_, *loop_, std::move(options), handler_);
  v1::Hello hello;
  hello.set_incarnation(2);
  hello.set_shared_memory(true);
  link.Attach(std::make_shared<WireChannel>(wire_), hello, 0,
              /*shared_memory_offered=*/true);
  Lane::Options small;
  small.capacity_bytes = kLaneBytes;
  EXPECT_TRUE(link.OpenLane(1, small).ok());
  EXPECT_TRUE(handler_.told.empty());
  RunAt(clock_.now);
  ASSERT_EQ(handler_.told.size(), 1u);
  EXPECT_EQ(handler_.told[0].message(), "no room");
}

TEST_F(FramedLinkTest, FramesThatWereKeptOfAProcessThatIsGoneAreToldOf) {
  PeerOpensLane();
  handler_.busy_lane = 9;
  PeerPublishes(100);
  PeerPublishes(100);
  handler_.goes_down = true;
  wire_.handler->OnClosed(absl::UnavailableError("gone"));
  RunAt(clock_.now + kDrainNs);
  EXPECT_EQ(handler_.told.size(), 1u);
  v1::Hello other;
  other.set_incarnation(3);
  link_->Attach(std::make_shared<WireChannel>(wire_), other, 0);
  EXPECT_EQ(handler_.left_behind, 2u);
}

TEST_F(FramedLinkTest, PeerThatSendsMoreThanItsLaneHoldsIsCorrupt) {
  PeerOpensLane();
  handler_.busy_lane = 9;
  for (size_t sent = 0; sent < kLaneBytes; sent += kLaneBytes / 4) {
    PeerPublishes(kLaneBytes / 4);
  }
  EXPECT_TRUE(link_->is_up());
  handler_.goes_down = true;
  PeerPublishes(100, /*is_taken=*/false);
  RunAt(clock_.now + kDrainNs);
  EXPECT_FALSE(link_->is_up());
  ASSERT_EQ(handler_.told.size(), 1u);
  EXPECT_EQ(handler_.told[0].code(), absl::StatusCode::kDataLoss);
}

TEST_F(FramedLinkTest,
       DisconnectedSubscriptionsThatTheirNodeEndedAreForgotten) {
  for (uint32_t subscription = 10; subscription < 10'010; ++subscription) {
    const auto lane = Open(subscription);
    Acknowledge(*lane, Publish(*lane, 8));
    link_->CloseLane(*lane, subscription);
    ASSERT_EQ(link_->disconnected_count(), 1u);
    v1::Control control;
    control.mutable_unsubscribe()->set_subscription(subscription);
    const std::string body = control.SerializeAsString();
    wire_.Deliver(MakeRecordHeader(RecordKind::kControl, body.size()), body);
    ASSERT_EQ(link_->disconnected_count(), 0u);
    wire_.TakeRecords();
  }
}

}  // namespace
}  // namespace mycelium
