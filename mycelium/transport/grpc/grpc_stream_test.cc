#include "mycelium/transport/grpc/grpc_stream.h"

#include <grpcpp/support/slice.h>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/base/environment.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/transport/channel.h"
#include "mycelium/transport/grpc/grpc_channel.h"
#include "mycelium/transport/outgoing.h"
#include "proto/mycelium/v1/control.pb.h"
#include "proto/mycelium/v1/link.pb.h"
#include "tests/support/driven_clock.h"

namespace mycelium {
namespace {

// gRPC's side of a stream, as far as its rules go: it lets go of a reactor once
// the end has begun and no operation is under way, and nothing may be started
// then.
class FakeStream final : public GrpcStream {
 public:
  explicit FakeStream(EventLoop& loop)
      : FakeStream(loop, std::make_shared<Loans>(Environment::Real())) {}
  FakeStream(EventLoop& loop, std::shared_ptr<Loans> loans)
      : GrpcStream(loop, std::move(loans), 1 << 20, "peer") {}

  void Cancel() override { ++cancelled; }
  void Begin() { Begun(); }
  void End() { Ended(absl::CancelledError("cancelled")); }

  // A message without anything in it has come.
  void FinishReading() {
    const ::grpc::Slice nothing("");
    *incoming_ = ::grpc::ByteBuffer(&nothing, 1);
    ReadDone(true);
    --under_way_;
  }
  // A message with so many acknowledgements has come.
  void FinishReadingAck(int acks = 1) {
    v1::LinkMessage message;
    for (int lane = 0; lane < acks; ++lane) {
      message.add_items()->mutable_ack()->set_received(8);
    }
    is_reading_ = false;
    const ::grpc::Slice bytes(message.SerializeAsString());
    *incoming_ = ::grpc::ByteBuffer(&bytes, 1);
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
  // What is being written. gRPC has its own reference until it is out.
  ::grpc::ByteBuffer TakeWritten() { return *written_; }

  bool is_let_go() const { return under_way_ == 0; }
  int started_too_late() const { return started_too_late_; }
  // Whether a read was started since FinishReadingAck().
  bool is_reading() const { return is_reading_; }

  std::atomic<int> cancelled{0};
  // Called when a read was claimed and is not yet started.
  std::function<void()> before_reading;

 private:
  void StartReading(::grpc::ByteBuffer* message) override {
    if (before_reading) std::exchange(before_reading, nullptr)();
    incoming_ = message;
    is_reading_ = true;
    StartOperation();
  }
  void StartWriting(const ::grpc::ByteBuffer* message) override {
    written_ = message;
    StartOperation();
  }
  void StartEnding() override { --under_way_; }

  void StartOperation() {
    if (under_way_++ == 0) ++started_too_late_;
  }

  ::grpc::ByteBuffer* incoming_ = nullptr;
  std::atomic<bool> is_reading_{false};
  const ::grpc::ByteBuffer* written_ = nullptr;
  // One more while the caller may start operations.
  std::atomic<int> under_way_{1};
  std::atomic<int> started_too_late_{0};
};

::grpc::Slice Flat(const ::grpc::ByteBuffer& buffer) {
  ::grpc::Slice flat;
  EXPECT_TRUE(buffer.DumpToSingleSlice(&flat).ok());
  return flat;
}

// A loop that a thread of its own runs.
class RunningLoop final {
 public:
  RunningLoop() {
    loop_->SetLending();
    thread_ = std::thread([this] {
      while (!stop_) loop_->RunOnce(kNever, 0);
    });
  }
  ~RunningLoop() {
    loop_->Post([this] { stop_ = true; });
    thread_.join();
  }

  void AwaitAsleep() {
    while (!loop_->TryBorrow()) std::this_thread::yield();
    loop_->GiveBack();
  }
  // Lets `task` be done by the loop's thread before it returns.
  void Run(const std::function<void()>& task) {
    std::atomic<bool> done{false};
    loop_->Post([&] {
      task();
      done = true;
    });
    while (!done) std::this_thread::yield();
  }
  EventLoop& loop() { return *loop_; }
  std::thread::id thread() const { return thread_.get_id(); }

 private:
  const std::unique_ptr<EventLoop> loop_ =
      *EventLoop::Create(Environment::Real());
  bool stop_ = false;
  std::thread thread_;
};

// Takes what arrives, and records on which thread it was told.
class TakingOwner final : public GrpcStream::Owner {
 public:
  TakingOwner(RunningLoop& loop, std::shared_ptr<FakeStream> stream)
      : loop_(loop), stream_(std::move(stream)) {
    stream_->SetOwner(this);
    stream_->NoteHandshaken();
  }
  void OnStream(bool is_writable) override {
    EXPECT_TRUE(loop_.loop().InLoop());
    writable += is_writable ? 1 : 0;
    ByteSink records;
    while (stream_->Take(&records)) {
      thread = std::this_thread::get_id();
      if (on_message) on_message();
      ++messages;
      stream_->GiveBack(std::move(records));
    }
  }

  std::function<void()> on_message;
  std::atomic<int> messages{0};
  std::atomic<int> writable{0};
  std::thread::id thread;

 private:
  RunningLoop& loop_;
  const std::shared_ptr<FakeStream> stream_;
};

// A stream whose owner runs the loop itself, as a program that polls does: no
// thread borrows the loop.
class PolledStream final : private GrpcStream::Owner {
 public:
  explicit PolledStream(EventLoop& loop)
      : loop_(loop), stream_(std::make_shared<FakeStream>(loop)) {
    stream_->SetOwner(this);
    stream_->NoteHandshaken();
    stream_->Begin();
  }
  ~PolledStream() override {
    stream_->SetOwner(nullptr);
    stream_->Close();
    stream_->BreakReading();
    EXPECT_TRUE(stream_->is_let_go());
  }

  // Whether gRPC reads on before the owner has seen that message.
  bool ReadsOnAfter(int acks = 1) {
    stream_->FinishReadingAck(acks);
    return stream_->is_reading();
  }
  void Poll() {
    loop_.RunOnce(/*deadline=*/0, 0);
    EXPECT_TRUE(stream_->is_reading());
  }
  // What the owner has taken so far, and the memory that it lay in.
  size_t bytes_taken() const { return bytes_taken_; }
  size_t capacity_taken() const { return capacity_taken_; }

 private:
  void OnStream(bool) override {
    ByteSink records;
    while (stream_->Take(&records)) {
      bytes_taken_ += records.size();
      capacity_taken_ += records.capacity();
      stream_->GiveBack(std::move(records));
    }
  }

  size_t bytes_taken_ = 0;
  size_t capacity_taken_ = 0;

  EventLoop& loop_;
  const std::shared_ptr<FakeStream> stream_;
};

// Records why a channel ended.
class EndWatcher final : public Channel::Handler {
 public:
  size_t OnBytes(absl::Span<const std::byte> bytes) override {
    return bytes.size();
  }
  void OnWritable() override {}
  void OnClosed(const absl::Status& end) override { status = end; }

  std::optional<absl::Status> status;
};

class GrpcStreamTest : public ::testing::Test {
 protected:
  // A stream that has had its first message, and writes the answer.
  std::shared_ptr<FakeStream> MakeAnswering() { return MakeAnswering(*loop_); }
  static std::shared_ptr<FakeStream> MakeAnswering(EventLoop& loop) {
    auto stream = std::make_shared<FakeStream>(loop);
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

// The peer may not read what is being written, and come back by another
// connection.
TEST_F(GrpcStreamTest, PeerThatEndsItsDirectionHasASecondToReadOurs) {
  test::DrivenClock clock;
  Environment environment{Environment::Real().sys, clock,
                          Environment::Real().waiter};
  const auto loop = *EventLoop::Create(environment);
  const auto run = [&loop] {
    while (loop->RunOnce(0, 0) == EventLoop::Ran::kSomething) continue;
  };
  const auto stream = MakeAnswering(*loop);
  GrpcChannel channel(environment, stream, nullptr);
  EndWatcher watcher;
  channel.Start(watcher);
  stream->NoteHandshaken();
  stream->BreakReading();
  run();
  clock.now += 999'999'999;
  run();
  EXPECT_EQ(stream->cancelled, 0);
  clock.now += 1;
  run();
  EXPECT_EQ(stream->cancelled, 1);
  EXPECT_FALSE(watcher.status.has_value());
  stream->FinishWriting();
  EXPECT_TRUE(stream->is_let_go());
  stream->End();  // As gRPC does then.
  run();
  EXPECT_TRUE(watcher.status.has_value());
}

// As when the peer has acknowledged the frames before they were sent.
TEST_F(GrpcStreamTest, FramesThatAreWrittenOverEndTheConnection) {
  const auto stream = MakeAnswering();
  GrpcChannel channel(Environment::Real(), stream, nullptr);
  EndWatcher watcher;
  channel.Start(watcher);
  stream->NoteHandshaken();
  struct {
    RecordHeader header = MakeRecordHeader(RecordKind::kData, 128);
    char zeros[128] = {};
  } record;
  const iovec piece = {&record, sizeof record};
  EXPECT_EQ(channel.Send(absl::MakeConstSpan(&piece, 1)).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(stream->cancelled, 1);
  EXPECT_FALSE(channel.Send(absl::MakeConstSpan(&piece, 1)).ok());
  stream->BreakReading();
  while (loop_->RunOnce(0, 0) == EventLoop::Ran::kSomething) continue;
  ASSERT_TRUE(watcher.status.has_value());
  EXPECT_EQ(watcher.status->code(), absl::StatusCode::kDataLoss);
  stream->FinishWriting();
  EXPECT_TRUE(stream->is_let_go());
}

TEST_F(GrpcStreamTest, ReadThatIsClaimedIsStartedBeforeTheEnd) {
  const auto stream = MakeAnswering();
  stream->before_reading = [&] { stream->FinishWriting(); };
  stream->Close();
  EXPECT_EQ(stream->started_too_late(), 0);
  EXPECT_FALSE(stream->is_let_go());
  stream->BreakReading();
  EXPECT_TRUE(stream->is_let_go());
}

TEST_F(GrpcStreamTest, WhoBringsAMessageHandlesItWhileTheLoopSleeps) {
  RunningLoop loop;
  auto stream = std::make_shared<FakeStream>(loop.loop());
  TakingOwner owner(loop, stream);
  stream->Begin();
  loop.AwaitAsleep();
  bool next_is_started = false;
  owner.on_message = [&] {
    stream->before_reading = [&] { next_is_started = true; };
  };
  stream->FinishReadingAck();
  EXPECT_TRUE(next_is_started) << "when it was handled";
  EXPECT_EQ(owner.messages, 1);
  EXPECT_EQ(owner.thread, std::this_thread::get_id());
  EXPECT_FALSE(loop.loop().InLoop()) << "it was given back";
  stream->Close();
  stream->BreakReading();
  EXPECT_TRUE(stream->is_let_go());
}

TEST_F(GrpcStreamTest, LoopThatIsAwakeHandlesWhatArrivesItself) {
  RunningLoop loop;
  auto stream = std::make_shared<FakeStream>(loop.loop());
  TakingOwner owner(loop, stream);
  stream->Begin();
  loop.Run([&] {
    std::thread([&] { stream->FinishReadingAck(); }).join();
    EXPECT_EQ(owner.messages, 0);
  });
  while (owner.messages == 0) std::this_thread::yield();
  EXPECT_EQ(owner.thread, loop.thread());
  loop.Run([&] { stream->SetOwner(nullptr); });
  stream->Close();
  stream->BreakReading();
  EXPECT_TRUE(stream->is_let_go());
}

TEST_F(GrpcStreamTest, NextOfSmallMessagesThatComeAloneIsReadWhenOneIsDone) {
  PolledStream stream(*loop_);
  for (int message = 1; message < 128; ++message) {
    // Now and then the stream tries whether that is still so.
    const bool waits = message >= 64 && message % 16 != 0;
    EXPECT_EQ(stream.ReadsOnAfter(), !waits) << message;
    stream.Poll();
  }
}

TEST_F(GrpcStreamTest, SmallMessagesThatComeFasterThanTheyAreDoneAreReadAhead) {
  PolledStream stream(*loop_);
  for (int message = 1; message < 64; ++message) {
    EXPECT_TRUE(stream.ReadsOnAfter());
    stream.Poll();
  }
  // That is tried, and the next message is there before it is done.
  EXPECT_TRUE(stream.ReadsOnAfter());
  EXPECT_TRUE(stream.ReadsOnAfter());
  stream.Poll();
  for (int message = 1; message < 64; ++message) {
    EXPECT_TRUE(stream.ReadsOnAfter());
    stream.Poll();
  }
}

TEST_F(GrpcStreamTest, WhatIsNotSmallIsReadAhead) {
  PolledStream stream(*loop_);
  for (int message = 1; message < 128; ++message) {
    EXPECT_TRUE(stream.ReadsOnAfter(/*acks=*/100));
    stream.Poll();
  }
}

TEST_F(GrpcStreamTest, SmallMessagesThatWaitTakeLittleMoreMemoryThanTheyHave) {
  constexpr size_t kWaitingMax = 256 * 1024;
  PolledStream stream(*loop_);
  while (stream.ReadsOnAfter()) continue;
  stream.Poll();
  EXPECT_GE(stream.bytes_taken(), kWaitingMax);
  EXPECT_LE(stream.capacity_taken(), 2 * kWaitingMax);
}

TEST_F(GrpcStreamTest, OneThreadOfGrpcsAtATimeIsInAHandler) {
  RunningLoop first, second;
  auto stream = std::make_shared<FakeStream>(first.loop());
  auto other = std::make_shared<FakeStream>(second.loop());
  TakingOwner owner(first, stream);
  TakingOwner other_owner(second, other);
  stream->Begin();
  other->Begin();
  first.AwaitAsleep();
  second.AwaitAsleep();
  owner.on_message = [&] {
    std::thread([&] { other->FinishReadingAck(); }).join();
    while (other_owner.messages == 0) std::this_thread::yield();
  };
  stream->FinishReadingAck();
  EXPECT_EQ(owner.thread, std::this_thread::get_id());
  EXPECT_EQ(other_owner.thread, second.thread());
  second.Run([&] { other->SetOwner(nullptr); });
  for (const auto& closed : {stream, other}) {
    closed->Close();
    closed->BreakReading();
    EXPECT_TRUE(closed->is_let_go());
  }
}

TEST_F(GrpcStreamTest, EndWaitsForTheHandlerOnTheThreadOfGrpc) {
  RunningLoop loop;
  auto stream = std::make_shared<FakeStream>(loop.loop());
  TakingOwner owner(loop, stream);
  stream->Begin();
  loop.AwaitAsleep();
  owner.on_message = [&] {
    stream->Close();
    EXPECT_FALSE(stream->is_let_go());
  };
  stream->FinishReadingAck();
  // What is left is read to its end.
  stream->BreakReading();
  EXPECT_TRUE(stream->is_let_go());
  EXPECT_EQ(stream->started_too_late(), 0);
}

TEST_F(GrpcStreamTest, WhoWaitsForTheEndOfAWriteIsToldOfIt) {
  RunningLoop loop;
  auto stream = std::make_shared<FakeStream>(loop.loop());
  TakingOwner owner(loop, stream);
  stream->Begin();
  EXPECT_FALSE(stream->IsWriting());
  v1::Control answer;
  std::string record;
  AppendControlRecord(answer.SerializeAsString(), &record);
  const iovec piece = {record.data(), record.size()};
  ASSERT_TRUE(stream->Send(absl::MakeConstSpan(&piece, 1)).ok());
  EXPECT_TRUE(stream->IsWriting());
  // What is sent meanwhile does not take that back.
  ASSERT_TRUE(stream->Send(absl::MakeConstSpan(&piece, 1)).ok());
  loop.AwaitAsleep();
  owner.writable = 0;
  stream->FinishWriting();
  EXPECT_EQ(owner.writable, 1);
  stream->FinishWriting();
  EXPECT_FALSE(stream->IsWriting());
  stream->Close();
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

TEST_F(GrpcStreamTest, LargePayloadIsReadWhereItLiesUntilGrpcLetsGoOfIt) {
  const auto loans = std::make_shared<Loans>(Environment::Real());
  auto stream = std::make_shared<FakeStream>(*loop_, loans);
  stream->Begin();
  const std::string payload(100'000, 'p');
  FrameHeader frame = {};
  frame.frame_bytes = static_cast<uint32_t>(sizeof frame + payload.size());
  auto lane = std::make_shared<std::string>(
      reinterpret_cast<const char*>(&frame), sizeof frame);
  *lane += payload;
  lane->resize(AlignedFrameBytes(frame.frame_bytes));
  RecordHeader header = {};
  header.magic = kRecordMagic;
  header.kind = static_cast<uint8_t>(RecordKind::kData);
  header.body_bytes = static_cast<uint32_t>(lane->size());
  const std::array<iovec, 2> pieces = {
      {{&header, sizeof header}, {lane->data(), lane->size()}}};
  const std::array<std::shared_ptr<const void>, 2> keepers = {nullptr, lane};
  EXPECT_EQ(*stream->Send(pieces, keepers), sizeof header + lane->size());

  std::optional<::grpc::ByteBuffer> buffer = stream->TakeWritten();
  std::vector<::grpc::Slice> slices;
  ASSERT_TRUE(buffer->Dump(&slices).ok());
  ASSERT_EQ(slices.size(), 2u);
  EXPECT_EQ(static_cast<const void*>(slices[1].begin()),
            lane->data() + sizeof frame);
  slices.clear();
  const ::grpc::Slice flat = Flat(*buffer);
  v1::LinkMessage message;
  ASSERT_TRUE(message.ParseFromArray(flat.begin(), int(flat.size())));
  EXPECT_EQ(message.items(0).batch().envelopes(0).payload(), payload);

  stream->FinishWriting();
  stream->Close();
  stream->BreakReading();
  EXPECT_TRUE(stream->is_let_go());
  stream.reset();
  EXPECT_EQ(lane.use_count(), 3) << "gRPC has it still, as have the keepers";
  EXPECT_FALSE(loans->AwaitNone(0));
  buffer.reset();
  EXPECT_EQ(lane.use_count(), 2);
  EXPECT_TRUE(loans->AwaitNone(0));
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
