// Services that are upgraded one after the other: processes with two versions
// of the same types, of which the next one has more fields
// (tests/testdata/next).

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/conformance/process_fixture.h"

namespace mycelium::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kOld[] = "conformance_peer";
constexpr char kNext[] = "next_peer";

class VersionsTest : public ProcessTest,
                     public ::testing::WithParamInterface<std::string> {
 protected:
  VersionsTest() {
    WriteTopology("a", "b", /*retain=*/"20s", /*publish_timeout=*/"5s");
    Allow("compatible");
  }

  // The `schema` setting of the topology, for processes that start from here
  // on.
  void Allow(const std::string& schema) {
    const std::string before = std::exchange(schema_, schema);
    ReplaceInTopology(absl::StrCat("schema = \"", before),
                      absl::StrCat("schema = \"", schema));
  }

  std::unique_ptr<PeerProcess> ReaderOf(const std::string& binary,
                                        int run = 1) {
    binary_ = binary;
    return Reader(run, {"--delivery=" + GetParam()});
  }
  std::unique_ptr<PeerProcess> WriterOf(const std::string& binary,
                                        int run = 1) {
    binary_ = binary;
    return Writer(run);
  }

  // Publishes, and waits until all messages are handled.
  static void Publish(PeerProcess& writer, int count) {
    EXPECT_THAT(writer.Ask(absl::StrCat("publish ", count), "published"),
                StartsWith("OK"));
    EXPECT_EQ(writer.Ask("flush", "flushed"), "OK");
  }
};

TEST_P(VersionsTest, EachReadsWhatTheOtherPublishes) {
  // `unknown`, `read`: how many messages have the next version's fields without
  // that the reader knows them, and how many of which it reads them.
  struct Case {
    const char* writes;
    const char* reads;
    uint64_t unknown, read;
  };
  for (const Case& c : {Case{kOld, kNext, 0, 0}, Case{kNext, kOld, 1000, 0},
                        Case{kNext, kNext, 0, 1000}}) {
    SCOPED_TRACE(absl::StrCat(c.writes, " to ", c.reads));
    auto writer = WriterOf(c.writes);
    auto reader = ReaderOf(c.reads);
    SendAll(*writer, *reader, 1000);
    EXPECT_EQ(reader->counts().with_unknown, c.unknown);
    EXPECT_EQ(reader->counts().with_next, c.read);
  }
}

// The subscriber is replaced while it has messages that nobody has handled: the
// next version, and then the old one again, go on where the replaced one was.
TEST_P(VersionsTest, NextVersionTakesOverWhatTheOneBeforeHadNotHandled) {
  auto writer = WriterOf(kOld);
  auto reader = ReaderOf(kOld);
  SendAll(*writer, *reader, 100);
  uint64_t accepted = 100;
  for (const char* const version : {kNext, kOld, kNext}) {
    SCOPED_TRACE(version);
    reader->Stop();
    EXPECT_THAT(writer->Ask("publish 10", "published"), StartsWith("OK"));
    reader->Kill();
    writer->Await("event disconnected b");
    EXPECT_THAT(writer->Ask("publish 5", "published"), StartsWith("OK"));
    reader = ReaderOf(version);
    Publish(*writer, 5);
    const ReceivedIds& got = reader->counts().received[1];
    EXPECT_EQ(got.first, accepted + 1);
    EXPECT_EQ(got.last, accepted + 20);
    EXPECT_EQ(got.count, 20u);
    EXPECT_EQ(got.gaps + got.duplicates + got.torn, 0u);
    EXPECT_EQ(LedgerOf(*reader).delivered, 20u);
    accepted += 20;
  }
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, accepted);
  EXPECT_EQ(sent.dropped + sent.in_flight, 0u);
}

TEST_P(VersionsTest, SubscriberHearsTheNextVersionOfItsPublisher) {
  auto reader = ReaderOf(kOld);
  for (const auto& [version, run] :
       {std::pair(kOld, 1), std::pair(kNext, 2), std::pair(kOld, 3)}) {
    SCOPED_TRACE(absl::StrCat(version, " as run ", run));
    auto writer = WriterOf(version, run);
    EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
    Publish(*writer, 50);
    const Counted sent = LedgerOf(*writer);
    EXPECT_EQ(sent.accepted, 50u);
    EXPECT_EQ(sent.dropped + sent.in_flight, 0u);
    ShutDown(*writer);
    ExpectEachOnceInOrder(reader->counts().received[run], 50);
  }
  EXPECT_EQ(LedgerOf(*reader).delivered, 150u);
}

TEST_P(VersionsTest, BrokenConnectionsLoseNothingBetweenVersions) {
  auto writer = WriterOf(kNext);
  auto reader = ReaderOf(kOld);
  EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
  writer->Tell("stream");
  uint64_t goal = 0;
  for (PeerProcess* const cuts : {writer.get(), reader.get(), writer.get()}) {
    goal += 1000;
    reader->Ask(absl::StrCat("await ", goal), absl::StrCat("reached ", goal));
    cuts->Tell("cut");
    writer->Await("event reconnected b");
  }
  writer->Ask("stop", "stopped");
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  const uint64_t accepted = writer->counts().accepted;
  EXPECT_GT(accepted, goal);
  ExpectAllArrived(*writer, *reader, accepted);
}

TEST_P(VersionsTest, ExactTakesNoOtherVersionAndSaysWhatWould) {
  Allow("exact");
  auto writer = WriterOf(kOld);
  auto reader = ReaderOf(kNext);
  const std::string hint =
      "compatible, but schema = \"compatible\" is not in force at both nodes";
  EXPECT_EQ(writer->Ask("wait 1", "waited"), "FAILED_PRECONDITION");
  EXPECT_THAT(
      writer->Ask("refusals", "refusals"),
      AllOf(HasSubstr("mycelium.test.Note.urgency (4): missing on this side"),
            HasSubstr(hint)));
  EXPECT_THAT(
      reader->Await("ended"),
      AllOf(HasSubstr(
                "mycelium.test.Note.urgency (4): missing on the other side"),
            HasSubstr(hint)));
  EXPECT_THAT(writer->Ask("publish 1", "published"),
              StartsWith("FAILED_PRECONDITION"));
  EXPECT_EQ(LedgerOf(*writer).accepted, 0u);
}

// Both nodes have to want it: one of them alone could belong to another owner.
TEST_P(VersionsTest, NodeThatWantsTheSameTypeIsNotTalkedRound) {
  for (const std::string first : {"exact", "compatible"}) {
    SCOPED_TRACE(first + " is the writer's");
    Allow(first);
    auto writer = WriterOf(kOld);
    Allow(first == "exact" ? "compatible" : "exact");
    auto reader = ReaderOf(kNext);
    EXPECT_EQ(writer->Ask("wait 1", "waited"), "FAILED_PRECONDITION");
    EXPECT_THAT(reader->Await("ended"),
                HasSubstr("is not in force at both nodes"));
    EXPECT_EQ(LedgerOf(*writer).accepted, 0u);
  }
}

// A process that wants exactly its own type does not get what an old lane
// holds.
TEST_P(VersionsTest, WhatIsKeptIsDroppedWhereTheNextProcessDoesNotTakeIt) {
  auto writer = WriterOf(kOld);
  auto reader = ReaderOf(kOld);
  SendAll(*writer, *reader, 10);
  reader->Stop();
  EXPECT_THAT(writer->Ask("publish 7", "published"), StartsWith("OK"));
  reader->Kill();
  writer->Await("event disconnected b");
  Allow("exact");
  reader = ReaderOf(kNext);
  EXPECT_THAT(reader->Await("ended"), HasSubstr("differs from that of node a"));
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, 17u);
  EXPECT_EQ(sent.gone, 7u);
  EXPECT_EQ(sent.dropped, 7u);
  EXPECT_EQ(sent.in_flight, 0u);
  EXPECT_EQ(LedgerOf(*reader).delivered, 0u);
}

INSTANTIATE_TEST_SUITE_P(Delivery, VersionsTest,
                         ::testing::Values("inline", "queued"),
                         [](const testing::TestParamInfo<std::string>& info) {
                           return info.param;
                         });

}  // namespace
}  // namespace mycelium::test
