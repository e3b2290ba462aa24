#include "mycelium/schema/canonical_text.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "gtest/gtest.h"
#include "mycelium/schema/proto_source.h"
#include "mycelium/schema/schema_digest.h"

namespace mycelium {
namespace {

std::string Proto2Text(absl::string_view types) {
  return CanonicalText(
      ProtoSource(absl::StrCat("syntax = 'proto2';", types)).Type("A"));
}

std::string Proto3Text(absl::string_view types) {
  return CanonicalText(
      ProtoSource(absl::StrCat("syntax = 'proto3';", types)).Type("A"));
}

TEST(CanonicalTextTest, EmptyMessageIsThreeLines) {
  EXPECT_EQ(Proto3Text("message A {}"),
            "mycelium.schema 1\nroot A\nmessage A\n");
}

TEST(CanonicalTextTest, RootTellsTypesApartThatReachTheSameTypes) {
  const ProtoSource source(
      "syntax = 'proto3'; message A { B b = 1; } message B { A a = 1; }");
  EXPECT_NE(CanonicalText(source.Type("A")), CanonicalText(source.Type("B")));
  EXPECT_NE(TypeDigest(source.Type("A")), TypeDigest(source.Type("B")));
}

TEST(CanonicalTextTest, CommentsFileNameAndUnrelatedOptionsAreNotTold) {
  const ProtoSource plain("syntax = 'proto3'; message A { int32 x = 1; }");
  const ProtoSource dressed(R"(
      // A file comment.
      syntax = 'proto3';
      option java_package = "org.example";
      option deprecated = true;
      /* A type comment. */
      message A {
        reserved 4, 5;
        reserved "old";
        int32 x = 1 [deprecated = true, json_name = "y"];  // A field comment.
      })",
                            "elsewhere/a.proto");
  EXPECT_EQ(CanonicalText(plain.Type("A")), CanonicalText(dressed.Type("A")));
}

TEST(CanonicalTextTest, OrderInTheFileIsNotTold) {
  EXPECT_EQ(Proto3Text(R"(
                message A { B b = 1; E e = 2; oneof o { int32 x = 3;
                                                        int32 y = 4; } }
                message B { int32 z = 1; }
                enum E { ZERO = 0; ONE = 1; TWO = 2; })"),
            Proto3Text(R"(
                enum E { ZERO = 0; TWO = 2; ONE = 1; }
                message B { int32 z = 1; }
                message A { oneof o { int32 y = 4; int32 x = 3; }
                            E e = 2; B b = 1; })"));
}

TEST(CanonicalTextTest, AliasesOfAnEnumValueAreInTheOrderOfTheirNames) {
  EXPECT_EQ(Proto3Text(R"(message A { E e = 1; }
                enum E { option allow_alias = true; ZERO = 0; B = 1; A_ = 1; })"),
            Proto3Text(R"(message A { E e = 1; }
                enum E { option allow_alias = true; ZERO = 0; A_ = 1; B = 1; })"));
}

TEST(CanonicalTextTest, TypesThatAreNotReachedAreNotTold) {
  EXPECT_EQ(Proto3Text("message A { int32 x = 1; }"),
            Proto3Text("message A { int32 x = 1; message Nested {} } "
                       "message Other {} enum E { ZERO = 0; }"));
}

TEST(CanonicalTextTest, Proto3OptionalIsPresenceAndNotAOneof) {
  EXPECT_EQ(Proto3Text("message A { optional int32 x = 1; }"),
            "mycelium.schema 1\nroot A\nmessage A\n"
            "  1 x optional int32 presence=explicit\n");
}

TEST(CanonicalTextTest, OptionalFieldIsTheSameInProto2AndProto3) {
  EXPECT_EQ(Proto3Text("message A { optional int32 x = 1; }"),
            Proto2Text("message A { optional int32 x = 1; }"));
}

TEST(CanonicalTextTest, PackingIsTheEffectiveOne) {
  EXPECT_EQ(Proto3Text("message A { repeated int32 x = 1; }"),
            Proto2Text("message A { repeated int32 x = 1 [packed = true]; }"));
  EXPECT_EQ(Proto3Text("message A { repeated int32 x = 1 [packed = false]; }"),
            Proto2Text("message A { repeated int32 x = 1; }"));
}

TEST(CanonicalTextTest, DefaultIsTheEffectiveOne) {
  EXPECT_EQ(Proto2Text("message A { optional int32 x = 1 [default = 0]; }"),
            Proto2Text("message A { optional int32 x = 1; }"));
  EXPECT_EQ(Proto2Text("message A { optional E e = 1 [default = FIVE]; } "
                       "enum E { FIVE = 5; SIX = 6; }"),
            Proto2Text("message A { optional E e = 1; } "
                       "enum E { FIVE = 5; SIX = 6; }"));
}

// The first value of a proto2 enum is what an absent field reads as, so here
// the order in the file does have a meaning.
TEST(CanonicalTextTest, FirstValueOfAProto2EnumIsTold) {
  EXPECT_NE(Proto2Text("message A { optional E e = 1; } "
                       "enum E { FIVE = 5; SIX = 6; }"),
            Proto2Text("message A { optional E e = 1; } "
                       "enum E { SIX = 6; FIVE = 5; }"));
}

TEST(CanonicalTextTest, MinusZeroIsNotTheDefaultOfItself) {
  EXPECT_NE(Proto2Text("message A { optional float x = 1 [default = -0.0]; }"),
            Proto2Text("message A { optional float x = 1 [default = 0.0]; }"));
}

TEST(CanonicalTextTest, DefaultsThatOnlyLookAlikeDiffer) {
  // A default with what would be the next attribute or the next line in it.
  EXPECT_NE(
      Proto2Text(R"(message A { optional string x = 1 [default = "a\nb"]; })"),
      Proto2Text(
          R"(message A { optional string x = 1 [default = "a\\nb"]; })"));
  EXPECT_EQ(
      Proto2Text(
          R"(message A { optional string x = 1 [default = "\"\n  2 y"]; })"),
      "mycelium.schema 1\nroot A\nmessage A\n"
      "  1 x optional string presence=explicit default=\"\\\"\\n  2 y\"\n");
}

TEST(CanonicalTextTest, MapIsNotARepeatedEntry) {
  EXPECT_NE(Proto3Text("message A { map<int32, int32> m = 1; }"),
            Proto3Text("message A { repeated MEntry m = 1; message MEntry { "
                       "int32 key = 1; int32 value = 2; } }"));
}

TEST(CanonicalTextTest, ChainOfThousandsOfTypesIsWalked) {
  std::string types = "message A { T0 t = 1; }";
  constexpr int kTypes = 5000;
  for (int i = 0; i < kTypes; ++i) {
    absl::StrAppend(&types, "message T", i, " { T", (i + 1) % kTypes,
                    " t = 1; }");
  }
  const std::string text = Proto3Text(types);
  EXPECT_NE(text.find("\nmessage T4999\n"), text.npos);
}

TEST(CanonicalTextTest, OpenEnumInAMessageOfProto2IsMarked) {
  google::protobuf::DescriptorPool pool;
  google::protobuf::FileDescriptorProto file;
  file.set_name("e.proto");
  file.set_syntax("proto3");
  auto& open = *file.add_enum_type();
  open.set_name("E");
  auto& zero = *open.add_value();
  zero.set_name("ZERO");
  zero.set_number(0);
  ASSERT_NE(pool.BuildFile(file), nullptr);
  for (const std::string syntax : {"proto2", "proto3"}) {
    google::protobuf::FileDescriptorProto using_it;
    using_it.set_name(syntax + ".proto");
    using_it.set_syntax(syntax);
    using_it.add_dependency("e.proto");
    auto& message = *using_it.add_message_type();
    message.set_name(syntax);
    auto& field = *message.add_field();
    field.set_name("e");
    field.set_number(1);
    field.set_label(google::protobuf::FieldDescriptorProto::LABEL_REPEATED);
    field.set_type(google::protobuf::FieldDescriptorProto::TYPE_ENUM);
    field.set_type_name(".E");
    ASSERT_NE(pool.BuildFile(using_it), nullptr);
  }
  const std::string marked =
      CanonicalText(*pool.FindMessageTypeByName("proto2"));
  EXPECT_NE(marked.find("  1 e repeated enum E packing=expanded "
                        "values=closed\n"),
            marked.npos)
      << marked;
  const std::string plain =
      CanonicalText(*pool.FindMessageTypeByName("proto3"));
  EXPECT_EQ(plain.find("values="), plain.npos) << plain;
}

TEST(SchemaDigestTest, OrderAndRepetitionOfTypesDoNotMatter) {
  const ProtoSource source("syntax = 'proto3'; message A {} message B {}");
  const auto* a = &source.Type("A");
  const auto* b = &source.Type("B");
  EXPECT_EQ(SchemaDigestOf({a, b}), SchemaDigestOf({b, a, b, a}));
  EXPECT_NE(SchemaDigestOf({a, b}), SchemaDigestOf({a}));
  EXPECT_NE(SchemaDigestOf({a}), TypeDigest(*a));
}

TEST(SchemaDigestTest, IsTheSha256OfTheSortedLines) {
  const ProtoSource source("syntax = 'proto3'; message A {} message B {}");
  const auto* a = &source.Type("A");
  const auto* b = &source.Type("B");
  const std::string lines =
      absl::StrCat("A ", Digest::Of(CanonicalText(*a)).ToHex(), "\nB ",
                   Digest::Of(CanonicalText(*b)).ToHex(), "\n");
  EXPECT_EQ(SchemaText({b, a}), lines);
  EXPECT_EQ(SchemaDigestOf({b, a}), Digest::Of(lines));
  EXPECT_EQ(SchemaDigestOf({}), Digest::Of(""));
}

}  // namespace
}  // namespace mycelium
