#include "mycelium/topology/name_faults.h"

#include <string>

#include "gtest/gtest.h"
#include "mycelium/topology/topology.h"

namespace mycelium {
namespace {

TEST(NameFaultsTest, UsualNamesAreFine) {
  EXPECT_EQ(TopologyNameFault("sampler-node.2"), "");
  EXPECT_EQ(TopologyNameFault("Gerät"), "");
  EXPECT_EQ(TopologyNameFault(std::string(kNameBytesMax, 'n')), "");
  EXPECT_EQ(NameFault("host_monitor.HostSample"), "");
  EXPECT_EQ(NameFault("a/b*c$d..e"), "");
  EXPECT_EQ(NameFault(std::string(kTopicBytesMax, 't')), "");
}

TEST(NameFaultsTest, SizeIsBounded) {
  EXPECT_EQ(TopologyNameFault(""), "is empty");
  EXPECT_EQ(NameFault(""), "is empty");
  EXPECT_NE(
      TopologyNameFault(std::string(kNameBytesMax + 1, 'n')).find("at most 64"),
      std::string::npos);
  EXPECT_NE(NameFault(std::string(kTopicBytesMax + 1, 't')).find("at most 255"),
            std::string::npos);
}

TEST(NameFaultsTest, NodeAndServiceArePartOfAPath) {
  EXPECT_EQ(TopologyNameFault("a/b"), "\"a/b\" contains \"/\"");
  EXPECT_EQ(TopologyNameFault("a..b"), "\"a..b\" contains \"..\"");
  EXPECT_EQ(TopologyNameFault("."), "\".\" is a directory");
  EXPECT_EQ(TopologyNameFault("*"), "\"*\" contains \"*\"");
}

TEST(NameFaultsTest, ControlCharacterIsNamed) {
  EXPECT_EQ(NameFault("a\nb"), "\"a\\nb\" contains \"\\n\"");
  EXPECT_EQ(NameFault(absl::string_view("a\0b", 3)),
            "\"a\\000b\" contains \"\\000\"");
  EXPECT_EQ(TopologyNameFault("a\x7f"), "\"a\\177\" contains \"\\177\"");
  // U+0080 to U+009F; the next one is a space that does not break.
  EXPECT_EQ(NameFault("a\xc2\x80"), "\"a\\302\\200\" contains \"\\302\\200\"");
  EXPECT_EQ(TopologyNameFault("\xc2\x9f"),
            "\"\\302\\237\" contains \"\\302\\237\"");
  EXPECT_EQ(TopologyNameFault("a\xc2\xa0"), "");
}

TEST(NameFaultsTest, WhatIsNotUtf8IsShownInAscii) {
  EXPECT_EQ(NameFault("caf\xe9"), "\"caf\\351\" is not UTF-8");
  EXPECT_EQ(TopologyNameFault("caf\xe9"), "\"caf\\351\" is not UTF-8");
  // Longer than it need be, half of a pair, cut.
  for (const char* const bytes : {"\xc0\xaf", "\xed\xa0\x80", "\xe2\x82"}) {
    EXPECT_NE(NameFault(bytes), "");
  }
}

}  // namespace
}  // namespace mycelium
