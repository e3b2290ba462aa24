// Peers that say Hello over gRPC and are refused, however often. The client is
// made of link.proto alone.
#include <dirent.h>
#include <grpcpp/create_channel.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mycelium/bus/endpoint_stats.h"
#include "mycelium/bus/grpc_endpoint.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/codec/frame_format.h"
#include "proto/mycelium/v1/link.grpc.pb.h"
#include "tests/conformance/two_way_side.h"
#include "tests/support/loopback_address.h"
#include "tests/support/silent_listener.h"

namespace mycelium::test {
namespace {

constexpr uint64_t kMessages = 20'000;
constexpr absl::Duration kLong = TwoWaySide::kLong;

size_t OpenDescriptors() {
  size_t count = 0;
  DIR* const dir = opendir("/proc/self/fd");
  while (readdir(dir) != nullptr) ++count;
  closedir(dir);
  return count;
}

int64_t ResidentKib() {
  std::ifstream file("/proc/self/statm");
  int64_t pages = 0;
  file >> pages >> pages;
  return pages * 4;
}

v1::LinkMessage HelloOf(const std::string& node, uint32_t version) {
  v1::LinkMessage message;
  v1::Hello& hello = *message.add_items()->mutable_control()->mutable_hello();
  hello.set_protocol_version(version);
  hello.set_node(node);
  hello.set_incarnation(77);
  return message;
}

// Says `hello` over a connection of its own, and returns the first answer.
v1::LinkMessage Knock(
    const std::string& address, const v1::LinkMessage& hello,
    grpc_compression_algorithm compression = GRPC_COMPRESS_NONE) {
  ::grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto stub = v1::Link::NewStub(::grpc::CreateCustomChannel(
      address, ::grpc::InsecureChannelCredentials(), arguments));
  ::grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_compression_algorithm(compression);
  context.set_deadline(std::chrono::system_clock::now() +
                       absl::ToChronoSeconds(kLong));
  const auto stream = stub->Connect(&context);
  v1::LinkMessage answer;
  (void)stream->Write(hello);
  (void)stream->Read(&answer);
  context.TryCancel();
  (void)stream->Finish();
  return answer;
}

bool IsReject(const v1::LinkMessage& answer) {
  return answer.items_size() > 0 && answer.items(0).control().has_reject();
}

// A client that opens a stream over a connection of its own and says nothing.
class SilentStream final {
 public:
  explicit SilentStream(const std::string& address) {
    ::grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto stub = v1::Link::NewStub(::grpc::CreateCustomChannel(
        address, ::grpc::InsecureChannelCredentials(), arguments));
    context_.set_wait_for_ready(true);
    context_.set_deadline(std::chrono::system_clock::now() +
                          absl::ToChronoSeconds(kLong));
    stream_ = stub->Connect(&context_);
  }
  ~SilentStream() {
    if (stream_ == nullptr) return;
    context_.TryCancel();
    (void)stream_->Finish();
  }

  // Waits until the node ends it. Not OK: it was the client's deadline.
  ::grpc::Status AwaitEnd() {
    v1::LinkMessage answer;
    EXPECT_FALSE(stream_->Read(&answer)) << answer.ShortDebugString();
    const ::grpc::Status status = stream_->Finish();
    stream_ = nullptr;
    return status;
  }

 private:
  ::grpc::ClientContext context_;
  std::unique_ptr<::grpc::ClientReaderWriter<v1::LinkMessage, v1::LinkMessage>>
      stream_;
};

class GrpcHandshakeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto endpoint = BindGrpcEndpoint(address_.host + ":0", bound_.bus());
    ASSERT_TRUE(endpoint.ok()) << endpoint.status();
    endpoint_.emplace(*std::move(endpoint));
  }

  const LoopbackAddress address_;
  TwoWaySide bound_{"b", "west", "east", kMessages, TwoWaySide::Options()};
  std::optional<GrpcEndpointHandle> endpoint_;
};

TEST_F(GrpcHandshakeTest, NobodyIsToldWhatTheNodeDoes) {
  v1::LinkMessage observer;
  observer.add_items()->mutable_control()->mutable_hello()->set_observe(true);
  const v1::LinkMessage answer = Knock(endpoint_->address(), observer);
  ASSERT_TRUE(IsReject(answer)) << answer.DebugString();
  EXPECT_EQ(answer.items(0).control().reject().reason(),
            v1::Reject::NOT_ALLOWED);
}

// What a stranger has compressed may become a thousand times as large.
TEST_F(GrpcHandshakeTest, NothingThatIsCompressedIsTakenApart) {
  // Long enough to be compressed well.
  const v1::LinkMessage hello = HelloOf(std::string(8192, 'x'), 999);
  EXPECT_TRUE(IsReject(Knock(endpoint_->address(), hello)));
  const v1::LinkMessage answer =
      Knock(endpoint_->address(), hello, GRPC_COMPRESS_GZIP);
  EXPECT_EQ(answer.items_size(), 0) << answer.ShortDebugString();
  EXPECT_TRUE(IsReject(Knock(endpoint_->address(), hello)));
}

TEST_F(GrpcHandshakeTest, RefusalsAtAHighRateHarmNobodyAndLeaveNothing) {
  TwoWaySide honest("a", "east", "west", kMessages, TwoWaySide::Options());
  ASSERT_TRUE(DialGrpcEndpoint(endpoint_->address(), honest.bus()).ok());
  constexpr int kKnockers = 2;
  constexpr int kWarmUp = 100;
  constexpr int kKnocks = 1000;
  std::atomic<int> refused{0};
  const auto knock = [&](int times) {
    std::vector<std::thread> knockers;
    for (int i = 0; i < kKnockers; ++i) {
      knockers.emplace_back([&, times] {
        for (int n = 0; n < times; ++n) {
          // The Hello has another version, or no name.
          const bool odd = n % 2 == 1;
          refused +=
              IsReject(Knock(endpoint_->address(),
                             HelloOf(odd ? "" : "guest", odd ? 1 : 999)));
        }
      });
    }
    for (std::thread& knocker : knockers) knocker.join();
  };
  bound_.Start([](uint64_t) {});
  honest.Start([](uint64_t) {});
  knock(kWarmUp);
  const int64_t resident = ResidentKib();
  const size_t descriptors = OpenDescriptors();
  knock(kKnocks);
  EXPECT_EQ(refused, kKnockers * (kWarmUp + kKnocks));
  bound_.Join();
  honest.Join();
  EXPECT_TRUE(bound_.bus().Flush(kLong).ok());
  EXPECT_TRUE(honest.bus().Flush(kLong).ok());
  // The last connections end when gRPC notices their end.
  const auto end = absl::Now() + kLong;
  while (OpenDescriptors() > descriptors && absl::Now() < end) {
    (void)Knock(endpoint_->address(), HelloOf("", 1));
  }
  EXPECT_LE(OpenDescriptors(), descriptors);
  std::cout << "memory grew by " << ResidentKib() - resident << " KiB\n";
#ifndef MYCELIUM_SANITIZER
  EXPECT_LT(ResidentKib() - resident, 16 * 1024);
#endif
  EXPECT_EQ(honest.disconnected(), 0u);
  EXPECT_EQ(honest.complaints(), 0u);
  bound_.ExpectEachOnceInOrder();
  honest.ExpectEachOnceInOrder();
  bound_.ExpectBalance();
  honest.ExpectBalance();
}

TEST_F(GrpcHandshakeTest, SecondNodeOfANameIsRefusedWhileTheFirstLives) {
  TwoWaySide first("a", "east", "west", kMessages, TwoWaySide::Options());
  ASSERT_TRUE(DialGrpcEndpoint(endpoint_->address(), first.bus()).ok());
  bound_.Start([](uint64_t) {});
  first.Start([&](uint64_t id) {
    if (id != kMessages / 2) return;
    BusOptions options = TwoWaySide::Options();
    options.node = "a";
    auto second = MessageBus::Create(options);
    ASSERT_TRUE(second.ok());
    ASSERT_TRUE(DialGrpcEndpoint(endpoint_->address(), **second).ok());
    // The dialler tries again, since the first connection may be about to end.
    std::string error;
    const auto end = absl::Now() + kLong / 2;
    while (error.empty() && absl::Now() < end) {
      for (const LinkReport& link : (*second)->LinkReports()) {
        error = link.last_error;
      }
      std::this_thread::yield();
    }
    EXPECT_TRUE(absl::StrContains(error, "another process is connected as a"))
        << error;
  });
  bound_.Join();
  first.Join();
  EXPECT_TRUE(bound_.bus().Flush(kLong).ok());
  EXPECT_TRUE(first.bus().Flush(kLong).ok());
  EXPECT_EQ(first.disconnected(), 0u);
  bound_.ExpectEachOnceInOrder();
  first.ExpectEachOnceInOrder();
  bound_.ExpectBalance();
  first.ExpectBalance();
}

TEST(GrpcLimitsTest, SilentStreamEndsInTime) {
  const LoopbackAddress address;
  BusOptions options = TwoWaySide::Options();
  options.node = "b";
  options.limits.handshake = absl::Milliseconds(100);
  const auto bus = MessageBus::Create(options);
  ASSERT_TRUE(bus.ok()) << bus.status();
  const auto endpoint = BindGrpcEndpoint(address.host + ":0", **bus);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  SilentStream silent(endpoint->address());
  const ::grpc::Status ended = silent.AwaitEnd();
  EXPECT_TRUE(ended.ok()) << ended.error_message();
}

TEST(GrpcLimitsTest, SilentStreamsKeepNobodyOut) {
  const LoopbackAddress address;
  BusOptions options = TwoWaySide::Options();
  options.node = "b";
  options.limits.links = 2;
  options.limits.handshake = absl::Minutes(1);
  const auto bus = MessageBus::Create(options);
  ASSERT_TRUE(bus.ok()) << bus.status();
  const auto stats = std::make_shared<EndpointStats>();
  const auto endpoint = BindGrpcEndpoint(address.host + ":0", **bus, stats);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  std::vector<std::unique_ptr<SilentStream>> silent;
  constexpr size_t kSilentMax = 1000;
  while (stats->Read().handshake_failures == 0 && silent.size() < kSilentMax) {
    silent.push_back(std::make_unique<SilentStream>(endpoint->address()));
  }
  EXPECT_GT(stats->Read().handshake_failures, 0u) << "one has given way";
  const v1::LinkMessage answer =
      Knock(endpoint->address(), HelloOf("guest", kProtocolVersion));
  ASSERT_EQ(answer.items_size(), 1);
  EXPECT_TRUE(answer.items(0).control().has_hello())
      << answer.ShortDebugString();
}

TEST(GrpcLimitsTest, NodeThatHasItsLinksSaysSo) {
  const LoopbackAddress address;
  BusOptions options = TwoWaySide::Options();
  options.node = "b";
  options.limits.links = 1;
  const auto bus = MessageBus::Create(options);
  ASSERT_TRUE(bus.ok()) << bus.status();
  const auto endpoint = BindGrpcEndpoint(address.host + ":0", **bus);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  options.node = "a";
  const auto first = MessageBus::Create(options);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(DialGrpcEndpoint(endpoint->address(), **first).ok());
  const auto is_linked = [&] {
    const std::vector<LinkReport> links = (*bus)->LinkReports();
    return links.size() == 1 && links[0].is_up;
  };
  const auto end = absl::Now() + kLong;
  while (!is_linked() && absl::Now() < end) std::this_thread::yield();
  ASSERT_TRUE(is_linked());
  const v1::LinkMessage answer =
      Knock(endpoint->address(), HelloOf("guest", kProtocolVersion));
  ASSERT_TRUE(IsReject(answer)) << answer.ShortDebugString();
  EXPECT_EQ(answer.items(0).control().reject().reason(),
            v1::Reject::TOO_MANY_LINKS);
}

TEST(GrpcReachTest, NodeThatDoesNotAnswerIsNoNodeThatRefuses) {
  const SilentListener silent;
  std::atomic<int> refused{0};
  BusOptions options = TwoWaySide::Options();
  options.limits.handshake = absl::Milliseconds(20);
  options.on_connection = [&](const ConnectionEvent& event) {
    refused += event.state == ConnectionEvent::State::kRefused;
  };
  const auto bus = MessageBus::Create(options);
  ASSERT_TRUE(bus.ok()) << bus.status();
  ASSERT_TRUE(DialGrpcEndpoint(silent.address(), **bus).ok());
  std::string error;
  const auto end = absl::Now() + kLong;
  while (error.empty() && absl::Now() < end) {
    for (const LinkReport& link : (*bus)->LinkReports()) {
      error = link.last_error;
    }
    std::this_thread::yield();
  }
  EXPECT_TRUE(absl::StrContains(error, "no connection to " + silent.address()))
      << error;
  EXPECT_TRUE((*bus)->Close(kLong).ok());
  EXPECT_EQ(refused, 0);
}

}  // namespace
}  // namespace mycelium::test
