#include "mycelium/routing/schema_mismatch.h"

#include <string>

#include "gtest/gtest.h"

namespace mycelium {
namespace {

std::string DifferenceOf(const MessageType& local, const Digest& remote) {
  return SchemaMismatchOf(SchemaMismatchError("t", local, remote,
                                              /*remote_text=*/"",
                                              /*remote_node=*/"far"))
      ->difference();
}

TEST(SchemaMismatchTest, SideThatIsRawIsNamed) {
  const MessageType raw = RawMessageType("a.B");
  const MessageType typed = RawMessageType("a.B", Digest::Of("a text"));
  EXPECT_EQ(DifferenceOf(raw, typed.digest), "raw bytes -> another type");
  EXPECT_EQ(DifferenceOf(typed, raw.digest), "another type -> raw bytes");
  EXPECT_EQ(DifferenceOf(typed, Digest::Of("another text")), "");
}

TEST(SchemaMismatchTest, OnlyTextThatAPeerTakesIsSent) {
  EXPECT_EQ(SendableCanonicalText("root a.B\n"), "root a.B\n");
  EXPECT_EQ(SendableCanonicalText("caf\xe9"), "");
  EXPECT_EQ(SendableCanonicalText(std::string(kExplanationBytesMax, 't')),
            std::string(kExplanationBytesMax, 't'));
  EXPECT_EQ(SendableCanonicalText(std::string(kExplanationBytesMax + 1, 't')),
            "");
}

}  // namespace
}  // namespace mycelium
