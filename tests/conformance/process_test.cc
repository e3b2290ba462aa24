#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "tests/conformance/peer_process.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

// What a process says of all its flows.
struct Counted {
  uint64_t accepted = 0, delivered = 0, in_flight = 0, dropped = 0, gone = 0;
};

Counted LedgerOf(PeerProcess& peer) {
  const std::string answer = peer.Ask("ledger", "ledger");
  const std::vector<std::string> words = absl::StrSplit(answer, ' ');
  Counted counted;
  uint64_t* const fields[] = {&counted.accepted, &counted.delivered,
                              &counted.in_flight, &counted.dropped,
                              &counted.gone};
  EXPECT_EQ(words.size(), std::size(fields)) << answer;
  for (size_t i = 0; i < words.size() && i < std::size(fields); ++i) {
    EXPECT_TRUE(absl::SimpleAtoi(words[i], fields[i])) << answer;
  }
  return counted;
}

// Two nodes of one host: service `writer` publishes to service `reader`.
class ProcessTest : public ::testing::Test {
 protected:
  using Flags = std::vector<std::string>;

  ProcessTest() { WriteTopology("a", "b"); }

  void WriteTopology(const std::string& writer, const std::string& reader) {
    std::ofstream file(dir_.file("topology.toml"));
    file << "socket_dir = \"" << dir_.path() << "\"\n"
         << "[[nodes]]\nname = \"" << writer << "\"\nservices = [\"writer\"]\n"
         << "[[nodes]]\nname = \"" << reader << "\"\nservices = [\"reader\"]\n"
         << "[defaults]\ntransport = \"unix\"\nretain = \"200ms\"\n"
         << "publish_timeout = \"300ms\"\nlane_bytes = \"64KiB\"\n"
         << "[limits]\nframe_bytes_max = \"8KiB\"\n"
         << "reconnect_max = \"50ms\"\n";
  }

  std::unique_ptr<PeerProcess> Start(const std::string& role, int run,
                                     const Flags& more = {}) {
    const bool publishes = role == "publish";
    Flags flags = {"--role=" + role, absl::StrCat("--run=", run),
                   "--topology=" + dir_.file("topology.toml"),
                   publishes ? "--service=writer" : "--service=reader",
                   "--to=reader"};
    flags.insert(flags.end(), more.begin(), more.end());
    return std::make_unique<PeerProcess>(
        flags, dir_.file(absl::StrCat("page", ++pages_)));
  }
  std::unique_ptr<PeerProcess> Writer(int run = 1) {
    auto peer = Start("publish", run);
    peer->Await("ready");
    return peer;
  }
  // Awaits messages of the writer's `run`.
  std::unique_ptr<PeerProcess> Reader(int run = 1, const Flags& more = {}) {
    auto peer = Start("subscribe", run, more);
    peer->Await("ready");
    return peer;
  }

  static void ExpectEachOnceInOrder(const ReceivedIds& ids, uint64_t count) {
    EXPECT_EQ(ids.first, 1u);
    EXPECT_EQ(ids.last, count);
    EXPECT_EQ(ids.count, count);
    EXPECT_EQ(ids.gaps, 0u);
    EXPECT_EQ(ids.duplicates, 0u);
  }

  // Publishes, and compares what both sides know once it has arrived.
  static void SendAll(PeerProcess& writer, PeerProcess& reader,
                      uint64_t count) {
    EXPECT_EQ(writer.Ask("wait 1", "waited"), "OK");
    writer.Tell(absl::StrCat("publish ", count));
    EXPECT_EQ(writer.Await("published").substr(0, 2), "OK");
    EXPECT_EQ(writer.Ask("flush", "flushed"), "OK");
    ExpectAllArrived(writer, reader, count);
  }

  static void ExpectAllArrived(PeerProcess& writer, PeerProcess& reader,
                               uint64_t count) {
    const Counted sent = LedgerOf(writer);
    const Counted got = LedgerOf(reader);
    EXPECT_EQ(writer.counts().accepted, count);
    EXPECT_EQ(sent.accepted, count);
    EXPECT_EQ(sent.in_flight, 0u);
    EXPECT_EQ(sent.dropped, 0u);
    EXPECT_EQ(got.delivered, count);
    EXPECT_EQ(got.dropped, 0u);
    ExpectEachOnceInOrder(reader.counts().received[1], count);
  }

  ShortTempDir dir_;
  int pages_ = 0;
};

TEST_F(ProcessTest, PublisherThatStartsFirstWaitsForItsSubscriber) {
  auto writer = Writer();
  writer->Tell("wait 1");
  auto reader = Reader();
  EXPECT_EQ(writer->Await("waited"), "OK");
  SendAll(*writer, *reader, 100);
}

TEST_F(ProcessTest, SubscriberThatStartsFirstGetsTheFirstMessage) {
  auto reader = Reader();
  auto writer = Writer();
  SendAll(*writer, *reader, 100);
}

TEST_F(ProcessTest, EachOfManyMessagesArrivesOnceInOrder) {
  auto reader = Reader();
  auto writer = Writer();
  SendAll(*writer, *reader, 100'000);
}

TEST_F(ProcessTest, NodeThatItsCallerPollsGetsEachMessageOnceInOrder) {
  auto writer = Writer();
  auto reader = Reader(1, {"--poll=caller"});
  SendAll(*writer, *reader, 10'000);
}

TEST_F(ProcessTest, WhatAKilledSubscriberLeavesUnhandledIsCountedAsDropped) {
  auto reader = Reader();
  auto writer = Writer();
  SendAll(*writer, *reader, 1000);
  reader->Stop();
  EXPECT_EQ(writer->Ask("publish 10", "published").substr(0, 2), "OK");
  EXPECT_EQ(LedgerOf(*writer).in_flight, 10u);
  reader->Kill();
  writer->Await("event disconnected b");
  writer->Await("event gone b");
  EXPECT_EQ(writer->Ask("publish 1", "published UNAVAILABLE").empty(), false);
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, 1010u);
  EXPECT_EQ(sent.in_flight, 0u);
  EXPECT_EQ(sent.dropped, 10u);
  EXPECT_EQ(sent.gone, 10u);
  ExpectEachOnceInOrder(reader->counts().received[1], 1000);
}

TEST_F(ProcessTest, SubscriberThatReplacesAKilledOneGetsNewMessagesInOrder) {
  auto first = Reader();
  auto writer = Writer();
  EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
  writer->Tell("stream");
  first->Ask("await 2000", "reached 2000");
  first->Kill();
  writer->Await("event disconnected b");
  auto second = Reader();
  second->Ask("await 2000", "reached 2000");
  writer->Ask("stop", "stopped");
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  const Counted sent = LedgerOf(*writer);
  const ReceivedIds& before = first->counts().received[1];
  const ReceivedIds& after = second->counts().received[1];
  EXPECT_EQ(before.gaps + before.duplicates, 0u);
  EXPECT_EQ(after.gaps + after.duplicates, 0u);
  EXPECT_GT(after.first, before.last);
  EXPECT_EQ(after.last, sent.accepted);
  EXPECT_EQ(sent.accepted, writer->counts().accepted);
  EXPECT_EQ(sent.in_flight, 0u);
  EXPECT_EQ(sent.dropped, sent.gone);
  EXPECT_EQ(LedgerOf(*second).delivered, after.count);
  // The first one may have handled more than it could acknowledge, so that
  //   acknowledged = accepted - dropped <= handled <= accepted;
  // and what nobody handled was dropped.
  const uint64_t handled = before.count + after.count;
  EXPECT_LE(sent.accepted - sent.dropped, handled);
  EXPECT_LE(handled, sent.accepted);
}

TEST_F(ProcessTest, KilledPublisherLeavesAPrefixAndItsSuccessorIsHeardInFull) {
  auto reader = Reader(/*run=*/1);
  auto first = Writer(/*run=*/2);
  EXPECT_EQ(first->Ask("wait 1", "waited"), "OK");
  first->Tell("stream");
  first->Ask("await 5000", "reached 5000");
  first->Kill();
  reader->Await("event disconnected a");
  auto second = Writer(/*run=*/1);
  EXPECT_EQ(second->Ask("wait 1", "waited"), "OK");
  EXPECT_EQ(second->Ask("publish 1000", "published").substr(0, 2), "OK");
  EXPECT_EQ(second->Ask("flush", "flushed"), "OK");
  ExpectEachOnceInOrder(reader->counts().received[1], 1000);
  const uint64_t prefix = reader->counts().received[2].count;
  ExpectEachOnceInOrder(reader->counts().received[2], prefix);
  // It may die between a Publish() and the count of it.
  EXPECT_LE(prefix, first->counts().accepted + 1);
  EXPECT_EQ(LedgerOf(*second).accepted, 1000u);
  EXPECT_EQ(LedgerOf(*reader).delivered, 1000u + prefix);
  EXPECT_EQ(LedgerOf(*reader).dropped, 0u);
}

TEST_F(ProcessTest, StoppedSubscriberBlocksItsPublisherAndLosesNothing) {
  auto reader = Reader();
  auto writer = Writer();
  SendAll(*writer, *reader, 100);
  reader->Stop();
  const auto refused_after_ms = [&] {
    uint64_t ms = 0;
    const std::string took =
        writer->Ask("publish 1000000", "published RESOURCE_EXHAUSTED");
    EXPECT_TRUE(absl::SimpleAtoi(took, &ms)) << took;
    return ms;
  };
  EXPECT_GE(refused_after_ms(), 299u);
  EXPECT_LT(refused_after_ms(), 299u);
  const uint64_t accepted = writer->counts().accepted;
  EXPECT_EQ(LedgerOf(*writer).in_flight, accepted - 100);
  reader->Resume();
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  EXPECT_EQ(writer->Ask("publish 1000", "published").substr(0, 2), "OK");
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  ExpectAllArrived(*writer, *reader, accepted + 1000);
}

TEST_F(ProcessTest, NodesThatDialEachOtherAtOnceHaveOneLink) {
  for (const auto& [a, b] : {std::pair("a", "b"), std::pair("b", "a")}) {
    WriteTopology(a, b);
    auto writer = Start("publish", 1);
    auto reader = Start("subscribe", 1);
    writer->Await("ready");
    reader->Await("ready");
    SendAll(*writer, *reader, 100);
    EXPECT_EQ(writer->Ask("links", "links"), "1 1");
    EXPECT_EQ(reader->Ask("links", "links"), "1 1");
  }
}

TEST_F(ProcessTest, SecondProcessOfANodeIsRefusedAndTheFirstGoesOn) {
  auto reader = Reader();
  auto writer = Writer();
  SendAll(*writer, *reader, 100);
  auto second = Start("subscribe", 1);
  second->Await("failed ALREADY_EXISTS");
  EXPECT_EQ(writer->Ask("publish 100", "published").substr(0, 2), "OK");
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  ExpectAllArrived(*writer, *reader, 200);
}

TEST_F(ProcessTest, SocketThatAKilledProcessLeftIsTakenOver) {
  auto killed = Reader();
  killed->Kill();
  auto reader = Reader();
  auto writer = Writer();
  SendAll(*writer, *reader, 100);
}

}  // namespace
}  // namespace mycelium::test
