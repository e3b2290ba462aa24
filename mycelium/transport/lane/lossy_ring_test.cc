#include "mycelium/transport/lane/lossy_ring.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/transport/lane/ring_frames.h"

namespace mycelium {
namespace {

using test::IsFilled;
using test::RingMemory;
using Fit = LossyRingWriter::Fit;
using Result = RingReader::Result;

constexpr size_t kFrameBytes = 64;
// Lies in more than one line, so that there are positions within it.
constexpr size_t kLongFrameBytes = 3 * kFrameAlignment;

class LossyRingTest : public ::testing::Test {
 protected:
  explicit LossyRingTest(size_t depth = 4, size_t capacity = kRingBytesMin)
      : memory_(capacity),
        writer_(memory_.bytes(), positions_, depth),
        reader_(memory_.bytes(), positions_, 0) {}

  // Drops what is in the way, as drop_oldest does. Returns how many.
  size_t Write(uint64_t sequence, size_t frame_bytes = kFrameBytes) {
    absl::Span<std::byte> room;
    size_t dropped = 0;
    bool was_drained = false;
    while (writer_.TryReserve(frame_bytes, &room) != Fit::kFits) {
      FrameView oldest;
      if (writer_.DropOldest(&oldest)) {
        dropped_.push_back(oldest.header.lane_sequence);
        ++dropped;
        continue;
      }
      if (was_drained) {
        ADD_FAILURE() << "no room, and nothing to drop";
        return dropped;
      }
      was_drained = true;  // The reader has just taken the last one.
    }
    test::FillFrame(sequence, room);
    places_[sequence] = room.data();
    writer_.Commit(sequence);
    return dropped;
  }

  uint64_t Take(uint64_t* lost_before = nullptr) {
    FrameView view;
    if (reader_.Poll(&view) != Result::kFrame) return 0;
    EXPECT_TRUE(
        IsFilled(view, view.header.lane_sequence, view.header.frame_bytes));
    if (lost_before != nullptr) *lost_before = view.lost_before;
    return view.header.lane_sequence;
  }

  // For another reader. Returns what that one is to get.
  std::vector<uint64_t> Restart() {
    writer_.Restart([] {}, [](const FrameView&) { FAIL() << "no room"; },
                    [this](const FrameView& damaged) {
                      damaged_.push_back(damaged.header.lane_sequence);
                    });
    reader_.Forget();
    std::vector<uint64_t> left;
    writer_.ForEachFrame(
        [&](const FrameHeader& frame) { left.push_back(frame.lane_sequence); });
    return left;
  }
  void Drain() {
    while (Take() != 0) continue;
    reader_.Release();
    EXPECT_EQ(writer_.waiting(), 0u);
  }
  // As it was written.
  std::byte* FrameOf(uint64_t sequence) { return places_.at(sequence); }

  RingMemory memory_;
  LossyPositions positions_;
  LossyRingWriter writer_;
  LossyRingReader reader_;
  std::vector<uint64_t> dropped_;
  std::vector<uint64_t> damaged_;
  std::map<uint64_t, std::byte*> places_;
};

TEST_F(LossyRingTest, EmptyRingHasNoFrame) {
  EXPECT_FALSE(reader_.HasFrame());
  EXPECT_EQ(Take(), 0u);
}

TEST_F(LossyRingTest, FramesArriveInOrderWhileTheyAreFewerThanTheDepth) {
  for (uint64_t id = 1; id <= 4; ++id) EXPECT_EQ(Write(id), 0u);
  for (uint64_t id = 1; id <= 4; ++id) EXPECT_EQ(Take(), id);
  EXPECT_EQ(Take(), 0u);
}

TEST_F(LossyRingTest, DepthIsTheMostThatWaits) {
  absl::Span<std::byte> room;
  for (uint64_t id = 1; id <= 4; ++id) Write(id);
  EXPECT_EQ(writer_.TryReserve(kFrameBytes, &room), Fit::kDepth);
  EXPECT_EQ(writer_.waiting(), 4u);
}

TEST_F(LossyRingTest, OldestGoesAndTheNextSaysHowManyWereLost) {
  for (uint64_t id = 1; id <= 10; ++id) Write(id);
  EXPECT_EQ(dropped_, (std::vector<uint64_t>{1, 2, 3, 4, 5, 6}));
  uint64_t lost = 0;
  EXPECT_EQ(Take(&lost), 7u);
  EXPECT_EQ(lost, 6u);
  EXPECT_EQ(Take(&lost), 8u);
  EXPECT_EQ(lost, 0u);
}

TEST_F(LossyRingTest, HeldFrameStaysWholeHoweverOftenTheWriterGoesRound) {
  Write(1, 1000);
  FrameView held;
  ASSERT_EQ(reader_.Poll(&held), Result::kFrame);
  for (uint64_t id = 2; id <= 1000; ++id) {
    Write(id, 40 + (id * 72) % 900);
    ASSERT_TRUE(IsFilled(held, 1, 1000)) << "after " << id;
  }
  EXPECT_EQ(Take(), 997u);
}

TEST_F(LossyRingTest, FrameOfTheSizeThatTheCapacityIsForAlwaysFits) {
  constexpr size_t kLargest = kRingBytesMin / 4 - kFrameAlignment;
  ASSERT_EQ(LossyRingWriter::CapacityFor(kLargest), kRingBytesMin);
  ASSERT_GT(LossyRingWriter::CapacityFor(kLargest + 1), kRingBytesMin);
  std::minstd_rand random(1);
  FrameView held;
  for (uint64_t id = 1; id <= 20'000; ++id) {
    Write(id, random() % 3 == 0 ? kLargest : 40 + random() % 500);
    if (random() % 5 == 0) {
      ASSERT_NE(reader_.Poll(&held), Result::kCorrupt);
    }
    if (random() % 7 == 0) reader_.Release();
  }
}

TEST_F(LossyRingTest, FrameThatIsTakenIsNotDropped) {
  Write(1);
  Write(2);
  EXPECT_EQ(Take(), 1u);
  FrameView dropped;
  ASSERT_TRUE(writer_.DropOldest(&dropped));
  EXPECT_EQ(dropped.header.lane_sequence, 2u);
  EXPECT_FALSE(writer_.DropOldest(&dropped));
  EXPECT_EQ(Take(), 0u);
}

TEST_F(LossyRingTest, NothingIsDroppedWhereFewerWaitThanWasSaid) {
  Write(1);
  Write(2);
  EXPECT_EQ(Take(), 1u);
  FrameView dropped;
  EXPECT_FALSE(writer_.DropOldest(&dropped, 2));
  EXPECT_TRUE(writer_.DropOldest(&dropped, 1));
}

TEST_F(LossyRingTest, FrameIsOverWhenItWasDroppedOrLetGo) {
  Write(1);
  Write(2);
  EXPECT_FALSE(writer_.IsOver(1));
  EXPECT_EQ(Take(), 1u);
  EXPECT_FALSE(writer_.IsOver(1)) << "it is held";
  reader_.Release();
  EXPECT_TRUE(writer_.IsOver(1));
  EXPECT_FALSE(writer_.IsOver(2));
  FrameView dropped;
  EXPECT_TRUE(writer_.DropOldest(&dropped));
  EXPECT_TRUE(writer_.IsOver(2));
}

TEST_F(LossyRingTest, EachFrameVisitsWhatIsHeldAndWhatWaits) {
  for (uint64_t id = 1; id <= 3; ++id) Write(id);
  EXPECT_EQ(Take(), 1u);
  std::vector<uint64_t> seen;
  writer_.ForEachFrame(
      [&](const FrameHeader& frame) { seen.push_back(frame.lane_sequence); });
  EXPECT_EQ(seen, (std::vector<uint64_t>{1, 2, 3}));
}

TEST_F(LossyRingTest, CursorThatNoFrameHasIsCorruption) {
  for (uint64_t id = 1; id <= 3; ++id) Write(id, kLongFrameBytes);
  positions_.next.store(kFrameAlignment);
  absl::Span<std::byte> room;
  EXPECT_EQ(writer_.TryReserve(kFrameBytes, &room), Fit::kCorrupt);
  FrameView dropped;
  EXPECT_FALSE(writer_.DropOldest(&dropped));
}

// Not even those that it names as read.
TEST_F(LossyRingTest, CursorThatNoFrameHasTakesNothing) {
  for (const uint64_t offset :
       {uint64_t{8}, uint64_t{kFrameAlignment},
        uint64_t{2 * kLongFrameBytes + kFrameAlignment},
        uint64_t{2 * kLongFrameBytes + 8}, uint64_t{kRingBytesMin},
        uint64_t{1} << 63, ~uint64_t{0}}) {
    SCOPED_TRACE(offset);
    const uint64_t first = positions_.next.load();
    for (uint64_t id = 1; id <= 3; ++id) Write(id, kLongFrameBytes);
    positions_.next.store(first + offset);
    EXPECT_EQ(writer_.waiting(), 3u);
    EXPECT_FALSE(writer_.IsOver(1));
    EXPECT_TRUE(writer_.corrupt());
    EXPECT_EQ(Restart(), (std::vector<uint64_t>{1, 2, 3}));
    EXPECT_FALSE(writer_.corrupt());
    EXPECT_EQ(writer_.waiting(), 3u);
    Drain();
  }
}

// Its place was the writer's from when it was let go.
TEST_F(LossyRingTest, FrameThatWasLetGoIsNotHeldAgain) {
  Write(1);
  Write(2);
  ASSERT_EQ(Take(), 1u);
  ASSERT_EQ(Take(), 2u);
  reader_.Release();
  for (uint64_t id = 3; id <= 6; ++id) Write(id, 1000);
  positions_.held.store(kFrameBytes);
  EXPECT_TRUE(writer_.IsOver(2));
  EXPECT_EQ(Restart(), (std::vector<uint64_t>{4, 5, 6}));
  EXPECT_TRUE(damaged_.empty());
}

TEST_F(LossyRingTest, DamagedFrameIsLeftOutWhenTheReaderIsReplaced) {
  for (const uint32_t length :
       {0u, 3u, 39u, 63u, 65u, 2'000u, 0x7fffffffu, ~0u}) {
    for (const bool is_taken : {false, true}) {
      damaged_.clear();
      for (uint64_t id = 1; id <= 3; ++id) Write(id);
      const uint64_t hit = is_taken ? 1 : 2;
      std::byte* const frame = FrameOf(hit);
      if (is_taken) {
        ASSERT_EQ(Take(), 1u);
      }
      std::memcpy(frame, &length, sizeof length);
      const std::vector<uint64_t> left = Restart();
      EXPECT_EQ(left, is_taken ? (std::vector<uint64_t>{2, 3})
                               : (std::vector<uint64_t>{1, 3}))
          << length;
      EXPECT_EQ(damaged_, std::vector<uint64_t>{hit}) << length;
      Drain();
    }
  }
}

TEST_F(LossyRingTest, FrameOfAnotherSequenceIsDamaged) {
  for (uint64_t id = 1; id <= 3; ++id) Write(id);
  const uint64_t other = 7;
  std::memcpy(FrameOf(2) + offsetof(FrameHeader, lane_sequence), &other,
              sizeof other);
  EXPECT_EQ(Restart(), (std::vector<uint64_t>{1, 3}));
  EXPECT_EQ(damaged_, std::vector<uint64_t>{2});
}

TEST_F(LossyRingTest, FrameOfAnotherPublisherIsDamaged) {
  for (uint64_t id = 1; id <= 3; ++id) Write(id);
  FrameHeader sound;
  std::memcpy(&sound, FrameOf(2), sizeof sound);
  const uint32_t other = 7'777;
  std::memcpy(FrameOf(2) + offsetof(FrameHeader, publisher_id), &other,
              sizeof other);
  std::vector<uint32_t> publishers;
  writer_.ForEachFrame([&](const FrameHeader& frame) {
    publishers.push_back(frame.publisher_id);
  });
  EXPECT_EQ(publishers, std::vector<uint32_t>(3, sound.publisher_id));
  EXPECT_EQ(Restart(), (std::vector<uint64_t>{1, 3}));
  EXPECT_EQ(damaged_, std::vector<uint64_t>{2});
}

TEST_F(LossyRingTest, DamagedFrameIsDroppedAsItself) {
  Write(1);
  const uint32_t length = 3;
  std::memcpy(FrameOf(1), &length, sizeof length);
  FrameView dropped;
  ASSERT_TRUE(writer_.DropOldest(&dropped));
  EXPECT_EQ(dropped.header.lane_sequence, 1u);
  EXPECT_EQ(dropped.header.frame_bytes, kFrameBytes);
  EXPECT_TRUE(dropped.payload.empty());
}

// The reader comes to it when it has let go of the one before, which would come
// twice if the lane began anew now.
TEST_F(LossyRingTest, CommitWordThatIsGoneIsFoundWhenNothingIsHeld) {
  uint64_t position = 0;
  Write(1);
  Write(2);
  const uint32_t none = 0;
  std::memcpy(FrameOf(2), &none, sizeof none);
  ASSERT_EQ(Take(), 1u);
  EXPECT_FALSE(writer_.LacksCommitWord(&position));
  reader_.Release();
  EXPECT_TRUE(writer_.LacksCommitWord(&position));
}

TEST_F(LossyRingTest, FrameOrPadWhoseCommitWordIsGoneIsFound) {
  uint64_t position = 0;
  Write(1);
  EXPECT_FALSE(writer_.LacksCommitWord(&position));
  const uint32_t none = 0;
  std::memcpy(FrameOf(1), &none, sizeof none);
  EXPECT_TRUE(writer_.LacksCommitWord(&position));
  EXPECT_EQ(position, 0u);
  FrameView dropped;
  ASSERT_TRUE(writer_.DropOldest(&dropped));
  EXPECT_FALSE(writer_.LacksCommitWord(&position)) << "nothing waits";
  // The second does not fit before the end.
  Write(2, 3000);
  ASSERT_EQ(Take(), 2u);
  reader_.Release();
  Write(3, 2000);
  constexpr uint64_t kPad = kFrameBytes + AlignedFrameBytes(3000);
  std::memcpy(&memory_.bytes()[kPad], &none, sizeof none);
  EXPECT_TRUE(writer_.LacksCommitWord(&position));
  EXPECT_EQ(position, kPad);
}

TEST_F(LossyRingTest, HeaderThatNoWriterWroteIsCorruption) {
  Write(1);
  const uint32_t longer_than_the_ring = 1 << 20;
  std::memcpy(memory_.bytes().data(), &longer_than_the_ring, 4);
  FrameView view;
  EXPECT_EQ(reader_.Poll(&view), Result::kCorrupt);
}

// Whatever the writer has put there.
TEST_F(LossyRingTest, ReaderFollowsNoCursorThatIsWithinALine) {
  constexpr uint64_t kWithin = kFrameAlignment / 2;
  for (const bool has_frame : {false, true}) {
    std::byte* const at = memory_.bytes().data() + kWithin;
    if (has_frame) {
      test::FillFrame(1, absl::MakeSpan(at, kFrameBytes));
      const auto length = static_cast<uint32_t>(kFrameBytes);
      std::memcpy(at, &length, sizeof length);
    }
    positions_.next.store(kWithin);
    EXPECT_TRUE(reader_.HasFrame()) << "for Poll() to report";
    EXPECT_EQ(reader_.CountWaiting(), 0u);
    FrameView view;
    EXPECT_EQ(reader_.Poll(&view), Result::kCorrupt);
    EXPECT_EQ(positions_.next.load(), kWithin);
  }
}

class LossyRingConcurrentTest : public LossyRingTest,
                                public testing::WithParamInterface<size_t> {
 protected:
  LossyRingConcurrentTest() : LossyRingTest(GetParam()) {}
};

TEST_P(LossyRingConcurrentTest, EachFrameIsTakenOrDroppedNeverBoth) {
  constexpr uint64_t kFrames = 300'000;
  std::atomic<bool> over{false};
  std::vector<uint64_t> taken;
  uint64_t lost = 0;
  std::thread reader([&] {
    std::minstd_rand random(3);
    FrameView view;
    bool last_look = false;
    while (true) {
      const Result result = reader_.Poll(&view);
      ASSERT_NE(result, Result::kCorrupt);
      if (result == Result::kEmpty) {
        if (last_look) return;
        last_look = over.load();
        continue;
      }
      // Slow now and then, with the frame held.
      if (random() % 64 == 0) {
        for (unsigned i = random() % 4096; i > 0; --i) {
          ASSERT_TRUE(view.header.lane_sequence > 0);
        }
      }
      ASSERT_TRUE(
          IsFilled(view, view.header.lane_sequence, view.header.frame_bytes));
      taken.push_back(view.header.lane_sequence);
      lost += view.lost_before;
    }
  });
  std::minstd_rand random(2);
  for (uint64_t id = 1; id <= kFrames; ++id) Write(id, 40 + random() % 400);
  over.store(true);
  reader.join();
  EXPECT_TRUE(std::is_sorted(taken.begin(), taken.end()));
  std::vector<uint64_t> all = taken;
  all.insert(all.end(), dropped_.begin(), dropped_.end());
  std::sort(all.begin(), all.end());
  ASSERT_EQ(all.size(), kFrames);
  for (uint64_t id = 1; id <= kFrames; ++id) ASSERT_EQ(all[id - 1], id);
  EXPECT_EQ(lost, taken.back() - taken.size());
}

INSTANTIATE_TEST_SUITE_P(Depths, LossyRingConcurrentTest,
                         ::testing::Values(1, 2, 7, 64));

}  // namespace
}  // namespace mycelium
