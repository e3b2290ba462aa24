// Texts and digests that are the same for ever, in every release and language.
// A change here is a change of kCanonicalTextHeader.

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mycelium/schema/canonical_text.h"
#include "mycelium/schema/schema_digest.h"
#include "mycelium/schema/testdata/golden_proto2.pb.h"
#include "mycelium/schema/testdata/golden_proto3.pb.h"
#include "mycelium/schema/testdata/quote.pb.h"
#include "mycelium/schema/verdict.h"

namespace mycelium {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FileDescriptor;

constexpr char kFolder[] = "mycelium/schema/testdata/";

std::string Read(const std::string& name) {
  std::ifstream file(kFolder + name, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << name;
  std::stringstream content;
  content << file.rdbuf();
  return content.str();
}

std::vector<const Descriptor*> GoldenTypes() {
  std::vector<const Descriptor*> types;
  for (const FileDescriptor* file :
       {market::Quote::descriptor()->file(),
        golden::two::Labels::descriptor()->file(),
        golden::three::Empty::descriptor()->file()}) {
    for (int i = 0; i < file->message_type_count(); ++i) {
      types.push_back(file->message_type(i));
    }
  }
  return types;
}

std::string GoldenTexts() {
  std::string texts;
  for (const Descriptor* type : GoldenTypes()) {
    absl::StrAppend(&texts, CanonicalText(*type), "\n");
  }
  return texts;
}

std::string GoldenDigests() {
  std::string lines = SchemaText(GoldenTypes());
  absl::StrAppend(&lines, "schema ", SchemaDigestOf(GoldenTypes()).ToHex(),
                  "\n");
  return lines;
}

TEST(GoldenTest, TextsAreThePinnedOnes) {
  EXPECT_EQ(GoldenTexts(), Read("golden_texts.txt"));
}

TEST(GoldenTest, DigestsAreThePinnedOnes) {
  EXPECT_EQ(GoldenDigests(), Read("golden_digests.txt"));
}

TEST(GoldenTest, ExampleOfTheGuideIsThePinnedOne) {
  EXPECT_EQ(CanonicalText(*market::Quote::descriptor()),
            Read("quote_text.txt"));
}

// The text of market.Quote with the first `from` replaced by `to`.
std::string ChangedQuote(const std::string& from, const std::string& to) {
  std::string text = CanonicalText(*market::Quote::descriptor());
  const size_t at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(GoldenTest, DifferencesOfTheGuideAreThePinnedOnes) {
  const std::string ours = CanonicalText(*market::Quote::descriptor());
  std::string lines;
  const std::pair<std::string, std::string> changes[] = {
      {"price optional double", "price optional int64"},
      {"  8 notes", "  9 notes"},
      {"price", "cost"},
      {"  5 volume optional int64 presence=explicit\n", ""},
      {"volume optional int64 presence=explicit",
       "volume optional int64 presence=implicit"},
      {"symbol optional string presence=implicit", "symbol repeated string"},
      {"levels repeated double packing=packed",
       "levels repeated double packing=expanded"},
      {"oneof=origin", "oneof=source"},
      {"  2 SIDE_SELL\n", ""},
      {"  2 SIDE_SELL", "  3 SIDE_SELL"},
      {"  2 SIDE_SELL", "  2 SIDE_ASK"},
  };
  for (const auto& [from, to] : changes) {
    const Verdict verdict = CompareVersions(ours, ChangedQuote(from, to));
    absl::StrAppend(
        &lines, verdict.difference,
        verdict.kind == Verdict::Kind::kCompatible ? " (compatible)" : "",
        "\n");
  }
  EXPECT_EQ(lines, Read("quote_differences.txt"));
}

TEST(GoldenTest, EveryTextIsReadWhenComparedWithAnother) {
  const std::vector<const Descriptor*> types = GoldenTypes();
  for (const Descriptor* type : types) {
    const std::string other =
        type == types[0] ? types[1]->full_name() : types[0]->full_name();
    const std::string other_text =
        CanonicalText(type == types[0] ? *types[1] : *types[0]);
    EXPECT_EQ(CompareVersions(CanonicalText(*type), other_text).difference,
              absl::StrCat("type: ", type->full_name(), " -> ", other));
  }
}

}  // namespace
}  // namespace mycelium
