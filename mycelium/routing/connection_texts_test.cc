#include "mycelium/routing/connection_texts.h"

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace mycelium {
namespace {

Digest Numbered(size_t number) { return Digest::Of(absl::StrCat(number)); }

// Always the same text for a type; a few are long.
std::string TextOf(size_t number) {
  return std::string(
      number % 40 == 0 ? kExplanationBytesMax - number : 1 + number * 16, 'x');
}

// Returns whether the text was to be sent; if so it is sent.
bool Send(ConnectionTexts& sent, const Digest& type, size_t bytes) {
  const bool lacks = !sent.Has(type);
  sent.Send(type, bytes);
  EXPECT_TRUE(sent.Has(type));
  return lacks;
}

TEST(ConnectionTextsTest, EachIsSentOnce) {
  ConnectionTexts sent;
  EXPECT_TRUE(Send(sent, Numbered(1), 10));
  EXPECT_FALSE(Send(sent, Numbered(1), 10));
  EXPECT_TRUE(Send(sent, Numbered(2), 10));
  sent.Clear();
  EXPECT_TRUE(Send(sent, Numbered(1), 10));
}

TEST(ConnectionTextsTest, SaysWhatCameAndForWhichDigest) {
  ConnectionTexts taken;
  EXPECT_EQ(taken.TextOf(Numbered(1)), nullptr);
  taken.Take(Numbered(1), "");
  EXPECT_EQ(taken.TextOf(Numbered(1)), nullptr);
  taken.Take(Numbered(1), std::string(kExplanationBytesMax + 1, 'x'));
  EXPECT_EQ(taken.TextOf(Numbered(1)), nullptr);
  taken.Take(Numbered(1), "text");
  taken.Take(Numbered(1), "another");
  ASSERT_NE(taken.TextOf(Numbered(1)), nullptr);
  EXPECT_EQ(taken.TextOf(Numbered(1))->text(), "text");
  EXPECT_EQ(taken.TextOf(Numbered(1))->digest(), Digest::Of("text"));
  taken.Clear();
  EXPECT_EQ(taken.TextOf(Numbered(1)), nullptr);
}

TEST(ConnectionTextsTest, OldestMakeRoomByCountAndByBytes) {
  ConnectionTexts sent;
  for (size_t i = 0; i < ConnectionTexts::kCountMax; ++i) {
    EXPECT_TRUE(Send(sent, Numbered(i), 1));
  }
  EXPECT_FALSE(Send(sent, Numbered(0), 1));
  EXPECT_TRUE(Send(sent, Numbered(1000), 1));
  EXPECT_FALSE(Send(sent, Numbered(1), 1));
  EXPECT_TRUE(Send(sent, Numbered(0), 1)) << "which pushes 1 out";
  EXPECT_TRUE(Send(sent, Numbered(1), 1));

  sent.Clear();
  constexpr size_t kMost = ConnectionTexts::kBytesMax / kExplanationBytesMax;
  for (size_t i = 0; i < kMost; ++i) {
    EXPECT_TRUE(Send(sent, Numbered(i), kExplanationBytesMax));
  }
  EXPECT_FALSE(Send(sent, Numbered(0), kExplanationBytesMax));
  EXPECT_TRUE(Send(sent, Numbered(1000), 1));
  EXPECT_FALSE(Send(sent, Numbered(1), kExplanationBytesMax));
  EXPECT_TRUE(Send(sent, Numbered(0), kExplanationBytesMax));
}

// Whatever is sent in whatever order, and however often the sender begins anew,
// the receiver has each text that is named only by its digest.
TEST(ConnectionTextsTest, ReceiverHasWhatTheSenderTakesItToHave) {
  std::mt19937 random(7);
  ConnectionTexts sent, taken;
  for (int i = 0; i < 20000; ++i) {
    if (random() % 300 == 0) {
      // Texts that were sent just before count for the receiver only.
      for (int left = random() % 20; left > 0; --left) {
        const size_t number = random() % 400;
        taken.Take(Numbered(number), TextOf(number));
      }
      sent.Clear();
    }
    const size_t number = random() % 400;
    const std::string text = TextOf(number);
    const Digest type = Numbered(number);
    const bool lacks = Send(sent, type, text.size());
    if (lacks) taken.Take(type, text);
    const PeerText* const known = taken.TextOf(type);
    ASSERT_NE(known, nullptr) << i;
    ASSERT_EQ(known->text().size(), text.size());
  }
}

}  // namespace
}  // namespace mycelium
