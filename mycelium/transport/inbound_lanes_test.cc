#include "mycelium/transport/inbound_lanes.h"

#include <vector>

#include "gtest/gtest.h"

namespace mycelium {
namespace {

std::vector<AckEntry> Acks(InboundLanes& lanes) {
  std::vector<AckEntry> acks;
  lanes.TakeAcks(&acks);
  return acks;
}

TEST(InboundLanesTest, LaneIsExpectedWhereItWasOpened) {
  InboundLanes lanes;
  InboundLanes::Expected expected;
  EXPECT_FALSE(lanes.Find(1, &expected));
  lanes.Open(1, {640, 11, 4096});
  ASSERT_TRUE(lanes.Find(1, &expected));
  EXPECT_EQ(expected.position, 640u);
  EXPECT_EQ(expected.sequence, 11u);
  EXPECT_EQ(expected.capacity_bytes, 4096u);
  lanes.NoteReceived(1, /*sequence=*/11, 704, /*handled=*/false);
  ASSERT_TRUE(lanes.Find(1, &expected));
  EXPECT_EQ(expected.position, 704u);
  EXPECT_EQ(expected.sequence, 12u);
}

TEST(InboundLanesTest, OneLaneBeyondTheLimitIsNotOpened) {
  InboundLanes lanes;
  for (uint32_t lane = 0; lane < InboundLanes::kLanesMax; ++lane) {
    ASSERT_TRUE(lanes.Open(lane, {0, 1, 4096}));
  }
  EXPECT_FALSE(lanes.Open(InboundLanes::kLanesMax, {0, 1, 4096}));
  EXPECT_TRUE(lanes.Open(0, {0, 1, 4096})) << "it is known";
  lanes.Close(7);
  EXPECT_TRUE(lanes.Open(InboundLanes::kLanesMax, {0, 1, 4096}));
}

TEST(InboundLanesTest, LaneThatIsKnownStaysWhereItIs) {
  InboundLanes lanes;
  lanes.Open(1, {0, 1, 4096});
  lanes.NoteReceived(1, /*sequence=*/1, 64, true);
  lanes.Open(1, {640, 11, 8192});
  InboundLanes::Expected expected;
  ASSERT_TRUE(lanes.Find(1, &expected));
  EXPECT_EQ(expected.position, 64u);
  EXPECT_EQ(expected.sequence, 2u);
}

TEST(InboundLanesTest, SmallestCapacityIsOfTheLanesThereAre) {
  InboundLanes lanes;
  EXPECT_EQ(lanes.SmallestCapacity(), 0u);
  lanes.Open(1, {0, 1, 8192});
  lanes.Open(2, {0, 1, 4096});
  lanes.Open(3, {0, 1, 16384});
  EXPECT_EQ(lanes.SmallestCapacity(), 4096u);
  lanes.Close(2);
  EXPECT_EQ(lanes.SmallestCapacity(), 8192u);
  lanes.Clear();
  EXPECT_EQ(lanes.SmallestCapacity(), 0u);
}

TEST(InboundLanesTest, AckTellsOnceWhatIsNew) {
  InboundLanes lanes;
  lanes.Open(1, {0, 1, 4096});
  lanes.Open(2, {0, 1, 4096});
  EXPECT_TRUE(Acks(lanes).empty());
  lanes.NoteReceived(1, /*sequence=*/1, 64, /*handled=*/false);
  EXPECT_EQ(lanes.UntoldBytes(), 64u);
  EXPECT_FALSE(lanes.AllHandled());
  std::vector<AckEntry> acks = Acks(lanes);
  ASSERT_EQ(acks.size(), 1u);
  EXPECT_EQ(acks[0].lane, 1u);
  EXPECT_EQ(acks[0].received, 64u);
  EXPECT_EQ(acks[0].handled, 0u);
  EXPECT_EQ(lanes.UntoldBytes(), 0u);
  EXPECT_TRUE(Acks(lanes).empty());
  lanes.NoteHandled(1, 64);
  EXPECT_TRUE(lanes.AllHandled());
  acks = Acks(lanes);
  ASSERT_EQ(acks.size(), 1u);
  EXPECT_EQ(acks[0].handled, 64u);
}

TEST(InboundLanesTest, ConsumerAheadOfTheLoopIsNotToldBeforeTheArrival) {
  InboundLanes lanes;
  lanes.Open(1, {0, 1, 4096});
  lanes.NoteHandled(1, 64);
  EXPECT_TRUE(Acks(lanes).empty());
  lanes.NoteReceived(1, /*sequence=*/1, 64, /*handled=*/false);
  const std::vector<AckEntry> acks = Acks(lanes);
  ASSERT_EQ(acks.size(), 1u);
  EXPECT_EQ(acks[0].received, 64u);
  EXPECT_EQ(acks[0].handled, 64u);
}

TEST(InboundLanesTest, HandledNeverGoesBack) {
  InboundLanes lanes;
  lanes.Open(1, {0, 1, 4096});
  lanes.NoteReceived(1, /*sequence=*/1, 128, true);
  lanes.NoteHandled(1, 64);
  EXPECT_EQ(Acks(lanes)[0].handled, 128u);
}

TEST(InboundLanesTest, MuchRoomIsWorthTellingAtOnce) {
  InboundLanes lanes;
  lanes.Open(1, {0, 1, 1 << 20});
  lanes.NoteReceived(1, /*sequence=*/1, 1 << 17, false);
  EXPECT_FALSE(lanes.NoteHandled(1, 64 * 1024 - kFrameAlignment));
  EXPECT_TRUE(lanes.NoteHandled(1, 64 * 1024));
  Acks(lanes);
  EXPECT_FALSE(lanes.NoteHandled(1, 64 * 1024 + kFrameAlignment));
}

TEST(InboundLanesTest, NextConnectionIsToldAgainAndResumesThere) {
  InboundLanes lanes;
  lanes.Open(1, {0, 1, 4096});
  lanes.NoteReceived(1, /*sequence=*/1, 64, true);
  lanes.NoteReceived(1, /*sequence=*/1, 128, false);
  Acks(lanes);
  lanes.ForgetTold();
  EXPECT_EQ(Acks(lanes).size(), 1u);
  v1::Hello hello;
  lanes.FillResume(&hello);
  ASSERT_EQ(hello.resume_size(), 1);
  EXPECT_EQ(hello.resume(0).lane(), 1u);
  EXPECT_EQ(hello.resume(0).received(), 128u);
  EXPECT_EQ(hello.resume(0).handled(), 64u);
}

TEST(InboundLanesTest, ClosedLaneIsForgotten) {
  InboundLanes lanes;
  lanes.Open(1, {0, 1, 4096});
  lanes.Open(2, {0, 1, 4096});
  lanes.Close(1);
  InboundLanes::Expected expected;
  EXPECT_FALSE(lanes.Find(1, &expected));
  EXPECT_TRUE(lanes.Find(2, &expected));
  EXPECT_FALSE(lanes.NoteHandled(1, 64));
  lanes.NoteReceived(1, /*sequence=*/1, 64, true);
  EXPECT_TRUE(Acks(lanes).empty());
  lanes.Clear();
  EXPECT_FALSE(lanes.Find(2, &expected));
}

}  // namespace
}  // namespace mycelium
