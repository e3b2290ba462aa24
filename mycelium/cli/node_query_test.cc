#include "mycelium/cli/node_query.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/cli/process_state.h"
#include "mycelium/codec/frame_format.h"
#include "mycelium/transport/handshake.h"
#include "mycelium/transport/local_socket/local_socket.h"
#include "mycelium/transport/outgoing.h"
#include "proto/mycelium/v1/control.pb.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium {
namespace {

using ::testing::HasSubstr;

// Plays the node at the other end, on the same thread.
class NodeQueryTest : public ::testing::Test {
 protected:
  void Ask() { AskIn(environment_); }
  // `environment` outlives the query.
  void AskIn(Environment& environment) {
    SeenNode node;
    node.name = "feed";
    node.path = path_;
    query_ = std::make_unique<NodeQuery>(environment, *loop_, node);
  }
  void Listen() {
    absl::StatusOr<LocalListener> listener = ListenLocal(environment_, path_);
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_.emplace(*std::move(listener));
  }
  Fd Accept() {
    absl::StatusOr<Fd> fd = AcceptLocal(environment_, *listener_);
    while (fd.ok() && !fd->valid()) {
      Run();
      fd = AcceptLocal(environment_, *listener_);
    }
    return *std::move(fd);
  }
  // Sends the bytes, and a record if `control` is not null.
  void Say(const Fd& fd, std::string bytes,
           const v1::Control* control = nullptr) {
    if (control != nullptr) {
      AppendControlRecord(control->SerializeAsString(), &bytes);
    }
    ASSERT_EQ(environment_.sys.Write(fd.get(), bytes.data(), bytes.size()),
              static_cast<int64_t>(bytes.size()));
  }
  void Reject(const Fd& fd, v1::Reject::Reason reason,
              const std::string& message) {
    v1::Control control;
    *control.mutable_reject() = MakeReject(reason, message);
    control.mutable_reject()->set_node("who");
    Say(fd, "", &control);
  }
  void Run() { (void)loop_->RunOnce(environment_.clock.NowNs() + kTurnNs, 0); }
  SeenNode Outcome() {
    while (!query_->is_done()) Run();
    return query_->Result(absl::Seconds(2));
  }

  static constexpr int64_t kTurnNs = 1'000'000;

  test::ShortTempDir dir_;
  const std::string path_ = dir_.file("feed.sock");
  Environment& environment_ = Environment::Real();
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create(environment_);
  std::optional<LocalListener> listener_;
  std::unique_ptr<NodeQuery> query_;
};

TEST_F(NodeQueryTest, AnswerIsTakenWithItsNameAndWhoGaveIt) {
  Listen();
  Ask();
  const Fd fd = Accept();
  char bytes[64];
  ASSERT_GT(environment_.sys.Read(fd.get(), bytes, sizeof bytes),
            static_cast<int64_t>(sizeof(RecordHeader)));
  v1::Control hello;
  ASSERT_TRUE(hello.ParseFromArray(bytes + sizeof(RecordHeader), 2 + 2));
  EXPECT_TRUE(hello.hello().observe());
  v1::Control control;
  control.mutable_node_status()->set_node("itself");
  Say(fd, "", &control);
  const SeenNode node = Outcome();
  EXPECT_EQ(node.state, NodeState::kRunning);
  EXPECT_EQ(node.name, "itself");
  EXPECT_EQ(node.pid, getpid());
  EXPECT_EQ(node.uid, static_cast<int64_t>(geteuid()));
}

// Says that other users than we are at both ends.
class OtherUsersSys final : public Sys {
 public:
  OtherUsersSys(int64_t self, int64_t peer) : self_(self), peer_(peer) {}

  int64_t GetEffectiveUid() override { return self_; }
  int64_t GetSockOpt(int fd, int level, int name, void* value,
                     socklen_t* bytes) override {
    const int64_t got = Sys::GetSockOpt(fd, level, name, value, bytes);
    if (got >= 0 && name == SO_PEERCRED) {
      static_cast<ucred*>(value)->uid = static_cast<uid_t>(peer_);
    }
    return got;
  }

 private:
  const int64_t self_;
  const int64_t peer_;
};

TEST_F(NodeQueryTest, AnotherUserWhoListensThereIsNotBelieved) {
  Listen();
  OtherUsersSys sys(1000, 1001);
  Environment environment{sys, environment_.clock, environment_.waiter};
  AskIn(environment);
  ASSERT_TRUE(query_->is_done());
  const SeenNode node = Outcome();
  EXPECT_EQ(node.state, NodeState::kRefused);
  EXPECT_EQ(node.why,
            "uid 1001 listens there, which is neither this user nor root");
  EXPECT_EQ(node.uid, 1001);
  query_.reset();
}

TEST_F(NodeQueryTest, RootIsAskedAndAsksEverybody) {
  Listen();
  for (const auto& [self, peer] : {std::pair{1000, 0}, {0, 1001}}) {
    OtherUsersSys sys(self, peer);
    Environment environment{sys, environment_.clock, environment_.waiter};
    AskIn(environment);
    const Fd fd = Accept();
    v1::Control control;
    control.mutable_node_status()->set_node("feed");
    Say(fd, "", &control);
    EXPECT_EQ(Outcome().state, NodeState::kRunning) << self << " " << peer;
    query_.reset();
  }
}

TEST_F(NodeQueryTest, NoSocketIsNotRunning) {
  Ask();
  EXPECT_EQ(Outcome().state, NodeState::kNotRunning);
  EXPECT_EQ(Outcome().why, "there is no socket at " + path_);
}

TEST_F(NodeQueryTest, SocketWithoutListenerIsStale) {
  // No process locks its directory, and its process is as good as dead.
  const int64_t fd = environment_.sys.Socket(AF_UNIX, SOCK_STREAM);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path_.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(environment_.sys.Bind(static_cast<int>(fd),
                                  reinterpret_cast<sockaddr*>(&address),
                                  sizeof address),
            0);
  environment_.sys.Close(static_cast<int>(fd));
  Ask();
  EXPECT_EQ(Outcome().state, NodeState::kStale);
  EXPECT_THAT(Outcome().why, HasSubstr("nobody listens at " + path_));
}

TEST_F(NodeQueryTest, OrdinaryFileIsNoSocket) {
  std::ofstream(path_) << "text";
  Ask();
  EXPECT_EQ(Outcome().state, NodeState::kUnclear);
  EXPECT_EQ(Outcome().why, path_ + " is no socket");
}

TEST_F(NodeQueryTest, ListenerThatSaysNothingIsSilent) {
  Listen();
  Ask();
  const Fd fd = Accept();
  Run();
  EXPECT_FALSE(query_->is_done());
  const SeenNode node = query_->Result(absl::Milliseconds(150));
  EXPECT_EQ(node.state, NodeState::kSilent);
  EXPECT_THAT(node.why, HasSubstr("did not answer within 150ms"));
}

TEST_F(NodeQueryTest, GarbageIsNoNode) {
  Listen();
  Ask();
  const Fd fd = Accept();
  Say(fd, "HTTP/1.1 400 Bad Request\r\n");
  EXPECT_EQ(Outcome().state, NodeState::kUnclear);
  EXPECT_THAT(Outcome().why, HasSubstr("is no node: "));
}

TEST_F(NodeQueryTest, AnswerThatAnnouncesTooMuchIsNotWaitedFor) {
  Listen();
  Ask();
  const Fd fd = Accept();
  const RecordHeader header =
      MakeRecordHeader(RecordKind::kControl, (1 << 20) + 1);
  Say(fd, std::string(reinterpret_cast<const char*>(&header), sizeof header));
  EXPECT_EQ(Outcome().state, NodeState::kUnclear);
}

TEST_F(NodeQueryTest, ConnectionThatEndsWithoutAnAnswerIsUnclear) {
  Listen();
  Ask();
  Accept().Close();
  EXPECT_EQ(Outcome().state, NodeState::kUnclear);
  EXPECT_THAT(Outcome().why, HasSubstr("without an answer"));
}

TEST_F(NodeQueryTest, OlderNodeSaysWhoItIsAndThatItCannotBeAsked) {
  Listen();
  Ask();
  const Fd fd = Accept();
  Reject(fd, v1::Reject::PROTOCOL_VERSION, "this node speaks 1");
  const SeenNode node = Outcome();
  EXPECT_EQ(node.state, NodeState::kRefused);
  EXPECT_EQ(node.name, "who");
  EXPECT_EQ(node.why,
            "it runs a version of Mycelium that cannot be asked: this node "
            "speaks 1");
}

TEST_F(NodeQueryTest, RefusalIsGivenInItsOwnWords) {
  Listen();
  Ask();
  const Fd fd = Accept();
  Reject(fd, v1::Reject::NOT_ALLOWED, "not you");
  EXPECT_EQ(Outcome().state, NodeState::kRefused);
  EXPECT_EQ(Outcome().why, "NOT_ALLOWED: not you");
}

TEST_F(NodeQueryTest, BusyNodeIsAskedAgain) {
  Listen();
  Ask();
  {
    const Fd busy = Accept();
    Reject(busy, v1::Reject::TOO_MANY_OBSERVERS, "try again");
    Run();
  }
  const Fd fd = Accept();
  v1::Control control;
  control.mutable_node_status()->set_node("feed");
  Say(fd, "", &control);
  EXPECT_EQ(Outcome().state, NodeState::kRunning);
}

TEST_F(NodeQueryTest, NodeThatStaysBusyHasTooManyObservers) {
  Listen();
  Ask();
  const Fd busy = Accept();
  Reject(busy, v1::Reject::TOO_MANY_OBSERVERS, "try again");
  const Fd again = Accept();
  const SeenNode node = query_->Result(absl::Milliseconds(150));
  EXPECT_EQ(node.state, NodeState::kRefused);
  EXPECT_EQ(node.why,
            "it has too many observers, asked again and again for 150ms");
}

TEST(ProcessStateTest, StoppedProcessIsToldFromOneThatRuns) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    while (true) pause();
  }
  EXPECT_FALSE(IsStopped(Sys::Real(), child));
  ASSERT_EQ(kill(child, SIGSTOP), 0);
  ASSERT_EQ(waitpid(child, nullptr, WUNTRACED), child);
  EXPECT_TRUE(IsStopped(Sys::Real(), child));
  ASSERT_EQ(kill(child, SIGKILL), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_FALSE(IsStopped(Sys::Real(), child));
  EXPECT_FALSE(IsStopped(Sys::Real(), 0));
}

}  // namespace
}  // namespace mycelium
