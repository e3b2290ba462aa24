#include "mycelium/topology/nearest_word.h"

#include <gtest/gtest.h>

#include <string>

namespace mycelium {
namespace {

TEST(NearestWordTest, FewestEditsWin) {
  EXPECT_EQ(NearestWord("node", {"name", "nodes"}), "nodes");
  EXPECT_EQ(NearestWord("prot", {"host", "port"}), "port");  // One swap.
  EXPECT_EQ(NearestWord("abc", {"abd", "abe"}), "abd");
}

TEST(NearestWordTest, WordsThatShareTooLittleAreNotNear) {
  EXPECT_EQ(NearestWord("xyz", {"host", "port"}), "");
  EXPECT_EQ(NearestWord("", {"a"}), "");
}

TEST(NearestWordTest, WordsUpToTheBoundAreComparedAndLongerOnesAreNot) {
  const std::string longest(kNearestWordBytesMax, 'a');
  EXPECT_EQ(NearestWord(longest, {longest}), longest);
  const std::string longer = longest + "a";
  EXPECT_EQ(NearestWord(longer, {longest}), "");
  EXPECT_EQ(NearestWord(longest, {longer}), "");
}

TEST(NearestWordTest, HintListsWhatIsKnownWhenNothingIsNear) {
  EXPECT_EQ(NearestHint("node", {"nodes"}), "; nearest: nodes");
  EXPECT_EQ(NearestHint("xyz", {"a", "b"}), "; known: a, b");
  EXPECT_EQ(NearestHint("xyz", {}), "");
}

TEST(NearestWordTest, QuotedTextIsPrintableAndCut) {
  EXPECT_EQ(Quoted(std::string("a\n\0b", 4)), "\"a\\n\\000b\"");
  EXPECT_EQ(Quoted(std::string(80, 'x')), "\"" + std::string(80, 'x') + "\"");
  EXPECT_EQ(Quoted(std::string(81, 'x')),
            "\"" + std::string(80, 'x') + "...\"");
  // U+0085 is a control, U+00A0 and what follows are not.
  EXPECT_EQ(Quoted("a\xc2\x85\xc2\xa0"), "\"a\\302\\205\xc2\xa0\"");
}

}  // namespace
}  // namespace mycelium
