#include "mycelium/base/utf8.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/string_view.h"
#include "google/protobuf/wrappers.pb.h"

namespace mycelium {
namespace {

// Whether a message with that text in a `string` field can be parsed.
bool ProtobufTakes(const std::string& text) {
  google::protobuf::BytesValue bytes;  // Field 1, as in StringValue.
  bytes.set_value(text);
  google::protobuf::StringValue parsed;
  return parsed.ParseFromString(bytes.SerializeAsString());
}

// Calls `visit` with texts of one to four bytes: first any bytes, then bytes at
// the bounds of some rule.
template <typename Visit>
void ForEachText(Visit visit) {
  constexpr absl::string_view kBounds = "a\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0";
  for (int first = 0; first < 256; ++first) {
    const std::string one(1, static_cast<char>(first));
    visit(one);
    for (const char second : kBounds) {
      const std::string two = one + second;
      visit(two);
      for (const char third : kBounds) {
        visit(two + third);
        for (const char fourth : kBounds) visit(two + third + fourth);
      }
    }
  }
}

TEST(Utf8Test, ProtobufTakesWhatIsUtf8AndNothingElse) {
  ForEachText([](const std::string& text) {
    ASSERT_EQ(IsUtf8(text), ProtobufTakes(text)) << EscapedUtf8(text);
  });
  EXPECT_TRUE(IsUtf8(""));
}

TEST(Utf8Test, EscapedTextIsUtf8AndStaysIfItIsAlready) {
  ForEachText([](const std::string& text) {
    const std::string escaped = EscapedUtf8(text);
    ASSERT_TRUE(IsUtf8(escaped)) << escaped;
    ASSERT_EQ(escaped == text, IsUtf8(text)) << escaped;
  });
}

TEST(Utf8Test, EachByteOfNoCharacterIsShown) {
  EXPECT_EQ(EscapedUtf8("/tmp/caf\xe9.sock"), "/tmp/caf\\xe9.sock");
  EXPECT_EQ(EscapedUtf8("caf\xc3\xa9 \xf0\x9f\x8d\x84"),
            "caf\xc3\xa9 \xf0\x9f\x8d\x84");
  EXPECT_EQ(EscapedUtf8("cut \xf0\x9f\x8d"), "cut \\xf0\\x9f\\x8d");
  EXPECT_EQ(EscapedUtf8("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // A surrogate.
  EXPECT_EQ(EscapedUtf8("\xc0\xaf"), "\\xc0\\xaf");  // A long form of '/'.
  EXPECT_EQ(EscapedUtf8("a\\b\n"), "a\\b\n");
}

}  // namespace
}  // namespace mycelium
