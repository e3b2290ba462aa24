// What becomes of the messages of a subscriber that died: the next process of
// its node gets them, if it comes in time.

#include <memory>
#include <string>

#include "tests/conformance/process_fixture.h"
#include "tests/support/comes.h"

namespace mycelium::test {
namespace {

class HandoverTest : public ProcessTest,
                     public ::testing::WithParamInterface<std::string> {
 protected:
  HandoverTest() { WriteTopology("a", "b", /*retain=*/"20s"); }

  std::unique_ptr<PeerProcess> Reading(Flags more = {}) {
    more.push_back("--delivery=" + GetParam());
    return Reader(/*run=*/1, more);
  }

  // How many messages of a lossy lane with a window of 2 are on their way while
  // the reader stands still. In shared memory there are none.
  static uint64_t OnTheirWay() { return TransportUnderTest() == "shm" ? 0 : 2; }

  // Publishes, and waits until all of it is handled or dropped.
  static void PublishAndFlush(PeerProcess& writer, uint64_t count) {
    EXPECT_EQ(
        writer.Ask(absl::StrCat("publish ", count), "published").substr(0, 2),
        "OK");
    EXPECT_EQ(writer.Ask("flush", "flushed"), "OK");
  }

  // The ten messages behind the first fifty, once each and in order.
  static void ExpectTheRest(const ReceivedIds& ids) {
    EXPECT_EQ(ids.first, 51u);
    EXPECT_EQ(ids.last, 60u);
    EXPECT_EQ(ids.count, 10u);
    EXPECT_EQ(ids.gaps + ids.duplicates + ids.torn, 0u);
  }
};

TEST_P(HandoverTest, NextProcessGetsWhatTheKilledOneHadNotHandled) {
  auto first = Reading();
  auto writer = Writer();
  SendAll(*writer, *first, 1000);
  first->Stop();
  EXPECT_EQ(writer->Ask("publish 10", "published").substr(0, 2), "OK");
  first->Kill();
  writer->Await("event disconnected b");
  auto second = Reading();
  PublishAndFlush(*writer, 5);
  const ReceivedIds& got = second->counts().received[1];
  EXPECT_EQ(got.first, 1001u);
  EXPECT_EQ(got.last, 1015u);
  EXPECT_EQ(got.count, 15u);
  EXPECT_EQ(got.gaps + got.duplicates, 0u);
  EXPECT_EQ(second->counts().redelivered, 10u);
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, 1015u);
  EXPECT_EQ(sent.dropped, 0u);
  EXPECT_EQ(sent.in_flight, 0u);
  EXPECT_EQ(LedgerOf(*second).delivered, 15u);
}

// The publisher does not see what the reader took from shared memory by then:
// the reader has to say so.
TEST_P(HandoverTest, WhatKillsAProcessAfterACutIsRedeliveredToTheNext) {
  auto first = Reading({"--die_at=3"});
  auto writer = Writer();
  EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
  first->Tell("hold");
  (void)LedgerOf(*first);  // It obeys its lines in order.
  EXPECT_EQ(writer->Ask("publish 1", "published").substr(0, 2), "OK");
  first->Await("held");
  writer->Ask("cut", "cut");
  writer->Await("event disconnected b");
  EXPECT_EQ(writer->Ask("publish 3", "published").substr(0, 2), "OK");
  first->Tell("release");
  EXPECT_EQ(first->AwaitEnd(), "signal 9");
  EXPECT_EQ(first->counts().received[1].last, 2u);
  auto second = Reading();
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  const ReceivedIds& got = second->counts().received[1];
  EXPECT_LE(got.first, 3u);
  EXPECT_EQ(got.last, 4u);
  EXPECT_EQ(got.gaps + got.duplicates, 0u);
  // Over a socket an acknowledgement of a handled message may not have arrived.
  EXPECT_GE(second->counts().redelivered, 3 - got.first + 1);
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, 4u);
  EXPECT_EQ(sent.dropped, 0u);
  EXPECT_EQ(sent.in_flight, 0u);
  EXPECT_EQ(LedgerOf(*second).delivered, got.count);
}

// Each process leaves a lane of its own behind, and comes before the time of
// the previous one is over.
TEST_P(HandoverTest, SeveralThatNeverComeBackAreEachGivenUpInTime) {
  WriteTopology("a", "b", /*retain=*/"500ms");
  auto writer = Writer();
  for (const std::string name : {"x", "y", "z"}) {
    auto reader = Reading({"--names=" + name});
    writer->Await("event connected b");
    ASSERT_TRUE(Comes([&] { return writer->Ask("wait 1", "waited") == "OK"; }));
    reader->Stop();
    (void)writer->Ask("publish 10", "published");
    reader->Kill();
    writer->Await("event disconnected b");
  }
  auto last = Reading({"--names=last"});
  Counted sent;
  EXPECT_TRUE(Comes([&] {
    sent = LedgerOf(*writer);
    return sent.in_flight == 0;
  }));
  EXPECT_GE(sent.accepted, 10u);
  EXPECT_EQ(sent.gone, sent.accepted);
}

TEST_P(HandoverTest, WhatIsPublishedMeanwhileWaitsForTheNextProcess) {
  auto first = Reading();
  auto writer = Writer();
  SendAll(*writer, *first, 100);
  first->Kill();
  writer->Await("event disconnected b");
  EXPECT_EQ(writer->Ask("publish 20", "published").substr(0, 2), "OK");
  EXPECT_EQ(LedgerOf(*writer).in_flight, 20u);
  auto second = Reading();
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  EXPECT_EQ(second->counts().received[1].first, 101u);
  EXPECT_EQ(second->counts().received[1].count, 20u);
  EXPECT_EQ(second->counts().redelivered, 0u) << "none was with the first";
  EXPECT_EQ(LedgerOf(*writer).dropped, 0u);
}

// Inline subscriptions of a node share a lane. Frames for a subscription that
// has not come back are dropped. They hold up neither the frames behind them
// for a subscription that is back, nor those of a publisher that only the
// missing subscription had.
TEST_P(HandoverTest, WhatNobodySubscribesToAnyMoreHoldsUpNoOtherTopic) {
  WriteTopology("a", "b", /*retain=*/"500ms");
  auto first = Reading({"--topics=left,kept"});
  auto writer = Start("publish", 1, {"--topics=left,kept"});
  writer->Await("ready");
  EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
  first->Stop();
  for (int turn = 0; turn < 3; ++turn) {
    for (const std::string topic : {"left", "kept"}) {
      const std::string line = absl::StrCat("publish_to ", topic, " 2");
      EXPECT_EQ(writer->Ask(line, "published").substr(0, 2), "OK");
    }
  }
  first->Kill();
  writer->Await("event disconnected b");
  auto second = Reading({"--topics=kept"});
  EXPECT_EQ(writer->Ask("publish_to kept 4", "published").substr(0, 2), "OK");
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  EXPECT_EQ(second->counts().corrupt, 0u) << "by a frame of nobody";
  ExpectEachOnceInOrder(second->counts().received[2], 10);
  EXPECT_EQ(second->counts().received[1].count, 0u);
  const Counted sent = LedgerOf(*writer);
  const Counted got = LedgerOf(*second);
  EXPECT_EQ(sent.accepted, 16u);
  EXPECT_EQ(got.delivered, 10u);
  EXPECT_EQ(sent.gone + got.gone, 6u);
  EXPECT_EQ(sent.dropped + got.dropped, 6u);
  EXPECT_EQ(sent.in_flight, 0u);
}

TEST_P(HandoverTest, WhatNoProcessComesBackForIsDroppedThoughOneConnects) {
  WriteTopology("a", "b", /*retain=*/"500ms");
  auto first = Reading({"--topics=left,kept"});
  auto writer = Start("publish", 1, {"--topics=left,kept,new"});
  writer->Await("ready");
  for (const std::string topic : {"left", "kept"}) {
    EXPECT_EQ(writer->Ask("wait_on " + topic, "waited"), "OK");
  }
  first->Stop();
  for (const std::string topic : {"left", "kept", "left"}) {
    const std::string line = absl::StrCat("publish_to ", topic, " 2");
    EXPECT_EQ(writer->Ask(line, "published").substr(0, 2), "OK");
  }
  first->Kill();
  writer->Await("event disconnected b");
  auto second = Reading({"--topics=new"});
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  EXPECT_EQ(writer->Ask("wait_on new", "waited"), "OK");
  EXPECT_EQ(writer->Ask("publish_to new 3", "published").substr(0, 2), "OK");
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  EXPECT_EQ(second->counts().corrupt, 0u) << "by a frame of nobody";
  ExpectEachOnceInOrder(second->counts().received[3], 3);
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, 9u);
  EXPECT_EQ(sent.gone, 6u);
  EXPECT_EQ(sent.dropped, 6u);
  EXPECT_EQ(sent.in_flight, 0u);
  EXPECT_EQ(LedgerOf(*second).delivered, 3u);
}

// A living process may end a subscription while others share its lane.
TEST_P(HandoverTest, SubscriptionThatEndsTakesNothingFromItsNeighbours) {
  auto reader = Reading({"--topics=kept,left"});
  auto writer = Start("publish", 1, {"--topics=kept,left"});
  writer->Await("ready");
  EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
  reader->Stop();
  for (int turn = 0; turn < 3; ++turn) {
    for (const std::string topic : {"left", "kept"}) {
      const std::string line = absl::StrCat("publish_to ", topic, " 2");
      EXPECT_EQ(writer->Ask(line, "published").substr(0, 2), "OK");
    }
  }
  reader->Tell("unsubscribe");
  reader->Resume();
  reader->Await("unsubscribed");
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  ExpectEachOnceInOrder(reader->counts().received[1], 6);
  const Counted sent = LedgerOf(*writer);
  const Counted got = LedgerOf(*reader);
  const uint64_t left = reader->counts().received[2].count;
  EXPECT_EQ(sent.accepted, 12u);
  EXPECT_EQ(got.delivered, 6u + left);
  EXPECT_EQ(sent.dropped + got.dropped, 6u - left);
  EXPECT_EQ(sent.gone + got.gone, 6u - left);
  EXPECT_EQ(sent.in_flight, 0u);
}

TEST_P(HandoverTest, StreamReachesOneProcessAfterTheOtherWithoutAGap) {
  auto writer = Writer();
  auto reader = Reading();
  EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
  writer->Tell("stream");
  uint64_t last = 0;
  for (int life = 0; life < 4; ++life) {
    reader->Ask("await 2000", "reached 2000");
    const ReceivedIds& got = reader->counts().received[1];
    EXPECT_EQ(got.gaps + got.duplicates, 0u);
    EXPECT_LE(got.first, last + 1) << "some reached no process";
    reader->Kill();
    last = got.last;
    writer->Await("event disconnected b");
    reader = Reading();
  }
  reader->Ask("await 100", "reached 100");
  writer->Ask("stop", "stopped");
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  const ReceivedIds& got = reader->counts().received[1];
  EXPECT_LE(got.first, last + 1);
  EXPECT_EQ(got.gaps + got.duplicates, 0u);
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(got.last, sent.accepted);
  EXPECT_EQ(sent.accepted, writer->counts().accepted);
  EXPECT_EQ(sent.dropped, 0u);
  EXPECT_EQ(sent.in_flight, 0u);
}

TEST_P(HandoverTest, MessageThatKillsEveryProcessIsDroppedAsPoison) {
  auto writer = Writer();
  auto reader = Reading({"--die_at=7"});
  SendAll(*writer, *reader, 6);
  EXPECT_EQ(writer->Ask("publish 4", "published").substr(0, 2), "OK");
  // The message kills once, and then once for each of its three redeliveries.
  for (int death = 1; death <= 4; ++death) {
    writer->Await("event disconnected b");
    if (death < 4)
      reader =
          Start("subscribe", 1, {"--die_at=7", "--delivery=" + GetParam()});
  }
  auto last = Reading({"--die_at=7"});
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  EXPECT_EQ(last->counts().received[1].first, 8u);
  EXPECT_EQ(last->counts().received[1].last, 10u);
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, 10u);
  EXPECT_EQ(sent.poison, 1u);
  EXPECT_EQ(sent.dropped, 1u);
  EXPECT_EQ(sent.in_flight, 0u);
}

// At the limit the message is tried once more; one death beyond it is dropped.
TEST_P(HandoverTest, MessageIsPoisonAfterOneDeathMoreThanRedeliverMax) {
  for (const int redeliver_max : {0, 1}) {
    WriteTopology("a", "b", "20s", "300ms",
                  absl::StrCat("redeliver_max = ", redeliver_max, "\n"));
    auto writer = Writer();
    auto reader = Reading({"--die_at=7"});
    SendAll(*writer, *reader, 6);
    EXPECT_EQ(writer->Ask("publish 4", "published").substr(0, 2), "OK");
    for (int death = 0; death <= redeliver_max; ++death) {
      writer->Await("event disconnected b");
      EXPECT_EQ(LedgerOf(*writer).poison, 0u) << redeliver_max;
      reader =
          Start("subscribe", 1, {"--die_at=7", "--delivery=" + GetParam()});
    }
    EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
    EXPECT_EQ(reader->counts().received[1].first, 8u);
    EXPECT_EQ(reader->counts().received[1].count, 3u);
    const Counted sent = LedgerOf(*writer);
    EXPECT_EQ(sent.accepted, 10u);
    EXPECT_EQ(sent.poison, 1u);
    EXPECT_EQ(sent.dropped, 1u);
    EXPECT_EQ(sent.in_flight, 0u);
    EXPECT_EQ(LedgerOf(*reader).delivered, 3u);
  }
}

TEST_P(HandoverTest, RetainOfZeroKeepsNothingForTheNextProcess) {
  WriteTopology("a", "b", /*retain=*/"0s");
  auto writer = Writer();
  auto first = Reading();
  SendAll(*writer, *first, 100);
  first->Stop();
  EXPECT_EQ(writer->Ask("publish 10", "published").substr(0, 2), "OK");
  first->Kill();
  // Not "gone b": the two may have been told that before, if each dialled the
  // other at first and both connections were lost.
  EXPECT_TRUE(Comes([&] { return LedgerOf(*writer).in_flight == 0; }));
  EXPECT_EQ(LedgerOf(*writer).gone, 10u);
  auto second = Reading();
  EXPECT_EQ(writer->Ask("wait 1", "waited"), "OK");
  PublishAndFlush(*writer, 5);
  EXPECT_EQ(second->counts().received[1].first, 111u);
  EXPECT_EQ(second->counts().redelivered, 0u);
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, 115u);
  EXPECT_EQ(sent.dropped, 10u);
  EXPECT_EQ(LedgerOf(*second).delivered, 5u);
}

TEST_P(HandoverTest, EachOfTwoSubscriptionsGetsItsOwnRest) {
  auto writer = Writer();
  auto first = Reading({"--names=one,two"});
  EXPECT_EQ(writer->Ask("wait 2", "waited"), "OK");
  PublishAndFlush(*writer, 50);
  first->Stop();
  EXPECT_EQ(writer->Ask("publish 10", "published").substr(0, 2), "OK");
  first->Kill();
  writer->Await("event disconnected b");
  // The second subscription comes later than the first, and still gets all.
  auto second = Reading({"--names=one"});
  EXPECT_EQ(second->Ask("subscribe two", "subscribed"), "OK");
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  EXPECT_EQ(LedgerOf(*second).delivered, 20u);
  ExpectTheRest(second->counts().by_place[0]);
  ExpectTheRest(second->counts().by_place[1]);
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, 120u);
  EXPECT_EQ(sent.dropped, 0u);
  EXPECT_EQ(sent.in_flight, 0u);
}

TEST_P(HandoverTest, SubscriptionThatDoesNotComeBackIsCountedAsGone) {
  WriteTopology("a", "b", /*retain=*/"1s");
  auto writer = Writer();
  auto first = Reading({"--names=one,two"});
  EXPECT_EQ(writer->Ask("wait 2", "waited"), "OK");
  PublishAndFlush(*writer, 50);
  first->Stop();
  EXPECT_EQ(writer->Ask("publish 10", "published").substr(0, 2), "OK");
  first->Kill();
  writer->Await("event disconnected b");
  auto second = Reading({"--names=one"});
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  EXPECT_EQ(LedgerOf(*second).delivered, 10u);
  ExpectTheRest(second->counts().by_place[0]);
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, 120u);
  EXPECT_EQ(sent.gone, 10u);
  EXPECT_EQ(sent.dropped, 10u);
  EXPECT_EQ(sent.in_flight, 0u);
}

TEST_P(HandoverTest, LossyLaneIsHandedOverWithWhatItKeeps) {
  const Flags lossy = {"--overflow=drop_oldest", "--depth=5", "--window=2"};
  auto writer = Writer();
  auto first = Reading(lossy);
  SendAll(*writer, *first, 5);
  first->Stop();
  EXPECT_EQ(writer->Ask("publish 50", "published").substr(0, 2), "OK");
  first->Kill();
  writer->Await("event disconnected b");
  auto second = Reading(lossy);
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  const ReceivedIds& got = second->counts().received[1];
  const uint64_t kept = 5 + OnTheirWay();
  EXPECT_EQ(got.first, OnTheirWay() > 0 ? 6u : 51u);
  EXPECT_EQ(got.last, 55u);
  EXPECT_EQ(got.count, kept);
  EXPECT_EQ(second->counts().lost, 50 - kept);
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, 55u);
  EXPECT_EQ(sent.overflow, 50 - kept);
  EXPECT_EQ(sent.dropped, 50 - kept);
  EXPECT_EQ(sent.in_flight, 0u);
}

TEST_P(HandoverTest, StoppedLossySubscriberDelaysNobodyAndGetsTheNewest) {
  auto writer = Writer();
  auto reader = Reading({"--overflow=drop_oldest", "--depth=5", "--window=2"});
  SendAll(*writer, *reader, 5);
  const uint64_t kept = 5 + OnTheirWay();
  for (uint64_t round = 1; round <= 3; ++round) {
    reader->Stop();
    EXPECT_EQ(writer->Ask("publish 1000", "published").substr(0, 4), "OK 0");
    reader->Resume();
    EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
    EXPECT_EQ(reader->counts().received[1].last, 5 + 1000 * round);
    EXPECT_EQ(reader->counts().received[1].count, 5 + kept * round);
    EXPECT_EQ(reader->counts().lost, (1000 - kept) * round);
  }
  const Counted sent = LedgerOf(*writer);
  EXPECT_EQ(sent.accepted, 3005u);
  EXPECT_EQ(sent.overflow, 3 * (1000 - kept));
  EXPECT_EQ(LedgerOf(*reader).delivered, 5 + 3 * kept);
}

// The next process takes only smaller frames: a frame that does not fit is
// dropped, and not sent to it again and again.
TEST_P(HandoverTest, FramesThatAreTooLargeForTheNextProcessAreDropped) {
  const std::vector<Flags> policies = {
      {}, {"--overflow=drop_oldest", "--depth=100", "--window=2"}};
  for (const Flags& policy : policies) {
    WriteTopology("a", "b", "20s");
    auto first = Reading(policy);
    auto writer = Writer();
    SendAll(*writer, *first, 10);
    first->Stop();
    for (const auto& [bytes, count] :
         {std::pair(10, 1), {6000, 1}, {10, 3}, {6000, 2}, {10, 4}}) {
      writer->Tell(absl::StrCat("bytes ", bytes));
      EXPECT_EQ(writer->Ask(absl::StrCat("publish ", count), "published")
                    .substr(0, 2),
                "OK");
    }
    first->Kill();
    writer->Await("event disconnected b");
    HalveFrames();
    auto second = Reading(policy);
    EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
    EXPECT_EQ(second->counts().received[1].first, 11u);
    EXPECT_EQ(second->counts().received[1].last, 21u);
    EXPECT_EQ(second->counts().received[1].count, 8u);
    EXPECT_EQ(second->counts().received[1].duplicates, 0u);
    // The publisher refuses such a message as a new publisher would.
    writer->Tell("bytes 6000");
    EXPECT_EQ(writer->Ask("publish 1", "published").substr(0, 16),
              "INVALID_ARGUMENT");
    writer->Tell("bytes 10");
    PublishAndFlush(*writer, 1);
    const Counted sent = LedgerOf(*writer);
    EXPECT_EQ(sent.accepted, 22u);
    EXPECT_EQ(sent.too_large, 3u);
    EXPECT_EQ(sent.dropped, 3u);
    EXPECT_EQ(sent.in_flight, 0u);
    EXPECT_EQ(LedgerOf(*second).delivered, 9u);
  }
}

INSTANTIATE_TEST_SUITE_P(Deliveries, HandoverTest,
                         ::testing::Values("inline", "queued"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace mycelium::test
