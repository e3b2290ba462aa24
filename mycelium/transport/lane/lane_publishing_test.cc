#include "mycelium/transport/lane/lane_publishing.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/base/biased_mutex.h"
#include "mycelium/base/heavy_barrier.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/transport/lane/fake_shared_memory.h"
#include "mycelium/transport/lane/lane.h"

namespace mycelium {
namespace {

using ClaimResult = Lane::ClaimResult;

class CountingDoorbell final : public Lane::Doorbell {
 public:
  void OnCommit(Lane&) override { ++rings; }
  int rings = 0;
};

class LanePublishingTest : public ::testing::Test {
 protected:
  LanePublishingTest() {
    Lane::Options options;
    options.name = "a lane";
    options.capacity_bytes = kRingBytesMin;
    options.frame_bytes_max = 1024;
    lane_ = *Lane::Create(Environment::Real(), options, &doorbell_);
  }

  ClaimResult Publish(const std::vector<std::byte>& payload) {
    return lane_->TryPublish(payload.size(), [&](FrameHeader* header) {
      ++encoded_;
      header->digest_prefix = 11;
      header->publisher_sequence = encoded_;
      header->publisher_id = 13;
      return absl::MakeConstSpan(payload);
    });
  }

  // The oldest frame, which is released then.
  void ReadAndRelease(FrameHeader* header, std::vector<std::byte>* payload) {
    const Lane::Run run = lane_->CommittedFrom(lane_->released());
    FrameView view;
    ASSERT_EQ(DecodeFrame(run.bytes, 1024, kFrameFlagsOnWire, &view),
              FrameVerdict::kOk);
    *header = view.header;
    payload->assign(view.payload.begin(), view.payload.end());
    ASSERT_TRUE(lane_->Release(run.position +
                               AlignedFrameBytes(view.header.frame_bytes)));
  }

  uint64_t encoded_ = 0;
  CountingDoorbell doorbell_;
  std::unique_ptr<Lane> lane_;
};

TEST_F(LanePublishingTest, MessageOfEachSizeIsReadAsItWasPublished) {
  const size_t payload_bytes_max = 1024 - sizeof(FrameHeader);
  for (uint64_t size = 0; size <= payload_bytes_max; ++size) {
    std::vector<std::byte> payload(size);
    for (size_t i = 0; i < size; ++i) {
      payload[i] = static_cast<std::byte>(size + 7 * i);
    }
    ASSERT_EQ(Publish(payload), ClaimResult::kClaimed) << size;
    FrameHeader header;
    std::vector<std::byte> read;
    ASSERT_NO_FATAL_FAILURE(ReadAndRelease(&header, &read)) << size;
    EXPECT_EQ(read, payload) << size;
    EXPECT_EQ(header.frame_bytes, sizeof header + size);
    EXPECT_EQ(header.flags, 0);
    EXPECT_EQ(header.extension_bytes, 0);
    EXPECT_EQ(header.lane_sequence, size + 1);
    EXPECT_EQ(header.digest_prefix, 11u);
    EXPECT_EQ(header.publisher_sequence, size + 1);
    EXPECT_EQ(header.publisher_id, 13u);
    EXPECT_EQ(header.lost_before, 0u);
    EXPECT_EQ(doorbell_.rings, static_cast<int>(size + 1));
  }
  EXPECT_TRUE(lane_->empty());
}

// A lane that is left locked makes the next call wait for ever.
TEST_F(LanePublishingTest, WhatIsRefusedIsNotEncodedAndLeavesTheLaneUnlocked) {
  const std::vector<std::byte> large(1024);
  const std::vector<std::byte> small(64);
  EXPECT_EQ(Publish(large), ClaimResult::kTooLarge);
  EXPECT_EQ(encoded_, 0u);
  uint64_t taken = 0;
  ClaimResult result;
  while ((result = Publish(small)) == ClaimResult::kClaimed) ++taken;
  EXPECT_EQ(result, ClaimResult::kFull);
  EXPECT_EQ(encoded_, taken);
  EXPECT_EQ(Publish(large), ClaimResult::kTooLarge) << "and full";
  lane_->Close();
  EXPECT_EQ(Publish(small), ClaimResult::kClosed) << "and full";
  EXPECT_EQ(Publish(large), ClaimResult::kTooLarge) << "and closed";
  ASSERT_TRUE(lane_->Release(lane_->committed()));
  EXPECT_EQ(Publish(small), ClaimResult::kClosed);
  EXPECT_EQ(encoded_, taken);
  EXPECT_EQ(doorbell_.rings, static_cast<int>(taken));
  EXPECT_EQ(lane_->published().frames, taken);
}

TEST_F(LanePublishingTest, ThreadThatOwnsTheLockLeavesItToOthers) {
  AskForHeavyBarrier(Environment::Real().sys);
  if (!has_heavy_barrier()) GTEST_SKIP() << "the kernel has no membarrier";
  const std::vector<std::byte> payload(64);
  const std::vector<std::byte> large(1024);
  FrameHeader header;
  std::vector<std::byte> read;
  // The thread gets the lock's bias on the way: the second time that takes four
  // times as long.
  constexpr uint32_t kMany = 8 * BiasedMutex::kInARowMin;
  const auto publish_many = [&] {
    for (uint32_t i = 0; i < kMany; ++i) {
      ASSERT_EQ(Publish(payload), ClaimResult::kClaimed);
      ASSERT_NO_FATAL_FAILURE(ReadAndRelease(&header, &read));
    }
    ASSERT_EQ(Publish(large), ClaimResult::kTooLarge);
  };
  publish_many();
  std::thread other(publish_many);
  other.join();
  publish_many();
  EXPECT_EQ(header.lane_sequence, 3 * kMany);
  EXPECT_TRUE(lane_->empty());
}

TEST(MappedLanePublishingTest, FrameIsStampedAndOnlyAReaderThatSleepsIsTold) {
  const auto memory = std::make_shared<test::FakeSharedMemory>(kRingBytesMin);
  const std::atomic<uint32_t> control_count{5};
  Lane::Options options;
  options.capacity_bytes = kRingBytesMin;
  options.frame_bytes_max = 1024;
  options.shared = memory;
  options.control_count = &control_count;
  CountingDoorbell doorbell;
  const auto lane = *Lane::Create(Environment::Real(), options, &doorbell);
  lane->SetMapped(true);
  const std::vector<std::byte> payload(64);
  const auto publish = [&] {
    return lane->TryPublish(payload.size(), [&](FrameHeader*) {
      return absl::MakeConstSpan(payload);
    });
  };
  EXPECT_EQ(publish(), ClaimResult::kClaimed);
  EXPECT_EQ(doorbell.rings, 0);
  memory->positions().Sleep();
  EXPECT_EQ(publish(), ClaimResult::kClaimed);
  EXPECT_EQ(doorbell.rings, 1);
  EXPECT_EQ(publish(), ClaimResult::kClaimed);
  EXPECT_EQ(doorbell.rings, 1) << "it is told once";
  memory->positions().EndSleep();
  memory->positions().takes_barriers.store(1);
  ASSERT_TRUE(memory->positions().PromiseBarrier());
  EXPECT_EQ(publish(), ClaimResult::kClaimed);
  EXPECT_EQ(doorbell.rings, 1) << "it is awake, and has promised a barrier";
  memory->positions().Sleep();
  EXPECT_EQ(publish(), ClaimResult::kClaimed);
  EXPECT_EQ(doorbell.rings, 2) << "it sleeps all the same";
  uint64_t frames = 0;
  lane->ForEachFrame(0, [&](const FrameHeader& header) {
    EXPECT_EQ(header.lane_sequence, ++frames);
    EXPECT_EQ(header.lost_before, 5u);
  });
  EXPECT_EQ(frames, 5u);
}

}  // namespace
}  // namespace mycelium
