#include "mycelium/base/harmless.h"

#include "gtest/gtest.h"

namespace mycelium {
namespace {

TEST(HarmlessTest, ControlCharactersAreQuestionMarks) {
  EXPECT_EQ(Harmless("a\nb\x1B[2Jc\x7F"), "a?b?[2Jc?");
  EXPECT_EQ(Harmless("\xC2\x9B!"), "?!");
  EXPECT_EQ(Harmless("Zürich"), "Zürich");
}

TEST(HarmlessTest, LongTextIsCutBetweenCharacters) {
  EXPECT_EQ(Harmless("abcd", 4), "abcd");
  EXPECT_EQ(Harmless("abcde", 4), "abcd...");
  EXPECT_EQ(Harmless("abcü", 4), "abc...");
}

}  // namespace
}  // namespace mycelium
