#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/base/heavy_barrier.h"
#include "mycelium/transport/inbound_ring.h"
#include "mycelium/transport/lane/lane.h"
#include "mycelium/transport/lane/ring_frames.h"
#include "mycelium/transport/shm/memfd_memory.h"

namespace mycelium {
namespace {

using ::mycelium::test::FillFrame;
using Look = InboundRing::Look;

constexpr size_t kFrameBytes = sizeof(FrameHeader) + 64;

class IgnoringSink final : public DropSink {
 public:
  void OnDrop(const FrameView&, DropReason) override {}
};

// A lane in shared memory and its reader, without the link between them.
class ShmLaneTest : public ::testing::Test {
 protected:
  void OpenLane(std::optional<LossyStage::Options> lossy) {
    is_lossy_ = lossy.has_value();
    Lane::Options options;
    options.name = "a lane";
    options.capacity_bytes = kRingBytesMin;
    options.frame_bytes_max = 1 << 20;
    options.lossy = lossy;
    options.drop_sink = std::make_shared<IgnoringSink>();
    options.window = is_lossy_ ? 2 : 0;
    options.control_count = &control_count_;
    memory_ = *MemfdMemory(Sys::Real()).Create(Lane::MemoryBytes(options));
    options.shared = memory_;
    lane_ = *Lane::Create(Environment::Real(), std::move(options), nullptr);
    OpenRing();
  }

  // As at the start, or after the lane was given to another reader.
  void OpenRing() {
    InboundRing::Options options;
    options.lossy = is_lossy_;
    options.frame_bytes_max = 1 << 20;
    options.position = is_lossy_ ? 0 : lane_->released();
    options.next_sequence = lane_->SequenceAt(options.position);
    options.redelivered_until = lane_->redelivered_until();
    ring_.emplace(memory_, options);
  }

  void Publish(int count) {
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(lane_->TryClaim(kFrameBytes), Lane::ClaimResult::kClaimed);
      const absl::Span<std::byte> room = lane_->Room();
      if (room.empty()) {
        lane_->DropClaimed({});
        continue;
      }
      FillFrame(lane_->next_sequence(), room);
      lane_->Commit();
    }
  }

  // The next frame's header, taken.
  std::optional<FrameHeader> Take(bool handled) {
    const FrameView* view;
    uint64_t end;
    if (ring_->Peek(0, &view, &end) != Look::kFrame) return std::nullopt;
    const FrameHeader header = view->header;
    ring_->Pop(handled);
    return header;
  }

  std::atomic<uint32_t> control_count_{0};
  bool is_lossy_ = false;
  std::shared_ptr<SharedLaneMemory> memory_;
  std::unique_ptr<Lane> lane_;
  std::optional<InboundRing> ring_;
};

TEST_F(ShmLaneTest, WriterThatWaitsIsToldWhenTheReaderIsThere) {
  OpenLane(std::nullopt);
  Publish(2);
  EXPECT_FALSE(lane_->IsOver(lane_->Mark()));
  EXPECT_TRUE(Take(/*handled=*/true).has_value());
  EXPECT_FALSE(ring_->TakeWriterWaits());
  EXPECT_TRUE(Take(/*handled=*/true).has_value());
  EXPECT_TRUE(ring_->TakeWriterWaits());
  EXPECT_FALSE(ring_->TakeWriterWaits()) << "told once";
  EXPECT_TRUE(lane_->IsOver(lane_->Mark()));
}

// The reader never sees those messages, and cannot say that it has come to
// them.
TEST_F(ShmLaneTest, WriterDoesNotWaitForMessagesThatWereDroppedLast) {
  LossyStage::Options lossy;
  lossy.depth = 1;
  lossy.drop_newest = true;
  OpenLane(lossy);
  Publish(3);
  EXPECT_FALSE(lane_->IsOver(lane_->Mark()));
  EXPECT_TRUE(Take(/*handled=*/true).has_value());
  EXPECT_TRUE(ring_->TakeWriterWaits());
  EXPECT_TRUE(lane_->IsOver(lane_->Mark()));
}

// The same while the last one that was kept is with a handler.
TEST_F(ShmLaneTest, WriterIsToldWhenTheLastOneThatWasKeptIsHandled) {
  LossyStage::Options lossy;
  lossy.depth = 1;
  lossy.drop_newest = true;
  OpenLane(lossy);
  Publish(1);
  const std::optional<FrameHeader> taken = Take(/*handled=*/false);
  ASSERT_TRUE(taken.has_value());
  Publish(3);
  (void)lane_->IsOver(lane_->Mark());
  ring_->NoteHandled(taken->lane_sequence);
  EXPECT_TRUE(Take(/*handled=*/true).has_value());
  EXPECT_TRUE(ring_->TakeWriterWaits());
  EXPECT_TRUE(lane_->IsOver(lane_->Mark()));
}

TEST_F(ShmLaneTest, NextReaderStartsWithWhatTheLastHasNotHandled) {
  OpenLane(std::nullopt);
  Publish(3);
  EXPECT_TRUE(Take(/*handled=*/true).has_value());
  EXPECT_TRUE(Take(/*handled=*/false).has_value());
  std::vector<FrameHeader> lost;
  ASSERT_TRUE(lane_->RenewReader(ring_->taken(), &lost).ok());
  EXPECT_TRUE(lost.empty());
  OpenRing();
  std::optional<FrameHeader> again = Take(/*handled=*/true);
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->lane_sequence, 2u);
  EXPECT_NE(again->flags & kFrameRedelivered, 0);
  std::optional<FrameHeader> first_time = Take(/*handled=*/true);
  ASSERT_TRUE(first_time.has_value());
  EXPECT_EQ(first_time->lane_sequence, 3u);
  EXPECT_EQ(first_time->flags & kFrameRedelivered, 0);
  EXPECT_TRUE(lane_->empty());
}

// Else the next reader would never promise a barrier.
TEST_F(ShmLaneTest, EachReaderLearnsWhetherTheWriterTakesBarriers) {
  const auto said = [this] {
    return memory_->positions().takes_barriers.load();
  };
  OpenLane(std::nullopt);
  EXPECT_EQ(said(), takes_shared_heavy_barriers() ? 1u : 0u);
  AskForHeavyBarrier(Sys::Real());
  if (!takes_shared_heavy_barriers()) {
    GTEST_SKIP() << "the kernel has no membarrier between processes";
  }
  OpenLane(std::nullopt);
  EXPECT_EQ(said(), 1u);
  std::vector<FrameHeader> lost;
  ASSERT_TRUE(lane_->RenewReader(/*seen=*/0, &lost).ok());
  EXPECT_EQ(said(), 1u);
  OpenLane(LossyStage::Options());
  ASSERT_TRUE(lane_->RenewReader(/*seen=*/0, &lost).ok());
  EXPECT_EQ(said(), 1u);
}

// As after the connection is lost, when the writer does not know what was
// handled.
TEST_F(ShmLaneTest, ReaderItselfSaysWhatItMayHaveHandled) {
  OpenLane(std::nullopt);
  Publish(3);
  EXPECT_TRUE(Take(/*handled=*/true).has_value());
  const FrameView* shown;
  uint64_t end;
  // A handler has it, in which the process dies.
  EXPECT_EQ(ring_->Peek(0, &shown, &end), Look::kFrame);
  std::vector<FrameHeader> lost;
  ASSERT_TRUE(lane_->RenewReader(/*seen=*/0, &lost).ok());
  EXPECT_EQ(lane_->redelivered_until(), 3u);
  // The next reader ends before it has taken anything.
  ASSERT_TRUE(lane_->RenewReader(/*seen=*/0, &lost).ok());
  EXPECT_EQ(lane_->redelivered_until(), 3u);
  FrameHeader poison;
  EXPECT_FALSE(lane_->TakePoison(/*redeliveries_max=*/1, &poison));
  ASSERT_TRUE(lane_->TakePoison(/*redeliveries_max=*/0, &poison));
  EXPECT_EQ(poison.lane_sequence, 2u);
}

TEST_F(ShmLaneTest, ReaderThatIsMadMakesNoMoreRedelivered) {
  constexpr uint64_t kFrame = AlignedFrameBytes(kFrameBytes);
  const struct {
    uint64_t said;
    uint64_t redelivered_until;
  } kCases[] = {{0, 2},
                {kFrame, 2},
                {kFrame + 1, 3},
                {kFrame + kFrameAlignment, 3},
                {2 * kFrame - 1, 3},
                {3 * kFrame, 4},
                {3 * kFrame + kFrameAlignment, 4},
                {~uint64_t{0}, 4}};
  for (const auto& [said, redelivered_until] : kCases) {
    OpenLane(std::nullopt);
    Publish(3);
    EXPECT_TRUE(Take(/*handled=*/true).has_value());
    memory_->positions().taken.store(said);
    std::vector<FrameHeader> lost;
    ASSERT_TRUE(lane_->RenewReader(/*seen=*/0, &lost).ok());
    EXPECT_EQ(lane_->redelivered_until(), redelivered_until) << said;
  }
}

}  // namespace
}  // namespace mycelium
