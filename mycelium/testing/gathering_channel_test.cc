// The behaviour that the simulation shares with gRPC's channels.
#include "mycelium/testing/gathering_channel.h"

#include <algorithm>
#include <memory>
#include <string>

#include "gtest/gtest.h"

namespace mycelium {
namespace {

// A socket whose bytes the test moves to the other one.
class FakeSocket final : public Channel {
 public:
  void Start(Handler& started) override { handler = &started; }
  absl::StatusOr<size_t> Send(absl::Span<const iovec> pieces) override {
    size_t taken = 0;
    for (const iovec& piece : pieces) {
      sent.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
      taken += piece.iov_len;
    }
    return taken;
  }
  void Close() override { closed = true; }
  const std::string& peer_description() const override { return name_; }

  Handler* handler = nullptr;
  std::string sent;
  std::string arrived;
  bool closed = false;

 private:
  const std::string name_ = "the other one";
};

// One end, whose owner keeps what arrived until it is told to use it.
class End final : private GatheringStream::Owner {
 public:
  explicit End(SimulatedSys& sys) {
    auto inner = std::make_unique<FakeSocket>();
    socket = inner.get();
    stream = std::make_shared<GatheringStream>(sys, std::move(inner));
    stream->SetOwner(this);
    stream->Start();
  }
  size_t Send(const std::string& text) {
    iovec piece = {const_cast<char*>(text.data()), text.size()};
    return *stream->Send({&piece, 1});
  }
  std::string Arrived() const {
    const auto bytes = stream->Arrived();
    return std::string(reinterpret_cast<const char*>(bytes.data()),
                       bytes.size());
  }

  std::shared_ptr<GatheringStream> stream;
  FakeSocket* socket;
  bool uses = false;
  std::string used;
  int rooms = 0;

 private:
  void OnStream() override {
    if (!uses) return;
    used += Arrived();
    stream->Use(stream->Arrived().size());
  }
  void OnRoom() override { ++rooms; }
};

class GatheringStreamTest : public ::testing::Test {
 protected:
  // Moves at most so many of the bytes that `from` has written to `to`.
  static void Move(End& from, End& to, size_t bytes_max = 1 << 20) {
    const size_t bytes = std::min(bytes_max, from.socket->sent.size());
    to.socket->arrived += from.socket->sent.substr(0, bytes);
    from.socket->sent.erase(0, bytes);
    const size_t used = to.socket->handler->OnBytes(absl::MakeConstSpan(
        reinterpret_cast<const std::byte*>(to.socket->arrived.data()),
        to.socket->arrived.size()));
    to.socket->arrived.erase(0, used);
  }

  Random random_{1};
  Trace trace_;
  SimulatedKernel kernel_{random_, trace_};
  SimulatedSys sys_{kernel_, /*place=*/0, /*pid=*/1, /*seed=*/1};
  End a_{sys_}, b_{sys_};
};

TEST_F(GatheringStreamTest, OneBatchIsUnderWayUntilThePeerTookIt) {
  EXPECT_FALSE(a_.stream->IsWriting());
  EXPECT_EQ(a_.Send("one"), 3u);
  EXPECT_TRUE(a_.stream->IsWriting());
  const size_t first_bytes = a_.socket->sent.size();
  EXPECT_EQ(a_.Send("two"), 3u);
  EXPECT_EQ(a_.Send("three"), 5u);
  EXPECT_EQ(a_.socket->sent.size(), first_bytes) << "they gather";
  Move(a_, b_);
  EXPECT_EQ(b_.Arrived(), "one");
  EXPECT_TRUE(a_.socket->sent.empty());
  Move(b_, a_);
  EXPECT_EQ(a_.rooms, 1) << "IsWriting() asks to be told";
  EXPECT_EQ(trace_.count(Happening::kGather), 1u);
  Move(a_, b_);
  EXPECT_EQ(b_.Arrived(), "onetwothree");
  Move(b_, a_);
  EXPECT_FALSE(a_.stream->IsWriting());
  EXPECT_EQ(a_.rooms, 1) << "nobody asked";
}

TEST_F(GatheringStreamTest, BatchIsBoundedInBytesAndInPieces) {
  ASSERT_EQ(a_.Send("first"), 5u);
  const std::string large(GatheringStream::kBatchBytesMax + 1, 'x');
  EXPECT_EQ(a_.Send(large), GatheringStream::kBatchBytesMax);
  EXPECT_EQ(a_.Send("x"), 0u);
  EXPECT_EQ(trace_.count(Happening::kBatchFull), 2u);
  Move(a_, b_);
  Move(b_, a_);
  EXPECT_EQ(a_.rooms, 1);
  for (size_t i = 0; i < GatheringStream::kBatchPiecesMax; ++i) {
    EXPECT_EQ(a_.Send("x"), 1u);
  }
  EXPECT_EQ(a_.Send("x"), 0u);
}

TEST_F(GatheringStreamTest, PeerThatNeedsMoreToUseAnythingGetsMore) {
  const std::string large(GatheringStream::kBatchBytesMax, 'x');
  for (int i = 1; i <= 3; ++i) {
    ASSERT_EQ(a_.Send(large), large.size());
    Move(a_, b_);
    Move(b_, a_);
    EXPECT_FALSE(a_.stream->IsWriting());
    EXPECT_EQ(b_.Arrived().size(), i * large.size());
  }
}

TEST_F(GatheringStreamTest, BatchThatIsNotWholeIsLostWithTheConnection) {
  ASSERT_EQ(a_.Send("one"), 3u);
  ASSERT_EQ(a_.Send("two"), 3u);
  Move(a_, b_, a_.socket->sent.size() - 1);
  EXPECT_EQ(b_.Arrived(), "");
  for (End* end : {&a_, &b_}) {
    end->socket->handler->OnClosed(absl::UnavailableError("cut"));
    EXPECT_EQ(end->stream->end().code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_EQ(b_.Arrived(), "");
  iovec piece = {const_cast<char*>("x"), 1};
  EXPECT_EQ(a_.stream->Send({&piece, 1}).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(GatheringStreamTest, FinishedStreamEndsWhenAllIsWritten) {
  b_.uses = true;
  ASSERT_EQ(a_.Send("one"), 3u);
  ASSERT_EQ(a_.Send("two"), 3u);
  bool ended = false;
  a_.stream->SetOwner(nullptr);
  a_.stream->Finish([&] { ended = true; });
  for (int i = 0; i < 2; ++i) {
    EXPECT_FALSE(ended);
    Move(a_, b_);
    Move(b_, a_);
  }
  EXPECT_EQ(b_.used, "onetwo");
  EXPECT_TRUE(ended);
  EXPECT_TRUE(a_.socket->closed);
}

}  // namespace
}  // namespace mycelium
