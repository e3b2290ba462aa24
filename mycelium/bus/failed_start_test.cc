// A node that starts, listens at one address and cannot at the next.
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/transport/remote_transport.h"
#include "tests/support/short_temp_dir.h"
#include "tests/support/sleeping_thread.h"

namespace mycelium {
namespace {

// Called with each address that a node listens at for other hosts.
std::function<absl::Status(const std::string& address)> g_listen;

class NamedListener final : public Listener {
 public:
  explicit NamedListener(std::string address) : address_(std::move(address)) {}
  const std::string& address() const override { return address_; }

 private:
  const std::string address_;
};

// Stands for gRPC, and listens nowhere.
class FakeRemoteTransport final : public Transport {
 public:
  absl::string_view word() const override { return "grpc"; }
  absl::StatusOr<std::unique_ptr<Listener>> Listen(const std::string& address,
                                                   AcceptCallback) override {
    if (absl::Status status = g_listen(address); !status.ok()) return status;
    return std::make_unique<NamedListener>(address);
  }
  absl::StatusOr<std::unique_ptr<Channel>> Dial(const std::string&) override {
    return absl::UnavailableError("nobody listens there");
  }
};

}  // namespace

std::unique_ptr<Transport> MakeRemoteTransport(Environment&, EventLoop&,
                                               RemoteOptions) {
  return std::make_unique<FakeRemoteTransport>();
}

namespace {

class FailedStartTest : public testing::TestWithParam<PollMode> {};

INSTANTIATE_TEST_SUITE_P(Modes, FailedStartTest,
                         testing::Values(PollMode::kThread, PollMode::kCaller),
                         [](const auto& mode) {
                           return mode.param == PollMode::kThread
                                      ? std::string("Thread")
                                      : std::string("Caller");
                         });

TEST_P(FailedStartTest, ServiceThatWaitedForItStartsTheNodeAgain) {
  test::ShortTempDir dir;
  const std::string path = dir.file("topology.toml");
  std::ofstream(path) << "socket_dir = \"" << dir.path() << "\"\n"
                      << "[[nodes]]\nname = \"left\"\n"
                         "port = 1\nendpoint = { kind = \"grpc\" }\n"
                         "services = [\"one\", \"two\"]\n"
                         "[[nodes]]\nname = \"right\"\n"
                         "services = [\"three\"]\n";
  BusOptions options;
  options.poll = GetParam();
  options.log = nullptr;
  absl::StatusOr<std::unique_ptr<MessageBus>> two =
      absl::InternalError("not run");
  std::optional<test::SleepingThread> second;
  int calls = 0;
  g_listen = [&](const std::string&) -> absl::Status {
    if (++calls > 1) return absl::OkStatus();
    second.emplace(
        [&] { two = MessageBus::FromTopology(path, "two", options); });
    second->AwaitSleep();
    return absl::UnavailableError("not yet");
  };
  const auto one = MessageBus::FromTopology(path, "one", options);
  EXPECT_EQ(one.status(), absl::UnavailableError("not yet"));
  second->Join();
  EXPECT_TRUE(two.ok()) << two.status();
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace mycelium
