// What a link reads of lossy lanes in the peer's memory, when it loses the
// connection.
#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/transport/framed_link_fixture.h"
#include "mycelium/transport/lane/lossy_ring.h"

namespace mycelium {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint32_t kLane = 9;
constexpr size_t kRingBytes = 8192;
constexpr size_t kFrameBytes = sizeof(FrameHeader) + 8;  // Of the peer's.

// Comes with descriptors, of nothing.
class DescriptorChannel final : public WireChannel {
 public:
  using WireChannel::WireChannel;

  std::optional<std::array<Fd, 2>> TakeDescriptors() override {
    ++pairs_taken;
    Sys& sys = Environment::Real().sys;
    const auto make = [&sys] {
      return Fd(sys, static_cast<int>(sys.EventFd()));
    };
    return std::array<Fd, 2>{make(), make()};
  }
  bool ReadNow() override {
    const auto read = std::exchange(on_read, nullptr);
    if (read != nullptr) read();
    return read != nullptr;
  }

  std::function<void()> on_read;  // Once.
  int pairs_taken = 0;
};

// The memory of one lane, whatever the descriptors are.
class OneLaneMemory final : public SharedByNobody {
 public:
  absl::StatusOr<std::shared_ptr<LaneMemory>> Map(Fd, Fd, size_t) override {
    if (refuses) return absl::ResourceExhaustedError("no memory");
    return lane;
  }

  bool refuses = false;
  std::shared_ptr<test::FakeSharedMemory> lane;
};

// Puts frames into a queue, from which the test takes them; or handles them.
class Queue final : public test::NotesCalls {
 public:
  void OnReplaced(Link&) override { had_when_replaced = got.size(); }
  void OnUp(Link&, const v1::Hello&, bool) override {}
  void OnDown(Link&, const absl::Status&) override {
    had_when_down.push_back(got.size());
  }
  void OnControl(Link&, const v1::Control&) override {}
  void OnLeftBehind(Link&, uint64_t messages) override { left += messages; }
  void OnCorruptMemory(Link&, const absl::Status& status) override {
    corrupt.push_back(status);
    calls += '!';
  }
  FrameOutcome OnFrame(Link&, uint32_t lane, const FrameView& frame,
                       uint64_t) override {
    if (lane == busy_lane) return FrameOutcome::kNotNow;
    got.push_back(frame.header.lane_sequence);
    calls += 'f';
    if (frame.header.lane_sequence == corrupt_from) {
      return FrameOutcome::kCorrupt;
    }
    if (on_frame != nullptr) on_frame();
    return handles ? FrameOutcome::kHandled : FrameOutcome::kTaken;
  }

  bool handles = false;
  uint64_t corrupt_from = 0;
  uint32_t busy_lane = 0;  // 0: none.
  std::vector<uint64_t> got;
  std::function<void()> on_frame;
  std::vector<size_t> had_when_down;
  size_t had_when_replaced = 0;
  uint64_t left = 0;
  std::vector<absl::Status> corrupt;
};

class FramedLinkRingsTest : public FramedLinkTest {
 protected:
  FramedLinkRingsTest() {
    FramedLink::Options options = LinkOptions();
    options.transport = "shm";
    options.shared_memory = &memory_;
    link_ = std::make_unique<FramedLink>(environment_, *loop_, options, queue_);
    NewLane();
    Connect(/*incarnation=*/2);
  }
  // Its links end before what they borrow.
  ~FramedLinkRingsTest() override { link_ = nullptr; }

  void NewLane() {
    memory_.lane = std::make_shared<test::FakeSharedMemory>(kRingBytes);
    memory_.lane->positions().identity.store(1);
    writer_ = std::make_unique<LossyRingWriter>(
        memory_.lane->bytes(), memory_.lane->positions().lossy, /*depth=*/8);
  }

  void Connect(uint64_t incarnation, bool opens = true) {
    v1::Hello ours;
    link_->FillResume(&ours);
    v1::Hello theirs;
    theirs.set_incarnation(incarnation);
    theirs.set_shared_memory(true);
    theirs.set_resume_incarnation(1);
    channel_ = std::make_shared<DescriptorChannel>(wire_);
    link_->Attach(channel_, theirs, ours.resume_incarnation(),
                  /*shared_memory_offered=*/true);
    if (opens) PeerOpensItsLane();
  }

  void PeerOpensItsLane(uint32_t controls_before = 0,
                        uint32_t lossy_window = 2) {
    v1::Control control;
    v1::LaneOpen& open = *control.mutable_lane_open();
    open.set_lane(kLane);
    open.set_next_sequence(1);
    open.set_capacity_bytes(kRingBytes);
    open.set_lossy_window(lossy_window);
    open.set_control_number(controls_before);
    open.set_shared_identity(1);
    Deliver(control);
  }
  // Another one, which is empty. Identity 0: it is sent.
  void PeerOpens(uint32_t lane, uint64_t identity, uint64_t position = 0) {
    v1::Control control;
    v1::LaneOpen& open = *control.mutable_lane_open();
    open.set_lane(lane);
    open.set_next_sequence(1);
    open.set_capacity_bytes(kRingBytes);
    open.set_shared_identity(identity);
    open.set_position(position);
    Deliver(control);
  }
  bool HasRefused(uint32_t lane) {
    const auto said = wire_.TakeRecords();
    return std::any_of(said.begin(), said.end(), [lane](const auto& record) {
      v1::Control control;
      return record.kind == RecordKind::kControl &&
             control.ParseFromString(record.body) &&
             control.lane_refused().lane() == lane;
    });
  }
  void Deliver(const v1::Control& control) {
    const std::string body = control.SerializeAsString();
    wire_.Deliver(MakeRecordHeader(RecordKind::kControl, body.size()), body);
  }
  void Disconnect() {
    wire_.handler->OnClosed(absl::UnavailableError("the test has cut it"));
    Run();
  }

  void PeerPublishesNext(int count = 1, uint32_t controls_before = 0) {
    FrameFields fields;
    fields.lost_before = controls_before;
    for (; count > 0; --count) {
      absl::Span<std::byte> room;
      ASSERT_EQ(writer_->TryReserve(kFrameBytes, &room),
                LossyRingWriter::Fit::kFits);
      (void)EncodeFrame(fields, ++sequence_, 8, room);
      writer_->Commit(sequence_);
    }
  }
  // Another process, in a lane that is not lossy.
  void PeerPublishesThreeLossless() {
    if (link_->is_up()) Disconnect();
    Connect(++incarnation_, /*opens=*/false);
    OpenThreeLossless();
  }
  void OpenThreeLossless() {
    memory_.lane = std::make_shared<test::FakeSharedMemory>(kRingBytes);
    memory_.lane->positions().identity.store(1);
    PeerOpensItsLane(/*controls_before=*/0, /*lossy_window=*/0);
    RingWriter writer(memory_.lane->bytes(), memory_.lane->positions().ring);
    for (uint64_t sequence : {1, 2, 3}) {
      (void)EncodeFrame(FrameFields(), sequence, 8,
                        writer.TryClaim(kFrameBytes));
      writer.Commit();
    }
  }
  void HandleLast() {
    link_->NoteHandled(kLane, queue_.got.back());
    Run();
  }
  void Run() { RunAt(clock_.now); }

  OneLaneMemory memory_;
  Queue queue_;
  std::shared_ptr<DescriptorChannel> channel_;
  std::unique_ptr<LossyRingWriter> writer_;
  uint64_t sequence_ = 0;
  uint64_t incarnation_ = 2;
};

// A Hello has room for so many, however they are read.
TEST_F(FramedLinkRingsTest, LanesThatAreSharedAndThatAreSentAreBoundedAsOne) {
  for (uint32_t lane = kLane + 1; lane < kLane + InboundLanes::kLanesMax;
       ++lane) {
    PeerOpens(lane, /*identity=*/0);
  }
  // What is known is not one more.
  PeerOpens(kLane + 1, /*identity=*/0);
  PeerOpensItsLane();
  ASSERT_THAT(queue_.had_when_down, IsEmpty());
  PeerOpens(1, /*identity=*/1);
  Run();
  EXPECT_THAT(queue_.had_when_down, ElementsAre(0));
  v1::Hello hello;
  link_->FillResume(&hello);
  EXPECT_LE(hello.resume_size(), static_cast<int>(InboundLanes::kLanesMax));
}

// What the peer has not heard of it went with the connection; the descriptors
// that are here are another lane's.
TEST_F(FramedLinkRingsTest, LaneThatWasRefusedIsRefusedAgainAndTakesNothing) {
  memory_.refuses = true;
  PeerOpens(kLane + 1, /*identity=*/1);
  memory_.refuses = false;
  EXPECT_EQ(channel_->pairs_taken, 2);
  // And if there is no place for one more.
  for (uint32_t i = 2; i < InboundLanes::kLanesMax; ++i) {
    PeerOpens(kLane + i, /*identity=*/0);
  }
  Disconnect();
  Connect(/*incarnation=*/2);
  wire_.TakeRecords();
  PeerOpens(kLane + 1, /*identity=*/1);
  EXPECT_EQ(channel_->pairs_taken, 0);
  EXPECT_TRUE(HasRefused(kLane + 1));
  EXPECT_TRUE(link_->is_up());
}

TEST_F(FramedLinkRingsTest, LaneThatGoesOnWhereNoFrameBeginsIsRefused) {
  for (const uint32_t position : {kFrameAlignment / 2, kFrameAlignment}) {
    NewLane();
    PeerOpens(kLane + position, /*identity=*/1, position);
    EXPECT_EQ(HasRefused(kLane + position), position != kFrameAlignment);
  }
}

// The peer may live, and counts what it sees taken.
TEST_F(FramedLinkRingsTest, FramesAreTakenOneByOneAfterTheConnectionIsLost) {
  PeerPublishesNext(3);
  Run();
  Disconnect();
  EXPECT_THAT(queue_.had_when_down, ElementsAre(1));
  EXPECT_THAT(queue_.got, ElementsAre(1));
  EXPECT_EQ(writer_->waiting(), 2u);
  EXPECT_FALSE(writer_->IsOver(1));
  HandleLast();
  EXPECT_TRUE(writer_->IsOver(1));
  EXPECT_THAT(queue_.got, ElementsAre(1, 2));
  HandleLast();
  EXPECT_THAT(queue_.got, ElementsAre(1, 2, 3));
}

TEST_F(FramedLinkRingsTest, WhatIsHandledAtOnceIsBeforeTheEndIsTold) {
  queue_.handles = true;
  PeerPublishesNext(3);
  Disconnect();
  EXPECT_THAT(queue_.had_when_down, ElementsAre(3));
  EXPECT_EQ(writer_->waiting(), 0u);
  EXPECT_TRUE(writer_->IsOver(3));
}

// The others of the node have their turns, though there is always a next one.
TEST_F(FramedLinkRingsTest, PeerThatPublishesOnKeepsNobodyElseWaiting) {
  queue_.handles = true;
  queue_.on_frame = [this] { PeerPublishesNext(); };
  PeerPublishesNext();
  wire_.handler->OnClosed(absl::UnavailableError("the test has cut it"));
  EXPECT_LE(queue_.got.size(), 64u);
  EXPECT_THAT(queue_.had_when_down, IsEmpty());
  // And it has an end.
  Run();
  EXPECT_THAT(queue_.had_when_down, ElementsAre(kRingBytes / kFrameAlignment));
}

TEST_F(FramedLinkRingsTest, CorruptFrameIsToldOfOutsideOfItsRow) {
  queue_.corrupt_from = 3;
  PeerPublishesNext(3);
  Run();
  Disconnect();
  queue_.handles = true;
  queue_.calls.clear();
  HandleLast();
  EXPECT_EQ(queue_.calls, "(ff)!");
  EXPECT_THAT(queue_.corrupt,
              ElementsAre(testing::Property(&absl::Status::code,
                                            absl::StatusCode::kDataLoss)));
}

// What the writer does not know to be handled it would send again. Whoever has
// it may have it for ever, and keeps nobody from hearing of an end.
TEST_F(FramedLinkRingsTest, CorruptFrameIsToldOfWhenWhatCameBeforeIsHandled) {
  for (const bool is_cut : {false, true}) {
    PeerPublishesThreeLossless();
    queue_.corrupt_from = 2;
    Run();
    EXPECT_TRUE(link_->is_up());
    EXPECT_THAT(queue_.corrupt.back().message(),
                HasSubstr("what came before it is still handled"));
    if (is_cut) {
      queue_.had_when_down.clear();
      Disconnect();
      EXPECT_EQ(queue_.had_when_down.size(), 1u);
      Connect(incarnation_, /*opens=*/false);
      PeerOpensItsLane(/*controls_before=*/0, /*lossy_window=*/0);
      Run();
      EXPECT_TRUE(link_->is_up());
    }
    link_->NoteHandled(kLane, AlignedFrameBytes(kFrameBytes));
    Run();
    EXPECT_FALSE(link_->is_up());
    v1::Hello hello;
    link_->FillResume(&hello);
    EXPECT_EQ(hello.resume_incarnation(), 0u);
  }
  EXPECT_THAT(queue_.got, ElementsAre(1, 2, 1, 2));
}

TEST_F(FramedLinkRingsTest, CorruptFrameIsToldOfWhereNobodyComesBack) {
  PeerPublishesThreeLossless();
  queue_.corrupt_from = 2;
  Run();
  Disconnect();
  EXPECT_EQ(queue_.corrupt.size(), 1u);
  link_->TakeOverRings();
  EXPECT_EQ(queue_.corrupt.size(), 2u);
}

// A peer may open lanes again and again.
TEST_F(FramedLinkRingsTest, CorruptLanesAreLoggedOnceInAWhile) {
  queue_.corrupt_from = 2;
  PeerPublishesThreeLossless();
  for (int i = 0; i < 3; ++i) {
    Run();
    link_->CloseInbound(kLane);
    OpenThreeLossless();
  }
  Run();
  EXPECT_TRUE(link_->is_up());
  EXPECT_EQ(queue_.got.size(), 8u);
  EXPECT_EQ(queue_.corrupt.size(), 1u);
}

// Whoever has it may wait for what comes behind the corrupt one.
TEST_F(FramedLinkRingsTest, CorruptFrameIsNotWaitedWithForEver) {
  PeerPublishesThreeLossless();
  queue_.corrupt_from = 2;
  Run();
  RunAt(clock_.now + kDrainNs - 1);
  EXPECT_TRUE(link_->is_up());
  RunAt(clock_.now + 1);
  Run();
  EXPECT_FALSE(link_->is_up());
}

// The next handler may take as long as it likes.
TEST_F(FramedLinkRingsTest, WriterIsToldOfRoomBetweenTwoFramesOfARow) {
  PeerPublishesThreeLossless();
  queue_.handles = true;
  memory_.lane->positions().AskToBeWoken(AlignedFrameBytes(kFrameBytes));
  wire_.TakeRecords();
  std::vector<size_t> told;
  queue_.on_frame = [&] { told.push_back(wire_.TakeRecords().size()); };
  queue_.calls.clear();
  Run();
  EXPECT_THAT(told, ElementsAre(0u, 1u, 0u));
  EXPECT_THAT(queue_.calls, HasSubstr("(f|ff)")) << "that is no frame";
}

TEST_F(FramedLinkRingsTest, WhatComesLaterWaitsForTheNextConnection) {
  PeerPublishesNext();
  Run();
  Disconnect();
  HandleLast();
  PeerPublishesNext();
  Run();
  EXPECT_THAT(queue_.got, ElementsAre(1));
  Connect(/*incarnation=*/2);
  Run();
  EXPECT_THAT(queue_.got, ElementsAre(1, 2));
  // And afterwards as before, again and again.
  PeerPublishesNext(2);
  Disconnect();
  EXPECT_THAT(queue_.got, ElementsAre(1, 2));
  HandleLast();
  EXPECT_THAT(queue_.got, ElementsAre(1, 2, 3));
}

// Before that it has to repeat whose messages are in it.
TEST_F(FramedLinkRingsTest, NothingIsTakenBeforeThePeerHasSaidThatALaneGoesOn) {
  PeerPublishesNext(2);
  Run();
  Disconnect();
  Connect(/*incarnation=*/2, /*opens=*/false);
  HandleLast();
  EXPECT_THAT(queue_.got, ElementsAre(1));
  PeerOpensItsLane();
  Run();
  EXPECT_THAT(queue_.got, ElementsAre(1, 2));
}

// Those that it counts on the next connection come after those that were lost.
TEST_F(FramedLinkRingsTest, LostControlMessageIsNotTakenForAnother) {
  PeerPublishesNext(1, /*controls_before=*/1);
  Run();
  Disconnect();
  Connect(/*incarnation=*/2, /*opens=*/false);
  v1::Control other;
  other.mutable_subscribers_known();
  const std::string body = other.SerializeAsString();
  wire_.Deliver(MakeRecordHeader(RecordKind::kControl, body.size()), body);
  Disconnect();
  EXPECT_THAT(queue_.got, IsEmpty());
  Connect(/*incarnation=*/2, /*opens=*/false);
  PeerOpensItsLane(/*controls_before=*/2);
  Run();
  EXPECT_THAT(queue_.got, ElementsAre(1));
}

// A peer that lives and goes on must not keep us here.
TEST_F(FramedLinkRingsTest, NoMoreIsTakenThanTheMemoryHolds) {
  PeerPublishesNext(2);
  Run();
  Disconnect();
  constexpr size_t kMost = 1 + kRingBytes / kFrameAlignment;
  while (queue_.got.size() <= kMost) {
    const size_t before = queue_.got.size();
    PeerPublishesNext();
    HandleLast();
    if (queue_.got.size() == before) break;
  }
  EXPECT_EQ(queue_.got.size(), kMost);
  Connect(/*incarnation=*/2);
  Run();
  EXPECT_EQ(queue_.got.size(), kMost + 1);
}

TEST_F(FramedLinkRingsTest, RestIsTakenOverBeforeAnotherProcessIsHeard) {
  PeerPublishesNext(3);
  Run();
  Disconnect();
  // Which has come while nobody was to see it.
  HandleLast();
  HandleLast();
  HandleLast();
  PeerPublishesNext();
  Run();
  EXPECT_THAT(queue_.got, ElementsAre(1, 2, 3));
  NewLane();
  Connect(/*incarnation=*/3);
  EXPECT_THAT(queue_.got, ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(queue_.had_when_replaced, 4u);
  EXPECT_EQ(queue_.left, 0u);
}

TEST_F(FramedLinkRingsTest, RestIsTakenOverWhereNobodyComesBack) {
  PeerPublishesNext(3);
  Run();
  Disconnect();
  link_->TakeOverRings();
  EXPECT_THAT(queue_.got, ElementsAre(1, 2, 3));
  link_->Forget();
  EXPECT_EQ(queue_.left, 0u);
}

TEST_F(FramedLinkRingsTest, RestOfOneIsTakenOverThoughAnotherIsCorrupt) {
  const auto other = std::make_shared<test::FakeSharedMemory>(kRingBytes);
  other->positions().identity.store(1);
  memory_.lane = other;
  v1::Control control;
  v1::LaneOpen& open = *control.mutable_lane_open();
  open.set_lane(kLane + 1);
  open.set_next_sequence(5);
  open.set_capacity_bytes(kRingBytes);
  open.set_lossy_window(2);
  open.set_shared_identity(1);
  Deliver(control);
  queue_.corrupt_from = 2;
  PeerPublishesNext(2);
  writer_ = std::make_unique<LossyRingWriter>(
      other->bytes(), other->positions().lossy, /*depth=*/8);
  sequence_ = 4;
  PeerPublishesNext(2);
  Run();
  ASSERT_THAT(queue_.got, ElementsAre(1, 5));
  Disconnect();
  link_->TakeOverRings();
  EXPECT_THAT(queue_.got, ElementsAre(1, 5, 2, 6));
  Run();
  EXPECT_EQ(queue_.corrupt.size(), 1u);
}

// It stands before a frame that has lost its length, and would find what is
// behind that as soon as the peer takes it back, which counts the rest.
TEST_F(FramedLinkRingsTest, NothingIsTakenFromALossyLaneAfterTheLastWord) {
  PeerPublishesNext(3);
  const uint32_t none = 0;
  std::memcpy(memory_.lane->bytes().data(), &none, sizeof none);
  Run();
  PeerSaysGoodbye();
  ASSERT_TRUE(link_->is_up()) << "the peer has yet to say its last word";
  FrameView dropped;
  ASSERT_TRUE(writer_->DropOldest(&dropped));
  Run();
  Disconnect();
  link_->TakeOverRings();
  Connect(/*incarnation=*/3, /*opens=*/false);
  EXPECT_THAT(queue_.got, IsEmpty());
  EXPECT_EQ(writer_->waiting(), 2u);
}

// It may live, and counts what it does not see taken.
TEST_F(FramedLinkRingsTest, WhatNobodyCouldHandleIsLeftToItsWriter) {
  PeerPublishesNext(1, /*controls_before=*/1);
  PeerPublishesNext(2);
  Run();
  Disconnect();
  link_->TakeOverRings();
  EXPECT_THAT(queue_.got, IsEmpty());
  link_->Forget();
  EXPECT_EQ(queue_.left, 3u);
  std::vector<uint64_t> to_count;
  writer_->ForEachFrame([&](const FrameHeader& frame) {
    to_count.push_back(frame.lane_sequence);
  });
  EXPECT_THAT(to_count, ElementsAre(1, 2, 3));
}

// Of which the reader learns while it looks at a frame of the lane that comes
// after a control message.
TEST_F(FramedLinkRingsTest, LaneMayEndWhileItsFrameWaitsForAControlMessage) {
  channel_->on_read = [this] { link_->CloseInbound(kLane); };
  PeerPublishesNext(1, /*controls_before=*/1);
  Run();
  EXPECT_THAT(queue_.got, IsEmpty());
}

TEST_F(FramedLinkRingsTest, TrustMayEndWhileAFrameWaitsForAControlMessage) {
  channel_->on_read = [this] {
    wire_.handler->OnClosed(absl::DataLossError("the test has cut it"));
  };
  PeerPublishesNext(1, /*controls_before=*/1);
  Run();
  EXPECT_THAT(queue_.got, IsEmpty());
  EXPECT_THAT(queue_.had_when_down, ElementsAre(0));
}

TEST_F(FramedLinkRingsTest, GoodbyeIsTakenUpWithAllThatWaits) {
  PeerPublishesNext(3);
  Run();
  PeerSaysGoodbye();
  EXPECT_THAT(queue_.got, ElementsAre(1, 2, 3));
  // If it is there again, it goes on as before.
  Disconnect();
  HandleLast();
  Connect(/*incarnation=*/2);
  PeerPublishesNext(2);
  Run();
  EXPECT_THAT(queue_.got, ElementsAre(1, 2, 3, 4));
}

// It may leave before it has come to that. What comes after our answer would be
// delivered here, and counted as dropped there.
TEST_F(FramedLinkRingsTest, LaneThatWasNotOpenedAgainIsTakenBeforeTheGoodbye) {
  Disconnect();
  memory_.lane = std::make_shared<test::FakeSharedMemory>(kRingBytes);
  memory_.lane->positions().identity.store(1);
  Connect(/*incarnation=*/3, /*opens=*/false);
  PeerOpensItsLane(/*controls_before=*/0, /*lossy_window=*/0);
  RingWriter writer(memory_.lane->bytes(), memory_.lane->positions().ring);
  const auto publish = [&](uint64_t sequence) {
    (void)EncodeFrame(FrameFields(), sequence, 8, writer.TryClaim(kFrameBytes));
    writer.Commit();
  };
  queue_.handles = true;
  publish(1);
  Run();
  Disconnect();
  Connect(/*incarnation=*/3, /*opens=*/false);
  publish(2);
  Run();
  EXPECT_THAT(queue_.got, ElementsAre(1));
  PeerSaysGoodbye();
  EXPECT_THAT(queue_.got, ElementsAre(1, 2));
}

TEST_F(FramedLinkRingsTest, NothingIsTakenBetweenOurGoodbyeAndThePeers) {
  PeerPublishesNext();
  Run();
  HandleLast();
  link_->Part();
  PeerPublishesNext();
  Run();
  EXPECT_THAT(queue_.got, ElementsAre(1));
  PeerSaysGoodbye();
  EXPECT_THAT(queue_.got, ElementsAre(1, 2));
}

TEST_F(FramedLinkRingsTest, WhoMayNotTakeWhatIsThereSleeps) {
  PeerPublishesNext();
  Run();
  HandleLast();
  EXPECT_TRUE(MaySleep());
  PeerPublishesNext();
  EXPECT_FALSE(MaySleep());
  HandleLast();
  link_->Part();
  PeerPublishesNext();
  EXPECT_TRUE(MaySleep());
  PeerSaysGoodbye();
  EXPECT_THAT(queue_.got, ElementsAre(1, 2, 3));
}

// What came over the socket is still handed out.
TEST_F(FramedLinkRingsTest, NothingIsResumedOnceCorruptMemoryIsFound) {
  queue_.busy_lane = kLane + 1;
  PeerOpens(kLane + 1, /*identity=*/0);
  PeerPublishes(100, /*is_taken=*/true, kLane + 1);
  Disconnect();
  ASSERT_TRUE(link_->is_draining());
  v1::Hello before;
  link_->FillResume(&before);
  ASSERT_TRUE(link_->IsResume(before));
  memory_.lane->positions().lossy.next.store(3);
  Run();
  EXPECT_TRUE(link_->is_draining());
  EXPECT_FALSE(link_->IsResume(before));
  v1::Hello after;
  link_->FillResume(&after);
  EXPECT_EQ(after.resume_incarnation(), 0u);
}

// What the peer goes on to publish there it has for the next connection, on
// which it begins anew.
TEST_F(FramedLinkRingsTest, LieAboutOurLaneIsToldOfThoughNoConnectionIsUp) {
  const std::shared_ptr<Lane> ours = Open(1);
  Publish(*ours, 8);
  ASSERT_TRUE(ours->mapped());
  PeerPublishesNext();
  Run();
  HandleLast();
  Disconnect();
  ours->shared()->positions().ring.released.store(8);
  EXPECT_EQ(ours->released(), 0u);
  Run();
  ASSERT_EQ(queue_.corrupt.size(), 1u);
  EXPECT_THAT(queue_.corrupt[0].message(),
              HasSubstr("`released` is 8; a multiple of 64"));
  v1::Hello hello;
  link_->FillResume(&hello);
  EXPECT_EQ(hello.resume_incarnation(), 0u);
  EXPECT_THAT(hello.resume(), IsEmpty());
  PeerPublishesNext(2);
  Connect(/*incarnation=*/2, /*opens=*/false);
  EXPECT_THAT(queue_.got, ElementsAre(1));
}

TEST_F(FramedLinkRingsTest, CorruptMemoryIsToldOfThoughNoConnectionIsUp) {
  PeerPublishesNext();
  Run();
  Disconnect();
  memory_.lane->positions().lossy.next.store(8);
  HandleLast();
  ASSERT_EQ(queue_.corrupt.size(), 1u);
  EXPECT_EQ(queue_.corrupt[0].code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(queue_.corrupt[0].message(), HasSubstr("link feed -> brain"));
  EXPECT_THAT(queue_.corrupt[0].message(),
              HasSubstr("lane 9 in shared memory: no frame starts at position "
                        "8; a multiple of 64 is expected"));
  // And nothing of it is gone on with.
  v1::Hello ours;
  link_->FillResume(&ours);
  EXPECT_EQ(ours.resume_incarnation(), 0u);
  EXPECT_THAT(ours.resume(), IsEmpty());
}

}  // namespace
}  // namespace mycelium
