// What a link does over a channel that gathers, and nowhere else: how much it
// has under way, and when it acknowledges.
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "mycelium/codec/frame_encoder.h"
#include "mycelium/transport/framed_link.h"
#include "mycelium/transport/handles_all.h"
#include "tests/support/driven_clock.h"

namespace mycelium {
namespace {

using ::mycelium::test::DrivenClock;

constexpr uint64_t kWindow = SendWindow::kBytesMin;
constexpr size_t kFrameBytes = 1024;
constexpr size_t kLaneBytes = 1 << 20;
constexpr size_t kFrameBytesMax = 128 * 1024;
constexpr int64_t kDelayNs = 4'000'000;

// What has come out of a channel.
class Sent final : public RecordReader::Handler {
 public:
  absl::Status OnControlRecord(absl::Span<const std::byte>) override {
    return absl::OkStatus();
  }
  absl::Status OnAckRecord(absl::Span<const std::byte> body) override {
    for (size_t at = 0; at < body.size(); at += sizeof(AckEntry)) {
      AckEntry ack;
      std::memcpy(&ack, body.data() + at, sizeof ack);
      acked = ack.received;
    }
    return absl::OkStatus();
  }
  absl::Status OnDataRecord(uint32_t lane, uint64_t position) override {
    lane_ = lane;
    ends[lane] = position;
    return absl::OkStatus();
  }
  RecordReader::FrameStep OnFrameBytes(
      absl::Span<const std::byte> bytes) override {
    ends[lane_] += bytes.size();
    return {RecordReader::FrameStep::What::kTook, bytes.size(), {}};
  }

  std::map<uint32_t, uint64_t> ends;  // Of data, for each lane.
  uint64_t acked = 0;                 // As received.

 private:
  uint32_t lane_ = 0;
};

// Takes all that it is given, and never writes for long.
class GatheringChannel final : public Channel {
 public:
  explicit GatheringChannel(Sent& sent) : sent_(sent) {}

  void Start(Handler& handler) override { handler_ = &handler; }
  absl::StatusOr<size_t> Send(absl::Span<const iovec> pieces) override {
    std::string bytes;
    for (const iovec& piece : pieces) {
      bytes.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
    }
    size_t used = 0;
    EXPECT_TRUE(reader_.Read(SpanOf(bytes), sent_, &used).ok());
    EXPECT_EQ(used, bytes.size());
    return bytes.size();
  }
  absl::StatusOr<size_t> SendKept(
      absl::Span<const iovec> pieces,
      absl::Span<const std::shared_ptr<const void>>) override {
    return Send(pieces);
  }
  void Close() override { handler_ = nullptr; }
  bool gathers() const override { return true; }
  bool IsWriting() override { return false; }
  const std::string& peer_description() const override { return description_; }

  void Deliver(const std::string& bytes) {
    ASSERT_NE(handler_, nullptr);
    EXPECT_EQ(handler_->OnBytes(SpanOf(bytes)), bytes.size());
  }

 private:
  static absl::Span<const std::byte> SpanOf(const std::string& bytes) {
    return absl::MakeConstSpan(reinterpret_cast<const std::byte*>(bytes.data()),
                               bytes.size());
  }

  Sent& sent_;
  RecordReader reader_;
  Handler* handler_ = nullptr;
  const std::string description_ = "the other side";
};

std::string Record(RecordKind kind, const std::string& body, uint32_t lane = 0,
                   uint64_t position = 0) {
  RecordHeader header = {};
  header.magic = kRecordMagic;
  header.kind = static_cast<uint8_t>(kind);
  header.body_bytes = static_cast<uint32_t>(body.size());
  header.lane = lane;
  header.position = position;
  std::string record(reinterpret_cast<const char*>(&header), sizeof header);
  return record + body;
}

class FramedLinkGatheringTest : public ::testing::Test {
 protected:
  void SetUp() override { Connect(); }

  // Again: the connection before is lost, of which the peer has received and
  // handled `received` bytes of lane 0.
  void Connect(uint64_t received = 0) {
    v1::Hello hello;
    hello.set_node("them");
    hello.set_incarnation(2);
    hello.set_resume_incarnation(1);
    v1::LaneProgress* const progress = hello.add_resume();
    progress->set_received(received);
    progress->set_handled(received);
    sent_ = Sent();
    channel_ = std::make_shared<GatheringChannel>(sent_);
    link_.Attach(channel_, hello, link_.peer_incarnation());
  }

  std::shared_ptr<Lane> OpenLane(uint32_t subscription) {
    Lane::Options options;
    options.capacity_bytes = kLaneBytes;
    return *link_.OpenLane(subscription, options);
  }
  // A message that takes so much of a lane.
  static void Publish(Lane& lane, size_t frame_bytes = kFrameBytes) {
    const FrameFields fields;
    ASSERT_EQ(lane.TryClaim(frame_bytes), Lane::ClaimResult::kClaimed);
    const size_t payload = frame_bytes - EncodedFrameBytes(fields, 0);
    (void)EncodeFrame(fields, lane.next_sequence(), payload, lane.Room());
    lane.Commit();
    lane.Ring();
  }
  static void PublishMany(Lane& lane, size_t bytes) {
    for (size_t at = 0; at < bytes; at += kFrameBytes) Publish(lane);
  }
  // The peer says how far it is in a lane of ours.
  void Report(uint32_t lane, uint64_t position) {
    const AckEntry ack = {lane, 0, position, position};
    channel_->Deliver(
        Record(RecordKind::kAck,
               std::string(reinterpret_cast<const char*>(&ack), sizeof ack)));
  }

  // Opens a lane of the peer's, of which bytes then arrive.
  void OpenInbound(uint64_t capacity_bytes) {
    v1::Control control;
    control.mutable_lane_open()->set_next_sequence(1);
    control.mutable_lane_open()->set_capacity_bytes(capacity_bytes);
    std::string record;
    AppendControlRecord(control.SerializeAsString(), &record);
    channel_->Deliver(record);
  }
  void Arrive(size_t frame_bytes = kFrameBytes) {
    std::string frame(frame_bytes, '\0');
    const FrameFields fields;
    (void)EncodeFrame(
        fields, ++arrived_frames_, frame_bytes - EncodedFrameBytes(fields, 0),
        absl::MakeSpan(reinterpret_cast<std::byte*>(&frame[0]), frame_bytes));
    const auto commit_word = static_cast<uint32_t>(frame_bytes);
    std::memcpy(&frame[0], &commit_word, sizeof commit_word);
    channel_->Deliver(Record(RecordKind::kData, frame, 0, arrived_));
    arrived_ += frame_bytes;
  }
  void ArriveMany(size_t bytes) {
    for (size_t at = 0; at < bytes; at += kFrameBytes) Arrive();
  }
  // How much arrives until the next acknowledgement.
  uint64_t ArriveUntilAcknowledged() {
    const uint64_t before = sent_.acked;
    while (sent_.acked == before) Arrive();
    return sent_.acked - before;
  }
  bool AllIsAcknowledged() const { return sent_.acked == arrived_; }
  void Pass(int64_t ns) {
    clock_.now += ns;
    while (loop_->RunOnce(/*deadline=*/0, 0) == EventLoop::Ran::kSomething) {
    }
  }

  DrivenClock clock_;
  Environment environment_{Environment::Real().sys, clock_,
                           Environment::Real().waiter};
  const std::unique_ptr<EventLoop> loop_ = *EventLoop::Create(environment_);
  test::HandlesAll owner_;
  Sent sent_;
  std::shared_ptr<GatheringChannel> channel_;
  FramedLink link_{environment_,
                   *loop_,
                   {"us", "them", "grpc", /*incarnation=*/1, kFrameBytesMax},
                   owner_};
  uint64_t arrived_ = 0;
  uint64_t arrived_frames_ = 0;
};

// ---------------------------------------------------------------------------
// What is under way

TEST_F(FramedLinkGatheringTest, NoMoreThanTheWindowIsSentBeforeAReport) {
  const auto lane = OpenLane(0);
  PublishMany(*lane, 4 * kWindow);
  EXPECT_EQ(sent_.ends[0], kWindow);
}

TEST_F(FramedLinkGatheringTest, WindowGrowsByHalfOfWhatIsReported) {
  const auto lane = OpenLane(0);
  PublishMany(*lane, kLaneBytes / 2);
  Report(0, kWindow);
  EXPECT_EQ(sent_.ends[0] - kWindow, kWindow * 3 / 2);
  Report(0, sent_.ends[0]);
  EXPECT_EQ(sent_.ends[0], kWindow * 5 / 2 + kWindow * 9 / 4);
}

TEST_F(FramedLinkGatheringTest, NextConnectionStartsWithTheSmallestWindow) {
  const auto lane = OpenLane(0);
  PublishMany(*lane, kLaneBytes / 2);
  while (sent_.ends[0] < kLaneBytes / 2) Report(0, sent_.ends[0]);
  Report(0, kLaneBytes / 2);
  Connect(/*received=*/kLaneBytes / 2);
  PublishMany(*lane, 4 * kWindow);
  EXPECT_EQ(sent_.ends[0], kLaneBytes / 2 + kWindow);
}

TEST_F(FramedLinkGatheringTest, WindowCutsWhatLiesTogetherBetweenFrames) {
  const auto lane = OpenLane(0);
  constexpr size_t kOdd = 5 * 1000;
  constexpr uint64_t kTaken = AlignedFrameBytes(kOdd);
  static_assert(kWindow % kTaken != 0);
  for (int i = 0; i < 10; ++i) Publish(*lane, kOdd);
  EXPECT_EQ(sent_.ends[0], 4 * kTaken);
  Connect(/*received=*/kTaken);
  EXPECT_EQ(sent_.ends[0], 5 * kTaken);
}

TEST_F(FramedLinkGatheringTest, FrameLargerThanTheWindowGoes) {
  const auto lane = OpenLane(0);
  for (int i = 0; i < 2; ++i) Publish(*lane, kFrameBytesMax);
  EXPECT_EQ(sent_.ends[0], kFrameBytesMax);
}

TEST_F(FramedLinkGatheringTest, LanesTakeTurnsWhereTheWindowIsShort) {
  const auto first = OpenLane(0);
  const auto second = OpenLane(7);
  PublishMany(*first, 4 * kWindow);
  PublishMany(*second, 4 * kWindow);
  EXPECT_EQ(sent_.ends[second->id()], 0u);
  Report(0, kFrameBytes);
  EXPECT_GT(sent_.ends[second->id()], 0u);
}

// ---------------------------------------------------------------------------
// When it acknowledges

// Else the other side's window, of twice as much, would be full, and wait.
TEST_F(FramedLinkGatheringTest, YoungConnectionIsReportedOnOften) {
  OpenInbound(kLaneBytes);
  EXPECT_EQ(ArriveUntilAcknowledged(), kWindow / 2);
  EXPECT_EQ(ArriveUntilAcknowledged(), kWindow / 2 + arrived_ / 4);
}

TEST_F(FramedLinkGatheringTest, NextConnectionIsReportedOnOftenAgain) {
  OpenInbound(kLaneBytes);
  while (ArriveUntilAcknowledged() < 4 * kWindow) {
  }
  ArriveMany(3 * kWindow);
  ASSERT_FALSE(AllIsAcknowledged());
  Connect();
  ASSERT_TRUE(AllIsAcknowledged()) << "as each connection begins";
  EXPECT_EQ(ArriveUntilAcknowledged(), kWindow / 2);
}

// A lane of 4 KiB would be full before the rule for larger ones holds.
TEST_F(FramedLinkGatheringTest, SmallLaneIsAcknowledgedAtHalf) {
  OpenInbound(4096);
  EXPECT_EQ(ArriveUntilAcknowledged(), 2048u);
  EXPECT_EQ(ArriveUntilAcknowledged(), 2048u);
}

TEST_F(FramedLinkGatheringTest, LongConnectionAcknowledgesAnEighthOfALane) {
  OpenInbound(kLaneBytes);
  for (uint64_t last = 0; last < kLaneBytes / 8;) {
    const uint64_t next = ArriveUntilAcknowledged();
    ASSERT_GT(next, last);
    last = next;
  }
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(ArriveUntilAcknowledged(), kLaneBytes / 8);
  }
}

TEST_F(FramedLinkGatheringTest, AcknowledgementGoesAloneWhereNoDataDoes) {
  OpenInbound(kLaneBytes);
  Arrive();
  Pass(kDelayNs - 1);
  EXPECT_EQ(sent_.acked, 0u);
  Pass(1);
  EXPECT_TRUE(AllIsAcknowledged());
  // And again, from the next message on.
  Pass(2 * kDelayNs);
  Arrive();
  Pass(kDelayNs - 1);
  EXPECT_FALSE(AllIsAcknowledged());
  Pass(1);
  EXPECT_TRUE(AllIsAcknowledged());
}

TEST_F(FramedLinkGatheringTest,
       AcknowledgementRidesOnTheFirstDataAfterTheDelay) {
  const auto lane = OpenLane(0);
  OpenInbound(kLaneBytes);
  for (int i = 0; i < 3; ++i) {
    Arrive();
    Publish(*lane);
  }
  EXPECT_EQ(sent_.acked, 0u);
  Pass(kDelayNs);
  EXPECT_EQ(sent_.acked, 0u);
  Publish(*lane);
  EXPECT_TRUE(AllIsAcknowledged());
  // Not on each from there on.
  Arrive();
  Publish(*lane);
  EXPECT_FALSE(AllIsAcknowledged());
}

TEST_F(FramedLinkGatheringTest, AcknowledgementThatNothingTookAlongGoesAlone) {
  const auto lane = OpenLane(0);
  OpenInbound(kLaneBytes);
  Arrive();
  Publish(*lane);
  Pass(kDelayNs);
  Pass(kDelayNs - 1);
  EXPECT_EQ(sent_.acked, 0u);
  Pass(1);
  EXPECT_TRUE(AllIsAcknowledged());
}

}  // namespace
}  // namespace mycelium
