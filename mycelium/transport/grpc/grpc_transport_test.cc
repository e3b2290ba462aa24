#include "mycelium/transport/grpc/grpc_transport.h"

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mycelium/transport/grpc/grpc_address.h"
#include "tests/support/silent_listener.h"

namespace mycelium {
namespace {

using ::absl::StatusCode;

constexpr int64_t kLongNs = 10'000'000'000;

class Watcher final : public Channel::Handler {
 public:
  size_t OnBytes(absl::Span<const std::byte> bytes) override {
    return bytes.size();
  }
  void OnWritable() override {}
  void OnClosed(const absl::Status& status) override { closed = status; }
  std::optional<absl::Status> closed;
};

class GrpcTransportTest : public ::testing::Test {
 protected:
  GrpcTransportTest() {
    loop_ = *EventLoop::Create(environment_);
    options_.frame_bytes_max = 1 << 20;
    options_.links = 8;
    options_.handshake = absl::Seconds(5);
    options_.keepalive = absl::Seconds(10);
    options_.admit = [this](const RemotePeer& peer, const std::string& node) {
      peers_.push_back(peer);
      return node == "stranger" ? absl::PermissionDeniedError("no strangers")
                                : absl::OkStatus();
    };
    MakeTransport();
  }

  void MakeTransport() {
    transport_ =
        std::make_unique<GrpcTransport>(environment_, *loop_, options_);
  }

  absl::StatusOr<std::unique_ptr<Listener>> Listen(const std::string& address) {
    return transport_->Listen(address, [this](std::unique_ptr<Channel> channel,
                                              const absl::Status& admitted) {
      EXPECT_TRUE(admitted.ok()) << admitted;
      accepted_.push_back(std::move(channel));
    });
  }

  // Why a connection to `address` ends.
  absl::Status EndOf(const std::string& address) {
    auto channel = transport_->Dial(address);
    if (!channel.ok()) return channel.status();
    Watcher watcher;
    (*channel)->Start(watcher);
    EXPECT_TRUE(RunUntil([&] { return watcher.closed.has_value(); }));
    return watcher.closed.value_or(absl::OkStatus());
  }

  template <typename Condition>
  bool RunUntil(Condition holds) {
    const TimeNs end = environment_.clock.NowNs() + kLongNs;
    while (!holds()) {
      if (environment_.clock.NowNs() > end) return false;
      loop_->RunOnce(std::min(end, environment_.clock.NowNs() + 5'000'000), 0);
    }
    return true;
  }

  Environment& environment_ = Environment::Real();
  RemoteOptions options_;
  std::unique_ptr<EventLoop> loop_;
  std::vector<RemotePeer> peers_;
  std::unique_ptr<GrpcTransport> transport_;
  std::vector<std::unique_ptr<Channel>> accepted_;
};

TEST_F(GrpcTransportTest, DialledConnectionIsAcceptedAtThePortThatItTells) {
  // port: 0, which the kernel replaces
  auto listener = Listen("127.0.0.1:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_NE((*listener)->address(), "127.0.0.1:0");
  auto channel = transport_->Dial((*listener)->address());
  ASSERT_TRUE(channel.ok());
  Watcher watcher;
  (*channel)->Start(watcher);
  ASSERT_TRUE(RunUntil([&] { return accepted_.size() == 1; }));
  EXPECT_TRUE(
      absl::StartsWith(accepted_[0]->peer_description(), "ipv4:127.0.0.1:"))
      << accepted_[0]->peer_description();
  EXPECT_EQ((*channel)->peer_description(), (*listener)->address());
}

TEST_F(GrpcTransportTest, WhatStaysOnTheMachineGoesThroughNoProxy) {
  const test::SilentListener proxy;
  setenv("http_proxy", ("http://" + proxy.address()).c_str(), 1);
  auto listener = Listen("127.0.0.1:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  auto channel = transport_->Dial((*listener)->address());
  ASSERT_TRUE(channel.ok());
  Watcher watcher;
  (*channel)->Start(watcher);
  EXPECT_TRUE(RunUntil(
      [&] { return accepted_.size() == 1 || watcher.closed.has_value(); }));
  EXPECT_EQ(accepted_.size(), 1u);
  unsetenv("http_proxy");
  EXPECT_FALSE(proxy.HasVisitor());
}

TEST_F(GrpcTransportTest, WhoDoesNotSpeakGrpcIsNotConnected) {
  const test::SilentListener silent;
  auto nowhere = *transport_->Dial(silent.address());
  const absl::Status missing = nowhere->CheckConnected();
  EXPECT_EQ(missing.code(), StatusCode::kUnavailable);
  EXPECT_TRUE(absl::StrContains(missing.message(), silent.address()))
      << missing;
  auto listener = *Listen("127.0.0.1:0");
  auto channel = *transport_->Dial(listener->address());
  EXPECT_TRUE(RunUntil([&] { return channel->CheckConnected().ok(); }));
}

TEST_F(GrpcTransportTest, NodeThatIsNotAdmittedMayNotHaveItsName) {
  auto listener = Listen("127.0.0.1:0");
  auto channel = *transport_->Dial((*listener)->address());
  Watcher watcher;
  channel->Start(watcher);
  ASSERT_TRUE(RunUntil([&] { return accepted_.size() == 1; }));
  EXPECT_EQ(accepted_[0]->CheckPeerName("stranger").code(),
            StatusCode::kPermissionDenied);
  EXPECT_TRUE(accepted_[0]->CheckPeerName("friend").ok());
  EXPECT_TRUE(peers_[0].is_loopback);
  EXPECT_FALSE(peers_[0].is_dialled);
  EXPECT_TRUE(channel->CheckPeerName("friend").ok());
  EXPECT_TRUE(peers_.back().is_dialled);
}

TEST_F(GrpcTransportTest, PortThatIsTakenIsAlreadyExists) {
  auto first = Listen("127.0.0.1:0");
  ASSERT_TRUE(first.ok());
  const absl::Status second = Listen((*first)->address()).status();
  EXPECT_EQ(second.code(), StatusCode::kAlreadyExists) << second;
  EXPECT_TRUE(absl::StrContains(second.message(), (*first)->address()));
}

TEST_F(GrpcTransportTest, AddressOfAnotherMachineIsNotListenedAt) {
  options_.insecure = true;
  MakeTransport();
  const absl::Status listening = Listen("192.0.2.1:0").status();
  EXPECT_EQ(listening.code(), StatusCode::kFailedPrecondition) << listening;
  EXPECT_TRUE(absl::StrContains(listening.message(), "192.0.2.1:0"));
}

TEST_F(GrpcTransportTest, AddressWithoutAHostIsAllInterfaces) {
  options_.insecure = true;
  MakeTransport();
  auto listener = Listen(":0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  const std::string& address = (*listener)->address();
  const std::string port = address.substr(address.rfind(':'));
  auto channel = *transport_->Dial(absl::StrCat("127.0.0.1", port));
  Watcher watcher;
  channel->Start(watcher);
  EXPECT_TRUE(RunUntil([&] { return accepted_.size() == 1; }));
}

TEST_F(GrpcTransportTest, PortThatIsNoneIsNotListenedAt) {
  const absl::Status listening = Listen("localhost:x").status();
  EXPECT_EQ(listening.code(), StatusCode::kInvalidArgument) << listening;
  EXPECT_TRUE(absl::StrContains(listening.message(), "localhost:x"));
}

TEST_F(GrpcTransportTest, PortIsFreeAgainAfterTheListenerAndItsLinksStay) {
  auto first = *Listen("127.0.0.1:0");
  const std::string address = first->address();
  auto channel = *transport_->Dial(address);
  Watcher watcher;
  channel->Start(watcher);
  ASSERT_TRUE(RunUntil([&] { return accepted_.size() == 1; }));
  first.reset();
  EXPECT_EQ(EndOf(address).code(), StatusCode::kUnavailable);
  EXPECT_EQ(accepted_.size(), 1u);
  EXPECT_FALSE(watcher.closed.has_value());
  EXPECT_TRUE(Listen(address).ok());
}

TEST_F(GrpcTransportTest, ListenersThatAreClosedLeaveNothing) {
  const auto count = [](const char* directory) {
    const std::filesystem::directory_iterator all(directory);
    return std::distance(begin(all), end(all));
  };
  // gRPC's own threads and descriptors come with the first listener, and some a
  // little later.
  constexpr int kSlack = 10;
  (*Listen("127.0.0.1:0")).reset();
  const auto descriptors = count("/proc/self/fd");
  const auto threads = count("/proc/self/task");
  for (int i = 0; i < 100; ++i) (*Listen("127.0.0.1:0")).reset();
  EXPECT_LE(count("/proc/self/fd"), descriptors + kSlack);
  EXPECT_LE(count("/proc/self/task"), threads + kSlack);
}

TEST_F(GrpcTransportTest, WhereNobodyListensTheConnectionIsUnavailable) {
  auto listener = *Listen("127.0.0.1:0");
  const std::string address = listener->address();
  listener.reset();
  const absl::Status end = EndOf(address);
  EXPECT_EQ(end.code(), StatusCode::kUnavailable);
  EXPECT_TRUE(absl::StrContains(end.message(), "refused")) << end;
}

TEST_F(GrpcTransportTest, SocketThatIsNotThereIsUnavailable) {
  const absl::Status end = EndOf("unix:/nothing/is/here");
  EXPECT_EQ(end.code(), StatusCode::kUnavailable) << end;
}

TEST_F(GrpcTransportTest, NameThatDoesNotResolveIsUnavailableAndNamed) {
  options_.insecure = true;
  MakeTransport();
  // Whatever is below .invalid never exists.
  const absl::Status end = EndOf("nobody.invalid:1");
  EXPECT_EQ(end.code(), StatusCode::kUnavailable) << end;
  EXPECT_TRUE(absl::StrContains(end.message(), "nobody.invalid")) << end;
}

TEST(GrpcAddressTest, LoopbackIsToldFromOtherAddresses) {
  for (const char* address :
       {"127.0.0.1:0", "127.8.9.10:5", "localhost:0", "[::1]:0",
        "ipv4:127.0.0.1:0", "ipv6:[::1]:0", "dns:localhost:0",
        "dns:///localhost:0", "dns://8.8.8.8/localhost:0", "unix:/a/b",
        "unix-abstract:a", "ipv6:[::ffff:127.0.0.1]:5",
        "[::ffff:127.8.9.10]:5"}) {
    EXPECT_TRUE(IsLoopbackAddress(address)) << address;
  }
  for (const char* address :
       {"10.0.0.1:5", "0.0.0.0:0", "[::]:0", ":5", "localhost.example.com:5",
        "127.example.com:5", "ipv6:[fe80::1]:5", "dns:///example.com:5",
        "xds:///localhost", "", "[::ffff:10.0.0.1]:5"}) {
    EXPECT_FALSE(IsLoopbackAddress(address)) << address;
  }
}

TEST(GrpcAddressTest, PortMustBeThereAndBeOne) {
  for (const char* address :
       {"a.test:1", "a.test:65535", "[::2]:1", "dns:///a.test:1",
        "ipv4:1.2.3.4:5", "a.test:https", "unix:/a", "unix-abstract:a",
        "xds:///a"}) {
    EXPECT_EQ(AddressFault(address, 1), "") << address;
  }
  EXPECT_EQ(AddressFault("a.test:0", 0), "");
  for (const char* address : {"", "a.test", "[::1]", "::1", "dns:///a.test"}) {
    EXPECT_EQ(AddressFault(address, 1), "no port; expected host:port")
        << address;
  }
  EXPECT_EQ(AddressFault("a.test:0", 1), "port \"0\"; 1 to 65535 are allowed");
  EXPECT_EQ(AddressFault("a.test:65536", 0),
            "port \"65536\"; 0 to 65535 are allowed");
  for (const char* address :
       {"a.test:", "a.test:-1", "a.test:1x", "a.test:99999999999", "[::1]:x",
        "dns:///a.test:65536", "a.test:https"}) {
    EXPECT_NE(AddressFault(address, 0), "") << address;
  }
}

TEST(GrpcAddressTest, HostAndPortAreFoundInEveryForm) {
  EXPECT_EQ(HostOfAddress("dns:///name.test:5"), "name.test");
  EXPECT_EQ(HostOfAddress("[fe80::1]:5"), "fe80::1");
  EXPECT_EQ(HostOfAddress("unix:/a"), "");
  EXPECT_EQ(WithPort("10.0.0.1:0", 7), "10.0.0.1:7");
  EXPECT_EQ(WithPort("[fe80::1]:0", 7), "[fe80::1]:7");
  EXPECT_EQ(WithPort("unix:/a", 7), "unix:/a");
  EXPECT_EQ(ReadableAddress("ipv6:%5B::1%5D:0"), "ipv6:[::1]:0");
}

}  // namespace
}  // namespace mycelium
