// What a bad network between two hosts does not do to messages.
#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mycelium/bus/grpc_endpoint.h"
#include "mycelium/bus/message_bus.h"
#include "tests/conformance/faulty_proxy.h"
#include "tests/conformance/two_way_side.h"
#include "tests/support/loopback_address.h"

namespace mycelium::test {
namespace {

using Fault = FaultyProxy::Fault;
constexpr absl::Duration kLong = TwoWaySide::kLong;
constexpr uint64_t kMessages = 20'000;
constexpr uint64_t kFaultAfterBytesMax = 120'000;

constexpr Fault kAll[] = {Fault::kDrop,      Fault::kReset, Fault::kHalfClose,
                          Fault::kBlackhole, Fault::kDelay, Fault::kThrottle};

// Two nodes, each of which dials nobody but through the proxy.
class BadNetworkTest : public ::testing::Test {
 protected:
  static BusOptions Options() {
    BusOptions options = TwoWaySide::Options();
    options.limits.keepalive = absl::Milliseconds(300);
    options.limits.handshake = absl::Milliseconds(500);
    return options;
  }

  void Connect(uint64_t seed) {
    auto endpoint = BindGrpcEndpoint(address_.host + ":0", bound_.bus());
    ASSERT_TRUE(endpoint.ok()) << endpoint.status();
    endpoint_.emplace(*std::move(endpoint));
    const std::string& bound = endpoint_->address();
    int port = 0;
    ASSERT_TRUE(absl::SimpleAtoi(bound.substr(bound.rfind(':') + 1), &port));
    proxy_ = std::make_unique<FaultyProxy>(address_.host, port, seed,
                                           kFaultAfterBytesMax);
    ASSERT_TRUE(
        DialGrpcEndpoint(absl::StrCat(address_.host, ":", proxy_->port()),
                         dialled_.bus())
            .ok());
  }

  const LoopbackAddress address_;
  TwoWaySide bound_{"b", "west", "east", kMessages, Options()};
  TwoWaySide dialled_{"a", "east", "west", kMessages, Options()};
  std::optional<GrpcEndpointHandle> endpoint_;
  std::unique_ptr<FaultyProxy> proxy_;
};

TEST_F(BadNetworkTest, EachMessageArrivesOnceInOrderWhateverBreaks) {
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  Connect(seed);
  bound_.Start([](uint64_t) {});
  dialled_.Start([](uint64_t) {});
  bound_.Join();
  dialled_.Join();
  proxy_->Impose(Fault::kNone);
  EXPECT_TRUE(bound_.bus().Flush(kLong).ok());
  EXPECT_TRUE(dialled_.bus().Flush(kLong).ok());
  std::cout << proxy_->connections() << " connections, "
            << dialled_.reconnected() << " times reconnected; faults";
  for (const Fault fault : kAll) {
    std::cout << " " << proxy_->count(fault);
    EXPECT_GT(proxy_->count(fault), 0u) << static_cast<int>(fault);
  }
  std::cout << "\n";
  EXPECT_GT(dialled_.reconnected(), 0u);
  EXPECT_EQ(bound_.complaints() + dialled_.complaints(), 0u);
  EXPECT_EQ(bound_.gone() + dialled_.gone(), 0u);
  bound_.ExpectEachOnceInOrder();
  dialled_.ExpectEachOnceInOrder();
  bound_.ExpectBalance();
  dialled_.ExpectBalance();
}

TEST_F(BadNetworkTest, SilentConnectionIsNoticedWithinKeepaliveAndReplaced) {
  Connect(/*seed=*/1);
  proxy_->Impose(Fault::kNone);
  auto start = std::chrono::steady_clock::now();
  std::chrono::steady_clock::duration noticed = {};
  bound_.Start([](uint64_t) {});
  dialled_.Start([&](uint64_t id) {
    if (id != kMessages / 2) return;
    start = std::chrono::steady_clock::now();
    proxy_->Impose(Fault::kBlackhole);
    while (dialled_.disconnected() == 0) std::this_thread::yield();
    noticed = std::chrono::steady_clock::now() - start;
    proxy_->Impose(Fault::kNone);
  });
  bound_.Join();
  dialled_.Join();
  EXPECT_TRUE(bound_.bus().Flush(kLong).ok());
  EXPECT_TRUE(dialled_.bus().Flush(kLong).ok());
  // Within 300 ms; the rest is for a machine that has others to serve.
  EXPECT_LT(noticed, std::chrono::seconds(3));
  EXPECT_GT(noticed, std::chrono::milliseconds(20));
  EXPECT_GT(dialled_.reconnected(), 0u);
  bound_.ExpectEachOnceInOrder();
  dialled_.ExpectEachOnceInOrder();
  bound_.ExpectBalance();
  dialled_.ExpectBalance();
}

}  // namespace
}  // namespace mycelium::test
