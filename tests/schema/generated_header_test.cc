#include <algorithm>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/schema/digest.h"
#include "mycelium/schema/schema_digest.h"
#include "mycelium/schema/testdata/golden_proto2.pb.h"
#include "mycelium/schema/testdata/golden_proto3.pb.h"
#include "mycelium/schema/testdata/quote.pb.h"
#include "tests/schema/golden_schema.h"
#include "tests/schema/imported_schema.h"
#include "tests/schema/quote_schema.h"

namespace mycelium {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FileDescriptor;

std::vector<const Descriptor*> TopLevelMessages(
    const std::vector<const FileDescriptor*>& files) {
  std::vector<const Descriptor*> types;
  for (const FileDescriptor* file : files) {
    for (int i = 0; i < file->message_type_count(); ++i) {
      types.push_back(file->message_type(i));
    }
  }
  return types;
}

TEST(GeneratedHeaderTest, SchemaDigestIsThatOfTheLinkedTypes) {
  const auto types =
      TopLevelMessages({golden::two::Labels::descriptor()->file(),
                        golden::three::Empty::descriptor()->file(),
                        market::Quote::descriptor()->file()});
  EXPECT_EQ(Digest(golden_schema::kSchemaDigest), SchemaDigestOf(types));
}

TEST(GeneratedHeaderTest, TypeDigestsAreThoseOfTheLinkedTypes) {
  const auto types =
      TopLevelMessages({golden::two::Labels::descriptor()->file(),
                        golden::three::Empty::descriptor()->file(),
                        market::Quote::descriptor()->file()});
  ASSERT_EQ(golden_schema::kTypeDigests.size(), types.size());
  for (const Descriptor* type : types) {
    const auto& digests = golden_schema::kTypeDigests;
    const auto found = std::find_if(
        digests.begin(), digests.end(),
        [&](const auto& entry) { return entry.first == type->full_name(); });
    ASSERT_NE(found, digests.end()) << type->full_name();
    EXPECT_EQ(Digest(found->second), TypeDigest(*type)) << type->full_name();
  }
}

TEST(GeneratedHeaderTest, MessagesNarrowsTheSchemaAndNamespaceIsAsGiven) {
  EXPECT_EQ(Digest(market::schema::kSchemaDigest),
            SchemaDigestOf({market::Quote::descriptor()}));
  static_assert(market::schema::kTypeDigests.size() == 1);
  static_assert(market::schema::kTypeDigests[0].first == "market.Quote");
}

TEST(GeneratedHeaderTest, NestedAndImportedMessagesMayBeNamed) {
  EXPECT_EQ(Digest(imported_schema::kSchemaDigest),
            SchemaDigestOf({golden::three::Outer::Middle::descriptor(),
                            google::protobuf::Timestamp::descriptor()}));
}

// The constants are usable before main() and in constant expressions.
static_assert(Digest(market::schema::kSchemaDigest).prefix() != 0);

}  // namespace
}  // namespace mycelium
