// What processes promise each other, whichever starts first or dies.

#include <memory>
#include <string>
#include <utility>

#include "tests/conformance/process_fixture.h"

namespace mycelium::test {
namespace {

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
  // The writer may die between a Publish() and the count of it.
  EXPECT_LE(prefix, first->counts().accepted + 1);
  if (TransportUnderTest() == "shm") {
    EXPECT_GE(prefix, first->counts().accepted);
  }
  EXPECT_GT(prefix, 0u);
  EXPECT_EQ(LedgerOf(*second).accepted, 1000u);
  EXPECT_EQ(LedgerOf(*reader).delivered, 1000u + prefix);
  EXPECT_EQ(LedgerOf(*reader).dropped, 0u);
}

TEST_F(ProcessTest, SubscriberThatLeavesInGoodOrderMayComeBack) {
  WriteTopology("a", "b", /*retain=*/"20s");  // It is not waited for.
  auto writer = Writer();
  auto first = Reader();
  SendAll(*writer, *first, 100);
  ShutDown(*first);
  writer->Await("event gone b");
  EXPECT_FALSE(writer->Ask("publish 1", "published UNAVAILABLE").empty());
  auto second = Reader();
  EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
  EXPECT_EQ(writer->Ask("publish 50", "published").substr(0, 2), "OK");
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, 150u);
  EXPECT_EQ(sent.in_flight + sent.dropped, 0u);
  EXPECT_EQ(LedgerOf(*second).delivered, 50u);
  const ReceivedIds& ids = second->counts().received[1];
  EXPECT_EQ(ids.first, 101u);
  EXPECT_EQ(ids.last, 150u);
  EXPECT_EQ(ids.gaps + ids.duplicates, 0u);
}

TEST_F(ProcessTest, PublisherThatLeavesInGoodOrderMayComeBack) {
  auto reader = Reader(/*run=*/2);
  auto first = Writer(/*run=*/1);
  SendAll(*first, *reader, 100);
  ShutDown(*first);
  reader->Await("event gone a");
  auto second = Writer(/*run=*/2);
  EXPECT_EQ(second->Ask("wait 1", "waited"), "OK");
  EXPECT_EQ(second->Ask("publish 50", "published").substr(0, 2), "OK");
  EXPECT_EQ(second->Ask("flush", "flushed"), "OK");
  ExpectEachOnceInOrder(reader->counts().received[1], 100);
  ExpectEachOnceInOrder(reader->counts().received[2], 50);
  const Counted sent = LedgerOf(*second), got = LedgerOf(*reader);
  EXPECT_EQ(sent.accepted, 50u);
  EXPECT_EQ(sent.in_flight + sent.dropped, 0u);
  EXPECT_EQ(got.delivered, 150u);
  EXPECT_EQ(got.dropped, 0u);
}

TEST_F(ProcessTest, SubscriberThatIsKilledAtRestCostsNoMessage) {
  auto reader = Reader();
  auto writer = Writer();
  SendAll(*writer, *reader, 1000);
  reader->Kill();
  writer->Await("event gone b");
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, 1000u);
  EXPECT_EQ(sent.in_flight + sent.dropped, 0u);
  ExpectEachOnceInOrder(reader->counts().received[1], 1000);
}

TEST_F(ProcessTest, PublisherThatIsKilledAtRestCostsNoMessage) {
  auto reader = Reader();
  auto writer = Writer();
  SendAll(*writer, *reader, 1000);
  writer->Kill();
  reader->Await("event gone a");
  const Counted got = LedgerOf(*reader);
  EXPECT_EQ(writer->counts().accepted, 1000u);
  EXPECT_EQ(got.delivered, 1000u);
  EXPECT_EQ(got.dropped, 0u);
  ExpectEachOnceInOrder(reader->counts().received[1], 1000);
}

TEST_F(ProcessTest, SubscriberThatLeavesUnderTrafficLosesNoCount) {
  for (const std::string delivery : {"", "queued"}) {
    auto reader = Reader(1, {"--delivery=" + delivery});
    auto writer = Writer();
    EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
    writer->Tell("stream");
    reader->Ask("await 5000", "reached 5000");
    reader->Tell("shutdown");
    EXPECT_FALSE(reader->Await("shut").empty());
    const Counted got = CountedOf(reader->Await("ledger"));
    EXPECT_EQ(reader->AwaitEnd(), "exit 0");
    writer->Await("event gone b");
    (void)writer->Ask("stop", "stopped");
    const Counted sent = LedgerOf(*writer);
    EXPECT_EQ(sent.accepted, writer->counts().accepted);
    EXPECT_EQ(sent.in_flight, 0u);
    EXPECT_EQ(sent.accepted, got.delivered + got.dropped + sent.dropped);
    ExpectEachOnceInOrder(reader->counts().received[1], got.delivered);
  }
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
    EXPECT_EQ(writer->Ask("links", "links"), "1 1 " + TransportUnderTest());
    EXPECT_EQ(reader->Ask("links", "links"), "1 1 " + TransportUnderTest());
  }
}

TEST_F(ProcessTest, SecondProcessOfANodeIsRefusedAndTheFirstGoesOn) {
  auto reader = Reader();
  auto writer = Writer();
  SendAll(*writer, *reader, 100);
  auto second = Start("subscribe", 1);
  second->Await("failed ALREADY_EXISTS");
  EXPECT_EQ(second->AwaitEnd(), "exit 1");
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
