// A subscriber that takes bytes and parses them says which were no message.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/bus_fixture.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/support/notification.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;
using ::testing::ElementsAre;

class ParsingTest : public BusFixture {
 protected:
  // An object, bytes that are no message, and another object.
  void PublishThree() {
    auto publisher = bus_->Publisher<Note>();
    auto raw = bus_->RawPublisher(MessageTypeOf<Note>());
    const std::byte bad[2] = {std::byte{0xff}, std::byte{0xff}};
    Note note;
    note.set_id(1);
    ASSERT_TRUE(publisher->Publish(note).ok());
    ASSERT_TRUE(raw->Publish(bad).ok());
    note.set_id(2);
    ASSERT_TRUE(publisher->Publish(note).ok());
  }

  bool Parse(absl::Span<const std::byte> bytes) {
    Note note;
    if (!note.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return false;
    }
    ids_.push_back(note.id());
    return true;
  }

  void ExpectOneUndecodable() {
    EXPECT_THAT(ids_, ElementsAre(1, 2));
    const Ledger sum = SettledLedger();
    EXPECT_EQ(sum.accepted, 3u);
    EXPECT_EQ(sum.delivered, 2u);
    EXPECT_EQ(sum.dropped_for(DropReason::kUndecodable), 1u);
  }

  std::vector<uint64_t> ids_;
};

TEST_F(ParsingTest, WhatAHandlerCannotParseIsUndecodable) {
  auto handle = bus_->SubscribeParsing(
      MessageTypeOf<Note>(),
      [this](absl::Span<const std::byte> bytes, const MessageInfo&) {
        return Parse(bytes);
      });
  ASSERT_TRUE(handle.ok()) << handle.status();
  PublishThree();
  EXPECT_EQ(handle->handler_errors(), 0u);
  ExpectOneUndecodable();
}

TEST_F(ParsingTest, WhatAHandlerDoesNotTakeCountsForItsReason) {
  auto handle = bus_->SubscribeParsing(
      MessageTypeOf<Note>(),
      [](absl::Span<const std::byte>, const MessageInfo&) {
        return DropReason::kSubscriberGone;
      });
  ASSERT_TRUE(handle.ok()) << handle.status();
  PublishThree();
  EXPECT_EQ(SettledLedger().dropped_for(DropReason::kSubscriberGone), 3u);
  EXPECT_EQ(SettledLedger().delivered, 0u);
}

TEST_F(ParsingTest, WhatASubscriberCannotParseIsUndecodable) {
  auto subscriber = bus_->RawSubscriber(MessageTypeOf<Note>());
  ASSERT_TRUE(subscriber.ok()) << subscriber.status();
  subscriber->LeaveCounting();
  PublishThree();
  for (int i = 0; i < 3; ++i) {
    auto bytes = subscriber->Receive(kLong);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    subscriber->CountLast(Parse(*bytes));
  }
  subscriber->Finish();
  ExpectOneUndecodable();
}

TEST_F(ParsingTest, MessageThatDoesNotParseIsNamed) {
  auto subscriber = bus_->Subscriber<Note>();
  ASSERT_TRUE(subscriber.ok()) << subscriber.status();
  PublishThree();
  for (int i = 0; i < 3; ++i) {
    auto note = subscriber->Receive(kLong);
    if (note.ok()) {
      ids_.push_back((*note)->id());
      continue;
    }
    EXPECT_EQ(note.status(),
              absl::DataLossError("topic \"mycelium.test.Note\": message 1 of "
                                  "service " +
                                  bus_->service() + " of node " + bus_->node() +
                                  " does not parse as mycelium.test.Note"));
  }
  subscriber->Finish();
  ExpectOneUndecodable();
}

TEST_F(ParsingTest, NodeOutlivesTheQueuedHandlerThatDestroysItsLastOwner) {
  test::ShortTempDir dir;
  auto endpoint = BindUnixEndpoint(dir.file("socket"), *bus_);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  test::Notification destroyed;
  BusOptions options;
  options.on_flow = [witness = std::shared_ptr<void>(nullptr, [&](void*) {
                       destroyed.Notify();
                     })](const FlowEvent&) {};
  auto other = *MessageBus::Create(options);
  options = BusOptions();  // Only the node has the witness.
  SubscriptionHandle handle;
  SubscriberOptions queued;
  queued.delivery = DeliveryMode::kQueued;
  auto subscribed = other->SubscribeParsing(
      MessageTypeOf<Note>(),
      [&](absl::Span<const std::byte>, const MessageInfo&) {
        other = nullptr;
        handle = SubscriptionHandle();
        EXPECT_FALSE(destroyed.HasBeenNotified());
        return false;  // The node is told of that.
      },
      queued);
  ASSERT_TRUE(subscribed.ok()) << subscribed.status();
  handle = *std::move(subscribed);
  ASSERT_TRUE(DialUnixEndpoint(dir.file("socket"), *other).ok());
  auto publisher = bus_->Publisher<Note>();
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  ASSERT_TRUE(destroyed.WaitForNotificationWithTimeout(kLong));
  EXPECT_TRUE(bus_->Flush(kLong).ok());
  // The other node knew what became of the message.
  ASSERT_EQ(bus_->FlowReports().size(), 1u);
  const Ledger ledger = bus_->FlowReports()[0].ledger;
  EXPECT_EQ(ledger.accepted, 1u);
  EXPECT_EQ(ledger.in_flight + ledger.dropped_total(), 0u);
}

TEST_F(ParsingTest, HandlerThatIsNoneIsRefused) {
  const MessageType type = MessageTypeOf<Note>();
  const absl::Status refused = absl::InvalidArgumentError(
      "subscription to \"mycelium.test.Note\": the handler is empty");
  EXPECT_EQ(bus_->Subscribe<Note>(nullptr).status(), refused);
  EXPECT_EQ(bus_->SubscribeRaw(type, nullptr).status(), refused);
  EXPECT_EQ(bus_->SubscribeParsing(type, nullptr).status(), refused);
  EXPECT_TRUE(bus_->Publisher<Note>()->Publish(Note()).ok());
  EXPECT_EQ(SettledLedger().dropped_for(DropReason::kNoSubscriber), 1u);
}

}  // namespace
}  // namespace mycelium
