// Files within their bounds that once took minutes. What holds them to seconds
// is the time that a small test may take.

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "mycelium/topology/route_rules.h"
#include "mycelium/topology/topology_fixture.h"

namespace mycelium {
namespace {

std::string Nodes(size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    absl::StrAppend(&text, "[[nodes]]\nname = \"n", i, "\"\n");
  }
  return text;
}

// One that decides, and many equal ones that contradict without it.
TEST(LargeTopologyTest, RoutesBetweenWhichAThirdDecidesAreRead) {
  std::string text = Nodes(2);
  text += "[[routes]]\nfrom = \"n0\"\nto = \"n1\"\ntransport = \"shm\"\n";
  for (size_t i = 1; i < kRoutesMax; ++i) {
    absl::StrAppend(&text, "[[routes]]\nfrom = \"n", i % 2,
                    "\"\ntransport = \"", i % 2 == 0 ? "shm" : "unix", "\"\n");
  }
  const absl::StatusOr<Topology> topology = ParseHere(text);
  ASSERT_TRUE(topology.ok()) << topology.status();
  EXPECT_EQ(Explain(*topology, "n0", "n1")->transport, TransportKind::kShm);
}

TEST(LargeTopologyTest, RoutesThatNameNobodyAreRefused) {
  std::string text;
  for (size_t i = 0; i < kNodesMax; ++i) {
    absl::StrAppend(&text, "[[nodes]]\nname = \"", i, std::string(40, 'n'),
                    "\"\nservices = [\"", i, std::string(60, 's'), "\"]\n");
  }
  for (size_t i = 0; i < kRoutesMax; ++i) {
    absl::StrAppend(&text, "[[routes]]\nfrom = \"", i, std::string(60, 'r'),
                    "\"\n");
  }
  ASSERT_LE(text.size(), kTopologyBytesMax);
  const absl::Status status = ParseHere(text).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
}

TEST(LargeTopologyTest, ListenersAmongManyNodesAndRoutesAreFound) {
  std::string text;
  constexpr size_t kNodes = 640;
  for (size_t i = 0; i < kNodes; ++i) {
    absl::StrAppend(&text, "[[nodes]]\nname = \"n", i, "\"\nport = ", i + 1,
                    "\n");
  }
  for (size_t i = 0; i < 256; ++i) {
    absl::StrAppend(&text, "[[routes]]\ntopics = [\"t", i,
                    "\"]\ntransport = \"grpc\"\n");
  }
  absl::StatusOr<Topology> topology = ParseHere(text);
  ASSERT_TRUE(topology.ok()) << topology.status();
  EXPECT_TRUE(LocalListeners(*topology).empty());
  for (Route& route : topology->routes) {
    route.overrides.transport = TransportKind::kUnix;
  }
  EXPECT_EQ(LocalListeners(*topology).size(), kNodes);
}

// A router asks this of each publisher and subscription that it joins.
TEST(LargeTopologyTest, SettingsAreFoundAmongManyNames) {
  std::string text;
  for (size_t i = 0; i < kNodesMax; ++i) {
    absl::StrAppend(&text, "[[nodes]]\nname = \"n", i, "\"\nservices = [");
    for (size_t j = 0; j < 20; ++j) {
      absl::StrAppend(&text, "\"", i, "-", j, "\",");
    }
    text += "]\n";
  }
  text += "[[routes]]\nfrom = \"3-1\"\ndepth = 7\n";
  const absl::StatusOr<Topology> topology = ParseHere(text);
  ASSERT_TRUE(topology.ok()) << topology.status();
  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(SettingsFor(*topology, "3-1", "1023-19").depth, 7);
    ASSERT_EQ(SettingsFor(*topology, "n3", "n1023").depth, 1024);
  }
}

}  // namespace
}  // namespace mycelium
