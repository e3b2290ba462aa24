// A process of another user at the door. Needs root outside a user namespace.

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/shm_endpoint.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/conformance/raw_peer.h"
#include "tests/conformance/served_node.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

constexpr uid_t kNobody = 65534;
constexpr int kCannotBecomeNobody = 10;

class OtherUserTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(AllTransports, OtherUserTest,
                         ::testing::Values("shm", "unix"),
                         [](const auto& info) { return info.param; });

TEST_P(OtherUserTest, ProcessOfAnotherUserIsRefused) {
  ServedNode served(GetParam());
  // Other users may reach the socket; they are refused by the uid that the
  // kernel tells.
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

// One end of a pair that sends the other end a small note and a large one, and
// counts what arrives. Returns 0, or which step failed.
int Exchange(const std::string& node, const std::string& other, int64_t allowed,
             const std::function<absl::Status(MessageBus&)>& meet) {
  BusOptions options;
  options.node = node;
  options.poll = PollMode::kCaller;
  options.allow_uids = {allowed};
  options.log = [](LogLevel, absl::string_view) {};
  auto bus = MessageBus::Create(options);
  if (!bus.ok()) return 20;
  std::vector<Note> got;
  SubscriberOptions to_other;
  to_other.topic = other;
  auto handle = (*bus)->Subscribe<Note>(
      [&](const Note& note, const MessageInfo&) { got.push_back(note); },
      to_other);
  PublisherOptions own;
  own.topic = node;
  auto publisher = (*bus)->Publisher<Note>(own);
  if (!handle.ok() || !publisher.ok()) return 21;
  if (const absl::Status met = meet(**bus); !met.ok()) {
    std::fprintf(stderr, "%s: %s\n", node.c_str(), met.ToString().c_str());
    return 22;
  }
  const absl::Time end = absl::Now() + kLong;
  const auto turn_until = [&](const std::function<bool()>& is_over) {
    while (!is_over() && absl::Now() < end) {
      (void)(*bus)->Poll(absl::Milliseconds(10));
    }
    return is_over();
  };
  if (!turn_until([&] { return publisher->subscriber_count() == 1; }))
    return 23;
  const Note small = MakeNote(1, 8), large = MakeNote(2, 64 << 10);
  for (const Note& note : {small, large}) {
    if (!publisher->Publish(note).ok()) return 24;
  }
  if (!turn_until([&] { return got.size() == 2; })) return 25;
  if (got[0].blob() != small.blob() || got[1].blob() != large.blob()) return 26;
  const std::vector<LinkReport> links = (*bus)->LinkReports();
  if (links.size() != 1 || links[0].transport != "shm" ||
      !links[0].fallback.empty()) {
    return 27;
  }
  if (!(*bus)->Flush(end - absl::Now()).ok()) return 28;
  Ledger sum;
  for (const FlowReport& flow : (*bus)->FlowReports()) sum += flow.ledger;
  if (sum.accepted != 2 || sum.delivered != 2 || sum.in_flight != 0) return 29;
  return (*bus)->Shutdown(end - absl::Now()).ok() ? 0 : 30;
}

TEST(AllowedUserTest, ProcessOfAnotherUserSharesMemory) {
  const ShortTempDir dir;
  ASSERT_EQ(chmod(dir.path().c_str(), 0755), 0);
  const std::string path = dir.file("s");
  const uid_t self = geteuid();
  int became[2];
  ASSERT_EQ(pipe(became), 0);
  const pid_t child = fork();  // Before there are threads.
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (setuid(kNobody) != 0 || write(became[1], "!", 1) != 1) {
      _exit(kCannotBecomeNobody);
    }
    _exit(Exchange("guest", "host", self, [&](MessageBus& bus) {
      return DialShmEndpoint(path, bus);  // Tries until somebody listens.
    }));
  }
  close(became[1]);
  char answer;
  if (read(became[0], &answer, 1) != 1) {
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    GTEST_SKIP() << "this process may not become another user";
  }
  close(became[0]);
  std::optional<ShmEndpointHandle> endpoint;
  const int served = Exchange("host", "guest", kNobody, [&](MessageBus& bus) {
    auto bound = BindShmEndpoint(path, bus);
    if (bound.ok()) endpoint.emplace(*std::move(bound));
    return bound.status();
  });
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(served, 0);
}

}  // namespace
}  // namespace mycelium::test
