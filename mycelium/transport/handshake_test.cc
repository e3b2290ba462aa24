#include "mycelium/transport/handshake.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "mycelium/codec/frame_format.h"
#include "proto/mycelium/v1/control.pb.h"
#include "tests/support/driven_clock.h"

namespace mycelium {
namespace {

using ::absl::StatusCode;
using ::mycelium::test::DrivenClock;

// What the other side of the connection sees and does.
struct Wire {
  Channel::Handler* handler = nullptr;
  std::string sent;
  size_t take_at_most = ~size_t{0};  // Of each send.
  std::string arrived;               // And not used yet.
  bool closed = false;
  bool destroyed = false;
  absl::Status connected;

  void Deliver(const std::string& bytes) {
    arrived += bytes;
    const size_t used = handler->OnBytes(absl::MakeConstSpan(
        reinterpret_cast<const std::byte*>(arrived.data()), arrived.size()));
    arrived.erase(0, used);
  }
};

class WireChannel final : public Channel {
 public:
  explicit WireChannel(Wire& wire) : wire_(wire) {}
  ~WireChannel() override { wire_.destroyed = true; }
  void Start(Handler& handler) override { wire_.handler = &handler; }
  absl::StatusOr<size_t> Send(absl::Span<const iovec> pieces) override {
    const size_t taken = std::min(pieces[0].iov_len, wire_.take_at_most);
    wire_.sent.append(static_cast<const char*>(pieces[0].iov_base), taken);
    if (taken < pieces[0].iov_len) wire_.take_at_most = 0;
    return taken;
  }
  void Close() override { wire_.closed = true; }
  absl::Status CheckConnected() const override { return wire_.connected; }
  const std::string& peer_description() const override { return description_; }

 private:
  Wire& wire_;
  const std::string description_ = "pid 1, uid 2";
};

std::string ControlBytes(const v1::Control& control) {
  RecordHeader header = {};
  header.magic = kRecordMagic;
  header.kind = static_cast<uint8_t>(RecordKind::kControl);
  const std::string body = control.SerializeAsString();
  header.body_bytes = static_cast<uint32_t>(body.size());
  return std::string(reinterpret_cast<const char*>(&header), sizeof header) +
         body;
}

v1::Hello HelloOf(const std::string& node) {
  v1::Hello hello;
  hello.set_node(node);
  return hello;
}

std::string HelloBytes(const std::string& node) {
  v1::Control control;
  *control.mutable_hello() = HelloOf(node);
  return ControlBytes(control);
}

std::string ObserverBytes() {
  v1::Control control;
  control.mutable_hello()->set_observe(true);
  return ControlBytes(control);
}

class HandshakeTest : public ::testing::Test {
 protected:
  void Dial() {
    handshake_ =
        Handshake::Dial(*loop_, std::make_unique<WireChannel>(wire_),
                        HelloOf("us"), clock_.now + 500, TakeOutcome());
  }
  void Accept(std::optional<v1::Reject> reject = std::nullopt) {
    handshake_ = Handshake::Accept(
        *loop_, std::make_unique<WireChannel>(wire_),
        [reject](const v1::Hello&, v1::Hello* ours) {
          *ours = HelloOf("us");
          return reject;
        },
        clock_.now + 500, TakeOutcome());
  }
  Handshake::Done TakeOutcome() {
    return [this](absl::StatusOr<Handshake::Established> outcome) {
      ++outcomes_;
      outcome_ = std::move(outcome);
    };
  }
  void Run() {
    while (loop_->RunOnce(0, 0) == EventLoop::Ran::kSomething) continue;
  }
  // What the other side was sent, which is that alone.
  v1::Reject Rejected() const {
    v1::Control control;
    EXPECT_GE(wire_.sent.size(), sizeof(RecordHeader));
    EXPECT_TRUE(control.ParseFromString(
        wire_.sent.substr(std::min(wire_.sent.size(), sizeof(RecordHeader)))));
    return control.reject();
  }
  StatusCode Code() {
    Run();
    EXPECT_EQ(outcomes_, 1);
    return outcome_.status().code();
  }

  DrivenClock clock_;
  Environment environment_{Sys::Real(), clock_, Environment::Real().waiter};
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create(environment_);
  Wire wire_;
  std::unique_ptr<Handshake> handshake_;
  int outcomes_ = 0;
  absl::StatusOr<Handshake::Established> outcome_ =
      absl::InternalError("not yet");
};

TEST_F(HandshakeTest, DialledSideSaysHelloAndTakesTheAnswer) {
  Dial();
  EXPECT_EQ(wire_.sent, HelloBytes("us"));
  wire_.Deliver(HelloBytes("them"));
  EXPECT_EQ(outcomes_, 0) << "not from within a call of the channel";
  EXPECT_EQ(Code(), StatusCode::kOk);
  EXPECT_EQ(outcome_->peer.node(), "them");
  handshake_.reset();
  EXPECT_FALSE(wire_.closed) << "the channel is the caller's now";
}

TEST_F(HandshakeTest, AcceptingSideAnswersAfterItHasDecided) {
  Accept();
  EXPECT_EQ(wire_.sent, "");
  wire_.Deliver(HelloBytes("them"));
  EXPECT_EQ(Code(), StatusCode::kOk);
  EXPECT_EQ(wire_.sent, HelloBytes("us"));
  EXPECT_EQ(outcome_->peer.node(), "them");
}

TEST_F(HandshakeTest, ObserverIsNeitherJudgedNorAnswered) {
  Accept(MakeReject(v1::Reject::NODE_NAME_TAKEN, "not to be said"));
  wire_.Deliver(ObserverBytes());
  EXPECT_EQ(Code(), StatusCode::kOk);
  EXPECT_TRUE(outcome_->peer.observe());
  EXPECT_EQ(wire_.sent, "");
  EXPECT_FALSE(wire_.closed);
}

TEST_F(HandshakeTest, ListenerThatObservesIsDataLoss) {
  Dial();
  wire_.Deliver(ObserverBytes());
  EXPECT_EQ(Code(), StatusCode::kDataLoss);
  EXPECT_TRUE(wire_.closed);
}

TEST_F(HandshakeTest, BytesBehindTheHelloAreLeftForTheLink) {
  Accept();
  wire_.Deliver(HelloBytes("them") + "the rest");
  EXPECT_EQ(Code(), StatusCode::kOk);
  EXPECT_EQ(wire_.arrived, "the rest");
}

TEST_F(HandshakeTest, HelloMayComeInSingleBytes) {
  Accept();
  for (const char byte : HelloBytes("them")) {
    EXPECT_EQ(outcomes_, 0);
    wire_.Deliver(std::string(1, byte));
  }
  EXPECT_EQ(Code(), StatusCode::kOk);
}

TEST_F(HandshakeTest, HelloThatTheChannelTakesInPartsIsSentWhole) {
  wire_.take_at_most = 5;
  Dial();
  EXPECT_EQ(wire_.sent.size(), 5u);
  wire_.take_at_most = ~size_t{0};
  wire_.handler->OnWritable();
  EXPECT_EQ(wire_.sent, HelloBytes("us"));
}

TEST_F(HandshakeTest, WhatTheChannelHasNotTakenOfTheAnswerIsHandedOn) {
  Accept();
  wire_.take_at_most = 5;
  wire_.Deliver(HelloBytes("them"));
  EXPECT_EQ(Code(), StatusCode::kOk);
  EXPECT_EQ(wire_.sent.size(), 5u);
  EXPECT_EQ(wire_.sent + outcome_->unsent, HelloBytes("us"));
}

TEST_F(HandshakeTest, SilenceEndsAtTheDeadline) {
  Accept();
  clock_.now += 499;
  Run();
  EXPECT_EQ(outcomes_, 0);
  clock_.now += 1;
  EXPECT_EQ(Code(), StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(wire_.closed);
}

TEST_F(HandshakeTest, WhoIsNotReachedHasNotRefused) {
  wire_.connected = absl::UnavailableError("nobody there");
  Dial();
  clock_.now += 500;
  EXPECT_EQ(Code(), StatusCode::kUnavailable);
  EXPECT_EQ(outcome_.status().message(), "nobody there");
  EXPECT_TRUE(wire_.closed);
}

TEST_F(HandshakeTest, RefusedPeerIsToldTheReason) {
  const v1::Reject reject = MakeReject(v1::Reject::NODE_NAME_TAKEN, "taken");
  Accept(reject);
  wire_.Deliver(HelloBytes("them"));
  EXPECT_EQ(Code(), StatusCode::kAlreadyExists);
  v1::Control control;
  *control.mutable_reject() = reject;
  EXPECT_EQ(wire_.sent, ControlBytes(control));
  EXPECT_TRUE(wire_.closed);
  EXPECT_NE(outcome_.status().message().find("node \"them\": taken"),
            std::string::npos)
      << outcome_.status();
}

TEST_F(HandshakeTest, RefusalByThePeerHasTheCodeOfItsReason) {
  const std::pair<v1::Reject::Reason, StatusCode> kCodes[] = {
      {v1::Reject::PROTOCOL_VERSION, StatusCode::kFailedPrecondition},
      {v1::Reject::SCHEMA_DIGEST, StatusCode::kFailedPrecondition},
      {v1::Reject::DUPLICATE_LINK, StatusCode::kAlreadyExists},
      {v1::Reject::NODE_NAME_TAKEN, StatusCode::kAlreadyExists},
      {v1::Reject::NOT_ALLOWED, StatusCode::kPermissionDenied},
      {v1::Reject::TOO_MANY_LINKS, StatusCode::kResourceExhausted},
      {v1::Reject::TOO_MANY_OBSERVERS, StatusCode::kResourceExhausted},
      {v1::Reject::MALFORMED, StatusCode::kInvalidArgument},
      {v1::Reject::SHUTTING_DOWN, StatusCode::kUnavailable},
      {static_cast<v1::Reject::Reason>(99), StatusCode::kUnavailable},
  };
  for (const auto& [reason, code] : kCodes) {
    EXPECT_EQ(RejectStatus(MakeReject(reason, "why")).code(), code) << reason;
  }
  Dial();
  v1::Control control;
  *control.mutable_reject() = MakeReject(v1::Reject::SCHEMA_DIGEST, "differs");
  wire_.Deliver(ControlBytes(control));
  EXPECT_EQ(Code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(outcome_.status().message().find("SCHEMA_DIGEST: differs"),
            std::string::npos);
}

TEST_F(HandshakeTest, GarbageIsDataLoss) {
  Accept();
  wire_.Deliver("GET / HTTP/1.1");
  EXPECT_EQ(Code(), StatusCode::kDataLoss);
  EXPECT_TRUE(wire_.closed);
}

TEST_F(HandshakeTest, HelloMayHaveItsMaximumAndNotOneByteMore) {
  const auto bytes_of = [&](size_t digest_bytes) {
    v1::Control control;
    *control.mutable_hello() = HelloOf("n");
    control.mutable_hello()->set_topology_digest(
        std::string(digest_bytes, 't'));
    return ControlBytes(control);
  };
  size_t digest = kHandshakeBytesMax - 64;
  while (bytes_of(digest + 1).size() - sizeof(RecordHeader) <=
         kHandshakeBytesMax) {
    ++digest;
  }
  Accept();
  wire_.Deliver(bytes_of(digest));
  EXPECT_EQ(Code(), StatusCode::kOk);
  outcomes_ = 0;
  wire_.arrived.clear();
  Accept();
  wire_.Deliver(bytes_of(digest + 1).substr(0, sizeof(RecordHeader)));
  EXPECT_EQ(Code(), StatusCode::kResourceExhausted) << "from its header alone";
}

TEST_F(HandshakeTest, HelloThatIsTooLargeIsNotSaidAndItsSizeIsTheOutcome) {
  handshake_ = Handshake::Dial(*loop_, std::make_unique<WireChannel>(wire_),
                               HelloOf(std::string(kHandshakeBytesMax, 'n')),
                               clock_.now + 500, TakeOutcome());
  EXPECT_EQ(Code(), StatusCode::kResourceExhausted);
  EXPECT_NE(outcome_.status().message().find("bytes, at most 65536"),
            std::string::npos)
      << outcome_.status();
  EXPECT_EQ(wire_.sent, "");
}

TEST_F(HandshakeTest, WhoSaysAHelloThatIsTooLargeIsToldSo) {
  Accept();
  wire_.Deliver(HelloBytes(std::string(kHandshakeBytesMax, 'n'))
                    .substr(0, sizeof(RecordHeader)));
  EXPECT_EQ(Code(), StatusCode::kResourceExhausted);
  const v1::Reject reject = Rejected();
  EXPECT_EQ(reject.reason(), v1::Reject::MALFORMED);
  EXPECT_NE(reject.message().find("at most 65536"), std::string::npos);
}

TEST_F(HandshakeTest, AnswerThatIsTooLargeIsARefusalThatSaysSo) {
  handshake_ = Handshake::Accept(
      *loop_, std::make_unique<WireChannel>(wire_),
      [](const v1::Hello&, v1::Hello* ours) {
        *ours = HelloOf(std::string(kHandshakeBytesMax, 'n'));
        return std::nullopt;
      },
      clock_.now + 500, TakeOutcome());
  wire_.Deliver(HelloBytes("them"));
  EXPECT_EQ(Code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Rejected().reason(), v1::Reject::MALFORMED);
}

TEST_F(HandshakeTest, EndOfTheConnectionIsTheOutcome) {
  Dial();
  wire_.handler->OnClosed(absl::UnavailableError("gone"));
  EXPECT_EQ(Code(), StatusCode::kUnavailable);
}

TEST_F(HandshakeTest, EndRightBehindTheHelloOfADiallerIsTheOutcome) {
  Accept();
  wire_.Deliver(HelloBytes("them"));
  wire_.handler->OnClosed(absl::UnavailableError("gone"));
  EXPECT_EQ(Code(), StatusCode::kUnavailable);
}

TEST_F(HandshakeTest, EndBehindTheAnswerIsForTheLinkAsWhatCameBeforeIt) {
  Dial();
  wire_.Deliver(HelloBytes("them") + "data");
  wire_.handler->OnClosed(absl::UnavailableError("gone"));
  EXPECT_EQ(Code(), StatusCode::kOk);
  EXPECT_EQ(wire_.arrived, "data");
  EXPECT_FALSE(wire_.closed);
}

TEST_F(HandshakeTest, DestroyedHandshakeEndsItsConnectionAndSaysNothing) {
  Accept();
  wire_.Deliver(HelloBytes("them"));
  handshake_.reset();
  Run();
  EXPECT_EQ(outcomes_, 0);
  EXPECT_TRUE(wire_.closed);
  EXPECT_TRUE(wire_.destroyed);
}

}  // namespace
}  // namespace mycelium
