// What waits in a lossy lane while a connection breaks: until it is handled,
// the publisher counts it and the next process gets it.

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/conformance/process_fixture.h"

namespace mycelium::test {
namespace {

constexpr uint64_t kBefore = 5;   // Messages that were handled,
constexpr uint64_t kWaiting = 6;  // and those that are not: the first is held.
constexpr uint64_t kAll = kBefore + kWaiting;

class LossyCutTest : public ProcessTest {
 protected:
  explicit LossyCutTest(const std::string& retain = "20s") {
    WriteTopology("a", "b", retain);
    writer_ = Writer();
    reader_ = Reading();
    SendAll(*writer_, *reader_, kBefore);
    reader_->Tell("hold");
    (void)LedgerOf(*reader_);  // It obeys one line after the other.
    Publish(*writer_, 1);
    reader_->Await("held");
    Publish(*writer_, kWaiting - 1);
  }

  std::unique_ptr<PeerProcess> Reading() {
    return Reader(/*run=*/1, {"--delivery=queued", "--overflow=drop_oldest",
                              "--depth=5", "--window=2"});
  }

  static void Publish(PeerProcess& writer, uint64_t count) {
    EXPECT_EQ(
        writer.Ask(absl::StrCat("publish ", count), "published").substr(0, 2),
        "OK");
  }

  void Cut() {
    reader_->Ask("cut", "cut");
    writer_->Await("event reconnected b");
  }

  void ExpectAllAccountedFor() {
    const Counted sent = LedgerOf(*writer_);
    EXPECT_EQ(sent.accepted, kAll);
    EXPECT_EQ(sent.dropped, 0u);
    EXPECT_EQ(sent.in_flight, 0u);
  }

  std::unique_ptr<PeerProcess> writer_;
  std::unique_ptr<PeerProcess> reader_;
};

TEST_F(LossyCutTest, WhatWaitsIsNotOverBeforeItIsHandled) {
  for (int cut = 0; cut < 3; ++cut) {
    Cut();
    EXPECT_EQ(LedgerOf(*writer_).in_flight, kWaiting);
  }
  reader_->Tell("release");
  EXPECT_EQ(writer_->Ask("flush", "flushed"), "OK");
  ExpectEachOnceInOrder(reader_->counts().received[1], kAll);
  EXPECT_EQ(reader_->counts().lost, 0u);
  ExpectAllAccountedFor();
  EXPECT_EQ(LedgerOf(*reader_).delivered, kAll);
}

TEST_F(LossyCutTest, NextProcessGetsItIfThisOneIsKilled) {
  Cut();
  reader_->Kill();
  writer_->Await("event disconnected b");
  auto second = Reading();
  EXPECT_EQ(writer_->Ask("flush", "flushed"), "OK");
  const ReceivedIds& got = second->counts().received[1];
  EXPECT_EQ(got.first, kBefore + 1);
  EXPECT_EQ(got.last, kAll);
  EXPECT_EQ(got.count, kWaiting);
  EXPECT_EQ(got.gaps + got.duplicates, 0u);
  EXPECT_GE(second->counts().redelivered, 1u);
  EXPECT_EQ(second->counts().lost, 0u);
  ExpectAllAccountedFor();
  EXPECT_EQ(LedgerOf(*second).delivered, kWaiting);
}

// Messages that are with the subscriber's process, or in memory that it maps,
// survive the publisher's process.
class LossyCutOffTest : public LossyCutTest {
 protected:
  using LossyCutTest::LossyCutTest;

  static uint64_t Reached() {
    return kBefore + (TransportUnderTest() == "shm" ? kWaiting : 2);
  }
  // Over gRPC a thread of the publisher's process writes. Messages that it had
  // not given to the kernel die with it; one message is in the handler.
  static uint64_t ReachedAtLeast() {
    return TransportUnderTest() == "grpc" ? kBefore + 1 : Reached();
  }

  // `of_next`: so many messages of the next publisher are handled, too.
  void ExpectItArrives(uint64_t of_next) {
    reader_->Tell("release");
    reader_->Ask(absl::StrCat("await ", ReachedAtLeast()),
                 absl::StrCat("reached ", ReachedAtLeast()));
    // Which waits for the last handler.
    ShutDown(*reader_);
    const Counted got = CountedOf(reader_->Await("ledger"));
    const uint64_t reached = reader_->counts().received[1].count;
    EXPECT_GE(reached, ReachedAtLeast());
    // A message that is not waited for may still wait when the reader shuts
    // down.
    EXPECT_LE(reached + got.dropped, Reached());
    ExpectEachOnceInOrder(reader_->counts().received[1], reached);
    EXPECT_EQ(got.delivered, reached + of_next);
    EXPECT_EQ(got.in_flight, 0u);
  }
};

TEST_F(LossyCutOffTest, PublisherThatIsKilledLeavesIt) {
  writer_->Kill();
  reader_->Await("event disconnected a");
  ExpectItArrives(/*of_next=*/0);
}

TEST_F(LossyCutOffTest, NextPublisherTakesNothingOfItAway) {
  writer_->Kill();
  reader_->Await("event disconnected a");
  auto second = Writer(/*run=*/2);
  EXPECT_EQ(second->Ask("wait 1", "waited"), "OK");
  Publish(*second, 1);
  reader_->Tell("release");
  EXPECT_EQ(second->Ask("flush", "flushed"), "OK");
  ExpectItArrives(/*of_next=*/1);
  EXPECT_EQ(reader_->counts().received[2].count, 1u);
  const Counted sent = LedgerOf(*second);
  EXPECT_EQ(sent.accepted, 1u);
  EXPECT_EQ(sent.dropped + sent.in_flight, 0u);
}

class LossyForgottenTest : public LossyCutOffTest {
 protected:
  LossyForgottenTest() : LossyCutOffTest("200ms") {}
};

TEST_F(LossyForgottenTest, NorDoesTheEndOfRetain) {
  writer_->Kill();
  reader_->Await("event gone a");
  ExpectItArrives(/*of_next=*/0);
}

}  // namespace
}  // namespace mycelium::test
