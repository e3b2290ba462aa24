#include "mycelium/transport/local_socket/local_channel.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/faulty_sys.h"

namespace mycelium {
namespace {

using ::absl::StatusCode;
using ::mycelium::test::FaultySys;

class Recorder final : public Channel::Handler {
 public:
  size_t OnBytes(absl::Span<const std::byte> bytes) override {
    EXPECT_FALSE(closed.has_value());
    ++offers;
    const size_t used = std::min(bytes.size(), use_at_most);
    got.append(reinterpret_cast<const char*>(bytes.data()), used);
    if (on_bytes != nullptr) on_bytes();
    return used;
  }
  void OnWritable() override { ++writable; }
  void OnClosed(const absl::Status& status) override {
    EXPECT_FALSE(closed.has_value());
    closed = status;
  }

  size_t use_at_most = ~size_t{0};
  std::function<void()> on_bytes;
  std::string got;
  int offers = 0;
  int writable = 0;
  std::optional<absl::Status> closed;
};

class PieceCountingSys final : public FaultySys {
 public:
  int64_t SendMsg(int fd, const msghdr& message, int flags) override {
    pieces_sent = message.msg_iovlen;
    return FaultySys::SendMsg(fd, message, flags);
  }
  size_t pieces_sent = 0;  // In the last call.
};

class LocalChannelTest : public ::testing::Test {
 protected:
  static constexpr size_t kBufferMax = 512 * 1024;

  LocalChannelTest() {
    loop_ = *EventLoop::Create(environment_);
    Connect(PeerCredentials(), kBufferMax);
  }
  ~LocalChannelTest() override {
    channel_.reset();
    ClosePeer();
    if (process_ > 0) EndProcess();
  }

  void Connect(const PeerCredentials& peer, size_t buffer_bytes_max) {
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    ClosePeer();
    peer_ = pair[1];
    channel_ = std::make_unique<LocalChannel>(
        environment_, *loop_, Fd(sys_, pair[0]), peer, buffer_bytes_max);
  }
  // A peer that is said to be a process, which does nothing until EndProcess().
  void ConnectToProcess(size_t buffer_bytes_max) {
    process_ = fork();
    ASSERT_GE(process_, 0);
    if (process_ == 0) {
      pause();
      _exit(0);
    }
    PeerCredentials peer;
    peer.pid = process_;
    Connect(peer, buffer_bytes_max);
  }
  void EndProcess() {
    ASSERT_EQ(kill(process_, SIGKILL), 0);
    ASSERT_EQ(waitpid(process_, nullptr, 0), process_);
    process_ = -1;
  }
  void ClosePeer() {
    if (peer_ >= 0) close(std::exchange(peer_, -1));
  }
  void PeerSends(const std::string& text) {
    ASSERT_EQ(send(peer_, text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  std::string PeerReceives() {
    std::string text(1 << 20, '\0');
    const ssize_t got = recv(peer_, text.data(), text.size(), MSG_DONTWAIT);
    text.resize(got < 0 ? 0 : static_cast<size_t>(got));
    return text;
  }
  absl::StatusOr<size_t> Send(const std::string& text) {
    const iovec piece = {const_cast<char*>(text.data()), text.size()};
    return channel_->Send(absl::MakeConstSpan(&piece, 1));
  }
  // Runs the loop until nothing more is ready.
  void Run() {
    while (loop_->RunOnce(0, 0) == EventLoop::Ran::kSomething) continue;
  }

  PieceCountingSys sys_;
  Environment environment_{sys_, Environment::Real().clock,
                           Environment::Real().waiter};
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<LocalChannel> channel_;
  Recorder recorder_;
  int peer_ = -1;
  pid_t process_ = -1;
};

TEST_F(LocalChannelTest, BytesThatWereNotUsedAreOfferedAgainWithMore) {
  channel_->Start(recorder_);
  recorder_.use_at_most = 2;
  PeerSends("abcde");
  Run();
  EXPECT_EQ(recorder_.got, "ab");
  recorder_.use_at_most = 100;
  PeerSends("fg");
  Run();
  EXPECT_EQ(recorder_.got, "abcdefg");
}

TEST_F(LocalChannelTest, NextHandlerGetsWhatTheLastOneLeft) {
  channel_->Start(recorder_);
  recorder_.use_at_most = 3;
  PeerSends("abcde");
  Run();
  Recorder next;
  channel_->Start(next);
  Run();
  EXPECT_EQ(next.got, "de");
}

TEST_F(LocalChannelTest, PiecesAreSentInOneCall) {
  std::string a = "one ", b = "call";
  const iovec pieces[] = {{a.data(), a.size()}, {b.data(), b.size()}};
  channel_->Start(recorder_);
  const auto sent = channel_->Send(pieces);
  ASSERT_TRUE(sent.ok());
  EXPECT_EQ(*sent, 8u);
  EXPECT_EQ(PeerReceives(), "one call");
  Run();
  EXPECT_EQ(recorder_.writable, 0) << "nothing was left to send";
}

TEST_F(LocalChannelTest, OnlyALittleIsCopiedTogether) {
  channel_->Start(recorder_);
  std::string header(24, 'h');
  for (const size_t bytes_count : {2048, 2049}) {
    std::string body(bytes_count - header.size(), 'b');
    const iovec pieces[] = {{header.data(), header.size()},
                            {body.data(), body.size()}};
    EXPECT_EQ(*channel_->Send(pieces), bytes_count);
    EXPECT_EQ(sys_.pieces_sent, bytes_count == 2048 ? 1u : 2u);
    EXPECT_EQ(PeerReceives(), header + body);
  }
}

TEST_F(LocalChannelTest, ShortSendIsFollowedByOnWritable) {
  channel_->Start(recorder_);
  sys_.SendAtMost({3});
  EXPECT_EQ(*Send("abcdefgh"), 3u);
  Run();
  EXPECT_EQ(recorder_.writable, 1);
  EXPECT_EQ(*Send("defgh"), 5u);
  Run();
  EXPECT_EQ(recorder_.writable, 1) << "asked for once";
  EXPECT_EQ(PeerReceives(), "abcdefgh");
}

TEST_F(LocalChannelTest, SpinningLoopGoesOnWithAShortSendAtOnce) {
  channel_->Start(recorder_);
  loop_->RunOnce(0, kNever);  // Asks the kernel: the next time in 1 ms.
  sys_.SendAtMost({3});
  EXPECT_EQ(*Send("abcdefgh"), 3u);
  loop_->RunOnce(0, kNever);
  EXPECT_EQ(recorder_.writable, 1);
}

TEST_F(LocalChannelTest, FullPipeTakesNothingUntilThePeerReads) {
  channel_->Start(recorder_);
  const std::string chunk(64 * 1024, 'c');
  size_t total = 0;
  while (true) {
    const size_t taken = *Send(chunk);
    total += taken;
    if (taken < chunk.size()) break;
  }
  EXPECT_EQ(*Send(chunk), 0u);
  Run();
  EXPECT_EQ(recorder_.writable, 0);
  size_t received = 0;
  while (received < total) received += PeerReceives().size();
  Run();
  EXPECT_GE(recorder_.writable, 1);
  EXPECT_GT(*Send(chunk), 0u);
}

TEST_F(LocalChannelTest, InterruptedSendIsTriedAgain) {
  channel_->Start(recorder_);
  sys_.Fail("sendmsg", {-EINTR, -EINTR});
  EXPECT_EQ(*Send("abc"), 3u);
  EXPECT_EQ(sys_.Left("sendmsg"), 0u);
}

TEST_F(LocalChannelTest, InterruptedReceiveLosesNothing) {
  channel_->Start(recorder_);
  sys_.Fail("recv", {-EINTR, -EAGAIN});
  PeerSends("abc");
  Run();
  EXPECT_EQ(recorder_.got, "abc");
  EXPECT_EQ(sys_.Left("recv"), 0u);
}

TEST_F(LocalChannelTest, SendToAPeerThatHasGoneIsUnavailable) {
  channel_->Start(recorder_);
  PeerSends("last words");
  ClosePeer();
  EXPECT_EQ(Send("abc").status().code(), StatusCode::kUnavailable);
  EXPECT_FALSE(recorder_.closed.has_value()) << "the loop has not run";
  Run();
  EXPECT_EQ(recorder_.got, "last words");
  ASSERT_TRUE(recorder_.closed.has_value());
  EXPECT_EQ(recorder_.closed->code(), StatusCode::kUnavailable);
}

TEST_F(LocalChannelTest, SendThatTheKernelRefusesEndsTheConnection) {
  for (const int64_t error : {-ENOBUFS, -ENOMEM, -ENOSPC}) {
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    Recorder recorder;
    LocalChannel channel(environment_, *loop_, Fd(sys_, pair[0]),
                         PeerCredentials(), kBufferMax);
    channel.Start(recorder);
    ASSERT_EQ(send(pair[1], "before", 6, 0), 6);
    sys_.Fail("sendmsg", {error});
    const iovec piece = {const_cast<char*>("abc"), 3};
    EXPECT_EQ(channel.Send(absl::MakeConstSpan(&piece, 1)).status().code(),
              StatusCode::kResourceExhausted);
    Run();
    EXPECT_EQ(recorder.got, "before");
    EXPECT_TRUE(recorder.closed.has_value());
    close(pair[1]);
  }
}

TEST_F(LocalChannelTest, ReceiveErrorEndsTheConnection) {
  channel_->Start(recorder_);
  sys_.Fail("recv", {-ECONNRESET});
  PeerSends("abc");
  Run();
  ASSERT_TRUE(recorder_.closed.has_value());
  EXPECT_EQ(recorder_.closed->code(), StatusCode::kUnavailable);
}

TEST_F(LocalChannelTest, WhatArrivedBeforeTheEndComesBeforeIt) {
  PeerSends("abc");
  ClosePeer();
  recorder_.on_bytes = [&] { EXPECT_FALSE(recorder_.closed.has_value()); };
  channel_->Start(recorder_);
  Run();
  EXPECT_EQ(recorder_.got, "abc");
  EXPECT_TRUE(recorder_.closed.has_value());
}

TEST_F(LocalChannelTest, NextHandlerGetsWhatIsLeftBeforeTheEndIsRead) {
  channel_->Start(recorder_);
  recorder_.use_at_most = 3;
  PeerSends("abcde");
  Run();
  ClosePeer();
  Recorder next;
  channel_->Start(next);
  EXPECT_TRUE(channel_->ReadNow()) << "before the task that offers it";
  Run();
  EXPECT_EQ(next.got, "de");
  EXPECT_TRUE(next.closed.has_value());
  EXPECT_FALSE(recorder_.closed.has_value());
}

TEST_F(LocalChannelTest, HandlerThatIsSetBehindTheEndGetsWhatIsLeftAndTheEnd) {
  channel_->Start(recorder_);
  recorder_.use_at_most = 3;
  PeerSends("abcde");
  Run();
  recorder_.use_at_most = 0;
  ClosePeer();
  Run();
  ASSERT_TRUE(recorder_.closed.has_value());
  Recorder next;
  channel_->Start(next);
  EXPECT_EQ(next.got, "") << "not from within Start()";
  Run();
  EXPECT_EQ(next.got, "de");
  EXPECT_EQ(next.closed, recorder_.closed);
}

TEST_F(LocalChannelTest, HandlerThatIsSetBehindTheEndIsNotCalledAfterClose) {
  channel_->Start(recorder_);
  recorder_.use_at_most = 3;
  PeerSends("abcde");
  ClosePeer();
  Run();
  ASSERT_TRUE(recorder_.closed.has_value());
  Recorder next;
  next.on_bytes = [&] { channel_->Close(); };
  channel_->Start(next);
  Run();
  EXPECT_EQ(next.got, "de");
  EXPECT_FALSE(next.closed.has_value());
}

// What the kernel has of a process that has ended is more than the buffer
// holds, and the first handler takes none of it.
TEST_F(LocalChannelTest, NextHandlerGetsAllThatAProcessThatHasEndedHadSent) {
  ConnectToProcess(/*buffer_bytes_max=*/0);
  Recorder next;
  recorder_.use_at_most = 3;
  recorder_.on_bytes = [&] {
    recorder_.use_at_most = 0;
    if (recorder_.offers == 1) loop_->Post([&] { channel_->Start(next); });
  };
  channel_->Start(recorder_);
  EndProcess();
  const std::string behind(150'000, 'x');
  PeerSends("abc" + behind);
  Run();
  EXPECT_EQ(next.got, behind);
  ASSERT_TRUE(next.closed.has_value());
  EXPECT_EQ(next.closed->code(), StatusCode::kUnavailable) << *next.closed;
}

// A child of the peer's process may have the socket, and send for as long as it
// likes.
TEST_F(LocalChannelTest, WhoSendsOnAfterThePeersProcessHasEndedKeepsNobody) {
  ConnectToProcess(kBufferMax);
  recorder_.on_bytes = [&] { PeerSends("more"); };
  channel_->Start(recorder_);
  EndProcess();
  PeerSends("some");
  for (int turn = 0; turn < 1000 && !recorder_.closed.has_value(); ++turn) {
    loop_->RunOnce(0, 0);
  }
  ASSERT_TRUE(recorder_.closed.has_value());
  EXPECT_NE(recorder_.closed->message().find("has ended"), std::string::npos)
      << *recorder_.closed;
  EXPECT_FALSE(recorder_.got.empty());
}

TEST_F(LocalChannelTest, EndsIfItCannotAskForRoom) {
  channel_->Start(recorder_);
  sys_.SendAtMost({2});
  sys_.Fail("epoll_ctl", {-ENOMEM});
  ASSERT_TRUE(Send("abcde").ok());
  Run();
  EXPECT_TRUE(recorder_.closed.has_value())
      << "nobody would say that the rest can be sent";
}

TEST_F(LocalChannelTest, NothingIsCalledAfterClose) {
  recorder_.on_bytes = [&] { channel_->Close(); };
  recorder_.use_at_most = 1;
  channel_->Start(recorder_);
  PeerSends("abc");
  ClosePeer();
  Run();
  EXPECT_EQ(recorder_.offers, 1);
  EXPECT_FALSE(recorder_.closed.has_value());
}

TEST_F(LocalChannelTest, BufferGrowsOnlyToItsBound) {
  channel_->Start(recorder_);
  recorder_.use_at_most = 0;
  size_t sent = 0;
  const std::string chunk(32 * 1024, 'c');
  while (!recorder_.closed.has_value() && sent < 4 * kBufferMax) {
    const ssize_t taken = send(peer_, chunk.data(), chunk.size(), MSG_NOSIGNAL);
    if (taken > 0) sent += static_cast<size_t>(taken);
    Run();
  }
  ASSERT_TRUE(recorder_.closed.has_value());
  EXPECT_EQ(recorder_.closed->code(), StatusCode::kDataLoss);
  EXPECT_GE(sent, kBufferMax);
  EXPECT_LE(sent, kBufferMax + 2 * chunk.size());
}

class DescriptorsTest : public LocalChannelTest {
 protected:
  DescriptorsTest() {
    int pair[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    sender_ = std::make_unique<LocalChannel>(
        environment_, *loop_, Fd(sys_, pair[0]), PeerCredentials(), kBufferMax,
        /*passes_descriptors=*/true);
    channel_ = std::make_unique<LocalChannel>(
        environment_, *loop_, Fd(sys_, pair[1]), PeerCredentials(), kBufferMax,
        /*passes_descriptors=*/true);
    channel_->Start(recorder_);
  }

  void SendPair() {
    const Fd one(sys_, static_cast<int>(sys_.EventFd()));
    const Fd two(sys_, static_cast<int>(sys_.EventFd()));
    iovec piece = {const_cast<char*>("p"), 1};
    ASSERT_TRUE(sender_
                    ->SendDescriptors({one.get(), two.get()},
                                      absl::MakeConstSpan(&piece, 1))
                    .ok());
  }
  // Receives while the process may have only `more` descriptors more than it
  // has.
  void RunOutOfDescriptors(rlim_t more = 0) {
    rlimit limit;
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const int lowest = dup(0);  // Where the next one goes.
    ASSERT_EQ(close(lowest), 0);
    const rlimit few = {more == 0 ? 0 : static_cast<rlim_t>(lowest) + more,
                        limit.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    Run();
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  }

  std::unique_ptr<LocalChannel> sender_;
};

TEST_F(DescriptorsTest, PairThatDidNotArriveIsNotTakenForTheNext) {
  SendPair();
  RunOutOfDescriptors();
  SendPair();
  Run();
  EXPECT_EQ(recorder_.got, "pp");
  const auto first = channel_->TakeDescriptors();
  ASSERT_TRUE(first.has_value());
  EXPECT_FALSE((*first)[0].valid());
  EXPECT_FALSE((*first)[1].valid());
  const auto second = channel_->TakeDescriptors();
  ASSERT_TRUE(second.has_value());
  EXPECT_TRUE((*second)[0].valid());
  EXPECT_TRUE((*second)[1].valid());
  EXPECT_FALSE(channel_->TakeDescriptors().has_value());
}

TEST_F(DescriptorsTest, OfAPairOfWhichOneDidNotArriveNoneCounts) {
  SendPair();
  RunOutOfDescriptors(/*more=*/1);
  EXPECT_EQ(recorder_.got, "p");
  const auto pair = channel_->TakeDescriptors();
  ASSERT_TRUE(pair.has_value());
  EXPECT_FALSE((*pair)[0].valid());
  EXPECT_FALSE((*pair)[1].valid());
}

TEST_F(DescriptorsTest, PairThatTheKernelDoesNotTakeIsLeftToTheSender) {
  sys_.Fail("sendmsg", {-ETOOMANYREFS});
  iovec piece = {const_cast<char*>("p"), 1};
  const auto send = [&](bool with_pair) {
    return with_pair ? sender_->SendDescriptors({0, 0}, {&piece, 1}).status()
                     : sender_->Send({&piece, 1}).status();
  };
  EXPECT_EQ(send(/*with_pair=*/true).code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(send(/*with_pair=*/false).ok());
  Run();
  EXPECT_EQ(recorder_.got, "p");
  EXPECT_FALSE(recorder_.closed.has_value());
  sys_.Fail("sendmsg", {-EPIPE});
  EXPECT_EQ(send(/*with_pair=*/true).code(), StatusCode::kUnavailable);
  Run();
  EXPECT_TRUE(recorder_.closed.has_value());
}

TEST_F(DescriptorsTest, NextHandlerFindsThemWhenTheConnectionHasEnded) {
  recorder_.use_at_most = 0;
  SendPair();
  sender_.reset();
  Run();
  ASSERT_TRUE(recorder_.closed.has_value());
  Recorder next;
  std::optional<std::array<Fd, 2>> pair;
  next.on_bytes = [&] { pair = channel_->TakeDescriptors(); };
  channel_->Start(next);
  Run();
  EXPECT_EQ(next.got, "p");
  ASSERT_TRUE(pair.has_value());
  EXPECT_TRUE((*pair)[0].valid());
}

TEST_F(DescriptorsTest, PairsThatNobodyTakesEndTheChannel) {
  for (int i = 0; i < 17; ++i) {
    SendPair();
    Run();
  }
  ASSERT_TRUE(recorder_.closed.has_value());
  EXPECT_EQ(recorder_.closed->code(), StatusCode::kDataLoss);
  EXPECT_THAT(recorder_.closed->message(),
              ::testing::HasSubstr("more than 16 pairs of descriptors"));
}

}  // namespace
}  // namespace mycelium
