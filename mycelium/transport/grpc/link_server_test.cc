#include "mycelium/transport/grpc/link_server.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/health_check_service_interface.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/base/environment.h"
#include "mycelium/transport/grpc/client_stream.h"
#include "mycelium/transport/outgoing.h"
#include "proto/mycelium/v1/control.pb.h"

namespace mycelium {
namespace {

constexpr int64_t kLongNs = 10'000'000'000;

class LinkServerTest : public ::testing::Test {
 protected:
  LinkServerTest() {
    options_.frame_bytes_max = 1 << 20;
    options_.links = 8;
    options_.handshake = absl::Seconds(5);
    options_.keepalive = absl::Seconds(10);
  }

  std::unique_ptr<LinkServer> Start() {
    // port: 0, which the kernel replaces
    auto server = LinkServer::Start(
        Environment::Real().sys, *loop_, streams_, options_, "127.0.0.1:0",
        [this](std::shared_ptr<GrpcStream> stream, const RemotePeer&) {
          accepted_.push_back(std::move(stream));
        });
    EXPECT_TRUE(server.ok()) << server.status();
    return server.ok() ? *std::move(server) : nullptr;
  }

  std::shared_ptr<GrpcStream> Dial(const LinkServer& server) {
    auto stream = std::make_shared<ClientStream>(
        *loop_, streams_, options_.frame_bytes_max, server.address(),
        ::grpc::CreateCustomChannel(server.address(),
                                    ::grpc::InsecureChannelCredentials(),
                                    ClientArguments(options_)));
    streams_->Add(stream);
    stream->Begin();
    return stream;
  }

  bool RunUntil(const std::function<bool()>& holds) {
    const TimeNs end = environment_.clock.NowNs() + kLongNs;
    while (!holds()) {
      if (environment_.clock.NowNs() > end) return false;
      loop_->RunOnce(environment_.clock.NowNs() + 5'000'000, 0);
    }
    return true;
  }

  Environment& environment_ = Environment::Real();
  const std::unique_ptr<EventLoop> loop_ = *EventLoop::Create(environment_);
  const std::shared_ptr<StreamSet> streams_ =
      std::make_shared<StreamSet>(environment_, *loop_, nullptr);
  std::vector<std::shared_ptr<GrpcStream>> accepted_;
  RemoteOptions options_;
};

TEST_F(LinkServerTest, ServersThatStartAtOnceLeaveTheSwitchOfOthersAlone) {
  ASSERT_FALSE(::grpc::DefaultHealthCheckServiceEnabled());
  for (int round = 0; round < 10; ++round) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([this] { EXPECT_NE(Start(), nullptr); });
    }
    for (std::thread& thread : threads) thread.join();
    ASSERT_FALSE(::grpc::DefaultHealthCheckServiceEnabled());
  }
}

TEST_F(LinkServerTest, ServerThatWasStoppedHasStoppedWhenItsLinksAreGone) {
  const auto server = Start();
  const auto dialled = Dial(*server);
  ASSERT_TRUE(RunUntil([&] { return accepted_.size() == 1; }));
  server->StopListening();
  EXPECT_FALSE(server->HasStopped());
  dialled->Close();
  accepted_[0]->Close();
  EXPECT_TRUE(RunUntil([&] { return server->HasStopped(); }));
  EXPECT_TRUE(server->End(absl::ZeroDuration()));
}

TEST_F(LinkServerTest, StreamsBeyondTheLimitAreRefusedUntilOthersAreAccepted) {
  constexpr size_t kTooMany = 4;
  const auto server = Start();
  std::vector<std::shared_ptr<GrpcStream>> dialled;
  // Nobody runs the loop, so none is accepted.
  for (size_t i = 0; i < options_.links + kTooMany; ++i) {
    dialled.push_back(Dial(*server));
  }
  const TimeNs end = environment_.clock.NowNs() + kLongNs;
  std::vector<GrpcStream*> refused;
  while (refused.size() < kTooMany && environment_.clock.NowNs() < end) {
    std::this_thread::yield();
    refused.clear();
    for (const auto& stream : dialled) {
      if (stream->has_ended()) refused.push_back(stream.get());
    }
  }
  ASSERT_EQ(refused.size(), kTooMany);
  for (GrpcStream* const stream : refused) {
    absl::Status status;
    ASSERT_TRUE(stream->IsOver(&status));
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  }
  const size_t limit = options_.links;
  EXPECT_TRUE(RunUntil([&] { return accepted_.size() == limit; }));
  dialled.push_back(Dial(*server));
  EXPECT_TRUE(RunUntil([&] { return accepted_.size() == limit + 1; }));
  for (const auto& stream : dialled) stream->Cancel();
  for (const auto& stream : accepted_) stream->Cancel();
}

TEST_F(LinkServerTest, EndDoesNotWaitLongerThanItMayForAStreamThatHangs) {
  auto server = Start();
  const auto dialled = Dial(*server);
  ASSERT_TRUE(RunUntil([&] { return accepted_.size() == 1; }));
  // After its first message it is not read from before it is accepted, so
  // nobody hears that it is cancelled.
  v1::Control hello;
  hello.mutable_hello()->set_node("node");
  std::string record;
  AppendControlRecord(hello.SerializeAsString(), &record);
  const iovec piece = {record.data(), record.size()};
  ASSERT_TRUE(dialled->Send(absl::MakeConstSpan(&piece, 1)).ok());
  ByteSink first;
  ASSERT_TRUE(RunUntil([&] { return accepted_[0]->Take(&first); }));
  EXPECT_FALSE(server->End(absl::Milliseconds(20)));
  server = nullptr;
  accepted_[0]->Close();
  dialled->Close();
  EXPECT_TRUE(RunUntil(
      [&] { return accepted_[0]->has_ended() && dialled->has_ended(); }));
}

}  // namespace
}  // namespace mycelium
