#include "mycelium/transport/lane/lane.h"

#include <algorithm>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/transport/lane/ring_frames.h"

namespace mycelium {
namespace {

using ::mycelium::test::FillFrame;
using ClaimResult = Lane::ClaimResult;

constexpr size_t kCapacity = kRingBytesMin;

class CountingDoorbell final : public Lane::Doorbell {
 public:
  void OnCommit(Lane&) override { ++rings; }
  int rings = 0;
};

class LaneTest : public ::testing::Test {
 protected:
  LaneTest() {
    Lane::Options options;
    options.name = "a lane";
    options.id = 7;
    options.capacity_bytes = kCapacity;
    options.frame_bytes_max = 1 << 20;
    lane_ = *Lane::Create(Environment::Real(), options, &doorbell_);
  }

  ClaimResult Write(size_t frame_bytes) {
    const ClaimResult result = lane_->TryClaim(frame_bytes);
    if (result != ClaimResult::kClaimed) return result;
    FillFrame(lane_->next_sequence(), lane_->Room());
    lane_->Commit();
    lane_->Ring();
    return result;
  }

  std::vector<uint64_t> VisitedFrom(uint64_t from) {
    std::vector<uint64_t> sequences;
    lane_->ForEachFrame(from, [&](const FrameHeader& frame) {
      sequences.push_back(frame.lane_sequence);
    });
    return sequences;
  }

  CountingDoorbell doorbell_;
  std::unique_ptr<Lane> lane_;
};

TEST_F(LaneTest, CapacityIsRoundedUpToAPowerOfTwo) {
  for (const auto& [asked, got] : std::map<size_t, size_t>{
           {0, 4096}, {4096, 4096}, {4097, 8192}, {100'000, 131'072}}) {
    Lane::Options options;
    options.capacity_bytes = asked;
    options.frame_bytes_max = 1 << 30;
    auto lane = Lane::Create(Environment::Real(), options, nullptr);
    ASSERT_TRUE(lane.ok());
    EXPECT_EQ((*lane)->capacity_bytes(), got);
    EXPECT_EQ((*lane)->frame_bytes_max(), got / 2);
  }
}

TEST_F(LaneTest, FrameOfTheMaximumIsTakenAndOneByteMoreIsTooLarge) {
  EXPECT_EQ(Write(lane_->frame_bytes_max() + 1), ClaimResult::kTooLarge);
  EXPECT_EQ(Write(lane_->frame_bytes_max()), ClaimResult::kClaimed);
  EXPECT_EQ(Write(lane_->frame_bytes_max()), ClaimResult::kFull);
}

TEST_F(LaneTest, LossyLaneOfTheLargestFramesIsNotTooLargeForAPeer) {
  Lane::Options options;
  options.capacity_bytes = kLaneBytesMax;
  options.lossy.emplace();
  for (const size_t frame_bytes_max :
       {size_t{64} << 20, size_t{256} << 20, kLaneBytesMax}) {
    options.frame_bytes_max = frame_bytes_max;
    EXPECT_LE(Lane::MemoryBytes(options), kLaneBytesMax) << frame_bytes_max;
  }
}

TEST_F(LaneTest, CommitRingsTheDoorbellOnce) {
  EXPECT_EQ(Write(64), ClaimResult::kClaimed);
  EXPECT_EQ(doorbell_.rings, 1);
  EXPECT_EQ(lane_->committed(), 64u);
}

TEST_F(LaneTest, AbandonedClaimUnlocksAndLeavesNoTrace) {
  ASSERT_EQ(lane_->TryClaim(64), ClaimResult::kClaimed);
  lane_->Abandon();
  EXPECT_TRUE(lane_->empty());
  EXPECT_EQ(Write(64), ClaimResult::kClaimed);
  EXPECT_EQ(lane_->SequenceAt(lane_->committed()), 2u);
}

TEST_F(LaneTest, ClosedLaneTakesNothingAndKeepsWhatItHas) {
  ASSERT_EQ(Write(64), ClaimResult::kClaimed);
  lane_->Close();
  EXPECT_TRUE(lane_->closed());
  EXPECT_EQ(Write(64), ClaimResult::kClosed);
  EXPECT_EQ(lane_->CommittedFrom(0).bytes.size(), 64u);
  EXPECT_TRUE(lane_->Release(64));
  EXPECT_TRUE(lane_->empty());
}

TEST_F(LaneTest, CloseWakesWhoWaitsForRoom) {
  while (Write(64) == ClaimResult::kClaimed) continue;
  std::thread waiting([&] {
    while (!lane_->HasRoomOrAsks(64)) {
      EventCount::Sleeper asleep(lane_->room_event());
      if (lane_->HasRoomOrAsks(64)) break;
      asleep.Until(Environment::Real().waiter, kNever);
    }
  });
  lane_->Close();
  waiting.join();
}

TEST_F(LaneTest, ReleaseWakesWhoWaitsForRoom) {
  while (Write(64) == ClaimResult::kClaimed) continue;
  EXPECT_FALSE(lane_->HasRoom(64));
  std::thread waiting([&] {
    while (!lane_->HasRoomOrAsks(64)) {
      EventCount::Sleeper asleep(lane_->room_event());
      if (lane_->HasRoomOrAsks(64)) break;
      asleep.Until(Environment::Real().waiter, kNever);
    }
  });
  EXPECT_TRUE(lane_->Release(64));
  waiting.join();
}

TEST_F(LaneTest, ReleaseRefusesWhereTheReaderCannotBe) {
  ASSERT_EQ(Write(64), ClaimResult::kClaimed);
  ASSERT_EQ(Write(64), ClaimResult::kClaimed);
  EXPECT_FALSE(lane_->Release(128 + kFrameAlignment));
  EXPECT_FALSE(lane_->Release(~uint64_t{0}));
  EXPECT_FALSE(lane_->Release(12)) << "not aligned";
  EXPECT_FALSE(lane_->Release(kFrameAlignment / 2)) << "not aligned";
  EXPECT_EQ(lane_->released(), 0u);
  EXPECT_TRUE(lane_->Release(64));
  EXPECT_TRUE(lane_->Release(64)) << "said again";
  EXPECT_FALSE(lane_->Release(0)) << "went back";
  EXPECT_TRUE(lane_->Release(128));
  EXPECT_TRUE(lane_->empty());
}

TEST_F(LaneTest, StalledLaneIsOneThatHasNotMovedSince) {
  ASSERT_EQ(Write(64), ClaimResult::kClaimed);
  EXPECT_FALSE(lane_->stalled());
  lane_->MarkStalled(lane_->released(), /*waited_ns=*/10);
  EXPECT_TRUE(lane_->stalled());
  lane_->Release(64);
  EXPECT_FALSE(lane_->stalled());
}

TEST_F(LaneTest, LaneIsNotStalledForWhoWaitsLongerThanItWasWaitedFor) {
  ASSERT_EQ(Write(64), ClaimResult::kClaimed);
  lane_->MarkStalled(lane_->released(), 10);
  EXPECT_TRUE(lane_->stalled(10));
  EXPECT_FALSE(lane_->stalled(11));
  lane_->MarkStalled(lane_->released(), 20);
  EXPECT_TRUE(lane_->stalled(20));
  lane_->MarkStalled(lane_->released(), 10);
  EXPECT_TRUE(lane_->stalled(20)) << "a shorter wait says nothing of it";
  lane_->Release(64);
  lane_->MarkStalled(lane_->released(), 10);
  EXPECT_FALSE(lane_->stalled(20)) << "it has moved since";
}

TEST_F(LaneTest, LaneIsNotStalledForTheReaderThatComesBack) {
  ASSERT_EQ(Write(64), ClaimResult::kClaimed);
  lane_->MarkStalled(lane_->released(), /*waited_ns=*/10);
  lane_->SetReaderAway(false);
  EXPECT_TRUE(lane_->stalled()) << "it was not away";
  lane_->SetReaderAway(true);
  EXPECT_TRUE(lane_->stalled());
  lane_->SetReaderAway(false);
  EXPECT_FALSE(lane_->stalled());
}

TEST_F(LaneTest, LaterLanesHaveHigherOrder) {
  Lane::Options options;
  auto later = *Lane::Create(Environment::Real(), options, nullptr);
  EXPECT_LT(lane_->order(), later->order());
}

TEST_F(LaneTest, VisitorSeesEachCommittedFrameOnce) {
  for (int i = 0; i < 5; ++i) ASSERT_EQ(Write(100), ClaimResult::kClaimed);
  std::vector<uint64_t> sequences;
  lane_->ForEachFrame(0, [&](const FrameHeader& frame) {
    sequences.push_back(frame.lane_sequence);
  });
  EXPECT_EQ(sequences, (std::vector<uint64_t>{1, 2, 3, 4, 5}));
  sequences.clear();
  ASSERT_TRUE(lane_->Release(2 * AlignedFrameBytes(100)));
  lane_->ForEachFrame(0, [&](const FrameHeader& frame) {
    sequences.push_back(frame.lane_sequence);
  });
  EXPECT_EQ(sequences, (std::vector<uint64_t>{3, 4, 5}));
}

// As if what the reader has a part of were still to be handled.
TEST_F(LaneTest, VisitorGoesOnWherePositionIsWithinAFrame) {
  // What a header in the payload announces is larger than the lane.
  constexpr size_t kBytes = kCapacity / 2 - kFrameAlignment;
  for (uint64_t sequence : {1, 2}) {
    ASSERT_EQ(lane_->TryClaim(kBytes), ClaimResult::kClaimed);
    FillFrame(sequence, lane_->Room());
    lane_->Commit();
  }
  ASSERT_EQ(lane_->committed(), 2 * kBytes);
  for (const uint64_t from :
       {kFrameAlignment, kBytes - kFrameAlignment, kBytes + kFrameAlignment,
        2 * kBytes - kFrameAlignment}) {
    ASSERT_TRUE(lane_->Release(from));
    const auto expected =
        from < kBytes ? std::vector<uint64_t>{1, 2} : std::vector<uint64_t>{2};
    EXPECT_EQ(VisitedFrom(from), expected) << from;
    EXPECT_EQ(lane_->SequenceAt(from), expected[0]) << from;
  }
}

TEST_F(LaneTest, VisitorSeesWhatIsDamagedAndWhatLiesBehindIt) {
  for (int i = 0; i < 9; ++i) ASSERT_EQ(Write(64), ClaimResult::kClaimed);
  const auto memory = const_cast<std::byte*>(lane_->ring_memory().data());
  const std::vector<uint64_t> all = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  // As a peer may name it that is mad.
  EXPECT_EQ(VisitedFrom(57), std::vector<uint64_t>(all.begin() + 1, all.end()));
  for (const size_t at : {0, 3, 8}) {
    uint32_t length = 0;
    std::memcpy(memory + 64 * at, &length, sizeof length);
    EXPECT_EQ(VisitedFrom(0), all) << at;
    EXPECT_EQ(lane_->SequenceAt(0), 1u) << at;
    length = 64;
    std::memcpy(memory + 64 * at, &length, sizeof length);
  }
  // Of two whose headers are gone altogether one is known of.
  std::memset(memory + 64 * 3, 0, 64 + sizeof(FrameHeader));
  EXPECT_EQ(VisitedFrom(0), (std::vector<uint64_t>{1, 2, 3, 5, 6, 7, 8, 9}));
}

// Three frames do not lie where there is room for two.
TEST_F(LaneTest, SequenceThatMakesMoreFramesThanThereIsRoomForIsNotBelieved) {
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(Write(kFrameAlignment), ClaimResult::kClaimed);
  }
  const auto third =
      const_cast<std::byte*>(lane_->ring_memory().data()) + 2 * kFrameAlignment;
  FrameHeader damaged = {};
  damaged.lane_sequence = 2;
  std::memcpy(third, &damaged, sizeof damaged);
  std::memset(third + kFrameAlignment, 0, sizeof damaged);
  EXPECT_EQ(VisitedFrom(0), (std::vector<uint64_t>{1, 2, 4, 5}));
  damaged.lane_sequence = 3;
  std::memcpy(third, &damaged, sizeof damaged);
  EXPECT_EQ(VisitedFrom(0), (std::vector<uint64_t>{1, 2, 3, 4, 5}));
}

// Writes and releases at random, and compares what the lane says of what lies
// where with a list of the frames.
TEST_F(LaneTest, RunsAndSequencesMatchAModelAcrossManyLaps) {
  struct Written {
    uint64_t position, sequence;
    size_t bytes;
  };
  constexpr uint32_t kSeed = 9;
  std::mt19937 random(kSeed);
  std::vector<Written> frames;  // Not released yet.
  uint64_t sequence = 0, end = 0;
  for (int step = 0; step < 20'000; ++step) {
    const size_t bytes = sizeof(FrameHeader) + random() % 700;
    if (random() % 3 != 0 && Write(bytes) == ClaimResult::kClaimed) {
      const uint64_t start = lane_->committed() - AlignedFrameBytes(bytes);
      ASSERT_TRUE(start == end || start % kCapacity == 0);
      frames.push_back({start, ++sequence, bytes});
      end = lane_->committed();
    } else if (!frames.empty()) {
      const size_t count = 1 + random() % frames.size();
      const Written& last = frames[count - 1];
      ASSERT_TRUE(
          lane_->Release(last.position + AlignedFrameBytes(last.bytes)));
      frames.erase(frames.begin(), frames.begin() + count);
    }
    // From every place where a sender may stand: behind each frame.
    size_t index = 0;
    for (uint64_t from = lane_->released();; ++index) {
      SCOPED_TRACE(testing::Message() << "seed " << kSeed << " step " << step);
      ASSERT_EQ(lane_->SequenceAt(from), sequence - frames.size() + index + 1);
      const Lane::Run run = lane_->CommittedFrom(from);
      if (index == frames.size()) {
        ASSERT_TRUE(run.bytes.empty());
        break;
      }
      ASSERT_EQ(run.position, frames[index].position);
      size_t at = 0;
      for (size_t i = index; at < run.bytes.size(); ++i) {
        ASSERT_LT(i, frames.size());
        ASSERT_EQ(run.position + at, frames[i].position);
        FrameView view;
        ASSERT_EQ(DecodeFrame(run.bytes.subspan(at), kCapacity, 0, &view),
                  FrameVerdict::kOk);
        ASSERT_TRUE(test::IsFilled(view, frames[i].sequence, frames[i].bytes));
        at += AlignedFrameBytes(frames[i].bytes);
      }
      ASSERT_EQ(at, run.bytes.size());
      from = frames[index].position + AlignedFrameBytes(frames[index].bytes);
    }
  }
  EXPECT_GT(end, 100 * kCapacity);
}

// ThreadSanitizer would report a refusal that looks at what Advance() changes.
TEST(LaneConcurrentTest, LossyLaneIsSentWhileLargeFramesAreRefused) {
  Lane::Options options;
  options.capacity_bytes = kCapacity;
  options.frame_bytes_max = 128;
  options.lossy.emplace();
  options.window = 4;
  const auto lane = *Lane::Create(Environment::Real(), options, nullptr);
  constexpr int kFrames = 1000;
  std::thread sender([&] {
    for (int i = 0; i < kFrames; ++i) {
      ASSERT_EQ(lane->TryClaim(64), ClaimResult::kClaimed);
      const absl::Span<std::byte> room = lane->Room();
      ASSERT_FALSE(room.empty());
      FillFrame(lane->next_sequence(), room);
      lane->Commit();
      lane->Advance();
      ASSERT_TRUE(lane->Release(lane->committed()));
    }
  });
  for (int i = 0; i < kFrames; ++i) {
    EXPECT_EQ(lane->TryClaim(129), ClaimResult::kTooLarge);
  }
  sender.join();
  EXPECT_EQ(lane->published().frames, static_cast<uint64_t>(kFrames));
  EXPECT_TRUE(lane->empty());
}

TEST(LaneConcurrentTest, FramesOfManyThreadsComeOnceAndInOrder) {
  constexpr int kThreads = 4;
  constexpr uint64_t kEach = 20'000;
  Lane::Options options;
  options.capacity_bytes = 8192;
  options.frame_bytes_max = 4096;
  auto lane = *Lane::Create(Environment::Real(), options, nullptr);
  Environment& environment = Environment::Real();
  std::vector<std::thread> writers;
  for (int thread = 0; thread < kThreads; ++thread) {
    writers.emplace_back([&, thread] {
      for (uint64_t i = 1; i <= kEach;) {
        const size_t bytes = sizeof(FrameHeader) + (i * 13) % 300;
        if (lane->TryClaim(bytes) == ClaimResult::kClaimed) {
          FrameFields fields;
          fields.publisher_id = static_cast<uint32_t>(thread);
          fields.publisher_sequence = i++;
          EncodeFrame(fields, lane->next_sequence(),
                      bytes - sizeof(FrameHeader), lane->Room());
          lane->Commit();
          continue;
        }
        EventCount::Sleeper asleep(lane->room_event());
        if (lane->HasRoomOrAsks(bytes)) continue;
        asleep.Until(environment.waiter, kNever);
      }
    });
  }
  uint64_t at = 0, sequence = 0;
  std::vector<uint64_t> last(kThreads);
  while (sequence < kThreads * kEach) {
    const Lane::Run run = lane->CommittedFrom(at);
    if (run.bytes.empty()) {
      std::this_thread::yield();
      continue;
    }
    for (size_t offset = 0; offset < run.bytes.size();) {
      FrameView view;
      const FrameVerdict verdict =
          DecodeFrame(run.bytes.subspan(offset), 4096, 0, &view);
      const bool right = verdict == FrameVerdict::kOk &&
                         view.header.lane_sequence == ++sequence &&
                         view.header.publisher_sequence ==
                             ++last[view.header.publisher_id % kThreads];
      EXPECT_TRUE(right) << sequence;
      if (!right) std::abort();  // The writers would wait for ever.
      offset += AlignedFrameBytes(view.header.frame_bytes);
    }
    at = run.position + run.bytes.size();
    EXPECT_TRUE(lane->Release(at));
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_TRUE(lane->empty());
}

}  // namespace
}  // namespace mycelium
