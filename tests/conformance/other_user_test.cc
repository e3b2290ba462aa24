// A process of another user at the door. Needs root outside a user namespace.

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "gtest/gtest.h"
#include "tests/conformance/raw_peer.h"
#include "tests/conformance/served_node.h"

namespace mycelium::test {
namespace {

constexpr uid_t kNobody = 65534;
constexpr int kCannotBecomeNobody = 10;

class OtherUserTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(AllTransports, OtherUserTest,
                         ::testing::Values("unix"),
                         [](const auto& info) { return info.param; });

TEST_P(OtherUserTest, ProcessOfAnotherUserIsRefused) {
  ServedNode served(GetParam());
  // Others may reach the socket; it is the kernel's word that refuses them.
  const std::string directory =
      served.path().substr(0, served.path().rfind('/'));
  ASSERT_EQ(chmod(directory.c_str(), 0755), 0);
  ASSERT_EQ(chmod(served.path().c_str(), 0777), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (setuid(kNobody) != 0) _exit(kCannotBecomeNobody);
    RawPeer peer(served.path());
    if (!peer.connected()) _exit(11);
    const v1::Control answer = peer.SayHello(HelloFrom("nobody"));
    if (answer.reject().reason() != v1::Reject::NOT_ALLOWED) _exit(12);
    if (!peer.Closed()) _exit(13);
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == kCannotBecomeNobody) {
    std::printf("skipped: this process may not become another user\n");
    GTEST_SKIP() << "this process may not become another user";
  }
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(served.WasTold("has uid 65534; allowed are"));
  const auto event = served.EventWith(ConnectionEvent::State::kRefused, "");
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->status.code(), absl::StatusCode::kPermissionDenied);
  served.ExpectServesOthers();
}

}  // namespace
}  // namespace mycelium::test
