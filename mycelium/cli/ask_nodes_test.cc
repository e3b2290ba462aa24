#include "mycelium/cli/ask_nodes.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mycelium/transport/local_socket/local_socket.h"
#include "mycelium/transport/outgoing.h"
#include "proto/mycelium/v1/control.pb.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium {
namespace {

// Asks one process under many names: links to its socket.
class AskNodesTest : public ::testing::Test {
 protected:
  HostView Linked(size_t count) {
    HostView view;
    view.socket_dir = dir_.path();
    for (size_t i = 0; i < count; ++i) {
      SeenNode node;
      node.path = dir_.file(absl::StrCat(i));
      if (link(path_.c_str(), node.path.c_str()) != 0 && errno != EEXIST) {
        ADD_FAILURE() << node.path << ": " << strerror(errno);
      }
      view.nodes.push_back(node);
    }
    return view;
  }
  static size_t CountOf(const HostView& view, NodeState state) {
    return std::count_if(
        view.nodes.begin(), view.nodes.end(),
        [&](const SeenNode& node) { return node.state == state; });
  }

  test::ShortTempDir dir_;
  const std::string path_ = dir_.file("s");
  Environment& environment_ = Environment::Real();
};

void WaitUntilReadable(int fd) {
  pollfd wanted = {fd, POLLIN, 0};
  poll(&wanted, 1, -1);
}

// Answers everybody at `path`. Closes `ready` once it listens.
[[noreturn]] void AnswerAll(const std::string& path, int ready) {
  Environment& environment = Environment::Real();
  const absl::StatusOr<LocalListener> listener = ListenLocal(environment, path);
  if (!listener.ok()) _exit(1);
  close(ready);
  v1::Control control;
  control.mutable_node_status()->set_node("many");
  std::string answer;
  AppendControlRecord(control.SerializeAsString(), &answer);
  while (true) {
    WaitUntilReadable(listener->fd());
    const absl::StatusOr<Fd> asked = AcceptLocal(environment, *listener);
    if (!asked.ok() || !asked->valid()) continue;
    // Otherwise the end of the connection would throw the answer away.
    WaitUntilReadable(asked->get());
    char hello[64];
    environment.sys.Read(asked->get(), hello, sizeof hello);
    environment.sys.Write(asked->get(), answer.data(), answer.size());
  }
}

// As many nodes as a process usually may have descriptors. Each node takes two
// of these while it is asked.
TEST_F(AskNodesTest, MoreNodesThanThereAreDescriptorsAnswer) {
  constexpr size_t kDescriptorsMax = 1024;
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit limit = {std::min<rlim_t>(kDescriptorsMax, before.rlim_max),
                        before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    AnswerAll(path_, ready[1]);
  }
  close(ready[1]);
  char none;
  EXPECT_EQ(read(ready[0], &none, 1), 0);
  close(ready[0]);

  HostView view = Linked(kDescriptorsMax);
  EXPECT_EQ(AskNodes(environment_, absl::Minutes(1), &view), absl::OkStatus());
  EXPECT_EQ(CountOf(view, NodeState::kRunning), kDescriptorsMax);
  const auto other = std::find_if(
      view.nodes.begin(), view.nodes.end(),
      [](const SeenNode& node) { return node.state != NodeState::kRunning; });
  if (other != view.nodes.end()) ADD_FAILURE() << other->why;

  EXPECT_EQ(kill(child, SIGKILL), 0);
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST_F(AskNodesTest, WhoDoesNotComeUpForLackOfAnswersIsSaidNotToBeAsked) {
  const absl::StatusOr<LocalListener> silent = ListenLocal(environment_, path_);
  ASSERT_TRUE(silent.ok()) << silent.status();
  const absl::Duration timeout = absl::Milliseconds(50);
  HostView fits = Linked(kAskedAtOnceMax);
  EXPECT_EQ(AskNodes(environment_, timeout, &fits), absl::OkStatus());
  EXPECT_EQ(CountOf(fits, NodeState::kSilent), kAskedAtOnceMax);
  HostView too_many = Linked(kAskedAtOnceMax + 1);
  EXPECT_EQ(AskNodes(environment_, timeout, &too_many), absl::OkStatus());
  EXPECT_EQ(CountOf(too_many, NodeState::kSilent), kAskedAtOnceMax);
  EXPECT_EQ(too_many.nodes.back().state, NodeState::kUnclear);
  EXPECT_EQ(too_many.nodes.back().why,
            "it was not asked: 256 others did not answer within 50ms");
}

}  // namespace
}  // namespace mycelium
