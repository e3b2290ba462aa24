#include "tests/schema/same_name.h"

#include "gtest/gtest.h"
#include "mycelium/schema/digest.h"
#include "mycelium/schema/schema_digest.h"
#include "mycelium/schema/testdata/quote.pb.h"

namespace mycelium {
namespace {

TEST(SameNameTest, EachFileSeesTheSchemaThatItIncludes) {
  EXPECT_EQ(Digest(test::DigestOfLeft()),
            SchemaDigestOf({market::Quote::descriptor()}));
  EXPECT_EQ(Digest(test::DigestOfRight()),
            SchemaDigestOf({market::Broker::descriptor()}));
}

}  // namespace
}  // namespace mycelium
