#include "mycelium/transport/grpc/grpc_channel.h"

#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/transport/grpc/grpc_transport.h"
#include "mycelium/transport/outgoing.h"
#include "proto/mycelium/v1/control.pb.h"

namespace mycelium {
namespace {

constexpr int64_t kLongNs = 10'000'000'000;
constexpr size_t kFrameBytesMax = 1 << 20;

// Takes what arrives, as much as it may.
class Recorder final : public Channel::Handler {
 public:
  size_t OnBytes(absl::Span<const std::byte> bytes) override {
    ++offers;
    const size_t used = std::min(bytes.size(), use_at_most);
    got.append(reinterpret_cast<const char*>(bytes.data()), used);
    if (on_bytes) on_bytes();
    return used;
  }
  void OnWritable() override { ++writable; }
  void OnClosed(const absl::Status& status) override { closed = status; }

  std::string got;
  size_t use_at_most = ~size_t{0};
  int offers = 0;
  int writable = 0;
  std::optional<absl::Status> closed;
  std::function<void()> on_bytes;
};

std::string Control(const std::string& text) {
  v1::Control control;
  control.mutable_subscribe()->set_topic(text);
  std::string record;
  AppendControlRecord(control.SerializeAsString(), &record);
  return record;
}

// A record with one frame.
std::string Data(uint64_t position, uint64_t sequence, size_t payload_bytes) {
  FrameHeader frame = {};
  frame.frame_bytes = static_cast<uint32_t>(sizeof frame + payload_bytes);
  frame.lane_sequence = sequence;
  RecordHeader header = {};
  header.magic = kRecordMagic;
  header.kind = static_cast<uint8_t>(RecordKind::kData);
  header.position = position;
  header.body_bytes =
      static_cast<uint32_t>(AlignedFrameBytes(frame.frame_bytes));
  std::string record(sizeof header + header.body_bytes, '\0');
  std::memcpy(record.data(), &header, sizeof header);
  std::memcpy(record.data() + sizeof header, &frame, sizeof frame);
  return record;
}

// The two ends of one connection, on one loop.
class GrpcChannelTest : public ::testing::Test {
 protected:
  GrpcChannelTest() {
    loop_ = *EventLoop::Create(environment_);
    RemoteOptions options;
    options.frame_bytes_max = kFrameBytesMax;
    options.links = 8;
    options.handshake = absl::Seconds(5);
    options.keepalive = absl::Seconds(10);
    transport_ = std::make_unique<GrpcTransport>(environment_, *loop_, options);
    // port: 0, which the kernel replaces
    listener_ = *transport_->Listen(
        "127.0.0.1:0",
        [this](std::unique_ptr<Channel> channel, const absl::Status&) {
          far_ = std::move(channel);
        });
    near_ = *transport_->Dial(listener_->address());
    near_->Start(near_recorder_);
    EXPECT_EQ(Send(*near_, Control("hello")), Control("hello").size());
    EXPECT_TRUE(RunUntil([&] { return far_ != nullptr; }));
  }

  // As after a handshake: the first message is taken, and another handler
  // follows.
  void Accept() {
    Recorder handshake;
    far_->Start(handshake);
    EXPECT_TRUE(RunUntil([&] { return handshake.got == Control("hello"); }));
    far_->Start(far_recorder_);
    EXPECT_GT(Send(*far_, Control("welcome")), 0u);
    EXPECT_TRUE(
        RunUntil([&] { return near_recorder_.got == Control("welcome"); }));
    near_recorder_.got.clear();
    near_->Start(near_recorder_);
  }

  bool RunUntil(const std::function<bool()>& holds) {
    const TimeNs end = environment_.clock.NowNs() + kLongNs;
    while (!holds()) {
      if (environment_.clock.NowNs() > end) return false;
      loop_->RunOnce(std::min(end, environment_.clock.NowNs() + 5'000'000), 0);
    }
    return true;
  }

  static size_t Send(Channel& channel, std::string bytes) {
    const iovec piece = {bytes.data(), bytes.size()};
    return *channel.Send(absl::MakeConstSpan(&piece, 1));
  }

  Environment& environment_ = Environment::Real();
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<GrpcTransport> transport_;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<Channel> near_, far_;
  Recorder near_recorder_, far_recorder_;
};

TEST_F(GrpcChannelTest, RecordsArriveInOrderInBothDirections) {
  Accept();
  std::string sent;
  for (uint64_t i = 1; i <= 100; ++i) {
    const std::string record =
        i % 3 == 0 ? Control(std::string(i, 'c')) : Data(i * 64, i, i);
    sent += record;
    EXPECT_EQ(Send(*near_, record), record.size());
    EXPECT_EQ(Send(*far_, record), record.size());
  }
  EXPECT_TRUE(RunUntil([&] {
    return far_recorder_.got.size() >= sent.size() &&
           near_recorder_.got.size() >= sent.size();
  }));
  EXPECT_EQ(far_recorder_.got, sent);
  EXPECT_EQ(near_recorder_.got, sent);
}

TEST_F(GrpcChannelTest, SenderIsStoppedWhileNobodyReadsAndToldAfterwards) {
  Accept();
  far_recorder_.use_at_most = 0;
  size_t sent = 0;
  uint64_t sequence = 0;
  std::string rest;
  // Until nothing has moved for a while.
  const auto send_some = [&] {
    if (rest.empty()) {
      rest = Data(sequence * 32'768, sequence + 1, 32'000);
      ++sequence;
    }
    const size_t taken = Send(*near_, rest);
    sent += taken;
    rest.erase(0, taken);
    return taken > 0;
  };
  TimeNs moved = environment_.clock.NowNs();
  while (environment_.clock.NowNs() - moved < 300'000'000) {
    if (send_some()) moved = environment_.clock.NowNs();
    loop_->RunOnce(0, 0);
    ASSERT_LT(sent, 64u << 20) << "somebody keeps all of it";
  }
  EXPECT_EQ(far_recorder_.got, "");
  EXPECT_GT(sent, 256u << 10);
  const int writable = near_recorder_.writable;
  far_recorder_.use_at_most = ~size_t{0};
  far_->Start(far_recorder_);
  EXPECT_TRUE(RunUntil([&] { return far_recorder_.got.size() >= sent; }));
  EXPECT_TRUE(RunUntil([&] { return near_recorder_.writable > writable; }));
  EXPECT_EQ(Send(*near_, rest), rest.size());
}

TEST_F(GrpcChannelTest, OneMessageIsReadBeforeTheHandshakeIsOver) {
  near_->Start(near_recorder_);
  Recorder handshake;
  far_->Start(handshake);
  EXPECT_TRUE(RunUntil([&] { return handshake.got == Control("hello"); }));
  const std::string early = Control("too early");
  EXPECT_EQ(Send(*near_, early), early.size());
  const TimeNs end = environment_.clock.NowNs() + 100'000'000;
  (void)RunUntil([&] { return environment_.clock.NowNs() > end; });
  EXPECT_EQ(handshake.got, Control("hello"));
  far_->Start(far_recorder_);
  EXPECT_TRUE(RunUntil([&] { return far_recorder_.got == early; }));
}

TEST_F(GrpcChannelTest, WhatWasSentBeforeCloseArrivesAndThenTheEnd) {
  Accept();
  std::string sent;
  for (uint64_t i = 1; i <= 3; ++i) {
    const std::string record = Data(i * 16'384, i, 3'000);
    sent += record;
    EXPECT_EQ(Send(*far_, record), record.size());
  }
  far_->Close();
  far_ = nullptr;
  EXPECT_TRUE(RunUntil([&] { return near_recorder_.closed.has_value(); }));
  EXPECT_EQ(near_recorder_.got, sent);
  EXPECT_EQ(near_recorder_.closed->code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(near_->Send({}).ok());
}

TEST_F(GrpcChannelTest, WhatTheDiallerSentBeforeCloseArrivesToo) {
  Accept();
  std::string sent;
  for (uint64_t i = 1; i <= 3; ++i) {
    const std::string record = Data(i * 16'384, i, 3'000);
    sent += record;
    EXPECT_EQ(Send(*near_, record), record.size());
  }
  near_->Close();
  near_ = nullptr;
  EXPECT_TRUE(RunUntil([&] { return far_recorder_.closed.has_value(); }));
  EXPECT_EQ(far_recorder_.got, sent);
}

TEST_F(GrpcChannelTest, HandlerThatIsSetBehindTheEndIsToldOfItToo) {
  Accept();
  far_->Close();
  far_ = nullptr;
  EXPECT_TRUE(RunUntil([&] { return near_recorder_.closed.has_value(); }));
  Recorder next;
  near_->Start(next);
  EXPECT_TRUE(RunUntil([&] { return next.closed.has_value(); }));
  EXPECT_EQ(next.closed, near_recorder_.closed);
}

TEST_F(GrpcChannelTest, NothingIsCalledAfterClose) {
  Accept();
  far_recorder_.on_bytes = [&] { far_->Close(); };
  EXPECT_GT(Send(*near_, Control("a")), 0u);
  EXPECT_TRUE(RunUntil([&] { return near_recorder_.closed.has_value(); }));
  EXPECT_EQ(far_recorder_.offers, 1);
  EXPECT_FALSE(far_recorder_.closed.has_value());
}

TEST_F(GrpcChannelTest, BytesThatAreNotUsedAreOfferedAgain) {
  Accept();
  far_recorder_.use_at_most = 0;
  EXPECT_GT(Send(*near_, Control("a")), 0u);
  EXPECT_TRUE(RunUntil([&] { return far_recorder_.offers == 1; }));
  Recorder next;
  far_->Start(next);
  EXPECT_TRUE(RunUntil([&] { return next.got == Control("a"); }));
}

}  // namespace
}  // namespace mycelium
