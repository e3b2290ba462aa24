#include "mycelium/schema/canonical_text_parser.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace mycelium {
namespace {

constexpr char kHead[] = "mycelium.schema 1\nroot A\n";

absl::Status StatusOf(absl::string_view types) {
  return ParseCanonicalText(absl::StrCat(kHead, types)).status();
}

TEST(CanonicalTextParserTest, LinesAreTakenApart) {
  const std::string text = absl::StrCat(
      kHead,
      "message A\n"
      "  3 e optional enum E oneof=o presence=explicit default=-1\n"
      "  4 r repeated int32 packing=packed\n"
      "  5 s optional string presence=explicit default=\"a b=c\"\n"
      "enum E closed\n  -1 X\n  0 Y\n");
  const auto parsed = ParseCanonicalText(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->root, "A");
  ASSERT_EQ(parsed->types.size(), 2u);
  const ParsedText::Type& a = *parsed->Find("A");
  ASSERT_EQ(a.fields.size(), 3u);
  EXPECT_EQ(a.fields[0].number, 3);
  EXPECT_EQ(a.fields[0].name, "e");
  EXPECT_EQ(a.fields[0].label, "optional");
  EXPECT_EQ(a.fields[0].type, "enum");
  EXPECT_EQ(a.fields[0].type_name, "E");
  EXPECT_EQ(a.fields[0].oneof, "o");
  EXPECT_EQ(a.fields[0].presence, "explicit");
  EXPECT_EQ(a.fields[0].default_value, "-1");
  EXPECT_EQ(a.fields[1].packing, "packed");
  EXPECT_EQ(a.fields[2].default_value, "\"a b=c\"");
  const ParsedText::Type& e = *parsed->Find("E");
  EXPECT_TRUE(e.is_enum);
  EXPECT_EQ(e.mark, "closed");
  EXPECT_EQ(e.values[0].number, -1);
  EXPECT_EQ(e.values[1].name, "Y");
  EXPECT_EQ(parsed->Find("B"), nullptr);
}

TEST(CanonicalTextParserTest, MalformedLineIsInvalidAndNamesTheLine) {
  const std::string malformed_lines[] = {
      "  1 x optional int99",
      "  1 x perhaps int32",
      "  +1 x optional int32",
      "  01 x optional int32",
      "  9999999999 x optional int32",
      "  1 x-y optional int32",
      "  1  optional int32",
      "  1 x optional int32 ",
      "  1 x optional int32 what=1",
      "  1 x optional message",
      "  1 x optional int32 default=",
      "  1 x optional string default=\"\t\"",
      " 1 x optional int32",
      "message B strange",
      "enum B",
      "message A",
      "message",
      "",
  };
  for (const std::string& line : malformed_lines) {
    const absl::Status status =
        StatusOf(absl::StrCat("message A\n", line, "\n"));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << line;
    EXPECT_NE(status.message().find("schema text:4: "), std::string::npos)
        << line << ": " << status;
  }
}

TEST(CanonicalTextParserTest, OrderIsPartOfTheForm) {
  EXPECT_TRUE(StatusOf("message A\n  1 x optional int32\n"
                       "  2 y optional int32\n")
                  .ok());
  EXPECT_FALSE(StatusOf("message A\n  2 y optional int32\n"
                        "  1 x optional int32\n")
                   .ok());
  EXPECT_FALSE(StatusOf("message B\nmessage A\n").ok());
  EXPECT_FALSE(StatusOf("message A\nenum E open\n  1 X\n  0 Y\n").ok());
  EXPECT_FALSE(StatusOf("message A\nenum E open\n  0 Y\n  0 X\n").ok());
}

TEST(CanonicalTextParserTest, TypeThatIsNamedButMissingIsInvalid) {
  EXPECT_FALSE(StatusOf("").ok());
  EXPECT_FALSE(StatusOf("enum A open\n").ok());
  EXPECT_FALSE(StatusOf("message A\n  1 x optional message B\n").ok());
  EXPECT_FALSE(
      StatusOf("message A\n  1 x optional message B\nenum B open\n").ok());
  EXPECT_TRUE(
      StatusOf("message A\n  1 x optional message B\nmessage B\n").ok());
}

}  // namespace
}  // namespace mycelium
