#include "mycelium/capi/status.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "mycelium/topology/setting_bounds.h"

namespace mycelium {
namespace {

// A struct of version 1, and the same after a field was added.
struct Before {
  size_t struct_size;
  int64_t depth;
};
struct After {
  size_t struct_size;
  int64_t depth;
  int64_t added;
};
constexpr After kDefaults = {sizeof(After), 1, 7};

// What ReadStruct() makes of a caller's struct that says it is so large.
absl::Status Read(size_t struct_size, After* read) {
  After given = {struct_size, 5, 6};
  *read = kDefaults;
  return ReadStruct(&given, sizeof(Before), "S", read);
}

TEST(StructTest, OlderStructLeavesTheDefaultOfWhatItHasNot) {
  After read;
  ASSERT_TRUE(Read(sizeof(Before), &read).ok());
  EXPECT_EQ(read.depth, 5);
  EXPECT_EQ(read.added, 7);
}

TEST(StructTest, StructOfThisVersionIsReadWhole) {
  After read;
  ASSERT_TRUE(Read(sizeof(After), &read).ok());
  EXPECT_EQ(read.depth, 5);
  EXPECT_EQ(read.added, 6);
}

// A size between two fields' ends would leave half a field, of a pointer say.
TEST(StructTest, SizeOfNoVersionIsInvalid) {
  for (const size_t bytes :
       {size_t{0}, sizeof(Before) - 1, sizeof(Before) + 1, sizeof(Before) + 4,
        sizeof(After) - 1, sizeof(After) + 1, sizeof(After) + 8,
        static_cast<size_t>(-1)}) {
    After read;
    EXPECT_EQ(Read(bytes, &read).code(), absl::StatusCode::kInvalidArgument)
        << bytes;
    EXPECT_EQ(read.depth, 1);
    EXPECT_EQ(read.added, 7);
  }
}

TEST(BufferTest, HasAtMostTheBytesOfTheLargestFrame) {
  EXPECT_EQ(kBufferBytesMax,
            static_cast<size_t>(BoundsOf("frame_bytes_max").max));
  const char byte = 0;
  EXPECT_TRUE(CheckBuffer(&byte, kBufferBytesMax).ok());
  EXPECT_EQ(CheckBuffer(&byte, kBufferBytesMax + 1).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(StructTest, OnlyTheFieldsOfAnOlderStructAreWritten) {
  After given = {sizeof(Before), 0, -1};
  WriteStruct(After{sizeof(After), 5, 6}, &given);
  EXPECT_EQ(given.struct_size, sizeof(Before));
  EXPECT_EQ(given.depth, 5);
  EXPECT_EQ(given.added, -1);  // Not the caller's struct any more.
}

TEST(StructTest, SizesOfVersionOneAreKnown) {
  EXPECT_LE(kRuntimeOptionsBytesMin, sizeof(MyceliumRuntimeOptions));
  EXPECT_LE(kPublisherOptionsBytesMin, sizeof(MyceliumPublisherOptions));
  EXPECT_LE(kSubscriberOptionsBytesMin, sizeof(MyceliumSubscriberOptions));
  EXPECT_LE(kStatsBytesMin, sizeof(MyceliumStats));
  EXPECT_LE(kSettingsBytesMin, sizeof(MyceliumSettings));
  EXPECT_LE(kLimitsBytesMin, sizeof(MyceliumLimits));
}

}  // namespace
}  // namespace mycelium
