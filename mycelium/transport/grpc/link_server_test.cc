#include "mycelium/transport/grpc/link_server.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/health_check_service_interface.h>

#include <filesystem>
#include <functional>
#include <iterator>
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

  ~LinkServerTest() override {
    for (const auto& streams : {streams_, dialled_}) {
      streams->ForgetLoop();
      streams->Close();
    }
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
        *loop_, dialled_, options_.frame_bytes_max, server.address(),
        ::grpc::CreateCustomChannel(server.address(),
                                    ::grpc::InsecureChannelCredentials(),
                                    ClientArguments(options_)));
    dialled_->Add(stream);
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
      std::make_shared<StreamSet>(environment_, *loop_, [this] { ++ended_; });
  const std::shared_ptr<StreamSet> dialled_ =
      std::make_shared<StreamSet>(environment_, *loop_, nullptr);
  int ended_ = 0;  // Streams of the server that ended.
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

TEST_F(LinkServerTest, WhoClosesIsToldFromWhoseConnectionBreaks) {
  const auto server = Start();
  const auto end_of = [this](const GrpcStream& stream) {
    absl::Status status;
    EXPECT_TRUE(RunUntil([&] { return stream.IsOver(&status); }));
    return std::string(status.message());
  };
  const auto dialled = Dial(*server);
  ASSERT_TRUE(RunUntil([&] { return accepted_.size() == 1; }));
  dialled->Close();
  EXPECT_EQ(end_of(*accepted_[0]),
            "the peer (" + accepted_[0]->peer() + ") closed");
  const auto broken = Dial(*server);
  ASSERT_TRUE(RunUntil([&] { return accepted_.size() == 2; }));
  broken->Cancel();
  EXPECT_EQ(end_of(*accepted_[1]),
            "the connection to " + accepted_[1]->peer() + " broke");
  for (const auto& stream : accepted_) stream->Close();
}

TEST_F(LinkServerTest, StreamsBeyondTheLimitAreRefusedUntilOthersAreAccepted) {
  constexpr size_t kTooMany = 4;
  const auto server = Start();
  std::vector<std::shared_ptr<GrpcStream>> dialled;
  // No thread runs the loop, so no stream is accepted.
  for (size_t i = 0; i < options_.links + kTooMany; ++i) {
    dialled.push_back(Dial(*server));
  }
  const TimeNs end = environment_.clock.NowNs() + kLongNs;
  std::vector<GrpcStream*> refused;
  while (refused.size() < kTooMany && environment_.clock.NowNs() < end) {
    std::this_thread::yield();
    refused.clear();
    for (const auto& stream : dialled) {
      absl::Status status;
      if (stream->IsOver(&status)) refused.push_back(stream.get());
    }
  }
  ASSERT_EQ(refused.size(), kTooMany);
  for (GrpcStream* const stream : refused) {
    absl::Status status;
    ASSERT_TRUE(stream->IsOver(&status));
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  }
  // The server's ends of the refused streams are gone already.
  loop_->RunOnce(/*deadline=*/0, 0);
  EXPECT_EQ(ended_, 0);
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
  absl::Status status;
  EXPECT_TRUE(RunUntil([&] {
    return accepted_[0]->IsOver(&status) && dialled->IsOver(&status);
  }));
}

// How many threads this process has.
size_t Threads() {
  const std::filesystem::directory_iterator threads("/proc/self/task");
  return static_cast<size_t>(std::distance(std::filesystem::begin(threads),
                                           std::filesystem::end(threads)));
}

// A call of reflection that has been answered once and says nothing more.
class SilentCall final {
 public:
  explicit SilentCall(const std::shared_ptr<::grpc::Channel>& channel) {
    const std::string list_services("\x3A\0", 2);
    const ::grpc::Slice slice(list_services);
    ::grpc::GenericStub stub(channel);
    call_ = stub.PrepareCall(&context_, kMethod, &queue_);
    call_->StartCall(nullptr);
    (void)Next();
    call_->Write(::grpc::ByteBuffer(&slice, 1), nullptr);
    (void)Next();
    ::grpc::ByteBuffer answer;
    call_->Read(&answer, nullptr);
    is_held_ = Next();
  }
  ~SilentCall() {
    context_.TryCancel();
    ::grpc::Status status;
    call_->Finish(&status, nullptr);
    (void)Next();
    queue_.Shutdown();
  }
  SilentCall(const SilentCall&) = delete;
  SilentCall& operator=(const SilentCall&) = delete;

  bool is_held() const { return is_held_; }

 private:
  static constexpr char kMethod[] =
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

  bool Next() {
    void* tag;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  ::grpc::ClientContext context_;
  ::grpc::CompletionQueue queue_;
  std::unique_ptr<::grpc::GenericClientAsyncReaderWriter> call_;
  bool is_held_ = false;
};

TEST_F(LinkServerTest, SilentCallsOfReflectionHaveFewThreads) {
  constexpr size_t kCalls = 200;
  constexpr size_t kCallsOfAChannel = 10;
  const auto server = Start();
  const auto first = Dial(*server);
  ASSERT_TRUE(RunUntil([&] { return accepted_.size() == 1; }));
  const size_t before = Threads();
  std::vector<std::unique_ptr<SilentCall>> calls;
  std::shared_ptr<::grpc::Channel> channel;
  size_t held = 0;
  for (size_t i = 0; i < kCalls; ++i) {
    if (i % kCallsOfAChannel == 0) {
      channel = ::grpc::CreateCustomChannel(
          server->address(), ::grpc::InsecureChannelCredentials(),
          ClientArguments(options_));
    }
    calls.push_back(std::make_unique<SilentCall>(channel));
    held += calls.back()->is_held();
  }
  EXPECT_GT(held, 0u);
  EXPECT_LT(held, 10u);
  EXPECT_LT(Threads(), before + 20);
  const auto second = Dial(*server);
  EXPECT_TRUE(RunUntil([&] { return accepted_.size() == 2; }));
  calls.clear();
  for (const auto& stream : {first, second}) stream->Cancel();
  for (const auto& stream : accepted_) stream->Cancel();
}

}  // namespace
}  // namespace mycelium
