// What Router does with subscriptions of a process that another has replaced.
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/codec/frame_decoder.h"
#include "mycelium/routing/dispatcher.h"
#include "mycelium/routing/router_fixture.h"

namespace mycelium {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class OrphansTest : public RouterTest {
 protected:
  Ledger LedgerOfAll() const {
    Ledger sum;
    const FlowReportTable table = router_->Reports();
    for (const FlowReport& report : table.reports()) sum += report.ledger;
    return sum;
  }
};

// The process at the other end, with one inline subscription.
struct Reader {
  explicit Reader(const MessageType& type) {
    Subscription::Options options;
    options.id = 1;
    options.service = "reader";
    options.topic = kTopic;
    options.type = type;
    options.mode = DeliveryMode::kInline;
    options.lane_bytes = 64 << 10;
    options.frame_bytes_max = 16 << 10;
    dispatcher.Add(*Subscription::Create(
        Environment::Real(), options,
        [this](const Payload&, const MessageInfo&) {
          ++delivered;
          return true;
        },
        [](LogLevel, absl::string_view) {}));
  }

  void Hear(const FakeLink& from) {
    for (const v1::Control& control : from.sent) {
      EXPECT_TRUE(!control.has_publisher() ||
                  dispatcher.OnDeclare(link, control.publisher()).ok());
      EXPECT_TRUE(!control.has_matched() ||
                  dispatcher.OnMatched(link, control.matched()).ok());
      if (control.has_unmatched()) {
        dispatcher.OnUnmatched(link, control.unmatched());
      }
    }
  }

  // Returns how many frames were taken.
  size_t Read(const Lane& lane) {
    size_t taken = 0;
    for (uint64_t at = lane.released(); at < lane.committed();) {
      const Lane::Run run = lane.CommittedFrom(at);
      FrameView frame;
      if (DecodeFrame(run.bytes, 16 << 10, kFrameFlagsOnWire, &frame) !=
          FrameVerdict::kOk) {
        break;
      }
      at = run.position + AlignedFrameBytes(frame.header.frame_bytes);
      taken += dispatcher.OnFrame(link, lane.id(), frame, at) ==
               LinkHandler::FrameOutcome::kHandled;
      link.next_sequences[lane.id()] = frame.header.lane_sequence + 1;
    }
    return taken;
  }

  // Whether a frame of that publisher would be taken, when many others have
  // come.
  bool Knows(uint32_t publisher, const MessageType& type) {
    v1::PublisherDeclare declare;
    for (uint32_t id = 100; id < 200; ++id) {
      declare.set_publisher(id);
      EXPECT_TRUE(dispatcher.OnDeclare(link, declare).ok());
    }
    FrameView frame;
    frame.header.publisher_id = publisher;
    frame.header.digest_prefix = type.digest.prefix();
    frame.header.lane_sequence = link.next_sequences[0];
    return dispatcher.OnFrame(link, 0, frame, /*end=*/1 << 20) !=
           LinkHandler::FrameOutcome::kCorrupt;
  }

  Dispatcher dispatcher{Environment::Real()};
  FakeLink link{"there"};
  int delivered = 0;
};

TEST_F(OrphansTest, LaneThatIsOpenedBeforeTheRouterHearsOfItIsParkedToo) {
  router_->AddRemote(link_, Subscribe(1, type_));
  const auto publisher = AddPublisher(type_);
  EXPECT_THAT(link_.parked, IsEmpty());
  router_->Orphan(link_, kNever);
  EXPECT_THAT(link_.parked, ElementsAre(1));
  ASSERT_TRUE(Publish(*publisher).ok());
  router_->AddRemote(link_, Subscribe(9, type_));
  EXPECT_THAT(link_.adopted, ElementsAre(1));
  EXPECT_EQ(LedgerOfAll().in_flight, 1u);
}

// Another subscription of the new process may have the orphan's number.
TEST_F(OrphansTest, LaneThatIsOpenedForAnOrphanWaitsForTheNextProcess) {
  router_->AddRemote(link_, Subscribe(1, type_));
  router_->Orphan(link_, kNever);
  const auto publisher = AddPublisher(type_);
  ASSERT_TRUE(Publish(*publisher).ok());
  EXPECT_THAT(link_.parked, ElementsAre(1));
  EXPECT_THAT(link_.Sent(v1::Control::kMatched), IsEmpty());
  router_->AddRemote(link_, Subscribe(9, type_));
  EXPECT_THAT(link_.parked, IsEmpty());
  const auto matched = link_.Sent(v1::Control::kMatched);
  ASSERT_THAT(matched, SizeIs(1));
  EXPECT_EQ(matched[0].matched().subscription(), 9u);
  EXPECT_EQ(LedgerOfAll().in_flight, 1u);
}

TEST_F(OrphansTest, OrphanDoesNotShareALaneThatTheNewProcessReads) {
  v1::Subscribe other = Inline(2);
  other.set_name("other");
  router_->AddRemote(link_, Inline(1));
  router_->AddRemote(link_, other);
  router_->Orphan(link_, kNever);
  router_->AddRemote(link_, Inline(1));
  const auto publisher = AddPublisher(type_);
  ASSERT_TRUE(Publish(*publisher).ok());
  ASSERT_THAT(link_.lanes, SizeIs(2));
  EXPECT_EQ(link_.lanes[0]->id(), 0u);
  EXPECT_THAT(link_.parked, ElementsAre(1));
  EXPECT_EQ(LedgerOfAll().in_flight, 2u);
  link_.lanes[0]->Release(link_.lanes[0]->committed());
  EXPECT_EQ(LedgerOfAll().in_flight, 1u) << "the orphan's";
  other.set_subscription(5);
  router_->AddRemote(link_, other);
  EXPECT_THAT(link_.parked, IsEmpty());
}

// Nobody would send what is in it, and a caller that flushes would wait for
// that.
TEST_F(OrphansTest, SharedLaneThatNobodyComesBackToIsDropped) {
  router_->AddRemote(link_, Inline(1));
  const auto publisher = AddPublisher(type_);
  ASSERT_TRUE(Publish(*publisher).ok());
  router_->RemoveRemote(link_, 1);  // What was published before goes on.
  EXPECT_EQ(LedgerOfAll().in_flight, 1u);
  link_.parked.insert(0);
  router_->Orphan(link_, kNever);
  EXPECT_THAT(link_.dropped, ElementsAre(0));
  EXPECT_EQ(LedgerOfAll().dropped_for(DropReason::kSubscriberGone), 1u);
  EXPECT_EQ(LedgerOfAll().in_flight, 0u);
  router_->AddRemote(link_, Inline(1));
  EXPECT_THAT(link_.lanes, SizeIs(2));
  EXPECT_THAT(link_.parked, IsEmpty());
}

TEST_F(OrphansTest, SharedLaneIsDroppedWhenTheLastWhoWaitedInItIsOver) {
  v1::Subscribe other = Inline(2);
  other.set_name("other");
  router_->AddRemote(link_, Inline(1));
  const auto publisher = AddPublisher(type_);
  ASSERT_TRUE(Publish(*publisher).ok());
  router_->Orphan(link_, /*deadline=*/5);
  router_->AddRemote(link_, other);
  ASSERT_TRUE(Publish(*publisher).ok());
  router_->RemoveRemote(link_, 2);
  EXPECT_EQ(LedgerOfAll().in_flight, 3u);
  EXPECT_THAT(link_.dropped, IsEmpty());
  link_.sent.clear();
  router_->DropOrphans(link_, 5);
  EXPECT_THAT(link_.dropped, ElementsAre(0));
  EXPECT_EQ(LedgerOfAll().dropped_for(DropReason::kSubscriberGone), 3u);
  EXPECT_EQ(LedgerOfAll().in_flight, 0u);
  // The end of the match that the new process had heard of.
  const auto unmatched = link_.Sent(v1::Control::kUnmatched);
  ASSERT_THAT(unmatched, SizeIs(1));
  EXPECT_EQ(unmatched[0].unmatched().subscription(), 2u);
  EXPECT_EQ(unmatched[0].unmatched().until_sequence(), 0u);
}

// The next process takes no frame of a publisher that it does not know.
TEST_F(OrphansTest, NextProcessIsToldOfEveryPublisherThatTheSharedLaneHas) {
  v1::Subscribe other = Inline(2);
  other.set_service("other");
  router_->AddRemote(link_, Inline(1));
  router_->AddRemote(link_, other);
  const auto publisher = AddPublisher(type_, "reader");
  const auto to_other = AddPublisher(type_, "other");
  for (FanOut* const each : {publisher.get(), to_other.get()}) {
    ASSERT_TRUE(Publish(*each).ok());
  }
  router_->RemovePublisher(*to_other);
  router_->Orphan(link_, /*deadline=*/5);
  link_.sent.clear();
  router_->AddRemote(link_, Inline(1));
  router_->DropOrphans(link_, 5);
  EXPECT_THAT(link_.parked, IsEmpty());
  router_->Repeat(link_);  // On another connection, which lost the first words.

  Reader reader(type_);
  reader.Hear(link_);
  EXPECT_EQ(reader.Read(*link_.lanes[0]), 2u);
  EXPECT_EQ(reader.delivered, 1);
  EXPECT_EQ(LedgerOfAll().dropped_for(DropReason::kSubscriberGone), 1u);
  link_.lanes[0]->Release(link_.lanes[0]->committed());
  link_.sent.clear();
  router_->Repeat(link_);
  EXPECT_THAT(link_.Sent(v1::Control::kPublisher), SizeIs(1));
  EXPECT_TRUE(reader.Knows(1, type_));
  EXPECT_FALSE(reader.Knows(2, type_)) << "its messages are over";
}

TEST_F(OrphansTest, SharedLaneGoesOnWhenTheLastOfThoseWhoWaitInItIsOver) {
  v1::Subscribe other = Inline(2);
  other.set_name("other");
  router_->AddRemote(link_, Inline(1));
  router_->AddRemote(link_, other);
  const auto publisher = AddPublisher(type_);
  link_.parked.insert(0);
  router_->Orphan(link_, /*deadline=*/5);
  router_->AddRemote(link_, Inline(1));
  other.set_subscription(3);
  other.set_name("new");
  router_->AddRemote(link_, other);
  EXPECT_THAT(link_.parked, ElementsAre(0));
  router_->DropOrphans(link_, 5);
  EXPECT_THAT(link_.parked, IsEmpty());
}

// A publisher may find its lane full, and end it, when the link has parked it.
TEST_F(OrphansTest, LaneThatWasDisconnectedIsDroppedWithItsProcess) {
  router_->AddRemote(link_, Subscribe(1, type_));
  const auto publisher = AddPublisher(type_);
  ASSERT_TRUE(Publish(*publisher).ok());
  link_.parked.insert(1);
  router_->Disconnect(*link_.lanes[0]);
  router_->Orphan(link_, kNever);
  EXPECT_THAT(link_.dropped, ElementsAre(1));
  const Ledger ledger = LedgerOfAll();
  EXPECT_EQ(ledger.dropped_for(DropReason::kSubscriberGone), 1u);
  EXPECT_EQ(ledger.in_flight, 0u);
}

TEST_F(OrphansTest, RefusedSubscriptionIsNotKeptForTheNextProcess) {
  const auto publisher = AddPublisher(type_);
  router_->AddRemote(link_, Subscribe(1, other_type_));
  router_->Orphan(link_, kNever);
  EXPECT_THAT(router_->Refusals(*publisher), IsEmpty());
  EXPECT_TRUE(Publish(*publisher).ok());
}

TEST_F(OrphansTest, NextProcessIsToldOfRefusalsUnderItsOwnNumbers) {
  const auto matching = AddPublisher(type_);
  router_->AddRemote(link_, Subscribe(1, type_));
  router_->Orphan(link_, kNever);
  const auto refusing = AddPublisher(other_type_);
  EXPECT_THAT(link_.Sent(v1::Control::kSubscribeRefused), IsEmpty());
  router_->AddRemote(link_, Subscribe(9, type_));
  const auto said = link_.Sent(v1::Control::kSubscribeRefused);
  ASSERT_THAT(said, SizeIs(1));
  EXPECT_EQ(said[0].subscribe_refused().subscription(), 9u);
  EXPECT_EQ(said[0].subscribe_refused().publisher(), 2u);
}

// Two subscriptions share a lane, and the second one came later.
TEST_F(OrphansTest,
       FramesTooLargeForTheNextProcessAreDroppedOfEachThatHadThem) {
  const auto publisher = AddPublisher(type_);
  const auto publish = [&](size_t bytes) {
    const std::vector<std::byte> payload(bytes);
    return publisher->Publish(Payload::Bytes(type_, payload));
  };
  router_->AddRemote(link_, Inline(1));
  for (const size_t bytes : {100, 9000, 100}) {
    ASSERT_TRUE(publish(bytes).ok());
  }
  v1::Subscribe later = Inline(2);
  later.set_name("later");
  router_->AddRemote(link_, later);
  for (const size_t bytes : {9000, 100}) ASSERT_TRUE(publish(bytes).ok());

  link_.frame_bytes_max_now = 8 << 10;
  router_->Orphan(link_, kNever);
  EXPECT_EQ(publish(9000).code(), absl::StatusCode::kInvalidArgument);
  link_.sent.clear();
  router_->AddRemote(link_, Inline(11));
  later.set_subscription(12);
  router_->AddRemote(link_, later);
  // What is left has the sequences 3 to 5, and the last one is for both.
  const auto matched = link_.Sent(v1::Control::kMatched);
  ASSERT_THAT(matched, SizeIs(2));
  EXPECT_EQ(matched[0].matched().from_sequence(), 3u);
  EXPECT_EQ(matched[1].matched().from_sequence(), 5u);
  EXPECT_EQ(link_.lanes[0]->SequenceAt(link_.lanes[0]->released()), 3u);
  std::vector<Ledger> ledgers;
  const FlowReportTable table = router_->Reports();
  for (const FlowReport& report : table.reports()) {
    ledgers.push_back(report.ledger);
  }
  ASSERT_THAT(ledgers, SizeIs(2));
  EXPECT_EQ(ledgers[0].accepted, 5u);
  EXPECT_EQ(ledgers[0].dropped_for(DropReason::kTooLarge), 2u);
  EXPECT_EQ(ledgers[0].in_flight, 3u);
  EXPECT_EQ(ledgers[1].accepted, 2u);
  EXPECT_EQ(ledgers[1].dropped_for(DropReason::kTooLarge), 1u);
  EXPECT_EQ(ledgers[1].in_flight, 1u);
}

// What the next process may ask for otherwise for a subscription. Each of these
// keeps the subscription from its lane.
struct Change {
  const char* field;
  void (*make)(v1::Subscribe* subscribe);
};
void PrintTo(const Change& change, std::ostream* out) { *out << change.field; }

class ChangedSubscriptionTest : public OrphansTest,
                                public testing::WithParamInterface<Change> {};

TEST_P(ChangedSubscriptionTest, LaneIsDroppedAndAnotherOneOpened) {
  v1::Subscribe subscribe = Subscribe(1, type_);
  router_->AddRemote(link_, subscribe);
  auto publisher = AddPublisher(type_);
  ASSERT_TRUE(Publish(*publisher).ok());
  router_->Orphan(link_, kNever);
  EXPECT_EQ(LedgerOfAll().in_flight, 1u);

  subscribe.set_subscription(9);
  GetParam().make(&subscribe);
  router_->AddRemote(link_, subscribe);
  EXPECT_THAT(link_.adopted, IsEmpty());
  EXPECT_THAT(link_.dropped, ElementsAre(1));
  EXPECT_EQ(LedgerOfAll().accepted, 1u);
  EXPECT_EQ(LedgerOfAll().dropped_for(DropReason::kSubscriberGone), 1u);
  EXPECT_EQ(LedgerOfAll().in_flight, 0u);

  MessageType type = type_;  // The type that is asked for now.
  type.digest = Digest::FromBytes(subscribe.type_digest()).value();
  if (type.digest != type_.digest) publisher = AddPublisher(type);
  const std::byte bytes[8] = {};
  ASSERT_TRUE(publisher->Publish(Payload::Bytes(type, bytes)).ok());
  EXPECT_THAT(link_.lanes, SizeIs(2));
  EXPECT_EQ(LedgerOfAll().accepted, 2u);
  EXPECT_EQ(LedgerOfAll().in_flight, 1u);
}

const Change kChanges[] = {
    {"type",
     [](v1::Subscribe* subscribe) {
       subscribe->set_type_digest(std::string(Digest::Of("new").bytes()));
     }},
    {"service_digest",
     [](v1::Subscribe* subscribe) {
       subscribe->set_service_digest(std::string(Digest::Of("new").bytes()));
     }},
    {"delivery",
     [](v1::Subscribe* subscribe) {
       subscribe->set_delivery(v1::Subscribe::INLINE);
     }},
    {"overflow",
     [](v1::Subscribe* subscribe) { subscribe->set_overflow("fail"); }},
    {"depth", [](v1::Subscribe* subscribe) { subscribe->set_depth(7); }},
    {"window", [](v1::Subscribe* subscribe) { subscribe->set_window(7); }},
};

INSTANTIATE_TEST_SUITE_P(Fields, ChangedSubscriptionTest,
                         testing::ValuesIn(kChanges), [](const auto& info) {
                           return std::string(info.param.field);
                         });

}  // namespace
}  // namespace mycelium
