#include "mycelium/routing/room_notice.h"

#include <poll.h>

#include <memory>

#include "gtest/gtest.h"
#include "mycelium/base/environment.h"
#include "mycelium/codec/frame_encoder.h"
#include "tests/support/faulty_sys.h"

namespace mycelium {
namespace {

// A lane takes a whole number of such frames.
constexpr size_t kFrameBytes = 1024;
constexpr size_t kPayloadBytes = kFrameBytes - sizeof(FrameHeader);

bool IsReadable(int descriptor) {
  pollfd polled = {descriptor, POLLIN, 0};
  return poll(&polled, 1, /*timeout=*/0) == 1;
}

class RoomNoticeTest : public ::testing::Test {
 protected:
  static std::shared_ptr<Lane> MakeFull() {
    Lane::Options options;
    options.name = "a -> b";
    options.capacity_bytes = 16 << 10;
    options.frame_bytes_max = 4 << 10;
    std::shared_ptr<Lane> lane =
        *Lane::Create(Environment::Real(), options, nullptr);
    Fill(*lane);
    return lane;
  }
  static void Fill(Lane& lane) {
    while (lane.TryClaim(kFrameBytes) == Lane::ClaimResult::kClaimed) {
      EncodeFrame(FrameFields(), lane.next_sequence(), kPayloadBytes,
                  lane.Room());
      lane.Commit();
    }
  }
  // How often the signal is raised by making room.
  uint64_t RaisesByEmptying(Lane& lane) {
    const uint64_t before = sys_.counts()["write"];
    EXPECT_TRUE(lane.Release(lane.committed()));
    return sys_.counts()["write"] - before;
  }

  test::FaultySys sys_;
  RoomNotice notice_{sys_, nullptr};
  const std::shared_ptr<Lane> lane_ = MakeFull();
};

TEST_F(RoomNoticeTest, StalledLaneIsWatchedOnceHoweverOftenAnotherHasRoom) {
  const absl::StatusOr<int> descriptor = notice_.Descriptor();
  ASSERT_TRUE(descriptor.ok()) << descriptor.status();
  const std::shared_ptr<Lane> other = MakeFull();
  for (int i = 0; i < 20; ++i) {
    notice_.NoteFull(lane_, kFrameBytes);
    notice_.NoteFull(other, kFrameBytes);
    EXPECT_FALSE(IsReadable(*descriptor));
    EXPECT_EQ(RaisesByEmptying(*other), 1u);
    EXPECT_TRUE(IsReadable(*descriptor));
    Fill(*other);
  }
  notice_.NoteFull(lane_, kFrameBytes);
  EXPECT_FALSE(IsReadable(*descriptor));
  EXPECT_EQ(RaisesByEmptying(*lane_), 1u);
  EXPECT_TRUE(IsReadable(*descriptor));
}

TEST_F(RoomNoticeTest, LargeFrameIsWatchedForOnceHoweverOftenASmallOneFits) {
  const absl::StatusOr<int> descriptor = notice_.Descriptor();
  ASSERT_TRUE(descriptor.ok()) << descriptor.status();
  constexpr size_t kLarge = 3 * kFrameBytes;
  for (int i = 0; i < 20; ++i) {
    notice_.NoteFull(lane_, kLarge);
    notice_.NoteFull(lane_, kFrameBytes);
    EXPECT_FALSE(IsReadable(*descriptor));
    ASSERT_TRUE(lane_->Release(lane_->released() + kFrameBytes));
    EXPECT_TRUE(IsReadable(*descriptor));
    ASSERT_FALSE(lane_->HasRoom(kLarge));
    Fill(*lane_);
  }
  notice_.NoteFull(lane_, kLarge);
  EXPECT_EQ(RaisesByEmptying(*lane_), 1u);
}

TEST_F(RoomNoticeTest, WhoWaitsForSubscribersIsToldThoughTheyRefusedOneBefore) {
  int calls = 0;
  notice_.NoteNobody();
  notice_.Call([&] { ++calls; });
  // As by a publisher on another thread that finds the new routes.
  notice_.NoteFull(lane_, kFrameBytes);
  EXPECT_EQ(calls, 0);
  notice_.OnSubscribers();
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(notice_.AwaitsRoom());
}

}  // namespace
}  // namespace mycelium
