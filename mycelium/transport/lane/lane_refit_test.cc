#include <atomic>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/transport/lane/lane.h"
#include "mycelium/transport/lane/lane_publishing.h"
#include "mycelium/transport/lane/refit.h"
#include "mycelium/transport/lane/ring_frames.h"

namespace mycelium {
namespace {

using ::mycelium::test::FillFrame;
using ::testing::ElementsAre;
using ClaimResult = Lane::ClaimResult;

constexpr size_t kCapacity = kRingBytesMin;

class NoDrops final : public DropSink {
 public:
  void OnDrop(const FrameView&, DropReason) override { ADD_FAILURE(); }
};

class LaneRefitTest : public ::testing::Test {
 protected:
  static std::unique_ptr<Lane> Make(size_t depth = 0) {
    Lane::Options options;
    options.name = "a lane";
    options.capacity_bytes = kCapacity;
    options.frame_bytes_max = kCapacity / 2;
    if (depth > 0) {
      options.lossy.emplace();
      options.lossy->depth = depth;
      options.window = 2;
      options.drop_sink = std::make_shared<NoDrops>();
    }
    return *Lane::Create(Environment::Real(), options, nullptr);
  }

  static ClaimResult Write(Lane& lane, size_t frame_bytes) {
    const ClaimResult result = lane.TryClaim(frame_bytes);
    if (result != ClaimResult::kClaimed) return result;
    FillFrame(lane.next_sequence(), lane.Room());
    lane.Commit();
    return result;
  }

  struct Seen {
    uint64_t sequence;  // In the lane.
    uint64_t written;   // As FillFrame() was told.
    size_t bytes;
    bool operator==(const Seen& other) const {
      return sequence == other.sequence && written == other.written &&
             bytes == other.bytes;
    }
  };
  // What a link would send now.
  static std::vector<Seen> Sent(const Lane& lane) {
    std::vector<Seen> seen;
    uint64_t at = lane.released();
    while (at < lane.committed()) {
      const Lane::Run run = lane.CommittedFrom(at);
      FrameView frame;
      EXPECT_EQ(DecodeFrame(run.bytes, kCapacity, kFrameFlagsOnWire, &frame),
                FrameVerdict::kOk);
      seen.push_back({frame.header.lane_sequence,
                      frame.header.publisher_sequence,
                      frame.header.frame_bytes});
      for (const std::byte byte : frame.payload) {
        EXPECT_EQ(byte, static_cast<std::byte>(frame.header.publisher_sequence &
                                               0xFF));
      }
      at = run.position + AlignedFrameBytes(frame.header.frame_bytes);
    }
    return seen;
  }

  static std::vector<uint64_t> Sequences(
      const std::vector<FrameHeader>& frames) {
    std::vector<uint64_t> sequences;
    for (const FrameHeader& frame : frames) {
      sequences.push_back(frame.lane_sequence);
    }
    return sequences;
  }
};

TEST_F(LaneRefitTest, LargerFramesAreTakenOutAndRefusedFromThenOn) {
  const auto lane = Make();
  for (const size_t bytes : {100, 600, 100, 601, 500}) Write(*lane, bytes);
  EXPECT_THAT(Sequences(lane->Refit(500)), ElementsAre(2, 4));
  EXPECT_THAT(Sent(*lane),
              ElementsAre(Seen{3, 1, 100}, Seen{4, 3, 100}, Seen{5, 5, 500}));
  EXPECT_EQ(lane->SequenceAt(lane->released()), 3u);
  EXPECT_EQ(Write(*lane, 501), ClaimResult::kTooLarge);
  EXPECT_EQ(lane->TryClaimFrom(501 - sizeof(FrameHeader)),
            ClaimResult::kTooLarge);
  EXPECT_EQ(Write(*lane, 500), ClaimResult::kClaimed);
  EXPECT_EQ(Sent(*lane).back(), (Seen{6, 6, 500}));
}

TEST_F(LaneRefitTest, LaneInWhichAllFitStaysAsItIs) {
  const auto lane = Make();
  Write(*lane, 500);
  Write(*lane, 100);
  const uint64_t released = lane->released();
  EXPECT_THAT(lane->Refit(500), ElementsAre());
  EXPECT_EQ(lane->released(), released);
  EXPECT_THAT(Sent(*lane), ElementsAre(Seen{1, 1, 500}, Seen{2, 2, 100}));
}

TEST_F(LaneRefitTest, ReaderWhoTakesMoreGetsMoreButWhatTheRingHolds) {
  const auto lane = Make();
  (void)lane->Refit(500);
  (void)lane->Refit(kCapacity);
  EXPECT_EQ(lane->frame_bytes_max(), kCapacity / 2);
}

// Whoever flushes waits for what is left.
TEST_F(LaneRefitTest, WhatIsLeftIsNotOver) {
  const auto lane = Make();
  for (const size_t bytes : {100, 600, 100}) Write(*lane, bytes);
  const uint64_t mark = lane->Mark();
  (void)lane->Refit(500);
  EXPECT_FALSE(lane->IsOver(mark));
  EXPECT_FALSE(lane->empty());
  EXPECT_TRUE(lane->Release(lane->committed()));
  EXPECT_TRUE(lane->IsOver(mark));
  EXPECT_TRUE(lane->empty());
}

// What was published once is not published again.
TEST_F(LaneRefitTest, WhatIsLeftCountsOnceAsPublished) {
  const auto lane = Make();
  for (const size_t bytes : {100, 600, 100}) Write(*lane, bytes);
  const uint64_t before = lane->published().bytes;
  (void)lane->Refit(500);
  EXPECT_EQ(lane->published().bytes, before);
  constexpr size_t kBytes = 2 * kFrameAlignment;
  Write(*lane, kBytes);
  EXPECT_EQ(lane->published().bytes, before + kBytes);
  (void)lane->Refit(100);
  EXPECT_EQ(lane->published().bytes, before + kBytes);
  EXPECT_EQ(lane->published().frames, 4u);
}

// Those of a thread that flushes meanwhile wait for all that is left, too.
TEST_F(LaneRefitTest, MarkThatIsTakenMeanwhileIsNotOverBeforeWhatIsLeft) {
  for (int round = 0; round < 100; ++round) {
    const auto lane = Make();
    Write(*lane, 600);
    for (int i = 0; i < 8; ++i) Write(*lane, 100);
    const uint64_t before = lane->Mark();
    std::vector<uint64_t> marks;
    std::atomic<bool> is_marking{false}, is_refitted{false};
    std::thread marker([&] {
      while (!is_refitted.load()) {
        const uint64_t mark = lane->Mark();
        if (marks.empty() || marks.back() != mark) marks.push_back(mark);
        is_marking.store(true);
      }
    });
    while (!is_marking.load()) std::this_thread::yield();
    (void)lane->Refit(500);
    is_refitted.store(true);
    marker.join();
    ASSERT_EQ(marks.front(), before);
    while (lane->released() != lane->committed()) {
      for (const uint64_t mark : marks) {
        ASSERT_FALSE(lane->IsOver(mark)) << mark << " of " << lane->committed();
      }
      FrameView frame;
      const Lane::Run run = lane->CommittedFrom(lane->released());
      ASSERT_EQ(DecodeFrame(run.bytes, kCapacity, kFrameFlagsOnWire, &frame),
                FrameVerdict::kOk);
      ASSERT_TRUE(lane->Release(run.position +
                                AlignedFrameBytes(frame.header.frame_bytes)));
    }
    for (const uint64_t mark : marks) EXPECT_TRUE(lane->IsOver(mark));
  }
}

TEST_F(LaneRefitTest, LossyLaneKeepsTheSequencesOfWhatIsLeft) {
  const auto lane = Make(/*depth=*/10);
  for (const size_t bytes : {100, 600, 100, 600, 100}) Write(*lane, bytes);
  lane->Advance();  // Two are on their way, the others wait.
  EXPECT_THAT(Sequences(lane->Refit(500)), ElementsAre(2, 4));
  lane->Advance();
  EXPECT_THAT(Sent(*lane), ElementsAre(Seen{1, 1, 100}, Seen{3, 3, 100}));
  EXPECT_TRUE(lane->Release(lane->committed()));
  lane->Advance();
  EXPECT_THAT(Sent(*lane), ElementsAre(Seen{5, 5, 100}));
  EXPECT_EQ(Write(*lane, 501), ClaimResult::kTooLarge);
  EXPECT_TRUE(lane->Release(lane->committed()));
  EXPECT_TRUE(lane->empty());
}

// Wherever the ring wraps, and however full it is.
TEST_F(LaneRefitTest, WhatIsLeftHasRoomAndRangesKeepTheirFrames) {
  std::mt19937 random(4711);
  for (int round = 0; round < 2000; ++round) {
    const auto lane = Make();
    for (int i = 0; i < 3; ++i) {  // Start somewhere.
      Write(*lane, 100 + random() % 900);
      EXPECT_TRUE(lane->Release(lane->committed()));
    }
    while (Write(*lane, 100 + random() % 900) == ClaimResult::kClaimed) {
      continue;
    }
    const std::vector<Seen> before = Sent(*lane);
    const uint64_t bound = before.front().sequence + random() % before.size();
    const size_t most = 100 + random() % 900;
    const std::vector<FrameHeader> taken_out = lane->Refit(most);
    const uint64_t bound_after = SequenceAfterRefit(taken_out, bound);
    const std::vector<Seen> after = Sent(*lane);
    ASSERT_EQ(after.size() + taken_out.size(), before.size());
    size_t i = 0;
    for (const Seen& frame : before) {
      if (frame.bytes > most) continue;
      ASSERT_EQ(after[i].written, frame.written);
      ASSERT_EQ(after[i].bytes, frame.bytes);
      ASSERT_EQ(after[i].sequence < bound_after, frame.sequence < bound);
      ASSERT_EQ(after[i].sequence + after.size() - i, lane->NextSequence());
      ++i;
    }
  }
}

// The next one in its place has killed nobody.
TEST_F(LaneRefitTest, SuspicionGoesWithTheFrameThatIsTakenOut) {
  const std::unique_ptr<Lane> lane = Make(/*depth=*/10);
  ASSERT_EQ(Write(*lane, 600), ClaimResult::kClaimed);
  ASSERT_EQ(Write(*lane, 100), ClaimResult::kClaimed);
  lane->Advance();
  for (int deaths = 0; deaths < 3; ++deaths) {
    lane->BeginRedelivery(lane->committed());
  }
  ASSERT_EQ(lane->Refit(500).size(), 1u);
  FrameHeader poison;
  for (int deaths = 0; deaths < 3; ++deaths) {
    lane->BeginRedelivery(lane->committed());
    EXPECT_FALSE(lane->TakePoison(/*redeliveries_max=*/3, &poison)) << deaths;
  }
  lane->BeginRedelivery(lane->committed());
  ASSERT_TRUE(lane->TakePoison(/*redeliveries_max=*/3, &poison));
  EXPECT_EQ(poison.lane_sequence, 2u);
}

}  // namespace
}  // namespace mycelium
