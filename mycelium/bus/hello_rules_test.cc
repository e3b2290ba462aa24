#include "mycelium/bus/hello_rules.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "gtest/gtest.h"
#include "mycelium/transport/handshake.h"
#include "mycelium/transport/inbound_lanes.h"
#include "mycelium/transport/link_loans.h"
#include "proto/mycelium/v1/control.pb.h"

namespace mycelium {
namespace {

const Digest kDigest = Digest::Of("some schema");

void AddService(const std::string& name, const std::optional<Digest>& digest,
                v1::Hello* hello) {
  v1::ServiceInfo& service = *hello->add_services();
  service.set_name(name);
  if (digest.has_value()) {
    service.set_schema_digest(std::string(digest->bytes()));
  }
}

TEST(HelloRulesTest, ServiceTakesNoMoreOfAHelloThanIsReckoned) {
  for (const size_t bytes : {1, 90, 91, 92, 93, 126, 127, 128, 255}) {
    for (const auto& digest :
         {std::optional<Digest>(), std::make_optional(kDigest)}) {
      const std::string name(bytes, 's');
      v1::Hello hello;
      AddService(name, digest, &hello);
      EXPECT_LE(hello.ByteSizeLong(), ServiceBytes(name, digest));
      EXPECT_GE(hello.ByteSizeLong() + 1, ServiceBytes(name, digest));
    }
  }
}

TEST(HelloRulesTest, HelloThatHoldsAllThatItCanIsTakenByAHandshake) {
  constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
  constexpr uint32_t kMostLanes = std::numeric_limits<uint32_t>::max();
  v1::Control control;
  v1::Hello& hello = *control.mutable_hello();
  hello.set_protocol_version(kMostLanes);
  hello.set_node(std::string(255, 'n'));
  hello.set_incarnation(kMost);
  hello.set_topology_digest(std::string(32, 't'));
  hello.set_frame_bytes_max(kMost);
  hello.set_resume_incarnation(kMost);
  hello.set_number(kMost);
  hello.set_shared_memory(true);
  hello.set_lane_bytes(kMost);
  hello.set_observe(true);
  hello.set_maps_loans(true);
  hello.set_to(std::string(255, 'o'));
  hello.set_lanes_shared(true);
  for (size_t lane = 0; lane < InboundLanes::kLanesMax; ++lane) {
    v1::LaneProgress& progress = *hello.add_resume();
    progress.set_lane(kMostLanes);
    progress.set_received(kMost);
    progress.set_handled(kMost);
  }
  for (size_t memory = 0; memory < LinkLoans::kInMax; ++memory) {
    hello.add_resume_loan_memories(kMostLanes);
  }
  // The shortest names have most around them.
  size_t used = 0;
  while (used + ServiceBytes("s", std::nullopt) <= kServicesBytesMax) {
    AddService("s", std::nullopt, &hello);
    used += ServiceBytes("s", std::nullopt);
  }
  EXPECT_LE(control.ByteSizeLong(), kHandshakeBytesMax);
}

}  // namespace
}  // namespace mycelium
