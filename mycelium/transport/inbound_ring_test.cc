#include "mycelium/transport/inbound_ring.h"

#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/codec/frame_encoder.h"
#include "mycelium/transport/lane/fake_shared_memory.h"

namespace mycelium {
namespace {

using ::mycelium::test::FakeSharedMemory;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Look = InboundRing::Look;

constexpr size_t kRingBytes = 8192;
constexpr size_t kLoansBytes = 4096;
constexpr uint32_t kMemory = 7;
constexpr size_t kSize = 2000;

// A ring whose frames may refer to one memory.
class InboundRingTest : public ::testing::Test {
 protected:
  InboundRingTest() : writer_(ring_->bytes(), ring_->positions().ring) {
    for (size_t i = 0; i < kLoansBytes; ++i) {
      loans_->bytes()[i] = static_cast<std::byte>(i * 7);
    }
    memories_[kMemory] = loans_;
    options_.frame_bytes_max = kRingBytes / 2;
    options_.next_sequence = 1;
    options_.loans = &memories_;
  }

  // A frame that refers to `offset`, with `fields` beside that.
  void Write(uint64_t offset, size_t size = kSize, uint32_t memory = kMemory,
             FrameFields fields = {}) {
    fields.flags |= kFrameElsewhere;
    const LoanReference reference = {memory, 0, offset};
    const absl::Span<std::byte> room =
        writer_.TryClaim(EncodedFrameBytes(fields, size));
    ASSERT_FALSE(room.empty());
    const absl::Span<std::byte> payload =
        EncodeFrame(fields, ++sequence_, size, room);
    std::memcpy(payload.data(), &reference, std::min(size, sizeof reference));
    writer_.Commit();
  }

  void WriteBare(FrameFields fields = {}) {
    constexpr size_t kPayload = 8;
    (void)EncodeFrame(fields, ++sequence_, kPayload,
                      writer_.TryClaim(sizeof(FrameHeader) + kPayload));
    writer_.Commit();
  }

  InboundRing& Ring() {
    if (reader_ == nullptr) {
      reader_ = std::make_unique<InboundRing>(ring_, options_);
    }
    return *reader_;
  }
  Look Peek() {
    uint64_t end;
    return Ring().Peek(/*controls_seen=*/0, &view_, &end);
  }
  void ExpectCorrupt() {
    EXPECT_EQ(Peek(), Look::kCorrupt);
    EXPECT_THAT(Ring().error(),
                AllOf(HasSubstr("in shared memory: frame 1 before position"),
                      HasSubstr("refers to a loan that does not lie in")));
  }

  const std::shared_ptr<FakeSharedMemory> ring_ =
      std::make_shared<FakeSharedMemory>(kRingBytes);
  std::shared_ptr<FakeSharedMemory> loans_ =
      std::make_shared<FakeSharedMemory>(kLoansBytes);
  InboundRing::LoanMemories memories_;
  InboundRing::Options options_;
  RingWriter writer_;
  uint64_t sequence_ = 0;
  std::unique_ptr<InboundRing> reader_;
  const FrameView* view_ = nullptr;
};

TEST_F(InboundRingTest, PayloadIsWhatTheFrameRefersToAndNotCopied) {
  for (const uint64_t offset :
       {uint64_t{0}, uint64_t{16}, kLoansBytes - kSize}) {
    Write(offset);
    ASSERT_EQ(Peek(), Look::kFrame);
    EXPECT_EQ(view_->payload.data(), loans_->bytes().data() + offset);
    EXPECT_EQ(view_->payload.size(), kSize);
    EXPECT_EQ(view_->header.flags & kFrameElsewhere, 0);
    ASSERT_NE(view_->memory, nullptr);
    EXPECT_EQ(view_->memory->get(), loans_.get());
    Ring().Pop(/*handled=*/true);
  }
  EXPECT_EQ(Peek(), Look::kEmpty);
}

// A frame as it was shown, in a copy.
struct Shown {
  FrameHeader header;
  uint64_t lost_before, end;
  int64_t publish_time_ns;
  std::string extension, payload;
  bool is_copied;

  bool operator==(const Shown& other) const {
    return std::memcmp(&header, &other.header, sizeof header) == 0 &&
           lost_before == other.lost_before && end == other.end &&
           publish_time_ns == other.publish_time_ns &&
           extension == other.extension && payload == other.payload &&
           is_copied == other.is_copied;
  }
};

std::vector<Shown> ShowAll(InboundRing& ring,
                           absl::Span<const std::byte> memory) {
  const auto text = [](absl::Span<const std::byte> bytes) {
    return std::string(reinterpret_cast<const char*>(bytes.data()),
                       bytes.size());
  };
  std::vector<Shown> shown;
  const FrameView* view;
  uint64_t end;
  while (ring.Peek(/*controls_seen=*/3, &view, &end) == Look::kFrame) {
    const bool lies_there =
        std::less_equal<>()(memory.data(), view->payload.data()) &&
        std::less<>()(view->payload.data(), memory.data() + memory.size());
    EXPECT_EQ(view->memory == nullptr, !lies_there);
    shown.push_back({view->header, view->lost_before, end,
                     view->publish_time_ns, text(view->extension),
                     text(view->payload), !lies_there});
    ring.Pop(/*handled=*/true);
  }
  return shown;
}

// Frames that are bare and small are taken by a function of their own, and not
// if the ring comes to an end.
TEST_F(InboundRingTest, BareFramesAreShownLikeTheOthers) {
  options_.redelivered_until = 9;
  const std::vector<size_t> sizes = {0,  1,  15, 16,   17,   24,   32,  33, 63,
                                     64, 65, 88, 1023, 1024, 1025, 100, 0};
  for (const size_t size : sizes) {
    FrameFields fields;
    fields.digest_prefix = 0x1122334455667788;
    fields.publisher_sequence = 100 + size;
    fields.publisher_id = 5;
    fields.lost_before = 3;
    if (size == 33) fields.flags = kFramePublishTime;
    if (size == 33) fields.publish_time_ns = 4711;
    if (size == 63) fields.extension = "thirteen char";
    const absl::Span<std::byte> payload =
        EncodeFrame(fields, ++sequence_, size,
                    writer_.TryClaim(EncodedFrameBytes(fields, size)));
    ASSERT_EQ(payload.size(), size);
    for (size_t i = 0; i < size; ++i) payload[i] = std::byte(i * 3 + size);
    writer_.Commit();
  }
  EXPECT_TRUE(Ring().is_plain());
  const std::vector<Shown> shown = ShowAll(Ring(), ring_->bytes());
  ASSERT_EQ(shown.size(), sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) {
    const Shown& frame = shown[i];
    EXPECT_EQ(frame.header.lane_sequence, i + 1);
    EXPECT_EQ(frame.header.publisher_sequence, 100 + sizes[i]);
    EXPECT_EQ((frame.header.flags & kFrameRedelivered) != 0, i + 1 < 9);
    EXPECT_EQ(frame.lost_before, 0u);
    EXPECT_EQ(frame.is_copied, sizes[i] <= InboundRing::kCopiedBytesMax);
    ASSERT_EQ(frame.payload.size(), sizes[i]);
    for (size_t at = 0; at < sizes[i]; ++at) {
      ASSERT_EQ(static_cast<uint8_t>(frame.payload[at]),
                static_cast<uint8_t>(at * 3 + sizes[i]));
    }
  }
  InboundRing draining(ring_, options_);
  draining.BeginDraining();
  EXPECT_FALSE(draining.is_plain());
  EXPECT_EQ(ShowAll(draining, ring_->bytes()), shown);
  draining.EndDraining();
  EXPECT_TRUE(draining.is_plain());
}

TEST_F(InboundRingTest, BareFrameBeyondTheBoundIsCorrupt) {
  options_.frame_bytes_max = 200;
  for (const size_t frame_bytes : {200, 201}) {
    const size_t size = frame_bytes - sizeof(FrameHeader);
    (void)EncodeFrame({}, ++sequence_, size, writer_.TryClaim(frame_bytes));
    writer_.Commit();
  }
  ASSERT_EQ(Peek(), Look::kFrame);
  Ring().Pop(/*handled=*/true);
  EXPECT_EQ(Peek(), Look::kCorrupt);
  EXPECT_THAT(Ring().error(), HasSubstr("201 bytes; at most 200 are expected"));
}

// Commit words that no writer of ours stores, close to the end of the memory.
TEST_F(InboundRingTest, BareFrameThatCannotBeIsCorrupt) {
  options_.position = kRingBytes - 2 * kFrameAlignment;
  for (const uint32_t frame_bytes :
       {1u, 39u, 129u, 4096u, 4097u, 1u << 31, ~0u}) {
    const FrameHeader header = {frame_bytes, 0, 0, 1, 0, 0, 0, 0};
    std::memcpy(&ring_->bytes()[options_.position], &header, sizeof header);
    reader_ = nullptr;
    EXPECT_EQ(Peek(), Look::kCorrupt) << frame_bytes;
  }
}

TEST_F(InboundRingTest, BareFrameOfAnotherSequenceIsCorrupt) {
  sequence_ = 1;
  WriteBare();
  EXPECT_EQ(Peek(), Look::kCorrupt);
  EXPECT_THAT(Ring().error(), HasSubstr("has sequence 2, expected 1"));
}

TEST_F(InboundRingTest, NoFrameIsShownBehindACondemnedOne) {
  for (int i = 0; i < 2; ++i) {
    sequence_ = 0;  // What is condemned is not counted.
    WriteBare();
  }
  ASSERT_EQ(Peek(), Look::kFrame);
  EXPECT_EQ(Ring().Condemn("for a test"), Look::kCorrupt);
  EXPECT_EQ(Peek(), Look::kCorrupt);
}

TEST_F(InboundRingTest, WhoeverPublishesOnIsNotFollowedForEver) {
  constexpr size_t kFrames = kRingBytes / kFrameAlignment;
  Ring().BeginDraining();
  for (size_t i = 0; i < kFrames; ++i) {
    WriteBare();
    ASSERT_EQ(Peek(), Look::kFrame);
    Ring().Pop(/*handled=*/true);
  }
  WriteBare();
  EXPECT_EQ(Peek(), Look::kEmpty);
  Ring().EndDraining();
  EXPECT_EQ(Peek(), Look::kFrame);
}

TEST_F(InboundRingTest, BareFrameWaitsForItsControlMessages) {
  FrameFields fields;
  fields.lost_before = 2;
  WriteBare(fields);
  uint64_t end;
  EXPECT_EQ(Ring().Peek(/*controls_seen=*/1, &view_, &end), Look::kNotYet);
  EXPECT_EQ(Ring().taken(), 0u);
  EXPECT_EQ(Ring().Peek(/*controls_seen=*/2, &view_, &end), Look::kFrame);
  EXPECT_EQ(view_->payload.size(), 8u);
}

TEST_F(InboundRingTest, ReferenceKeepsThePublishTime) {
  FrameFields fields;
  fields.flags = kFramePublishTime;
  fields.publish_time_ns = 4711;
  Write(8, kSize, kMemory, fields);
  ASSERT_EQ(Peek(), Look::kFrame);
  EXPECT_EQ(view_->payload.data(), loans_->bytes().data() + 8);
  EXPECT_EQ(view_->publish_time_ns, 4711);
}

TEST_F(InboundRingTest, ReferenceOfAnotherUserIsCopied) {
  options_.copies_all = true;
  Write(8);
  ASSERT_EQ(Peek(), Look::kFrame);
  ASSERT_EQ(view_->payload.size(), kSize);
  EXPECT_EQ(view_->memory, nullptr);
  EXPECT_NE(view_->payload.data(), loans_->bytes().data() + 8);
  loans_->bytes()[8] = std::byte{99};
  EXPECT_EQ(view_->payload[0], std::byte{56});
}

TEST_F(InboundRingTest, MemoryIsLetGoOfOnceItIsClosedAndNoFrameIsShown) {
  Write(0);
  ASSERT_EQ(Peek(), Look::kFrame);
  const std::weak_ptr<FakeSharedMemory> watched = loans_;
  memories_.clear();
  loans_ = nullptr;
  Ring().LetGoOfLoans();
  EXPECT_FALSE(watched.expired()) << "somebody reads there";
  EXPECT_EQ(view_->payload[1], std::byte{7});
  Ring().Pop(/*handled=*/true);
  Ring().LetGoOfLoans();
  EXPECT_TRUE(watched.expired());
}

TEST_F(InboundRingTest, MemoryThatIsNotMappedIsCorrupt) {
  Write(0, kSize, kMemory + 1);
  ExpectCorrupt();
}

TEST_F(InboundRingTest, MemoryThatWasClosedIsCorrupt) {
  Write(0);
  memories_.clear();
  ExpectCorrupt();
}

TEST_F(InboundRingTest, OffsetBehindTheLastPossibleOneIsCorrupt) {
  Write(kLoansBytes - kSize + 1);
  ExpectCorrupt();
}

TEST_F(InboundRingTest, OffsetAtTheEndOfAllNumbersIsCorrupt) {
  for (const uint64_t offset :
       {kLoansBytes, kLoansBytes + 1, uint64_t{1} << 63, ~uint64_t{0},
        ~uint64_t{0} - kSize + 1, ~uint64_t{0} - kSize + 2}) {
    InboundRingTest::sequence_ = 0;
    const auto ring = std::make_shared<FakeSharedMemory>(kRingBytes);
    RingWriter writer(ring->bytes(), ring->positions().ring);
    FrameFields fields;
    fields.flags = kFrameElsewhere;
    const LoanReference reference = {kMemory, 0, offset};
    const absl::Span<std::byte> payload = EncodeFrame(
        fields, 1, kSize, writer.TryClaim(EncodedFrameBytes(fields, kSize)));
    std::memcpy(payload.data(), &reference, sizeof reference);
    writer.Commit();
    InboundRing reader(ring, options_);
    uint64_t end;
    EXPECT_EQ(reader.Peek(0, &view_, &end), Look::kCorrupt) << offset;
  }
}

TEST_F(InboundRingTest, FrameThatIsShorterThanAReferenceIsCorrupt) {
  Write(0, sizeof(LoanReference) - 1);
  ExpectCorrupt();
}

TEST_F(InboundRingTest, EmptyFrameThatRefersIsCorrupt) {
  Write(0, 0);
  ExpectCorrupt();
}

TEST_F(InboundRingTest, FrameAsLongAsAReferenceIsNot) {
  Write(0, sizeof(LoanReference));
  EXPECT_EQ(Peek(), Look::kFrame);
}

TEST_F(InboundRingTest, ReferenceBesideAnExtensionIsCorrupt) {
  FrameFields fields;
  fields.extension = "extension";
  Write(0, kSize, kMemory, fields);
  ExpectCorrupt();
}

TEST_F(InboundRingTest, RingWithoutLoansKnowsNoReference) {
  options_.loans = nullptr;
  Write(0);
  EXPECT_EQ(Peek(), Look::kCorrupt);
  EXPECT_THAT(Ring().error(), HasSubstr("no frame starts at position 0"));
}

// With that the lane begins anew: what is not handled would come again.
TEST_F(InboundRingTest, CorruptionIsToldWhenWhatCameBeforeIsHandled) {
  Write(0);
  Write(0);
  Write(kLoansBytes);
  uint64_t first = 0, second = 0;
  ASSERT_EQ(Ring().Peek(/*controls_seen=*/0, &view_, &first), Look::kFrame);
  Ring().Pop(/*handled=*/false);
  ASSERT_EQ(Ring().Peek(/*controls_seen=*/0, &view_, &second), Look::kFrame);
  EXPECT_FALSE(Ring().NoteHandled(0));
  Ring().Pop(/*handled=*/false);
  EXPECT_EQ(Peek(), Look::kCorruptLater);
  EXPECT_EQ(Peek(), Look::kEmpty) << "it is said once";
  EXPECT_TRUE(Ring().MayHaveFrame());
  (void)Ring().BeginSleep();
  EXPECT_FALSE(Ring().HasWork(/*controls_seen=*/0));
  EXPECT_TRUE(Ring().NoteHandled(first)) << "nobody looks again";
  EXPECT_EQ(Peek(), Look::kEmpty);
  EXPECT_TRUE(Ring().NoteHandled(second));
  EXPECT_TRUE(Ring().HasWork(/*controls_seen=*/0));
  EXPECT_EQ(Peek(), Look::kCorrupt);
  EXPECT_THAT(Ring().error(), HasSubstr("frame 3 before position"));
}

// Whoever has it may have it for ever: no end of a connection waits.
TEST_F(InboundRingTest, CorruptionIsToldAtOnceWhereThereIsNoNextConnection) {
  Write(0);
  Write(kLoansBytes);
  ASSERT_EQ(Peek(), Look::kFrame);
  Ring().Pop(/*handled=*/false);
  ASSERT_EQ(Peek(), Look::kCorruptLater);
  Ring().BeginDraining();
  EXPECT_EQ(Peek(), Look::kEmpty);
  EXPECT_TRUE(Ring().IsDrained(/*controls_seen=*/0));
  Ring().BeginTakingOver();
  Ring().TellAtOnce();
  EXPECT_FALSE(Ring().IsDrained(/*controls_seen=*/0));
  EXPECT_EQ(Peek(), Look::kCorrupt);
}

TEST_F(InboundRingTest, CondemnedFrameIsNotShownAgain) {
  Write(0);
  Write(0);
  ASSERT_EQ(Peek(), Look::kFrame);
  Ring().Pop(/*handled=*/false);
  ASSERT_EQ(Peek(), Look::kFrame);
  EXPECT_EQ(Ring().Condemn("a frame of nobody"), Look::kCorruptLater);
  EXPECT_EQ(Peek(), Look::kEmpty);
  EXPECT_TRUE(Ring().NoteHandled(Ring().taken()));
  EXPECT_EQ(Peek(), Look::kCorrupt);
  EXPECT_EQ(Ring().error(), "lane 0 in shared memory: a frame of nobody");
}

// The thread that has the first frame may be the later one to say so.
TEST_F(InboundRingTest, WhatIsHandledStaysHandled) {
  Write(0);
  Write(0);
  uint64_t ends[2];
  for (uint64_t& end : ends) {
    ASSERT_EQ(Ring().Peek(/*controls_seen=*/0, &view_, &end), Look::kFrame);
    Ring().Pop(/*handled=*/false);
  }
  Ring().NoteHandled(ends[1]);
  Ring().NoteHandled(ends[0]);
  EXPECT_EQ(Ring().handled(), ends[1]);
  EXPECT_EQ(ring_->positions().ring.released.load(), ends[1]);
}

TEST(InboundRingLossyTest,
     WhoFinishesAFrameLetsGoOfNoLaterOneWhileItIsTakenOver) {
  const auto memory = std::make_shared<FakeSharedMemory>(kRingBytes);
  LossyPositions& positions = memory->positions().lossy;
  LossyRingWriter writer(memory->bytes(), positions, /*depth=*/4);
  for (uint64_t sequence = 1; sequence <= 2; ++sequence) {
    absl::Span<std::byte> room;
    const size_t bytes = EncodedFrameBytes(FrameFields(), kSize);
    ASSERT_EQ(writer.TryReserve(bytes, &room), LossyRingWriter::Fit::kFits);
    (void)EncodeFrame(FrameFields(), sequence, kSize, room);
    writer.Commit(sequence);
  }
  InboundRing::Options options;
  options.lossy = true;
  options.frame_bytes_max = kRingBytes / 2;
  InboundRing ring(memory, options);
  const FrameView* view;
  uint64_t first = 0, second = 0;
  ASSERT_EQ(ring.Peek(/*controls_seen=*/0, &view, &first), Look::kFrame);
  ring.Pop(/*handled=*/false);
  EXPECT_EQ(ring.Peek(/*controls_seen=*/0, &view, &second), Look::kEmpty);
  ring.BeginTakingOver();
  // Which is looked at where it lies.
  ASSERT_EQ(ring.Peek(/*controls_seen=*/0, &view, &second), Look::kFrame);
  ASSERT_NE(positions.held.load(), LossyPositions::kNothingHeld);
  ring.NoteHandled(first);
  EXPECT_NE(positions.held.load(), LossyPositions::kNothingHeld);
  ring.NoteHandled(second);
  EXPECT_EQ(positions.held.load(), LossyPositions::kNothingHeld);
}

// The last frame of a turn, say: nothing else is there to come back for.
TEST(InboundRingLossyTest, CondemnedFrameIsLookedAtAgain) {
  const auto memory = std::make_shared<FakeSharedMemory>(kRingBytes);
  LossyRingWriter writer(memory->bytes(), memory->positions().lossy,
                         /*depth=*/4);
  absl::Span<std::byte> room;
  const size_t bytes = EncodedFrameBytes(FrameFields(), kSize);
  ASSERT_EQ(writer.TryReserve(bytes, &room), LossyRingWriter::Fit::kFits);
  (void)EncodeFrame(FrameFields(), 1, kSize, room);
  writer.Commit(1);
  InboundRing::Options options;
  options.lossy = true;
  options.frame_bytes_max = kRingBytes / 2;
  InboundRing ring(memory, options);
  const FrameView* view;
  uint64_t end;
  ASSERT_EQ(ring.Peek(/*controls_seen=*/0, &view, &end), Look::kFrame);
  EXPECT_EQ(ring.Condemn("a frame of nobody"), Look::kCorrupt);
  EXPECT_TRUE(ring.MayHaveFrame());
  EXPECT_EQ(ring.Peek(/*controls_seen=*/0, &view, &end), Look::kCorrupt);
}

// Whom nobody wakes would stay awake for ever.
TEST(InboundRingLossyTest, NothingIsThereToStayAwakeForBehindTheBound) {
  const auto memory = std::make_shared<FakeSharedMemory>(kRingBytes);
  LossyRingWriter writer(memory->bytes(), memory->positions().lossy,
                         /*depth=*/4);
  uint64_t sequence = 0;
  const auto publish = [&] {
    absl::Span<std::byte> room;
    const size_t bytes = EncodedFrameBytes(FrameFields(), kSize);
    ASSERT_EQ(writer.TryReserve(bytes, &room), LossyRingWriter::Fit::kFits);
    (void)EncodeFrame(FrameFields(), ++sequence, kSize, room);
    writer.Commit(sequence);
  };
  InboundRing::Options options;
  options.lossy = true;
  options.frame_bytes_max = kRingBytes / 2;
  InboundRing ring(memory, options);
  ring.BeginDraining();
  const FrameView* view;
  uint64_t end = 0;
  publish();
  while (ring.Peek(/*controls_seen=*/0, &view, &end) == Look::kFrame) {
    ring.Pop(/*handled=*/true);
    publish();
  }
  (void)ring.BeginSleep();
  EXPECT_FALSE(ring.HasWork(/*controls_seen=*/0));
  ring.EndDraining();
  EXPECT_TRUE(ring.HasWork(/*controls_seen=*/0));
}

bool g_has_barrier;

// What the reader promises of barriers, and what it says when it has to run
// one.
class BarrierPromiseTest : public ::testing::Test {
 protected:
  BarrierPromiseTest() {
    g_has_barrier = true;
    memory_->positions().takes_barriers.store(1);
  }

  void Open() {
    InboundRing::Options options;
    options.frame_bytes_max = kRingBytes / 2;
    options.has_barrier = [] { return g_has_barrier; };
    options.busy_frames = 10;
    ring_.emplace(memory_, options);
  }
  uint32_t state() {
    return memory_->positions().sleeping.load(std::memory_order_relaxed);
  }

  const std::shared_ptr<FakeSharedMemory> memory_ =
      std::make_shared<FakeSharedMemory>(kRingBytes);
  std::optional<InboundRing> ring_;
};

TEST_F(BarrierPromiseTest, ReaderThatIsBusyPromisesOneAndKeepsItOnce) {
  Open();
  for (int sleep = 0; sleep < 2; ++sleep) {
    ring_->NoteTaken(3);
    ring_->NoteTaken(6);
    EXPECT_EQ(state(), LanePositions::kAwake);
    ring_->NoteTaken(1);
    EXPECT_EQ(state(), LanePositions::kAwakeBehindBarrier);
    ring_->NoteTaken(64);
    EXPECT_TRUE(ring_->BeginSleep());
    EXPECT_EQ(state(), LanePositions::kAsleep);
    ring_->NoteTaken(1000);
    EXPECT_EQ(state(), LanePositions::kAsleep) << "it still sleeps";
    EXPECT_FALSE(ring_->BeginSleep()) << "it has not been awake since";
    ring_->EndSleep();
    EXPECT_EQ(state(), LanePositions::kAwake);
    EXPECT_FALSE(ring_->BeginSleep()) << "nothing was promised since";
    ring_->EndSleep();
  }
}

TEST_F(BarrierPromiseTest, FramesBeforeASleepDoNotCount) {
  Open();
  for (int sleep = 0; sleep < 3; ++sleep) {
    ring_->NoteTaken(9);
    EXPECT_FALSE(ring_->BeginSleep());
    ring_->EndSleep();
  }
  EXPECT_EQ(state(), LanePositions::kAwake);
}

// The writer may store what it likes; its reader does not rely on it.
TEST_F(BarrierPromiseTest, PromiseIsKeptWhateverTheWriterMakesOfTheWord) {
  Open();
  ring_->NoteTaken(10);
  memory_->positions().sleeping.store(LanePositions::kAwake);
  EXPECT_TRUE(ring_->BeginSleep());
  ring_->EndSleep();
  memory_->positions().sleeping.store(LanePositions::kAwakeBehindBarrier);
  EXPECT_FALSE(ring_->BeginSleep());
}

TEST_F(BarrierPromiseTest, NonePromisedToAWriterThatRunsNone) {
  memory_->positions().takes_barriers.store(0);
  Open();
  ring_->NoteTaken(1000);
  EXPECT_EQ(state(), LanePositions::kAwake);
  EXPECT_FALSE(ring_->BeginSleep());
}

TEST_F(BarrierPromiseTest, NonePromisedOnceTheKernelRefuses) {
  Open();
  ring_->NoteTaken(10);
  g_has_barrier = false;
  EXPECT_TRUE(ring_->BeginSleep());
  ring_->EndSleep();
  ring_->NoteTaken(10);
  EXPECT_EQ(state(), LanePositions::kAwake);
  EXPECT_FALSE(ring_->BeginSleep());
}

TEST_F(BarrierPromiseTest, NonePromisedWhereThereIsNone) {
  g_has_barrier = false;
  Open();
  ring_->NoteTaken(10);
  EXPECT_EQ(state(), LanePositions::kAwake);
  EXPECT_FALSE(ring_->BeginSleep());
}

}  // namespace
}  // namespace mycelium
