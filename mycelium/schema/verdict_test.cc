#include "mycelium/schema/verdict.h"

#include <random>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/schema/canonical_text.h"
#include "mycelium/schema/canonical_text_parser.h"
#include "mycelium/schema/proto_source.h"

namespace mycelium {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Text(absl::string_view types, const std::string& root = "m.Quote") {
  return CanonicalText(
      ProtoSource(absl::StrCat("syntax = 'proto3'; package m;", types))
          .Type(root));
}

std::string Text2(absl::string_view types) {
  return CanonicalText(
      ProtoSource(absl::StrCat("syntax = 'proto2'; package m;", types))
          .Type("m.Quote"));
}

std::string FirstDifference(absl::string_view ours, absl::string_view theirs) {
  return CompareVersions(ours, theirs).difference;
}

std::string FirstOf(absl::string_view ours, absl::string_view theirs) {
  return FirstDifference(Text(ours), Text(theirs));
}

std::string FirstOf2(absl::string_view ours, absl::string_view theirs) {
  return FirstDifference(Text2(ours), Text2(theirs));
}

TEST(VerdictTest, EqualTextsHaveNoDifference) {
  EXPECT_EQ(FirstOf("message Quote { double price = 4; }",
                    "message Quote { double price = 4; }"),
            "");
}

TEST(VerdictTest, ChangedTypeNamesBothTypes) {
  EXPECT_EQ(FirstOf("message Quote { double price = 4; }",
                    "message Quote { int64 price = 4; }"),
            "m.Quote.price (4): double -> int64");
  EXPECT_EQ(FirstOf("message Quote { A a = 1; } message A {}",
                    "message Quote { B a = 1; } message B {}"),
            "m.Quote.a (1): m.A -> m.B");
  EXPECT_EQ(FirstOf("message Quote { E a = 1; } enum E { ZERO = 0; }",
                    "message Quote { int32 a = 1; }"),
            "m.Quote.a (1): enum m.E -> int32");
}

TEST(VerdictTest, FieldOfOneSideNamesTheSide) {
  const std::string with =
      "message Quote { double price = 4; int64 volume = 5; }";
  const std::string without = "message Quote { double price = 4; }";
  EXPECT_EQ(FirstOf(with, without),
            "m.Quote.volume (5): missing on the other side");
  EXPECT_EQ(FirstOf(without, with), "m.Quote.volume (5): missing on this side");
}

TEST(VerdictTest, RenumberedFieldNamesBothNumbers) {
  EXPECT_EQ(FirstOf("message Quote { double price = 4; }",
                    "message Quote { double price = 7; }"),
            "m.Quote.price (4): number 4 -> 7");
  EXPECT_EQ(FirstOf("message Quote { double price = 7; }",
                    "message Quote { double price = 4; }"),
            "m.Quote.price (7): number 7 -> 4");
}

TEST(VerdictTest, RenumberedFieldIsOneDifference) {
  EXPECT_EQ(Differences(Text("message Quote { double price = 4; }"),
                        Text("message Quote { double price = 7; }"), 9)
                .size(),
            1u);
}

TEST(VerdictTest, RenamedFieldNamesBothNames) {
  EXPECT_EQ(FirstOf("message Quote { double price = 4; }",
                    "message Quote { double cost = 4; }"),
            "m.Quote.price (4): name price -> cost");
}

TEST(VerdictTest, LabelPresenceOneofAndPackingAreNamed) {
  EXPECT_EQ(FirstOf("message Quote { string x = 1; }",
                    "message Quote { repeated string x = 1; }"),
            "m.Quote.x (1): label optional -> repeated");
  EXPECT_EQ(FirstOf("message Quote { int32 x = 1; }",
                    "message Quote { optional int32 x = 1; }"),
            "m.Quote.x (1): presence implicit -> explicit");
  EXPECT_EQ(FirstOf("message Quote { optional int32 x = 1; }",
                    "message Quote { oneof choice { int32 x = 1; } }"),
            "m.Quote.x (1): oneof none -> choice");
  EXPECT_EQ(FirstOf("message Quote { repeated int32 x = 1; }",
                    "message Quote { repeated int32 x = 1 [packed=false]; }"),
            "m.Quote.x (1): packing packed -> expanded");
}

TEST(VerdictTest, DefaultIsNamed) {
  EXPECT_EQ(
      FirstOf2("message Quote { optional string x = 1; }",
               "message Quote { optional string x = 1 [default='a b']; }"),
      "m.Quote.x (1): default none -> \"a b\"");
}

TEST(VerdictTest, EnumValuesAreNamed) {
  const std::string quote = "message Quote { E e = 1; }";
  const std::string ours = quote + "enum E { ZERO = 0; ONE = 1; }";
  EXPECT_EQ(FirstOf(ours, quote + "enum E { ZERO = 0; }"),
            "m.E.ONE (1): missing on the other side");
  EXPECT_EQ(FirstOf(quote + "enum E { ZERO = 0; }", ours),
            "m.E.ONE (1): missing on this side");
  EXPECT_EQ(FirstOf(ours, quote + "enum E { ZERO = 0; UNO = 1; }"),
            "m.E.ONE (1): name ONE -> UNO");
  EXPECT_EQ(FirstOf(ours, quote + "enum E { ZERO = 0; ONE = -2; }"),
            "m.E.ONE (1): number 1 -> -2");
}

TEST(VerdictTest, AliasThatOnlyOneSideHasIsMissing) {
  const std::string quote = "message Quote { E e = 1; }";
  EXPECT_EQ(
      FirstOf(quote + "enum E { option allow_alias = true; A = 0; B = 0; }",
              quote + "enum E { A = 0; }"),
      "m.E.B (0): missing on the other side");
}

// Protobuf has a message of such a name only where there is no package.
TEST(VerdictTest, MessageThatIsNamedAsAScalarIsNone) {
  const std::string scalar =
      "mycelium.schema 1\nroot Quote\nmessage Quote\n"
      "  1 x optional int32 presence=explicit\n";
  const std::string message =
      "mycelium.schema 1\nroot Quote\nmessage Quote\n"
      "  1 x optional message int32 presence=explicit\nmessage int32\n";
  EXPECT_EQ(FirstDifference(scalar, message),
            "Quote.x (1): int32 -> message int32");
  EXPECT_EQ(FirstDifference(message, scalar),
            "Quote.x (1): message int32 -> int32");
}

TEST(VerdictTest, ClosedEnumIsNotAnOpenOne) {
  EXPECT_EQ(FirstDifference(
                Text2("message Quote { optional E e = 1; } enum E { Z = 0; }"),
                Text("message Quote { optional E e = 1; } enum E { Z = 0; }")),
            "m.E: closed -> open");
}

TEST(VerdictTest, DifferentRootsAreNamed) {
  EXPECT_EQ(FirstDifference(Text("message Quote {}"),
                            Text("message Order {}", "m.Order")),
            "type: m.Quote -> m.Order");
}

Verdict::Kind KindOf(absl::string_view ours, absl::string_view theirs) {
  const Verdict::Kind kind = CompareVersions(ours, theirs).kind;
  EXPECT_EQ(CompareVersions(theirs, ours).kind, kind);
  return kind;
}

constexpr Verdict::Kind kExact = Verdict::Kind::kExact;
constexpr Verdict::Kind kCompatible = Verdict::Kind::kCompatible;
constexpr Verdict::Kind kIncompatible = Verdict::Kind::kIncompatible;

TEST(VerdictTest, FieldsThatNeedNotBeThereAreCompatible) {
  const std::string one = Text2("message Quote { optional int32 a = 1; }");
  EXPECT_EQ(KindOf(one, one), kExact);
  EXPECT_EQ(KindOf(one, Text2("message Quote { optional int32 a = 1; "
                              "optional int32 b = 2 [default = 7]; }")),
            kCompatible);
  EXPECT_EQ(KindOf(one, Text2("message Quote { optional int32 a = 1; "
                              "repeated string b = 2; }")),
            kCompatible);
  EXPECT_EQ(KindOf(one, Text2("message Quote { optional int32 a = 1; "
                              "oneof o { string b = 2; } }")),
            kCompatible);
  EXPECT_EQ(KindOf(one, Text2("message Quote { optional int32 a = 1; "
                              "required string b = 2; }")),
            kIncompatible);
  // Whatever the added one reaches is nobody else's business.
  EXPECT_EQ(KindOf(one, Text2("message Quote { optional int32 a = 1; "
                              "optional B b = 2; } "
                              "message B { required int32 x = 1; }")),
            kCompatible);
}

TEST(VerdictTest, ValuesOfAnEnumAreCompatibleIfNoNumberIsHidden) {
  const std::string of_one = "enum E { ZERO = 0; }";
  const std::string of_two = "enum E { ZERO = 0; ONE = 1; }";
  const std::string quote = "message Quote { E e = 1; }";
  EXPECT_EQ(KindOf(Text(quote + of_one), Text(quote + of_two)), kCompatible);
  const std::string quote2 = "message Quote { optional E e = 1; }";
  EXPECT_EQ(KindOf(Text2(quote2 + of_one), Text2(quote2 + of_two)),
            kIncompatible);
  // A second name of a number hides none.
  const std::string named_twice =
      "enum E { option allow_alias = true; ZERO = 0; NONE = 0; }";
  EXPECT_EQ(KindOf(Text2(quote2 + of_one), Text2(quote2 + named_twice)),
            kCompatible);
  EXPECT_EQ(KindOf(Text2(quote2 + named_twice), Text2(quote2 + of_one)),
            kCompatible);
}

// The text of a proto2 message with an enum of proto3.
std::string MixedText(absl::string_view values) {
  return absl::StrCat(
      "mycelium.schema 1\nroot m.Quote\nenum m.E open\n", values,
      "message m.Quote\n  1 e optional enum m.E presence=explicit "
      "values=closed\n");
}

TEST(VerdictTest, OpenEnumInAMessageThatHidesNumbersIsAsGoodAsClosed) {
  EXPECT_EQ(KindOf(MixedText("  0 ZERO\n"), MixedText("  0 ZERO\n  1 ONE\n")),
            kIncompatible);
  const std::string text = MixedText("  0 ZERO\n");
  EXPECT_EQ(FirstDifference(
                text, absl::StrReplaceAll(text, {{" values=closed", ""}})),
            "m.Quote.e (1): values closed -> none");
}

// A field that only one version has shows the other version nothing.
TEST(VerdictTest, FieldThatOnlyOneVersionHasHidesNoNumber) {
  const auto text = [](absl::string_view ours, absl::string_view theirs) {
    const absl::string_view l =
        "message m.L\n"
        "  1 e optional enum m.E presence=explicit values=closed\n";
    return absl::StrCat("mycelium.schema 1\nroot m.Q\nenum m.E open\n", ours,
                        theirs.empty() ? "" : l,
                        "message m.Q\n"
                        "  1 e optional enum m.E presence=implicit\n",
                        theirs);
  };
  const absl::string_view l = "  2 l optional message m.L presence=explicit\n";
  const absl::string_view one = "  0 ZERO\n";
  const absl::string_view two = "  0 ZERO\n  1 ONE\n";
  EXPECT_EQ(KindOf(text(one, ""), text(two, "")), kCompatible);
  EXPECT_EQ(KindOf(text(one, ""), text(one, l)), kCompatible);
  EXPECT_EQ(KindOf(text(one, ""), text(two, l)), kCompatible);
  EXPECT_EQ(KindOf(text(one, l), text(two, "")), kCompatible);
  EXPECT_EQ(KindOf(text(one, l), text(two, l)), kIncompatible);
}

TEST(VerdictTest, MapsOfBothSyntaxesAreCompatible) {
  const std::string two = Text2("message Quote { map<string, int32> m = 3; }");
  const std::string three = Text("message Quote { map<string, int32> m = 3; }");
  EXPECT_EQ(KindOf(two, three), kCompatible);
  EXPECT_EQ(FirstDifference(two, three),
            "m.Quote.MEntry.key (1): presence explicit -> implicit");
  EXPECT_EQ(KindOf(two, Text("message Quote { map<string, int64> m = 3; }")),
            kIncompatible);
}

TEST(VerdictTest, WhatNamesTheDifferenceIsWhatMakesTheVerdict) {
  const std::string ours = Text(
      "message Quote { int32 a = 1; repeated int32 b = 2; int32 c = 3; "
      "int32 d = 4; }");
  const Verdict compatible = CompareVersions(
      ours, Text("message Quote { repeated int32 b = 2 [packed = false]; "
                 "int32 c = 3; int32 d = 4; }"));
  EXPECT_EQ(compatible.kind, kCompatible);
  EXPECT_EQ(compatible.difference, "m.Quote.a (1): missing on the other side");
  const Verdict incompatible = CompareVersions(
      ours, Text("message Quote { repeated int32 b = 2 [packed = false]; "
                 "int64 c = 3; int64 d = 4; }"));
  EXPECT_EQ(incompatible.kind, kIncompatible);
  EXPECT_EQ(incompatible.difference, "m.Quote.c (3): int32 -> int64");
}

TEST(VerdictTest, EveryOtherChangeIsIncompatible) {
  const std::string ours = Text(
      "message Quote { int32 a = 1; A m = 2; } "
      "message A { int32 x = 1; }");
  for (const absl::string_view theirs : {
           "message Quote { int64 a = 1; A m = 2; } "
           "message A { int32 x = 1; }",
           "message Quote { int32 b = 1; A m = 2; } "
           "message A { int32 x = 1; }",
           "message Quote { int32 a = 3; A m = 2; } "
           "message A { int32 x = 1; }",
           "message Quote { optional int32 a = 1; A m = 2; } "
           "message A { int32 x = 1; }",
           "message Quote { repeated int32 a = 1; A m = 2; } "
           "message A { int32 x = 1; }",
           "message Quote { oneof o { int32 a = 1; } A m = 2; } "
           "message A { int32 x = 1; }",
           "message Quote { int32 a = 1; B m = 2; } "
           "message B { int32 x = 1; }",
           "message Quote { int32 a = 1; A m = 2; } "
           "message A { string x = 1; }",
       }) {
    EXPECT_EQ(KindOf(ours, Text(theirs)), kIncompatible) << theirs;
  }
  EXPECT_EQ(KindOf(ours, "garbage"), kIncompatible);
  EXPECT_EQ(KindOf(ours, ""), kIncompatible);
}

TEST(VerdictTest, FieldsOfTheRootComeBeforeThoseOfReachedTypes) {
  EXPECT_THAT(Differences(Text("message Quote { A a = 1; int32 z = 9; } "
                               "message A { int32 x = 1; }"),
                          Text("message Quote { A a = 1; int64 z = 9; } "
                               "message A { int64 x = 1; }"),
                          9),
              ElementsAre(Field(&Difference::where, "m.Quote.z (9)"),
                          Field(&Difference::where, "m.A.x (1)")));
}

TEST(VerdictTest, NoMoreThanTheMaximumIsReturned) {
  const std::string ours = Text("message Quote { int32 a = 1; int32 b = 2; }");
  const std::string theirs =
      Text("message Quote { int64 a = 1; int64 b = 2; }");
  EXPECT_EQ(Differences(ours, theirs, 0).size(), 0u);
  EXPECT_EQ(Differences(ours, theirs, 1).size(), 1u);
  EXPECT_EQ(Differences(ours, theirs, 2).size(), 2u);
  EXPECT_EQ(Differences(ours, theirs, 3).size(), 2u);
}

TEST(VerdictTest, RecursiveTypesEnd) {
  EXPECT_EQ(FirstOf("message Quote { Quote next = 1; B b = 2; } "
                    "message B { Quote q = 1; int32 x = 2; }",
                    "message Quote { Quote next = 1; B b = 2; } "
                    "message B { Quote q = 1; bool x = 2; }"),
            "m.B.x (2): int32 -> bool");
}

TEST(VerdictTest, GarbageOfAPeerIsNamedAndNotRepeated) {
  const std::string ours = Text("message Quote { int32 a = 1; }");
  for (const std::string& garbage :
       {std::string(), std::string("\0\xff\x1b[31m", 7), std::string("\n"),
        std::string("mycelium.schema 1\n"), std::string("mycelium.schema 2\n"),
        ours + "x", ours + "\n", ours + ours, "\n" + ours,
        std::string(ours.size(), '\n')}) {
    EXPECT_THAT(FirstDifference(ours, garbage),
                StartsWith("the other side: schema text"));
    EXPECT_THAT(FirstDifference(garbage, ours),
                StartsWith("this side: schema text"));
  }
}

TEST(VerdictTest, TextOfTheLargestSizeIsReadAndOneByteMoreIsNot) {
  const std::string ours = Text("message Quote { int32 a = 1; }");
  std::string largest = ours;
  absl::StrAppend(&largest, "message z",
                  std::string(kCanonicalTextBytesMax - ours.size() - 10, 'N'),
                  "\n");
  ASSERT_EQ(largest.size(), kCanonicalTextBytesMax);
  EXPECT_EQ(FirstDifference(ours, largest),
            "m.Quote: types differ that no field reaches");
  EXPECT_THAT(
      FirstDifference(
          ours, absl::StrReplaceAll(largest, {{"message z", "message zz"}})),
      HasSubstr("1048577 bytes, at most 1048576"));
}

TEST(VerdictTest, LongNamesOfAPeerAreCutShort) {
  const std::string ours = Text("message Quote { int32 a = 1; }");
  const std::string theirs = absl::StrReplaceAll(
      ours, {{"a optional", std::string(100000, 'a') + " optional"}});
  EXPECT_LT(FirstDifference(ours, theirs).size(), 500u);
}

// Wherever a byte of a text is damaged, the answer is a short printable line,
// and never "no difference".
TEST(VerdictTest, DamagedTextIsAlwaysADifference) {
  const std::string ours = Text(
      "message Quote { E e = 1; repeated int32 r = 2; map<string, Quote> m = 3;"
      "oneof o { string s = 4; double d = 5; } } enum E { ZERO = 0; ONE = 1; "
      "}");
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::string theirs = ours;
    const size_t at = random() % theirs.size();
    switch (random() % 4) {
      case 0:
        theirs[at] = static_cast<char>(random());
        break;
      case 1:
        theirs.resize(at);
        break;
      case 2:
        theirs.erase(at, 1 + random() % 40);
        break;
      default:
        theirs.insert(at, ours, random() % ours.size(), random() % 40);
    }
    const std::string difference = FirstDifference(ours, theirs);
    EXPECT_EQ(difference.empty(), ours == theirs) << "round " << round;
    EXPECT_LT(difference.size(), 1000u);
    EXPECT_THAT(
        difference,
        Each(testing::ResultOf(
            [](unsigned char c) { return absl::ascii_isprint(c); }, true)));
  }
}

}  // namespace
}  // namespace mycelium
