#include "mycelium/transport/grpc/grpc_stream.h"

#include <grpcpp/support/slice.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "gtest/gtest.h"
#include "mycelium/base/environment.h"
#include "mycelium/transport/outgoing.h"
#include "proto/mycelium/v1/control.pb.h"

namespace mycelium {
namespace {

// gRPC's side of a stream, as far as its rules go: it lets go of a reactor once
// the end has begun and no operation is under way, and nothing may be started
// then.
class FakeStream final : public GrpcStream {
 public:
  explicit FakeStream(EventLoop& loop) : GrpcStream(loop, 1 << 20, "peer") {}

  void Cancel() override {}
  void Begin() { Begun(); }

  // A message without anything in it has come.
  void FinishReading() {
    const ::grpc::Slice nothing("");
    *incoming_ = ::grpc::ByteBuffer(&nothing, 1);
    ReadDone(true);
    --under_way_;
  }
  void BreakReading() {
    ReadDone(false);
    --under_way_;
  }
  void FinishWriting() {
    WriteDone(true);
    --under_way_;
  }

  bool is_let_go() const { return under_way_ == 0; }
  int started_too_late() const { return started_too_late_; }

  // Called when a read was claimed and is not yet started.
  std::function<void()> before_reading;

 private:
  void StartReading(::grpc::ByteBuffer* message) override {
    if (before_reading) std::exchange(before_reading, nullptr)();
    incoming_ = message;
    StartOperation();
  }
  void StartWriting(const ::grpc::ByteBuffer*) override { StartOperation(); }
  void StartEnding() override { --under_way_; }

  void StartOperation() {
    if (under_way_++ == 0) ++started_too_late_;
  }

  ::grpc::ByteBuffer* incoming_ = nullptr;
  std::atomic<int> under_way_{1};  // With one for who may start more.
  std::atomic<int> started_too_late_{0};
};

class GrpcStreamTest : public ::testing::Test {
 protected:
  // One that has had its first message, and writes the answer.
  std::shared_ptr<FakeStream> MakeAnswering() {
    auto stream = std::make_shared<FakeStream>(*loop_);
    stream->Begin();
    stream->FinishReading();
    v1::Control answer;
    answer.mutable_hello()->set_node("node");
    std::string record;
    AppendControlRecord(answer.SerializeAsString(), &record);
    const iovec piece = {record.data(), record.size()};
    EXPECT_EQ(*stream->Send(absl::MakeConstSpan(&piece, 1)), record.size());
    return stream;
  }

  const std::unique_ptr<EventLoop> loop_ =
      *EventLoop::Create(Environment::Real());
};

TEST_F(GrpcStreamTest, ReadThatIsClaimedIsStartedBeforeTheEnd) {
  const auto stream = MakeAnswering();
  stream->before_reading = [&] { stream->FinishWriting(); };
  stream->Close();
  EXPECT_EQ(stream->started_too_late(), 0);
  EXPECT_FALSE(stream->is_let_go());
  stream->BreakReading();
  EXPECT_TRUE(stream->is_let_go());
}

TEST_F(GrpcStreamTest, EndWaitsForTheWriteThatIsUnderWay) {
  const auto stream = MakeAnswering();
  stream->Close();
  stream->BreakReading();
  EXPECT_FALSE(stream->is_let_go());
  stream->FinishWriting();
  EXPECT_TRUE(stream->is_let_go());
}

TEST_F(GrpcStreamTest, CloseAndTheEndOfAWriteMayComeAtOnce) {
  for (int i = 0; i < 500; ++i) {
    const auto stream = MakeAnswering();
    std::atomic<bool> go{false};
    std::thread grpc([&] {
      while (!go) {
      }
      stream->FinishWriting();
    });
    go = true;
    stream->Close();
    grpc.join();
    stream->BreakReading();
    ASSERT_EQ(stream->started_too_late(), 0);
    ASSERT_TRUE(stream->is_let_go());
  }
}

}  // namespace
}  // namespace mycelium
