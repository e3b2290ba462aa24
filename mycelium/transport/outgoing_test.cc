#include "mycelium/transport/outgoing.h"

#include <memory>

#include "gtest/gtest.h"

namespace mycelium {
namespace {

TEST(OutgoingTest, KeepersStayWithTheirPieces) {
  const auto keeper = std::make_shared<const int>();
  char data[8], control[4];
  Outgoing outgoing;
  outgoing.AddHeader(MakeRecordHeader(RecordKind::kData, sizeof data));
  outgoing.Add(data, sizeof data, keeper);
  outgoing.Add(control, sizeof control);
  outgoing.MoveToFront(2);
  ASSERT_EQ(outgoing.pieces().size(), 3u);
  ASSERT_EQ(outgoing.keepers().size(), 3u);
  EXPECT_EQ(outgoing.pieces()[2].iov_base, data);
  EXPECT_EQ(outgoing.keepers()[2], keeper);
  EXPECT_EQ(outgoing.keepers()[0], nullptr);
  EXPECT_EQ(outgoing.keepers()[1], nullptr);

  outgoing.Consume(sizeof control + sizeof(RecordHeader) + 1);
  ASSERT_EQ(outgoing.keepers().size(), 1u);
  EXPECT_EQ(outgoing.keepers()[0], keeper);
}

TEST(OutgoingTest, WhatIsWrittenIsNotHeldAnyMore) {
  const auto keeper = std::make_shared<const int>();
  char data[8];
  Outgoing outgoing;
  outgoing.Add(data, sizeof data, keeper);
  outgoing.Consume(sizeof data - 1);
  EXPECT_EQ(keeper.use_count(), 2);
  outgoing.Consume(1);
  EXPECT_TRUE(outgoing.done());
  EXPECT_EQ(keeper.use_count(), 1);
}

TEST(OutgoingTest, ClearLetsGoOfKeepers) {
  const auto keeper = std::make_shared<const int>();
  char data[8];
  Outgoing outgoing;
  outgoing.Add(data, sizeof data, keeper);
  EXPECT_EQ(keeper.use_count(), 2);
  outgoing.Clear();
  EXPECT_EQ(keeper.use_count(), 1);
  outgoing.Add(data, sizeof data);
  EXPECT_EQ(outgoing.keepers()[0], nullptr);
}

}  // namespace
}  // namespace mycelium
