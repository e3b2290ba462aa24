// What the real `mycelium status` says of real processes: two that exchange
// messages, two whose schema digests differ, one that was killed, and one that
// is stopped.

#include <stdio.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "tests/conformance/process_fixture.h"

namespace mycelium::test {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;
using ::testing::HasSubstr;
using ::testing::Not;

// What the command printed on both streams, and its exit status.
struct Said {
  std::string text;
  int exit_status = -1;

  bool Has(const std::string& part) const {
    return absl::StrContains(text, part);
  }
  Struct Json() const {
    Struct parsed;
    const auto status =
        google::protobuf::util::JsonStringToMessage(text, &parsed);
    EXPECT_TRUE(status.ok()) << status.ToString() << "\n" << text;
    return parsed;
  }
};

const Value& Of(const Struct& object, const std::string& name) {
  EXPECT_EQ(object.fields().count(name), 1u) << name;
  return object.fields().at(name);
}

// The object in the list `name` whose `key` is `value`; empty if there is none.
Struct Find(const Struct& object, const std::string& name,
            const std::string& key, const std::string& value) {
  for (const Value& entry : Of(object, name).list_value().values()) {
    if (Of(entry.struct_value(), key).string_value() == value) {
      return entry.struct_value();
    }
  }
  return Struct();
}

class StatusTest : public ProcessTest {
 protected:
  // Runs `mycelium status <flags>` for the fixture's topology.
  Said Status(const std::string& flags = "") {
    const std::string command =
        absl::StrCat(getenv("TEST_SRCDIR"), "/", getenv("TEST_WORKSPACE"),
                     "/mycelium/cli/mycelium status --topology ",
                     dir_.file("topology.toml"), " ", flags, " 2>&1");
    return Run(command);
  }
  static Said Run(const std::string& command) {
    Said said;
    FILE* const pipe = popen(command.c_str(), "r");
    char bytes[4096];
    while (const size_t count = fread(bytes, 1, sizeof bytes, pipe)) {
      said.text.append(bytes, count);
    }
    const int status = pclose(pipe);
    EXPECT_TRUE(WIFEXITED(status)) << command;
    said.exit_status = WEXITSTATUS(status);
    return said;
  }
  // Repeats the command until its output has `part`, up to a deadline: one
  // process may not know yet what another was told.
  Said StatusUntil(const std::string& part, const std::string& flags = "") {
    const auto deadline =
        std::chrono::steady_clock::now() + std::chrono::seconds(20);
    Said said = Status(flags);
    while (!said.Has(part) && std::chrono::steady_clock::now() < deadline) {
      said = Status(flags);
    }
    EXPECT_THAT(said.text, HasSubstr(part));
    return said;
  }
};

TEST_F(StatusTest, NodesThatTalkAreAllConnected) {
  auto reader = Reader();
  auto writer = Writer();
  SendAll(*writer, *reader, 1000);
  const Said said = Status();
  EXPECT_EQ(said.exit_status, 0) << said.text;
  EXPECT_THAT(said.text, HasSubstr("a: running, pid "));
  EXPECT_THAT(said.text, HasSubstr("b: running, pid "));
  EXPECT_THAT(said.text, HasSubstr(absl::StrCat("over ", TransportUnderTest(),
                                                ", connected for ")));
  EXPECT_THAT(said.text, HasSubstr("All are connected.\n"));
  EXPECT_THAT(said.text, Not(HasSubstr("Not talking")));

  const Said json = Status("--json");
  EXPECT_EQ(json.exit_status, 0);
  const Struct all = json.Json();
  EXPECT_TRUE(Of(all, "all_connected").bool_value());
  const Struct a = Find(all, "nodes", "name", "a");
  const Struct b = Find(all, "nodes", "name", "b");
  EXPECT_EQ(Of(a, "state").string_value(), "running");
  EXPECT_TRUE(Of(Find(a, "links", "peer", "b"), "is_up").bool_value());
  // The figures equal the processes' own reports.
  const Struct sent = Find(a, "flows", "subscriber_node", "b");
  const Struct got = Find(b, "flows", "publisher_node", "a");
  EXPECT_EQ(Of(sent, "accepted").number_value(), 1000);
  EXPECT_EQ(Of(sent, "in_flight").number_value(), 0);
  EXPECT_EQ(Of(got, "delivered").number_value(), 1000);
  ExpectAllArrived(*writer, *reader, 1000);
}

TEST_F(StatusTest, LookingAgainAndAgainDisturbsNoMessage) {
  auto reader = Reader();
  auto writer = Writer();
  EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
  writer->Tell("stream");
  writer->Ask("await 100", "reached 100");
  for (int i = 0; i < 20; ++i) {
    const Said said = Status();
    EXPECT_EQ(said.exit_status, 0) << said.text;
  }
  const std::string accepted = writer->Ask("stop", "stopped ");
  uint64_t count = 0;
  ASSERT_TRUE(absl::SimpleAtoi(accepted, &count)) << accepted;
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  ExpectAllArrived(*writer, *reader, count);
  EXPECT_EQ(writer->Ask("links", "links"), "1 1 " + TransportUnderTest());
}

TEST_F(StatusTest, ServicesWhoseSchemaDigestsDifferAreToldWhy) {
  auto reader = Reader(1, {"--schema_digest=new"});
  auto writer = Start("publish", 1, {"--schema_digest=old"});
  writer->Await("ready");
  EXPECT_EQ(writer->Ask("wait 1", "waited"), "FAILED_PRECONDITION");
  const Said said = StatusUntil("gets nothing from node a");
  EXPECT_EQ(said.exit_status, 1);
  EXPECT_THAT(said.text, HasSubstr("- service reader of node b gets nothing "
                                   "from node a: "));
  EXPECT_THAT(said.text, HasSubstr("schema digest"));

  const Said json = Status("--json");
  EXPECT_EQ(json.exit_status, 1);
  const Struct problem =
      Find(json.Json(), "not_talking", "kind", "refused_subscription");
  EXPECT_EQ(Of(problem, "node").string_value(), "b");
  EXPECT_EQ(Of(problem, "peer").string_value(), "a");
  EXPECT_EQ(Of(problem, "topic").string_value(), "mycelium.test.Note");
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, 0u);
  EXPECT_EQ(LedgerOf(*reader).delivered, 0u);
}

TEST_F(StatusTest, KilledNodeLeavesAStaleSocketAndALinkThatIsDown) {
  auto reader = Reader();
  auto writer = Writer();
  SendAll(*writer, *reader, 10);
  reader->Kill();
  writer->Await("event gone b");
  const Said said = Status();
  EXPECT_EQ(said.exit_status, 1);
  EXPECT_THAT(said.text, HasSubstr("b: stale: nobody listens at "));
  EXPECT_THAT(said.text, HasSubstr("\nNot talking:\n- node b is not running: "
                                   "nobody listens at "));
  EXPECT_THAT(said.text, HasSubstr("; waiting for it: a\n"));
  const Struct all = Status("--json").Json();
  EXPECT_EQ(Of(Find(all, "nodes", "name", "b"), "state").string_value(),
            "stale");
  const Struct link =
      Find(Find(all, "nodes", "name", "a"), "links", "peer", "b");
  EXPECT_FALSE(Of(link, "is_up").bool_value());
  EXPECT_EQ(Of(link, "state").string_value(), "gone");
  EXPECT_FALSE(Of(link, "last_error").string_value().empty());

  // The peer's next process finds it, and the command says so.
  auto next = Reader(/*run=*/1);
  EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
  EXPECT_EQ(StatusUntil("All are connected.").exit_status, 0);
  EXPECT_EQ(writer->Ask("publish 5", "published").substr(0, 2), "OK");
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, 15u);
  EXPECT_EQ(sent.dropped + sent.in_flight, 0u);
  EXPECT_EQ(reader->counts().received[1].count, 10u);
  EXPECT_EQ(LedgerOf(*next).delivered, 5u);
}

TEST_F(StatusTest, StoppedNodeIsToldFromABusyOneWithinTheTimeout) {
  auto reader = Reader();
  auto writer = Writer();
  SendAll(*writer, *reader, 10);
  reader->Stop();
  const Said said = Status("--timeout 1s");
  EXPECT_EQ(said.exit_status, 1);
  EXPECT_THAT(said.text, HasSubstr("b: stopped: pid "));
  EXPECT_THAT(said.text, HasSubstr("- node b does not answer: pid "));
  EXPECT_THAT(said.text, HasSubstr("a: running"));
  const Said json = Status("--timeout=1s --json");
  EXPECT_EQ(Of(Find(json.Json(), "nodes", "name", "b"), "state").string_value(),
            "stopped");
  reader->Resume();
  EXPECT_EQ(writer->Ask("publish 5", "published").substr(0, 2), "OK");
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  EXPECT_EQ(StatusUntil("All are connected.").exit_status, 0);
  ExpectAllArrived(*writer, *reader, 15);
}

TEST_F(StatusTest, NodeThatWasNotStartedIsNotRunning) {
  auto writer = Writer();
  const Said said = StatusUntil("dialling for");
  EXPECT_EQ(said.exit_status, 1);
  EXPECT_THAT(said.text, HasSubstr(absl::StrCat(
                             "- node b is not running: there is no socket at ",
                             dir_.path(), "/b.sock; waiting for it: a\n")));
  EXPECT_THAT(said.text, HasSubstr("publishes it to service reader, and nobody "
                                   "that was seen is subscribed\n"));
  // A caller that asks for one node gets only that node.
  const Said one = Status("--node b");
  EXPECT_EQ(one.exit_status, 1);
  EXPECT_THAT(one.text, Not(HasSubstr("a: running")));
  EXPECT_EQ(LedgerOf(*writer).accepted, 0u);
}

TEST_F(StatusTest, DirectoryAloneFindsWhoListensThere) {
  auto reader = Reader();
  auto writer = Writer();
  SendAll(*writer, *reader, 10);
  const std::string binary =
      absl::StrCat(getenv("TEST_SRCDIR"), "/", getenv("TEST_WORKSPACE"),
                   "/mycelium/cli/mycelium");
  const Said said =
      Run(absl::StrCat(binary, " status --socket_dir ", dir_.path()));
  EXPECT_EQ(said.exit_status, 0) << said.text;
  EXPECT_THAT(said.text, HasSubstr("a: running"));
  EXPECT_THAT(said.text, HasSubstr("b: running"));
  const Said by_variable =
      Run(absl::StrCat("MYCELIUM_TOPOLOGY=", dir_.file("topology.toml"), " ",
                       binary, " status"));
  EXPECT_EQ(by_variable.exit_status, 0) << by_variable.text;
  EXPECT_EQ(
      Run(absl::StrCat(binary, " status --socket_dir ", dir_.file("empty")))
          .exit_status,
      1);
  EXPECT_EQ(Run(binary + " status --what 2>&1").exit_status, 2);
  ExpectAllArrived(*writer, *reader, 10);
}

}  // namespace
}  // namespace mycelium::test
