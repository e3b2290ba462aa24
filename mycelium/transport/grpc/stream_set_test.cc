#include "mycelium/transport/grpc/stream_set.h"

#include <memory>
#include <thread>

#include "gtest/gtest.h"
#include "tests/support/driven_clock.h"

namespace mycelium {
namespace {

// A stream that gRPC lets go of when the test says so.
class FakeStream final : public GrpcStream {
 public:
  FakeStream(EventLoop& loop, std::shared_ptr<StreamSet> streams,
             int& destroyed)
      : GrpcStream(loop, streams->loans(), 1 << 20, "peer"),
        streams_(std::move(streams)),
        destroyed_(destroyed) {}
  ~FakeStream() override {
    ++destroyed_;
    EXPECT_FALSE(lets_go_) << "destroyed by the thread that lets go of it";
  }

  void LetGo() {
    lets_go_ = true;
    streams_->Remove(*this);
    lets_go_ = false;
  }
  void Cancel() override { ++cancelled; }

  int cancelled = 0;

 private:
  void StartReading(::grpc::ByteBuffer*) override {}
  void StartWriting(const ::grpc::ByteBuffer*) override {}
  void StartEnding() override {}

  const std::shared_ptr<StreamSet> streams_;
  int& destroyed_;
  // Set on the thread that is inside LetGo(), where this must not be destroyed.
  static thread_local bool lets_go_;
};

thread_local bool FakeStream::lets_go_ = false;

class StreamSetTest : public ::testing::Test {
 protected:
  // Adds a stream that only the set has.
  FakeStream& Add() {
    auto stream = std::make_shared<FakeStream>(*loop_, streams_, destroyed_);
    streams_->Add(stream);
    return *stream;
  }

  int destroyed_ = 0;
  int told_ = 0;
  const std::unique_ptr<EventLoop> loop_ =
      *EventLoop::Create(Environment::Real());
  std::shared_ptr<StreamSet> streams_ = std::make_shared<StreamSet>(
      Environment::Real(), *loop_, [this] { ++told_; });
};

TEST_F(StreamSetTest, StreamThatEndedIsDestroyedByTheLoopAtOnce) {
  Add().LetGo();
  EXPECT_EQ(destroyed_, 0);
  loop_->RunOnce(/*deadline=*/0, 0);
  EXPECT_EQ(destroyed_, 1);
  EXPECT_EQ(told_, 1);
}

TEST_F(StreamSetTest, HoweverManyEndBeforeTheLoopRunsTheyTakeOneTask) {
  for (int i = 0; i < 100; ++i) Add().LetGo();
  loop_->RunOnce(/*deadline=*/0, 0);
  EXPECT_EQ(destroyed_, 100);
  EXPECT_EQ(told_, 1);
}

TEST_F(StreamSetTest, StreamThatEndedLeavesNoTimer) {
  test::DrivenClock clock;
  Environment environment{Environment::Real().sys, clock,
                          Environment::Real().waiter};
  const auto loop = *EventLoop::Create(environment);
  const auto streams = std::make_shared<StreamSet>(environment, *loop, nullptr);
  for (const bool ends : {false, true}) {
    SCOPED_TRACE(ends);
    const auto stream =
        std::make_shared<FakeStream>(*loop, streams, destroyed_);
    streams->Add(stream);
    stream->LingerUntil(clock.now + 1'000);
    if (ends) stream->LetGo();
    while (loop->RunOnce(0, 0) == EventLoop::Ran::kSomething) continue;
    clock.now += 1'000;
    EXPECT_EQ(loop->RunOnce(0, 0) == EventLoop::Ran::kSomething, !ends);
    EXPECT_EQ(stream->cancelled, ends ? 0 : 1);
    if (!ends) stream->LetGo();
  }
  streams->ForgetLoop();
  streams->Close();
}

// Otherwise gRPC's thread would end itself. Without the rule it destroys some
// of so many.
TEST_F(StreamSetTest, ThreadThatLetsGoNeverDestroysHoweverQuickTheLoopIs) {
  constexpr int kMany = 20'000;
  std::thread grpc([this] {
    for (int i = 0; i < kMany; ++i) Add().LetGo();
  });
  while (destroyed_ < kMany) loop_->RunOnce(/*deadline=*/kNever, 0);
  grpc.join();
  loop_->RunOnce(/*deadline=*/0, 0);
  EXPECT_EQ(destroyed_, kMany);
}

TEST_F(StreamSetTest, WithoutALoopCloseDestroysThoseThatEnded) {
  FakeStream& stream = Add();
  streams_->ForgetLoop();
  stream.LetGo();
  EXPECT_TRUE(streams_->AwaitEmpty(/*wait_ns=*/0));
  EXPECT_EQ(destroyed_, 0);
  streams_->Close();
  EXPECT_EQ(destroyed_, 1);
  loop_->RunOnce(0, 0);
  EXPECT_EQ(told_, 0);
}

TEST_F(StreamSetTest, StreamThatIsNotLetGoOfInTimeStaysInMemory) {
  FakeStream& stream = Add();
  const std::weak_ptr<StreamSet> left = streams_;
  streams_->ForgetLoop();
  EXPECT_FALSE(streams_->AwaitEmpty(/*wait_ns=*/0));
  streams_->Close();
  streams_ = nullptr;
  stream.LetGo();  // Far too late, and on a thread that may not destroy it.
  EXPECT_EQ(destroyed_, 0);
  ASSERT_NE(left.lock(), nullptr);
  left.lock()->Close();  // Nothing is left of the test.
  EXPECT_EQ(destroyed_, 1);
}

}  // namespace
}  // namespace mycelium
