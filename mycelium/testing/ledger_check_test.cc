#include "mycelium/testing/ledger_check.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::Duration kSoon = absl::Seconds(20);

std::unique_ptr<MessageBus> NewBus(const std::string& node) {
  BusOptions options;
  options.node = node;
  return *MessageBus::Create(options);
}

std::string Trouble(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  return std::string(status.message());
}

TEST(LedgerCheckTest, AllIsWellWhereEachMessageWasHandled) {
  const auto bus = NewBus("a");
  const auto notes =
      bus->Subscribe<Note>([](const Note&, const MessageInfo&) {});
  ASSERT_TRUE(notes.ok());
  auto publisher = bus->Publisher<Note>();
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  EXPECT_EQ(CheckAllDelivered({bus.get()}), absl::OkStatus());
  EXPECT_EQ(CheckLedger({bus.get()}), absl::OkStatus());
}

TEST(LedgerCheckTest, WhereNothingWasPublishedNothingIsShown) {
  const auto bus = NewBus("a");
  EXPECT_THAT(Trouble(CheckAllDelivered({bus.get()})),
              HasSubstr("no message was accepted by a"));
  EXPECT_THAT(Trouble(CheckLedger({bus.get()})),
              HasSubstr("no message was accepted by a"));
}

TEST(LedgerCheckTest, WhatNobodyTookIsNotDelivered) {
  const auto bus = NewBus("a");
  auto notes = bus->Subscriber<Note>();
  auto publisher = bus->Publisher<Note>();
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  EXPECT_EQ(CheckLedger({bus.get()}), absl::OkStatus());
  EXPECT_THAT(Trouble(CheckAllDelivered({bus.get()})),
              AllOf(HasSubstr("mycelium.test.Note, a/"),
                    HasSubstr(": accepted 1, delivered 0, in flight 1"),
                    Not(HasSubstr("missing"))));
  ASSERT_TRUE(notes->Receive(kSoon).ok());
  notes->Finish();
  EXPECT_EQ(CheckAllDelivered({bus.get()}), absl::OkStatus());
}

TEST(LedgerCheckTest, WhatReachedNobodyIsNotDelivered) {
  const auto bus = NewBus("a");
  auto publisher = bus->Publisher<Note>();
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  EXPECT_EQ(CheckLedger({bus.get()}), absl::OkStatus());
  EXPECT_THAT(Trouble(CheckAllDelivered({bus.get()})),
              HasSubstr(" -> nobody: accepted 1, delivered 0, "
                        "dropped[no_subscriber] 1"));
}

TEST(LedgerCheckTest, OfTwoNodesBothHaveToBeAsked) {
  const test::ShortTempDir directory;
  const auto from = NewBus("from");
  const auto to = NewBus("to");
  auto endpoint = BindUnixEndpoint(directory.path() + "/s", *to);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  ASSERT_TRUE(DialUnixEndpoint(directory.path() + "/s", *from).ok());
  const auto notes =
      to->Subscribe<Note>([](const Note&, const MessageInfo&) {});
  ASSERT_TRUE(notes.ok());
  auto publisher = from->Publisher<Note>();
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kSoon).ok());
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  ASSERT_TRUE(from->Flush(kSoon).ok());
  EXPECT_EQ(CheckAllDelivered({from.get(), to.get()}), absl::OkStatus());
  // A node that is given twice counts once.
  EXPECT_EQ(CheckLedger({from.get(), to.get(), to.get()}), absl::OkStatus());
  EXPECT_THAT(Trouble(CheckLedger({from.get()})),
              HasSubstr("what to counted is missing: its bus is not among"));
  EXPECT_THAT(Trouble(CheckAllDelivered({to.get()})),
              HasSubstr("accepted 0, delivered 1, in flight 0; what from "
                        "counted is missing"));
}

// As when a service is started again.
TEST(LedgerCheckTest, TwoNodesOfOneNameAreTwo) {
  const auto before = NewBus("a");
  const auto after = NewBus("a");
  auto notes = before->Subscribe<Note>([](const Note&, const MessageInfo&) {});
  ASSERT_TRUE(notes.ok());
  ASSERT_TRUE(before->Publisher<Note>()->Publish(Note()).ok());
  EXPECT_EQ(CheckAllDelivered({before.get(), after.get()}), absl::OkStatus());
  ASSERT_TRUE(after->Publisher<Note>()->Publish(Note()).ok());
  EXPECT_THAT(Trouble(CheckAllDelivered({before.get(), after.get()})),
              HasSubstr("dropped[no_subscriber] 1"));
}

TEST(LedgerCheckTest, MayBeAboutSomeTopics) {
  const auto bus = NewBus("a");
  SubscriberOptions heard;
  heard.topic = "heard";
  heard.name = "first";
  auto notes = bus->Subscriber<Note>(heard);
  const auto publish = [&bus](const std::string& topic) {
    PublisherOptions options;
    options.topic = topic;
    EXPECT_TRUE(bus->Publisher<Note>(options)->Publish(Note()).ok());
  };
  publish("unheard");
  EXPECT_THAT(Trouble(CheckLedger({bus.get()}, {"unheard", "heard"})),
              HasSubstr("no message of heard was accepted by a"));
  publish("heard");
  EXPECT_THAT(Trouble(CheckAllDelivered({bus.get()}, {"heard"})),
              AllOf(HasSubstr("(first): accepted 1, delivered 0"),
                    Not(HasSubstr("unheard"))));
  ASSERT_TRUE(notes->Receive(kSoon).ok());
  notes->Finish();
  EXPECT_EQ(CheckAllDelivered({bus.get()}, {"heard"}), absl::OkStatus());
  EXPECT_THAT(Trouble(CheckAllDelivered({bus.get()})), HasSubstr("unheard"));
}

}  // namespace
}  // namespace mycelium
