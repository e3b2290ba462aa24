// What a lane in shared memory makes of a reader that says what is not so, and
// of frames that are damaged where they lie.
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/base/shared_word.h"
#include "mycelium/transport/lane/fake_shared_memory.h"
#include "mycelium/transport/lane/lane.h"
#include "mycelium/transport/lane/ring_frames.h"

namespace mycelium {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ClaimResult = Lane::ClaimResult;

constexpr size_t kCapacity = kRingBytesMin;
constexpr size_t kFrameBytes = 512;

class Reports final : public Lane::Doorbell {
 public:
  void OnCommit(Lane&) override {}
  void OnCorrupt(const Lane&, const std::string& what) override {
    told.push_back(what);
  }
  std::vector<std::string> told;
};

class LaneReaderTest : public ::testing::Test {
 protected:
  LaneReaderTest() { SetUpLane(); }

  void SetUpLane() {
    memory_ = std::make_shared<test::FakeSharedMemory>(kCapacity);
    Lane::Options options;
    options.name = "a lane";
    options.capacity_bytes = kCapacity;
    options.frame_bytes_max = kCapacity / 2;
    options.shared = memory_;
    options.control_count = &control_count_;
    lane_ = *Lane::Create(Environment::Real(), options, &reports_);
    lane_->SetMapped(true);
  }

  ClaimResult Write() {
    const ClaimResult result = lane_->TryClaim(kFrameBytes);
    if (result != ClaimResult::kClaimed) return result;
    test::FillFrame(lane_->next_sequence(), lane_->Room());
    lane_->Commit();
    return result;
  }
  int WriteUntilFull() {
    int written = 0;
    while (Write() == ClaimResult::kClaimed) ++written;
    return written;
  }
  void ReaderSays(uint64_t released) {
    memory_->positions().ring.released.store(released);
  }

  std::shared_ptr<test::FakeSharedMemory> memory_;
  std::atomic<uint32_t> control_count_{0};
  Reports reports_;
  std::unique_ptr<Lane> lane_;
};

TEST_F(LaneReaderTest, ReaderThatTakesBackWhatTheWriterReliedOnIsNoticed) {
  ASSERT_EQ(WriteUntilFull(), 7);
  ReaderSays(2 * kFrameBytes);
  ASSERT_EQ(Write(), ClaimResult::kClaimed);
  // Nobody but the writer has looked at the position meanwhile.
  ReaderSays(kFrameBytes);
  EXPECT_EQ(WriteUntilFull(), 1) << "of the room that there was";
  EXPECT_THAT(reports_.told,
              ElementsAre(HasSubstr("`released` is 512; a multiple of 64 from "
                                    "1024 to 4608 is expected")));
}

// Where the first ones lay others lie by now.
TEST_F(LaneReaderTest, NextReaderDoesNotAnswerForWhatTheLastTookBack) {
  for (const uint64_t said : {uint64_t{0}, uint64_t{1} << 40, uint64_t{3}}) {
    SetUpLane();
    ASSERT_EQ(WriteUntilFull(), 7);
    ReaderSays(4 * kFrameBytes);
    ASSERT_EQ(Write(), ClaimResult::kClaimed);
    ASSERT_EQ(Write(), ClaimResult::kClaimed);
    ReaderSays(said);
    std::vector<FrameHeader> lost;
    ASSERT_TRUE(lane_->RenewReader(/*seen=*/0, &lost).ok());
    EXPECT_THAT(lost, IsEmpty());
    EXPECT_EQ(lane_->released(), 4 * kFrameBytes);
    EXPECT_EQ(lane_->SequenceAt(lane_->released()), 5u);
    EXPECT_EQ(WriteUntilFull(), 2);
    EXPECT_THAT(reports_.told, IsEmpty());
  }
}

// Where a frame cannot start nothing is made of it, neither room nor the place
// where the next reader begins.
TEST_F(LaneReaderTest, PositionBetweenTwoFramesMakesNoRoom) {
  ASSERT_EQ(WriteUntilFull(), 7);
  ReaderSays(4 * kFrameBytes + kFrameAlignment / 2);
  EXPECT_EQ(Write(), ClaimResult::kFull);
  EXPECT_THAT(reports_.told, ElementsAre(HasSubstr("`released` is 2080")));
  lane_->MarkStalled(/*released=*/0, /*waited_ns=*/1);
  ReaderSays(kCapacity - 3);
  lane_->MarkStalled(/*released=*/0, /*waited_ns=*/1);
  std::vector<FrameHeader> lost;
  ASSERT_TRUE(lane_->RenewReader(/*seen=*/0, &lost).ok());
  EXPECT_THAT(lost, IsEmpty());
  EXPECT_EQ(lane_->released(), 0u);
  EXPECT_EQ(Write(), ClaimResult::kFull);
  EXPECT_EQ(reports_.told.size(), 1u);
}

// Its doorbell may be gone.
TEST_F(LaneReaderTest, LaneThatWasGivenUpReportsToNobody) {
  ASSERT_EQ(Write(), ClaimResult::kClaimed);
  lane_->Discard();
  ReaderSays(3);
  EXPECT_EQ(lane_->released(), 0u);
  EXPECT_THAT(reports_.told, IsEmpty());
}

TEST_F(LaneReaderTest, LieIsToldOfOnceForEachReader) {
  ASSERT_EQ(Write(), ClaimResult::kClaimed);
  ReaderSays(3);
  EXPECT_EQ(lane_->released(), 0u);
  EXPECT_EQ(lane_->released(), 0u);
  EXPECT_EQ(reports_.told.size(), 1u);
  std::vector<FrameHeader> lost;
  ASSERT_TRUE(lane_->RenewReader(/*seen=*/0, &lost).ok());
  EXPECT_EQ(lane_->released(), 0u);
  EXPECT_EQ(reports_.told.size(), 1u);
  ReaderSays(5);
  EXPECT_EQ(lane_->released(), 0u);
  EXPECT_EQ(reports_.told.size(), 2u);
}

class LossyLaneReaderTest : public LaneReaderTest, public DropSink {
 protected:
  void OnDrop(const FrameView&, DropReason reason) override {
    drops_.push_back(reason);
  }

  void SetUpLossy(bool drop_newest, size_t window = 0) {
    LossyStage::Options lossy;
    lossy.depth = 3;
    lossy.drop_newest = drop_newest;
    Lane::Options options;
    options.name = "a lossy lane";
    options.capacity_bytes = kCapacity;
    options.frame_bytes_max = kFrameBytes;
    options.lossy = lossy;
    options.window = window;
    memory_ =
        std::make_shared<test::FakeSharedMemory>(Lane::MemoryBytes(options));
    options.shared = memory_;
    options.control_count = &control_count_;
    // Ends before the test does.
    options.drop_sink = std::shared_ptr<DropSink>(std::shared_ptr<void>(),
                                                  static_cast<DropSink*>(this));
    lane_ = *Lane::Create(Environment::Real(), options, &reports_);
    lane_->SetMapped(true);
  }
  void Publish() {
    ASSERT_EQ(lane_->TryClaim(kFrameBytes), ClaimResult::kClaimed);
    const absl::Span<std::byte> room = lane_->Room();
    if (room.empty()) return lane_->DropClaimed(FrameFields());
    test::FillFrame(lane_->next_sequence(), room);
    lane_->Commit();
  }
  void LoseCommitWord(size_t at) {
    SharedWordAt<uint32_t>(memory_->bytes().data() + at)
        .store(0, std::memory_order_relaxed);
  }

  std::vector<DropReason> drops_;
};

// Without waiting for somebody who publishes on.
TEST_F(LossyLaneReaderTest, WhoAsksWhetherAllIsHandledFindsTheLie) {
  SetUpLossy(/*drop_newest=*/false);
  for (int i = 0; i < 3; ++i) Publish();
  EXPECT_FALSE(lane_->IsOver(lane_->Mark()));
  EXPECT_THAT(reports_.told, IsEmpty());
  memory_->positions().lossy.next.store(~uint64_t{0});
  EXPECT_FALSE(lane_->IsOver(lane_->Mark()));
  EXPECT_THAT(reports_.told,
              ElementsAre(HasSubstr("`next` is 18446744073709551615")));
  std::vector<FrameHeader> lost;
  ASSERT_TRUE(lane_->RenewReader(/*seen=*/0, &lost).ok());
  EXPECT_THAT(lost, IsEmpty());
  EXPECT_EQ(lane_->SequenceAt(0), 1u) << "nothing was taken";
  EXPECT_THAT(drops_, IsEmpty());
}

TEST_F(LossyLaneReaderTest, FrameWhoseCommitWordIsGoneIsFoundWhenAskedFor) {
  SetUpLossy(/*drop_newest=*/false);
  for (int i = 0; i < 2; ++i) Publish();
  lane_->CheckNextFrame();
  LoseCommitWord(kFrameBytes);
  lane_->CheckNextFrame();
  EXPECT_THAT(reports_.told, IsEmpty()) << "the reader has not come there";
  LoseCommitWord(0);
  lane_->CheckNextFrame();
  EXPECT_THAT(reports_.told,
              ElementsAre(HasSubstr("the frame at position 0, up to which the "
                                    "reader has come, has lost its length")));
  std::vector<FrameHeader> lost;
  ASSERT_TRUE(lane_->RenewReader(/*seen=*/0, &lost).ok());
  ASSERT_EQ(lost.size(), 2u);
  EXPECT_EQ(lost[0].lane_sequence, 1u);
  EXPECT_EQ(lost[1].lane_sequence, 2u);
}

// Nobody may ever ask, and it would drop all that comes.
TEST_F(LossyLaneReaderTest, LaneThatDropsTheNewestLooksWhyItIsFull) {
  SetUpLossy(/*drop_newest=*/true);
  for (int i = 0; i < 4; ++i) Publish();
  EXPECT_THAT(drops_, ElementsAre(DropReason::kOverflow));
  EXPECT_THAT(reports_.told, IsEmpty()) << "all is sound";
  LoseCommitWord(0);
  Publish();
  EXPECT_THAT(reports_.told, ElementsAre(HasSubstr("has lost its length")));
  Publish();
  EXPECT_EQ(reports_.told.size(), 1u);
}

// It could be shared, and is sent: the peer cannot map it, say.
TEST_F(LossyLaneReaderTest, MessageThatKillsIsTakenOutOfALaneThatIsSent) {
  SetUpLossy(/*drop_newest=*/false, /*window=*/2);
  lane_->SetMapped(false);
  for (int i = 0; i < 2; ++i) Publish();
  lane_->Advance();
  FrameHeader poison;
  for (int deaths = 0; deaths < 3; ++deaths) {
    lane_->BeginRedelivery(lane_->committed());
    EXPECT_FALSE(lane_->TakePoison(/*redeliveries_max=*/3, &poison));
  }
  lane_->BeginRedelivery(lane_->committed());
  ASSERT_TRUE(lane_->TakePoison(/*redeliveries_max=*/3, &poison));
  EXPECT_EQ(poison.lane_sequence, 1u);
  EXPECT_EQ(lane_->SequenceAt(lane_->released()), 2u);
}

// What the first one died of was dropped meanwhile.
TEST_F(LossyLaneReaderTest, SuspicionOfAStagedMessageIsNotThatOfASentOne) {
  SetUpLossy(/*drop_newest=*/false, /*window=*/2);
  Publish();
  LossyRingReader reader(memory_->bytes(), memory_->positions().lossy, 0);
  FrameView taken;
  ASSERT_EQ(reader.Poll(&taken), RingReader::Result::kFrame);
  std::vector<FrameHeader> lost;
  ASSERT_TRUE(lane_->RenewReader(/*seen=*/0, &lost).ok());
  lane_->SetMapped(false);
  for (int i = 0; i < 3; ++i) Publish();
  ASSERT_THAT(drops_, ElementsAre(DropReason::kOverflow));
  lane_->Advance();
  lane_->BeginRedelivery(lane_->committed());
  FrameHeader poison;
  EXPECT_FALSE(lane_->TakePoison(/*redeliveries_max=*/1, &poison));
  lane_->BeginRedelivery(lane_->committed());
  ASSERT_TRUE(lane_->TakePoison(/*redeliveries_max=*/1, &poison));
  EXPECT_EQ(poison.lane_sequence, 2u);
}

// For the reader there is no frame, and nothing behind it either.
TEST_F(LaneReaderTest, FrameWhoseCommitWordIsGoneIsFoundWhenTheReaderStalls) {
  ASSERT_EQ(WriteUntilFull(), 7);
  lane_->MarkStalled(/*released=*/0, /*waited_ns=*/1);
  EXPECT_THAT(reports_.told, IsEmpty()) << "all is sound";
  SharedWordAt<uint32_t>(memory_->bytes().data() + kFrameBytes)
      .store(0, std::memory_order_relaxed);
  ReaderSays(kFrameBytes);
  EXPECT_THAT(reports_.told, IsEmpty());
  lane_->MarkStalled(/*released=*/kFrameBytes, /*waited_ns=*/1);
  EXPECT_THAT(reports_.told,
              ElementsAre(HasSubstr("the frame at position 512, up to which "
                                    "the reader has come, has lost its "
                                    "length")));
}

}  // namespace
}  // namespace mycelium
