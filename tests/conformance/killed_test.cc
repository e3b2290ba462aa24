// Processes that are killed at the worst moments: while the publisher blocks,
// between the receipt of a message and its acknowledgement, and both ends at
// once.

#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/conformance/process_fixture.h"
#include "tests/support/comes.h"

namespace mycelium::test {
namespace {

constexpr uint64_t kRun = 1;

class KilledTest : public ProcessTest,
                   public ::testing::WithParamInterface<std::string> {
 protected:
  // A publisher that waits does so for longer than any test.
  KilledTest() {
    WriteTopology("a", "b", /*retain=*/"20s", /*publish_timeout=*/"1h");
  }

  std::unique_ptr<PeerProcess> Reading(Flags more = {}) {
    more.push_back(absl::StartsWith(GetParam(), "inline")
                       ? "--delivery=inline"
                       : "--delivery=queued");
    return Reader(kRun, more);
  }
  std::unique_ptr<PeerProcess> Writing(int run = kRun) {
    auto peer = Start("publish", run,
                      {absl::StrCat("--bytes=", is_large() ? 2000 : 0),
                       absl::StrCat("--loans=", lends() ? "yes" : "no")});
    peer->Await("ready");
    return peer;
  }

  // Over shared memory such messages stay where they were published.
  bool is_large() const { return GetParam() == "queued_large" || lends(); }
  // And these stay where they were written.
  bool lends() const { return absl::StrContains(GetParam(), "lent"); }
  // No more than a lane holds, so that a reader's death stops no publisher.
  uint64_t messages() const { return is_large() ? 24 : 1000; }
  uint64_t killer() const { return messages() / 2; }

  // Streams to a reader that stands still, until a call is under way that finds
  // no room.
  static void BlockTheWriter(PeerProcess& writer, PeerProcess& reader) {
    EXPECT_EQ(writer.Ask("wait 1", "waited"), "OK");
    // So that the reader knows of this publisher.
    EXPECT_EQ(writer.Ask("publish 1", "published").substr(0, 2), "OK");
    EXPECT_EQ(writer.Ask("flush", "flushed"), "OK");
    reader.Stop();
    writer.Tell("stream");
    ASSERT_TRUE(Comes([&] { return writer.Ask("probe", "probed") != "OK"; }))
        << "the lane never fills";
    const PeerCounts& counts = writer.counts();
    ASSERT_TRUE(Comes([&] {
      return counts.called_by[kRun] != counts.accepted_by[kRun];
    })) << "the stream found room";
  }

  void ExpectLent(PeerProcess& writer) const {
    if (!lends() || TransportUnderTest() != "shm") return;
    EXPECT_GT(writer.counts().lent, 0u) << "every loan was copied";
  }

  // Checks what one process got of the messages that a killed process had
  // published. A reader that was killed, too, may have died in the middle of
  // recording a message.
  static void ExpectPrefix(const ReceivedIds& ids, const PeerCounts& sent,
                           uint64_t run, bool reader_died = false) {
    EXPECT_EQ(ids.gaps + ids.duplicates + ids.torn, 0u);
    EXPECT_GE(ids.last, ids.count);
    EXPECT_LE(ids.last, ids.count + (reader_died ? 1 : 0));
    // The writer may die between a Publish() and the count of it.
    EXPECT_LE(ids.count, sent.accepted_by[run] + 1);
  }
};

TEST_P(KilledTest, SubscriberKilledWhileThePublisherBlocksLosesNothing) {
  auto writer = Writing();
  auto first = Reading();
  BlockTheWriter(*writer, *first);
  first->Kill();
  writer->Await("event disconnected b");
  // No call waits an hour for a process that is out of reach: neither the call
  // that is under way nor another one.
  (void)writer->Ask("stop", "stopped");
  EXPECT_EQ(writer->Ask("probe", "probed"), "UNAVAILABLE");
  auto second = Reading();
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  EXPECT_EQ(writer->Ask("publish 100", "published").substr(0, 2), "OK");
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  const ReceivedIds& got = second->counts().received[kRun];
  EXPECT_LE(got.first, first->counts().received[kRun].last + 1);
  EXPECT_EQ(got.gaps + got.duplicates, 0u);
  EXPECT_EQ(got.last, writer->counts().accepted_by[kRun]);
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, writer->counts().accepted);
  EXPECT_EQ(sent.dropped, 0u);
  EXPECT_EQ(sent.in_flight, 0u);
}

TEST_P(KilledTest, SubscriberThatStaysAwayEndsTheWaitOfThePublisher) {
  WriteTopology("a", "b", /*retain=*/"200ms", /*publish_timeout=*/"1h");
  auto writer = Writing();
  auto reader = Reading();
  BlockTheWriter(*writer, *reader);
  reader->Kill();
  writer->Await("event gone b");
  (void)writer->Ask("stop", "stopped");
  uint64_t received = 0;
  for (const ReceivedIds& ids : reader->counts().received) {
    received += ids.count;
  }
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, writer->counts().accepted);
  EXPECT_EQ(sent.in_flight, 0u);
  // A lending publisher publishes to all, and also counts messages that nobody
  // receives.
  if (!lends()) {
    EXPECT_EQ(sent.gone, sent.dropped);
  }
  // The reader may have died after it handled a message and before it could say
  // so.
  EXPECT_LE(sent.accepted, received + sent.dropped);
  EXPECT_LE(received, sent.accepted);
}

TEST_P(KilledTest, PublisherKilledWhileItBlocksLeavesAPrefix) {
  auto reader = Reading();
  auto first = Writing();
  BlockTheWriter(*first, *reader);
  first->Kill();
  reader->Resume();
  reader->Await("event disconnected a");
  auto second = Start("publish", 2);
  second->Await("ready");
  EXPECT_EQ(second->Ask("wait 1", "waited"), "OK");
  EXPECT_EQ(reader->Await("publisher_gone"), "a writer mycelium.test.Note");
  EXPECT_EQ(second->Ask("publish 1000", "published").substr(0, 2), "OK");
  EXPECT_EQ(second->Ask("flush", "flushed"), "OK");
  uint64_t received = 0;
  for (const uint64_t run : {uint64_t{1}, uint64_t{7}}) {
    const ReceivedIds& ids = reader->counts().received[run];
    ExpectPrefix(ids, first->counts(), run);
    if (TransportUnderTest() == "shm") {
      EXPECT_GE(ids.count, first->counts().accepted_by[run])
          << "what was committed is lost";
    }
    received += ids.count;
  }
  // The kernel keeps what it has taken. What gRPC has not handed out when a
  // connection breaks, it gives up.
  EXPECT_GE(received, TransportUnderTest() == "grpc" ? 1u : 2u);
  ExpectEachOnceInOrder(reader->counts().received[2], 1000);
  EXPECT_EQ(LedgerOf(*second).accepted, 1000u);
  EXPECT_EQ(LedgerOf(*second).in_flight, 0u);
  EXPECT_EQ(LedgerOf(*reader).delivered, 1000u + received);
  EXPECT_EQ(LedgerOf(*reader).dropped, 0u);
}

// `killer`: the message that killed the first process.
void ExpectTheNextProcessGoesOn(PeerProcess& writer, PeerProcess& first,
                                PeerProcess& second, uint64_t killer) {
  EXPECT_EQ(writer.Ask("flush", "flushed"), "OK");
  const ReceivedIds& before = first.counts().received[kRun];
  const ReceivedIds& after = second.counts().received[kRun];
  EXPECT_EQ(before.gaps + before.duplicates + before.torn, 0u);
  EXPECT_EQ(after.gaps + after.duplicates + after.torn, 0u);
  EXPECT_LE(after.first, killer) << "what it died of was not acknowledged";
  EXPECT_EQ(after.last, writer.counts().accepted_by[kRun]);
  // Each message that came again says so.
  const uint64_t again =
      before.last < after.first ? 0 : before.last - after.first + 1;
  EXPECT_GE(second.counts().redelivered, again);
}

TEST_P(KilledTest, MessageReceivedButNotHandledComesAgain) {
  auto writer = Writing();
  auto first = Reading({absl::StrCat("--die_at=", killer())});
  EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
  EXPECT_EQ(writer->Ask(absl::StrCat("publish ", messages()), "published")
                .substr(0, 2),
            "OK");
  writer->Await("event disconnected b");
  auto second = Reading();
  ExpectLent(*writer);
  ExpectTheNextProcessGoesOn(*writer, *first, *second, killer());
  EXPECT_EQ(first->counts().received[kRun].last, killer() - 1);
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, messages());
  EXPECT_EQ(sent.dropped, 0u);
  EXPECT_EQ(sent.in_flight, 0u);
  EXPECT_EQ(LedgerOf(*second).delivered, second->counts().received[kRun].count);
}

TEST_P(KilledTest, MessageHandledButNotAcknowledgedComesAgain) {
  auto writer = Writing();
  auto first = Reading({absl::StrCat("--die_after=", killer())});
  EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
  EXPECT_EQ(writer->Ask(absl::StrCat("publish ", messages()), "published")
                .substr(0, 2),
            "OK");
  writer->Await("event disconnected b");
  auto second = Reading();
  ExpectLent(*writer);
  ExpectTheNextProcessGoesOn(*writer, *first, *second, killer());
  EXPECT_EQ(first->counts().received[kRun].last, killer());
  EXPECT_GE(second->counts().redelivered, 1u);
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, messages());
  EXPECT_EQ(sent.dropped, 0u);
  EXPECT_EQ(sent.in_flight, 0u);
  EXPECT_EQ(LedgerOf(*second).delivered, second->counts().received[kRun].count);
}

TEST_P(KilledTest, BothEndsKilledUnderTrafficLeaveNothingInTheWay) {
  for (int life = 0; life < 3; ++life) {
    auto writer = Writing();
    auto reader = Reading();
    EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
    writer->Tell("stream");
    reader->Ask("await 2000", "reached 2000");
    // The order alternates; it decides which side still sees the other die.
    PeerProcess& sooner = life % 2 == 0 ? *writer : *reader;
    PeerProcess& later = life % 2 == 0 ? *reader : *writer;
    sooner.Kill();
    later.Kill();
    ExpectPrefix(reader->counts().received[kRun], writer->counts(), kRun,
                 /*reader_died=*/true);
  }
  auto reader = Reading();
  auto writer = Writing();
  SendAll(*writer, *reader, 1000);
}

TEST_P(KilledTest, BothEndsKilledWhileThePublisherBlocksLeaveNothingInTheWay) {
  {
    auto writer = Writing();
    auto reader = Reading();
    BlockTheWriter(*writer, *reader);
    writer->Kill();
    reader->Kill();
    ExpectPrefix(reader->counts().received[kRun], writer->counts(), kRun,
                 /*reader_died=*/true);
  }
  auto writer = Writing();
  auto reader = Reading();
  SendAll(*writer, *reader, 1000);
}

INSTANTIATE_TEST_SUITE_P(Deliveries, KilledTest,
                         ::testing::Values("inline", "queued", "queued_large",
                                           "inline_lent", "queued_lent"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace mycelium::test
