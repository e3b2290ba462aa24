// Laws over generated schemas and generated changes: a digest changes exactly
// when the canonical text does, which is exactly when the meaning does, and the
// difference that is reported is the change that was made.

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/schema/canonical_text.h"
#include "mycelium/schema/schema_digest.h"
#include "mycelium/schema/schema_model.h"
#include "mycelium/schema/schema_mutation.h"
#include "mycelium/schema/verdict.h"

namespace mycelium {
namespace {

using ::testing::HasSubstr;

constexpr int kSchemas = 200;
constexpr int kWritingsPerSchema = 10;
constexpr int kMutationsPerSchema = 60;

struct Written {
  std::string text;
  Digest digest;
};

// Empty if the schema breaks a rule of Protobuf.
Written Write(const SchemaModel& schema, Random& random) {
  const auto pool = WriteSchema(schema, random);
  if (pool == nullptr) return {};
  const auto* root = pool->FindMessageTypeByName(schema.root());
  return {CanonicalText(*root), TypeDigest(*root)};
}

TEST(SchemaPropertyTest, WhatMeansTheSameHasTheSameTextAndDigest) {
  for (uint64_t seed = 1; seed <= kSchemas; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    const SchemaModel schema = GenerateSchema(random);
    const Written first = Write(schema, random);
    ASSERT_NE(first.text, "");
    for (int i = 0; i < kWritingsPerSchema; ++i) {
      const Written again = Write(schema, random);
      ASSERT_EQ(again.text, first.text);
      ASSERT_EQ(again.digest, first.digest);
      ASSERT_EQ(FirstDifference(first.text, again.text), "");
    }
  }
}

TEST(SchemaPropertyTest, ChangeOfATypeThatIsNotReachedIsNotSeen) {
  int changes = 0;
  for (uint64_t seed = 1; seed <= kSchemas; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    const SchemaModel schema = GenerateSchema(random);
    const Written before = Write(schema, random);
    SchemaModel changed = schema;
    if (!MutateUnreached(changed, random)) continue;
    const Written after = Write(changed, random);
    ASSERT_EQ(after.text, before.text);
    ASSERT_EQ(after.digest, before.digest);
    ++changes;
  }
  EXPECT_GT(changes, kSchemas / 4);
}

TEST(SchemaPropertyTest, EveryRelevantChangeIsSeenAndNamed) {
  std::map<std::string, int> changes;
  int total = 0;
  for (uint64_t seed = 1; seed <= kSchemas; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    const SchemaModel schema = GenerateSchema(random);
    const Written before = Write(schema, random);
    for (int i = 0; i < kMutationsPerSchema; ++i) {
      SchemaModel changed = schema;
      const Mutation mutation = MutateReached(changed, random);
      if (mutation.kind.empty()) continue;
      const Written after = Write(changed, random);
      if (after.text.empty()) continue;
      SCOPED_TRACE(testing::Message() << mutation.kind << " number " << i);
      ASSERT_NE(after.text, before.text);
      ASSERT_NE(after.digest, before.digest);
      ASSERT_THAT(FirstDifference(before.text, after.text),
                  HasSubstr(mutation.named));
      ASSERT_THAT(FirstDifference(after.text, before.text),
                  HasSubstr(mutation.named_by_the_other));
      ++changes[mutation.kind];
      ++total;
    }
  }
  EXPECT_GT(total, 5000);
  EXPECT_EQ(changes.size(), MutationKinds().size());
  for (const auto& [kind, count] : changes) EXPECT_GT(count, 20) << kind;
}

TEST(SchemaPropertyTest, DigestsAreEqualExactlyWhenTextsAre) {
  std::map<std::string, Digest> digest_of;
  std::set<Digest> digests;
  for (uint64_t seed = 1; seed <= kSchemas; ++seed) {
    Random random(seed);
    SchemaModel schema = GenerateSchema(random);
    for (int i = 0; i < 10; ++i) {
      const Written written = Write(schema, random);
      if (!written.text.empty()) {
        const auto known = digest_of.insert({written.text, written.digest});
        ASSERT_EQ(known.first->second, written.digest) << "seed " << seed;
        digests.insert(written.digest);
      }
      MutateReached(schema, random);
    }
  }
  EXPECT_EQ(digests.size(), digest_of.size());
}

}  // namespace
}  // namespace mycelium
