#include "mycelium/transport/lane/ring.h"

#include <cstring>
#include <deque>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/transport/lane/ring_frames.h"

namespace mycelium {
namespace {

using ::mycelium::test::FillFrame;
using ::mycelium::test::IsFilled;
using ::mycelium::test::RingMemory;
using ::mycelium::test::WriteFrame;
using Result = RingReader::Result;

constexpr size_t kCapacity = kRingBytesMin;
constexpr size_t kFrameMin = sizeof(FrameHeader);

class RingTest : public ::testing::Test {
 protected:
  bool Write(size_t frame_bytes) {
    if (!WriteFrame(writer_, sequence_ + 1, frame_bytes)) return false;
    ++sequence_;
    return true;
  }
  // Moves both sides to `position`, which becomes empty ring.
  void MoveTo(uint64_t position) {
    while (writer_.position() < position) {
      const uint64_t left = position - writer_.position();
      size_t next = left <= 1024 ? left : 512;
      ASSERT_TRUE(Write(next));
      FrameView view;
      ASSERT_EQ(reader_.Poll(&view), Result::kFrame);
      reader_.Release();
    }
  }

  RingMemory memory_{kCapacity};
  RingPositions positions_;
  RingWriter writer_{memory_.bytes(), positions_};
  RingReader reader_{memory_.bytes(), positions_, kFrameFlagsOnWire};
  uint64_t sequence_ = 0;
};

TEST_F(RingTest, EmptyRingHasNoFrame) {
  FrameView view;
  EXPECT_FALSE(reader_.HasFrame());
  EXPECT_EQ(reader_.Poll(&view), Result::kEmpty);
  EXPECT_EQ(reader_.cursor(), 0u);
}

TEST_F(RingTest, CommittedFrameIsReadAsWritten) {
  ASSERT_TRUE(Write(100));
  EXPECT_TRUE(reader_.HasFrame());
  FrameView view;
  ASSERT_EQ(reader_.Poll(&view), Result::kFrame);
  EXPECT_TRUE(IsFilled(view, 1, 100));
  EXPECT_EQ(reader_.cursor(), AlignedFrameBytes(100));
  EXPECT_EQ(writer_.position(), AlignedFrameBytes(100));
  EXPECT_EQ(reader_.Poll(&view), Result::kEmpty);
}

// However much of it shares the header's line, and whatever lay there before.
TEST_F(RingTest, FrameThatWasMadeElsewhereIsReadAsWritten) {
  for (size_t bytes = kFrameMin; bytes <= 3 * kFrameAlignment; ++bytes) {
    std::vector<std::byte> made(bytes);
    FillFrame(++sequence_, absl::MakeSpan(made));
    FrameHeader header;
    std::memcpy(&header, made.data(), sizeof header);
    const uint64_t end = writer_.position() + AlignedFrameBytes(bytes);
    const absl::Span<std::byte> room = writer_.TryClaim(bytes);
    ASSERT_EQ(room.size(), bytes);
    std::memset(room.data() + kFrameMin, 0x5A, bytes - kFrameMin);
    writer_.CommitFrom(header,
                       absl::MakeConstSpan(made).subspan(sizeof header));
    FrameView view;
    ASSERT_EQ(reader_.Poll(&view), Result::kFrame);
    EXPECT_TRUE(IsFilled(view, sequence_, bytes)) << bytes;
    EXPECT_EQ(reader_.Poll(&view), Result::kEmpty) << bytes;
    EXPECT_GE(reader_.cursor(), end);
    reader_.Release();
  }
}

TEST_F(RingTest, UncommittedFrameIsInvisible) {
  const absl::Span<std::byte> room = writer_.TryClaim(64);
  ASSERT_EQ(room.size(), 64u);
  FillFrame(1, room);
  FrameView view;
  EXPECT_FALSE(reader_.HasFrame());
  EXPECT_EQ(reader_.Poll(&view), Result::kEmpty);
  writer_.Commit();
  EXPECT_EQ(reader_.Poll(&view), Result::kFrame);
}

TEST_F(RingTest, ForgottenClaimChangesNothing) {
  ASSERT_TRUE(Write(64));
  FillFrame(99, writer_.TryClaim(640));
  ASSERT_TRUE(Write(72));
  FrameView view;
  ASSERT_EQ(reader_.Poll(&view), Result::kFrame);
  ASSERT_EQ(reader_.Poll(&view), Result::kFrame);
  EXPECT_TRUE(IsFilled(view, 2, 72));
  EXPECT_EQ(reader_.Poll(&view), Result::kEmpty);
}

TEST_F(RingTest, ClaimReturnsEmptyWhenFull) {
  while (Write(64)) continue;
  EXPECT_EQ(sequence_, (kCapacity - kFrameAlignment) / 64);
  EXPECT_TRUE(writer_.TryClaim(64).empty());
  FrameView view;
  ASSERT_EQ(reader_.Poll(&view), Result::kFrame);
  EXPECT_TRUE(writer_.TryClaim(64).empty()) << "taken but not released";
  reader_.Release();
  EXPECT_FALSE(writer_.TryClaim(64).empty());
}

TEST_F(RingTest, LastCommitWordIsPartOfEveryClaim) {
  ASSERT_TRUE(Write(writer_.frame_bytes_max()));
  EXPECT_TRUE(writer_.TryClaim(kCapacity / 2).empty());
  EXPECT_TRUE(writer_.TryClaim(kCapacity / 2 - kFrameAlignment + 1).empty());
  EXPECT_FALSE(writer_.TryClaim(kCapacity / 2 - kFrameAlignment).empty());
}

TEST_F(RingTest, FrameMayEndWhereTheMemoryEnds) {
  MoveTo(kCapacity - 64);
  ASSERT_TRUE(Write(64));
  EXPECT_EQ(writer_.position(), kCapacity);
  ASSERT_TRUE(Write(64));
  FrameView view;
  ASSERT_EQ(reader_.Poll(&view), Result::kFrame);
  ASSERT_EQ(reader_.Poll(&view), Result::kFrame);
  EXPECT_TRUE(IsFilled(view, sequence_, 64));
  EXPECT_LT(writer_.pad_from(), kCapacity - 64) << "there was no pad";
}

TEST_F(RingTest, PadOfEverySizeBeforeTheWrapIsSkipped) {
  for (size_t rest = kFrameAlignment; rest < kCapacity / 2;
       rest += kFrameAlignment) {
    SCOPED_TRACE(rest);
    const size_t longer = rest + kFrameMin;
    const uint64_t end = kCapacity + AlignedFrameBytes(longer);
    RingMemory memory(kCapacity);
    RingPositions positions;
    RingWriter writer(memory.bytes(), positions);
    RingReader reader(memory.bytes(), positions, kFrameFlagsOnWire);
    FrameView view;
    ASSERT_TRUE(WriteFrame(writer, 1, kCapacity / 2));
    ASSERT_TRUE(WriteFrame(writer, 2, kCapacity / 2 - rest));
    ASSERT_EQ(reader.Poll(&view), Result::kFrame);
    ASSERT_EQ(reader.Poll(&view), Result::kFrame);
    reader.Release();
    ASSERT_TRUE(WriteFrame(writer, 3, longer));
    EXPECT_EQ(writer.pad_from(), kCapacity - rest);
    EXPECT_EQ(writer.position(), end);
    ASSERT_EQ(reader.Poll(&view), Result::kFrame);
    EXPECT_TRUE(IsFilled(view, 3, longer));
    EXPECT_EQ(reader.cursor(), end);
  }
}

TEST_F(RingTest, FrameThatFitsNeitherBeforeNorAfterTheWrapIsRefused) {
  // 1024 bytes are free before the end and 1024 after: none for 1500.
  MoveTo(kCapacity - 1024 - 2048);
  ASSERT_TRUE(Write(2048));
  positions_.released.store(1024);
  EXPECT_TRUE(writer_.TryClaim(1500).empty());
  EXPECT_FALSE(writer_.TryClaim(1024).empty());
}

TEST_F(RingTest, PadIsInvisibleUntilTheFrameBehindItIsCommitted) {
  MoveTo(kCapacity - 64);
  FillFrame(9, writer_.TryClaim(128));
  FrameView view;
  EXPECT_FALSE(reader_.HasFrame());
  EXPECT_EQ(reader_.Poll(&view), Result::kEmpty);
  EXPECT_EQ(reader_.cursor(), kCapacity - 64);
  writer_.Commit();
  EXPECT_EQ(reader_.Poll(&view), Result::kFrame);
}

TEST_F(RingTest, ImpossibleReleasedPositionGrantsNothing) {
  while (Write(64)) continue;
  const uint64_t end = writer_.position();
  // Beyond what was written, and where no frame can start.
  for (const uint64_t released :
       {end + kFrameAlignment, ~uint64_t{0}, uint64_t{1} << 63,
        uint64_t{128 + kFrameAlignment / 2}}) {
    positions_.released.store(released);
    EXPECT_TRUE(writer_.TryClaim(64).empty()) << released;
  }
  positions_.released.store(128);
  EXPECT_FALSE(writer_.TryClaim(64).empty());
  positions_.released.store(64);  // Going back takes nothing away either.
  EXPECT_FALSE(writer_.TryClaim(64).empty());
  EXPECT_TRUE(writer_.TryClaim(128 + 64).empty());
}

TEST_F(RingTest, CorruptMemoryIsReportedAndNeverLeft) {
  FrameView view;
  const auto corrupted_by = [&](uint32_t frame_bytes, uint16_t flags,
                                uint16_t extension_bytes) {
    RingMemory memory(kCapacity);
    RingPositions positions;
    RingReader reader(memory.bytes(), positions, kFrameFlagsOnWire);
    FrameHeader header = {};
    header.frame_bytes = frame_bytes;
    header.flags = flags;
    header.extension_bytes = extension_bytes;
    std::memcpy(memory.bytes().data(), &header, sizeof header);
    return reader.Poll(&view) == Result::kCorrupt && reader.cursor() == 0;
  };
  EXPECT_FALSE(corrupted_by(64, 0, 0));
  EXPECT_TRUE(corrupted_by(1, 0, 0));
  EXPECT_TRUE(corrupted_by(kFrameMin - 1, 0, 0));
  EXPECT_TRUE(corrupted_by(kCapacity / 2 + 1, 0, 0));
  EXPECT_TRUE(corrupted_by(~0u, 0, 0));
  EXPECT_TRUE(corrupted_by(64, kFrameObject, 0));
  EXPECT_TRUE(corrupted_by(64, 1 << 9, 0));
  EXPECT_TRUE(corrupted_by(64, 0, 32));
  EXPECT_TRUE(corrupted_by(64, kFramePad, 0)) << "ends before the memory";
  EXPECT_TRUE(corrupted_by(kCapacity + kFrameAlignment, kFramePad, 0));
  EXPECT_TRUE(corrupted_by(64, kFramePad | kFramePublishTime, 0));
}

TEST_F(RingTest, PadOfAWholeLapIsCorruptAndNotFollowed) {
  RingMemory memory(kCapacity);
  RingPositions positions;
  RingReader reader(memory.bytes(), positions, kFrameFlagsOnWire);
  FrameHeader header = {};
  header.frame_bytes = kCapacity;
  header.flags = kFramePad;
  std::memcpy(memory.bytes().data(), &header, sizeof header);
  FrameView view;
  EXPECT_EQ(reader.Poll(&view), Result::kCorrupt);
}

TEST_F(RingTest, RandomTrafficMatchesAQueue) {
  constexpr uint32_t kSeed = 20240607;
  std::mt19937 random(kSeed);
  std::deque<std::pair<uint64_t, size_t>> expected;
  uint64_t taken_of_expected = 0;
  for (int step = 0; step < 200'000; ++step) {
    if (random() % 2 == 0) {
      const size_t bytes =
          kFrameMin +
          random() %
              (random() % 8 == 0 ? writer_.frame_bytes_max() - kFrameMin : 200);
      if (Write(bytes)) expected.emplace_back(sequence_, bytes);
    } else {
      FrameView view;
      if (reader_.Poll(&view) == Result::kEmpty) {
        ASSERT_TRUE(expected.empty()) << "seed " << kSeed << " step " << step;
      } else {
        ASSERT_FALSE(expected.empty());
        ASSERT_TRUE(
            IsFilled(view, expected.front().first, expected.front().second))
            << "seed " << kSeed << " step " << step;
        expected.pop_front();
        ++taken_of_expected;
      }
      if (random() % 3 == 0) reader_.Release();
    }
    ASSERT_EQ(reader_.HasFrame(), !expected.empty());
    ASSERT_LE(writer_.position(),
              positions_.released.load() + kCapacity - kFrameAlignment);
  }
  EXPECT_GT(taken_of_expected, 10'000u);
}

TEST(RingConcurrentTest, EveryFrameArrivesOnceInOrder) {
  constexpr uint64_t kFrames = 300'000;
  RingMemory memory(kCapacity);
  RingPositions positions;
  const auto bytes_of = [](uint64_t sequence) {
    return kFrameMin + (sequence * 37) % 400;
  };
  std::thread writing([&] {
    RingWriter writer(memory.bytes(), positions);
    for (uint64_t sequence = 1; sequence <= kFrames;) {
      if (WriteFrame(writer, sequence, bytes_of(sequence))) {
        ++sequence;
      } else {
        std::this_thread::yield();
      }
    }
  });
  RingReader reader(memory.bytes(), positions, kFrameFlagsOnWire);
  for (uint64_t sequence = 1; sequence <= kFrames;) {
    FrameView view;
    const Result result = reader.Poll(&view);
    if (result == Result::kEmpty) {
      std::this_thread::yield();
      continue;
    }
    const bool right = result == Result::kFrame &&
                       IsFilled(view, sequence, bytes_of(sequence));
    EXPECT_TRUE(right) << sequence;
    if (!right) std::abort();  // The writer would wait for ever.
    if (++sequence % 3 == 0) reader.Release();
  }
  reader.Release();
  writing.join();
}

}  // namespace
}  // namespace mycelium
