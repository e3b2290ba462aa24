#include "mycelium/schema/generated_code.h"

#include <string>

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace mycelium {
namespace {

TEST(GeneratedCodeTest, NamespaceThatIsNoneIsInvalid) {
  for (const char* name : {"", "a::", "::a", "a b", "1a", "a-b", "a:b", "a{"}) {
    EXPECT_EQ(CcHeader({}, name, "a.h").status().code(),
              absl::StatusCode::kInvalidArgument)
        << name;
  }
  for (const char* name : {"a", "a::b", "_a::b1"}) {
    EXPECT_TRUE(CcHeader({}, name, "a.h").ok()) << name;
  }
}

TEST(GeneratedCodeTest, GuardsOfTwoPathsDiffer) {
  const std::string header = CcHeader({}, "a", "x/a.h").value();
  for (const char* other : {"y/a.h", "x_a.h", "x/a_h", "X/a.h"}) {
    EXPECT_NE(CcHeader({}, "a", other).value(), header) << other;
  }
}

}  // namespace
}  // namespace mycelium
