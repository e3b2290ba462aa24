#include <atomic>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "mycelium/bus/grpc_endpoint.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/conformance/cutting_relay.h"
#include "tests/conformance/two_way_side.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::test {
namespace {

constexpr absl::Duration kLong = TwoWaySide::kLong;
constexpr uint64_t kMessages = 50'000;
constexpr uint64_t kCutEvery = 2500;
constexpr uint64_t kCutsMin = 50;

// Both directions at once, with the dialling node named first or last.
void ExpectNothingLostAcrossCuts(const std::string& transport,
                                 const std::string& dials,
                                 const std::string& binds) {
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  ShortTempDir dir;
  BusOptions options = TwoWaySide::Options();
  TwoWaySide bound(binds, "west", "east", kMessages, options);
  TwoWaySide dialled(dials, "east", "west", kMessages, options);
  // The relay between the two passes bytes on without looking at their meaning.
  std::optional<UnixEndpointHandle> unix_endpoint;
  std::optional<GrpcEndpointHandle> grpc_endpoint;
  if (transport == "unix") {
    auto endpoint = BindUnixEndpoint(dir.file("real"), bound.bus());
    ASSERT_TRUE(endpoint.ok()) << endpoint.status();
    unix_endpoint.emplace(*std::move(endpoint));
  } else {
    auto endpoint = BindGrpcEndpoint("unix:" + dir.file("real"), bound.bus());
    ASSERT_TRUE(endpoint.ok()) << endpoint.status();
    grpc_endpoint.emplace(*std::move(endpoint));
  }
  CuttingRelay relay(dir.file("relay"), dir.file("real"), seed, 200'000);
  const std::string path = dir.file("relay");
  const absl::Status dialling =
      transport == "unix" ? DialUnixEndpoint(path, dialled.bus())
                          : DialGrpcEndpoint("unix:" + path, dialled.bus());
  ASSERT_TRUE(dialling.ok()) << dialling;
  const auto cut_now_and_then = [&](uint64_t id) {
    if (id % kCutEvery == 0) relay.Cut();
  };
  bound.Start(cut_now_and_then);
  dialled.Start(cut_now_and_then);
  bound.Join();
  dialled.Join();
  relay.StopRandomCuts();
  relay.Cut();
  EXPECT_TRUE(bound.bus().Flush(kLong).ok());
  EXPECT_TRUE(dialled.bus().Flush(kLong).ok());
  std::cout << relay.cuts() << " cuts, " << dialled.reconnected()
            << " times reconnected\n";
  EXPECT_GE(relay.cuts(), kCutsMin);
  // Neither end took what the other sent next for corrupt. (One end may still
  // close a connection: if the Hello of a connection that was cut is read
  // behind the Hello of its successor, the cut one takes the successor's place
  // for a moment.)
  EXPECT_EQ(bound.complaints() + dialled.complaints(), 0u);
  EXPECT_GT(dialled.reconnected(), 0u);
  EXPECT_EQ(bound.gone() + dialled.gone(), 0u);
  bound.ExpectEachOnceInOrder();
  dialled.ExpectEachOnceInOrder();
  bound.ExpectBalance();
  dialled.ExpectBalance();
  EXPECT_TRUE(dialled.bus().Shutdown(kLong).ok());
  EXPECT_TRUE(bound.bus().Shutdown(kLong).ok());
}

class ReconnectTest : public ::testing::TestWithParam<std::string> {};

TEST_P(ReconnectTest, CutConnectionLosesAndRepeatsNothingBothWays) {
  ExpectNothingLostAcrossCuts(GetParam(), "a", "b");
}

TEST_P(ReconnectTest, CutConnectionLosesNothingWhereTheSecondNameDials) {
  ExpectNothingLostAcrossCuts(GetParam(), "b", "a");
}

INSTANTIATE_TEST_SUITE_P(AllTransports, ReconnectTest,
                         ::testing::Values("unix", "grpc"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace mycelium::test
