#include "mycelium/transport/kept_frames.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mycelium {
namespace {

using ::testing::ElementsAre;

absl::Span<const std::byte> Bytes(const std::string& text) {
  return absl::MakeConstSpan(reinterpret_cast<const std::byte*>(text.data()),
                             text.size());
}

std::string Text(absl::Span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

TEST(KeptFramesTest, FramesOfALaneComeInOrderAndWhereTheyWere) {
  KeptFrames kept;
  kept.Add(3, 100, Bytes("abc"));
  kept.Add(3, 103, Bytes("de"));
  kept.Add(3, 128, Bytes("f"));  // Behind a pad.
  EXPECT_EQ(kept.End(3), 129u);
  EXPECT_EQ(kept.CountFrames(), 3u);

  EXPECT_EQ(kept.Front(3).position, 100u);
  EXPECT_EQ(Text(kept.Front(3).bytes), "abcde");
  kept.Pop(3, 3);
  EXPECT_EQ(kept.Front(3).position, 103u);
  EXPECT_EQ(Text(kept.Front(3).bytes), "de");
  kept.Pop(3, 2);
  EXPECT_EQ(kept.Front(3).position, 128u);
  EXPECT_EQ(Text(kept.Front(3).bytes), "f");
  EXPECT_EQ(kept.CountFrames(), 1u);
  kept.Pop(3, 1);
  EXPECT_FALSE(kept.Has(3));
  EXPECT_TRUE(kept.empty());
}

TEST(KeptFramesTest, FrameThatIsAddedWhileOthersAreTakenComesLast) {
  KeptFrames kept;
  kept.Add(0, 8, Bytes("ab"));
  kept.Add(0, 10, Bytes("cd"));
  kept.Pop(0, 2);
  kept.Add(0, 12, Bytes("ef"));
  EXPECT_EQ(kept.Front(0).position, 10u);
  EXPECT_EQ(Text(kept.Front(0).bytes), "cdef");
  EXPECT_EQ(kept.End(0), 14u);
}

TEST(KeptFramesTest, LanesAreApart) {
  KeptFrames kept;
  kept.Add(0, 8, Bytes("a"));
  kept.Add(7, 16, Bytes("b"));
  EXPECT_THAT(kept.Lanes(), ElementsAre(0, 7));
  kept.Drop(0);
  EXPECT_FALSE(kept.Has(0));
  EXPECT_EQ(Text(kept.Front(7).bytes), "b");
  kept.Pop(0, 1);  // It was dropped.
  kept.Clear();
  EXPECT_TRUE(kept.empty());
  EXPECT_EQ(kept.CountFrames(), 0u);
}

}  // namespace
}  // namespace mycelium
