#include "mycelium/topology/service_host.h"

#include <string>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "mycelium/topology/topology_fixture.h"

namespace mycelium {
namespace {

TEST(ServiceHostTest, NodeIsNoService) {
  const absl::StatusOr<Topology> topology = ParseHere(
      "[[nodes]]\nname = \"brain\"\nservices = [\"strategy\", \"risk\"]\n"
      "[[nodes]]\nname = \"idle\"\n"
      "[[nodes]]\nname = \"both\"\nservices = [\"both\"]\n");
  ASSERT_TRUE(topology.ok()) << topology.status();
  const auto fault = [&](const std::string& service) {
    const absl::Status status = HostOf(*topology, service).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    return std::string(status.message());
  };
  EXPECT_EQ(*HostOf(*topology, "risk"), &topology->nodes[0]);
  EXPECT_EQ(*HostOf(*topology, "both"), &topology->nodes[2]);
  EXPECT_EQ(fault("brain"),
            "t.toml: no node hosts service \"brain\"; that is a node, which "
            "hosts strategy, risk");
  EXPECT_EQ(fault("idle"),
            "t.toml: no node hosts service \"idle\"; that is a node, which "
            "hosts none");
  EXPECT_EQ(fault("rusk"),
            "t.toml: no node hosts service \"rusk\"; nearest: risk");
  EXPECT_EQ(fault("x"),
            "t.toml: no node hosts service \"x\"; known: strategy, risk, "
            "both");
}

}  // namespace
}  // namespace mycelium
