#include "mycelium/transport/framed_link.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/codec/frame_encoder.h"
#include "mycelium/transport/handles_all.h"
#include "mycelium/transport/lane/fake_shared_memory.h"
#include "tests/support/driven_clock.h"
#include "tests/support/notification.h"
#include "tests/support/sleeping_thread.h"

namespace mycelium {
namespace {

using ::mycelium::test::DrivenClock;

constexpr size_t kLaneBytes = 64 * 1024;
constexpr int64_t kAckDelayNs = 1'000'000;
constexpr int64_t kDrainNs = 5'000'000'000;

// The other end of the connection.
struct Wire {
  struct Record {
    RecordKind kind;
    uint32_t lane;
    uint64_t position;
    std::string body;
  };

  // What was sent since the last call, which ends where a record does.
  std::vector<Record> TakeRecords() {
    std::vector<Record> records;
    size_t at = 0;
    while (at < sent.size()) {
      RecordHeader header;
      EXPECT_GE(sent.size() - at, sizeof header);
      std::memcpy(&header, sent.data() + at, sizeof header);
      EXPECT_EQ(header.magic, kRecordMagic);
      at += sizeof header;
      EXPECT_GE(sent.size() - at, header.body_bytes);
      records.push_back({static_cast<RecordKind>(header.kind), header.lane,
                         header.position, sent.substr(at, header.body_bytes)});
      at += header.body_bytes;
    }
    sent.clear();
    sends = 0;
    return records;
  }

  void Deliver(RecordHeader header, const std::string& body,
               bool is_taken = true) {
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
    bytes += body;
    const size_t used = handler->OnBytes(absl::MakeConstSpan(
        reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()));
    if (is_taken) {
      EXPECT_EQ(used, bytes.size());
    }
  }

  Channel::Handler* handler = nullptr;
  std::string sent;
  int sends = 0;
  size_t takes = ~size_t{0};  // Before it is full.
};

class WireChannel final : public Channel {
 public:
  explicit WireChannel(Wire& wire) : wire_(wire) {}
  void Start(Handler& handler) override { wire_.handler = &handler; }
  absl::StatusOr<size_t> Send(absl::Span<const iovec> pieces) override {
    size_t taken = 0;
    ++wire_.sends;
    for (const iovec& piece : pieces) {
      const size_t part = std::min(piece.iov_len, wire_.takes);
      wire_.sent.append(static_cast<const char*>(piece.iov_base), part);
      wire_.takes -= part;
      taken += part;
    }
    return taken;
  }
  bool passes_descriptors() const override { return true; }
  absl::StatusOr<size_t> SendDescriptors(
      std::array<int, 2>, absl::Span<const iovec> pieces) override {
    return Send(pieces);
  }
  void Close() override {}
  const std::string& peer_description() const override { return description_; }

 private:
  Wire& wire_;
  const std::string description_ = "pid 1, uid 2";
};

class FramedLinkTest : public ::testing::Test {
 protected:
  FramedLinkTest() {
    FramedLink::Options options;
    options.self = "feed";
    options.peer = "brain";
    options.transport = "unix";
    options.incarnation = 1;
    options.frame_bytes_max = kLaneBytes / 2;
    options.drain_ns = kDrainNs;
    link_ =
        std::make_unique<FramedLink>(environment_, *loop_, options, handler_);
    v1::Hello hello;
    hello.set_incarnation(2);
    link_->Attach(std::make_shared<WireChannel>(wire_), hello, 0);
    one_ = Open(1);
    two_ = Open(2);
    // Announces them.
    Publish(*one_, 8);
    Publish(*two_, 8);
    wire_.TakeRecords();
  }

  std::shared_ptr<Lane> Open(uint32_t subscription) {
    Lane::Options options;
    options.capacity_bytes = kLaneBytes;
    return *link_->OpenLane(subscription, options);
  }

  // Returns where the frame ends.
  static uint64_t Publish(Lane& lane, size_t payload_bytes) {
    const size_t bytes = sizeof(FrameHeader) + payload_bytes;
    EXPECT_EQ(lane.TryClaim(bytes), Lane::ClaimResult::kClaimed);
    EncodeFrame(FrameFields(), lane.next_sequence(), payload_bytes,
                lane.Room());
    lane.Commit();
    lane.Ring();
    return lane.committed();
  }

  // The peer has received, and handled, what lies before `position`.
  void Acknowledge(const Lane& lane, uint64_t position) {
    Acknowledge(lane, position, position);
  }
  void Acknowledge(const Lane& lane, uint64_t received, uint64_t handled) {
    AckEntry ack = {};
    ack.lane = lane.id();
    ack.received = received;
    ack.handled = handled;
    wire_.Deliver(MakeRecordHeader(RecordKind::kAck, sizeof ack),
                  {reinterpret_cast<const char*>(&ack), sizeof ack});
  }

  void PeerOpensLane() {
    v1::Control control;
    control.mutable_lane_open()->set_lane(9);
    control.mutable_lane_open()->set_next_sequence(1);
    control.mutable_lane_open()->set_capacity_bytes(kLaneBytes);
    const std::string body = control.SerializeAsString();
    wire_.Deliver(MakeRecordHeader(RecordKind::kControl, body.size()), body);
  }
  void PeerSaysGoodbye() {
    v1::Control control;
    control.mutable_goodbye();
    const std::string body = control.SerializeAsString();
    wire_.Deliver(MakeRecordHeader(RecordKind::kControl, body.size()), body);
  }
  void PeerPublishes(size_t frame_bytes, bool is_taken = true) {
    std::string frame(frame_bytes, '\0');
    EncodeFrame(FrameFields(), ++peer_sequence_,
                frame_bytes - sizeof(FrameHeader),
                absl::MakeSpan(reinterpret_cast<std::byte*>(frame.data()),
                               frame_bytes));
    const auto commit = static_cast<uint32_t>(frame_bytes);
    std::memcpy(frame.data(), &commit, sizeof commit);
    RecordHeader header = MakeRecordHeader(RecordKind::kData, frame_bytes);
    header.lane = 9;
    header.position =
        std::exchange(peer_position_, peer_position_ + frame_bytes);
    wire_.Deliver(header, frame, is_taken);
  }
  void RunAt(TimeNs now) {
    clock_.now = now;
    while (loop_->RunOnce(0, 0) == EventLoop::Ran::kSomething) continue;
  }

  DrivenClock clock_;
  Environment environment_{Environment::Real().sys, clock_,
                           Environment::Real().waiter};
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create(environment_);
  Wire wire_;
  test::HandlesAll handler_;
  std::unique_ptr<FramedLink> link_;
  std::shared_ptr<Lane> one_;
  std::shared_ptr<Lane> two_;
  uint64_t peer_sequence_ = 0;
  uint64_t peer_position_ = 0;
};

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
    EXPECT_EQ(records[0].body.size(), sizeof(FrameHeader) + 64);
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
  size_t data_bytes = 0;
  bool is_said = false;
  for (const Wire::Record& record : wire_.TakeRecords()) {
    if (record.kind == RecordKind::kData && record.lane == one_->id()) {
      data_bytes += record.body.size();
      EXPECT_TRUE(is_said || data_bytes == sizeof(FrameHeader) + 64);
    }
    is_said |= record.kind == RecordKind::kControl &&
               record.body == control.SerializeAsString();
  }
  EXPECT_TRUE(is_said);
  EXPECT_EQ(data_bytes, 2 * (sizeof(FrameHeader) + 64));
}

// Lanes in memory that nobody else maps.
class SharedByNobody final : public SharedMemory {
 public:
  absl::StatusOr<std::shared_ptr<SharedLaneMemory>> Create(
      size_t bytes) override {
    return std::make_shared<test::FakeSharedMemory>(bytes);
  }
  absl::StatusOr<std::shared_ptr<LaneMemory>> Map(Fd, Fd, size_t) override {
    return absl::UnimplementedError("nobody has published anything");
  }
};

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
  FramedLink::Options options;
  options.peer = "brain";
  options.transport = "shm";
  options.incarnation = 1;
  options.frame_bytes_max = kLaneBytes / 2;
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

TEST_F(FramedLinkTest, AcknowledgementsThatRodeAlongAreNotFollowedByOthers) {
  PeerOpensLane();
  const TimeNs start = clock_.now;
  PeerPublishes(128);  // Sets a timer.
  RunAt(start + kAckDelayNs / 2);
  PeerPublishes(2048);
  Publish(*one_, 8);
  auto records = wire_.TakeRecords();
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].kind, RecordKind::kAck);
  PeerPublishes(128);
  RunAt(start + kAckDelayNs);
  EXPECT_EQ(wire_.sends, 0) << "that frame has not waited for so long";
  RunAt(start + kAckDelayNs + kAckDelayNs / 2);
  records = wire_.TakeRecords();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].kind, RecordKind::kAck);
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
  PeerPublishes(128);
  handler_.waiting_lane.reset();
  PeerPublishes(128);  // There is a gap before it: it is not taken either.
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
  PeerPublishes(128);
  EXPECT_EQ(link_->NextSequence(9), 2u);
}

TEST_F(FramedLinkTest, WhatComesBehindAFrameThatCannotBeTakenIsRead) {
  PeerOpensLane();
  const uint64_t end = Publish(*one_, 64);
  handler_.busy_lane = 9;
  PeerPublishes(128);
  Acknowledge(*one_, end);
  EXPECT_TRUE(one_->empty());
  PeerPublishes(128);
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
  PeerPublishes(128);
  handler_.busy_lane = 9;
  PeerPublishes(128);
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
  PeerPublishes(128);
  EXPECT_EQ(handler_.handled, (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(handler_.left_behind, 0u);
}

TEST_F(FramedLinkTest, FramesThatWereKeptComeBeforeTheEndOfTheConnection) {
  PeerOpensLane();
  handler_.busy_lane = 9;
  PeerPublishes(128);
  handler_.goes_down = true;
  wire_.handler->OnClosed(absl::UnavailableError("gone"));
  EXPECT_TRUE(handler_.told.empty());
  EXPECT_TRUE(link_->is_draining());
  handler_.busy_lane.reset();
  link_->Resume();
  RunAt(clock_.now);
  EXPECT_EQ(handler_.handled, std::vector<uint64_t>{1});
  EXPECT_EQ(handler_.told.size(), 1u);
}

TEST_F(FramedLinkTest, FramesThatWereKeptOfAProcessThatIsGoneAreToldOf) {
  PeerOpensLane();
  handler_.busy_lane = 9;
  PeerPublishes(128);
  PeerPublishes(128);
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
  PeerPublishes(128, /*is_taken=*/false);
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
