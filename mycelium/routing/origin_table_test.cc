#include "mycelium/routing/origin_table.h"

#include <memory>
#include <optional>
#include <string>

#include "gtest/gtest.h"

namespace mycelium {
namespace {

Origin Named(const std::string& topic, const std::string& type = "") {
  Origin origin;
  origin.topic = topic;
  origin.type = type;
  return origin;
}

TEST(OriginTableTest, EqualOriginsAreOneObject) {
  OriginTable table;
  const auto one = table.Intern(Named("a"));
  EXPECT_EQ(table.Intern(Named("a")), one);
  EXPECT_NE(table.Intern(Named("b")), one);
  const auto other = table.Intern(Named("", "a"));
  EXPECT_NE(other, one) << "the same letters in another name";
  EXPECT_EQ(one->topic, "a");
  EXPECT_EQ(one->Keep(), one);
}

TEST(OriginTableTest, OriginThatNobodyKeepsIsForgotten) {
  OriginTable table;
  auto one = table.Intern(Named("a"));
  auto same = table.Intern(Named("a"));
  one = nullptr;
  EXPECT_EQ(table.size(), 1u);
  same = nullptr;
  EXPECT_EQ(table.size(), 0u);
}

TEST(OriginTableTest, OneBeyondTheMostIsRefusedUntilAnotherEnds) {
  OriginTable table;
  auto one = table.Intern(Named("a"), 2);
  const auto two = table.Intern(Named("b"), 2);
  EXPECT_EQ(table.Intern(Named("c"), 2), nullptr);
  EXPECT_EQ(table.Intern(Named("b"), 2), two);
  one = nullptr;
  EXPECT_NE(table.Intern(Named("c"), 2), nullptr);
}

TEST(OriginTableTest, OriginMayOutliveTheTable) {
  std::optional<OriginTable> table(std::in_place);
  const auto one = table->Intern(Named("a"));
  table.reset();
  EXPECT_EQ(one->topic, "a");
}

}  // namespace
}  // namespace mycelium
