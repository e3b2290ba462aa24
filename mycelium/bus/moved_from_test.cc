// Handles that were moved from refuse, and ones moved to themselves stay.
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "mycelium/bus/bus_fixture.h"
#include "mycelium/bus/message_bus.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;

class MovedFromTest : public BusFixture {
 protected:
  static void ExpectRefusal(const absl::Status& status,
                            const std::string& what) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_EQ(status.message(), "this " + what + " was moved from");
  }

  // What every kind of publisher refuses.
  static void ExpectRefusals(PublisherBase& publisher) {
    ExpectRefusal(publisher.WaitForSubscribers(1, kLong), "publisher");
    ExpectRefusal(publisher.RoomDescriptor().status(), "publisher");
    publisher.CallWhenRoom([] { ADD_FAILURE(); });
    EXPECT_EQ(publisher.subscriber_count(), 0u);
    EXPECT_TRUE(publisher.refusals().empty());
    EXPECT_EQ(publisher.topic(), "");
  }

  // What every kind of subscriber refuses.
  static void ExpectRefusals(SubscriberBase& subscriber) {
    ExpectRefusal(subscriber.TakeNews(), "subscriber");
    ExpectRefusal(subscriber.Descriptor().status(), "subscriber");
    subscriber.Finish();
    subscriber.Unsubscribe();
    EXPECT_TRUE(subscriber.closed());
    EXPECT_TRUE(subscriber.status().ok());
  }
};

TEST_F(MovedFromTest, PublisherRefuses) {
  auto publisher = bus_->Publisher<Note>();
  auto subscriber = bus_->Subscriber<Note>();
  Publisher<Note> moved = *std::move(publisher);
  ExpectRefusal(publisher->Publish(Note()), "publisher");
  ExpectRefusal(publisher->Publish(std::make_shared<Note>()), "publisher");
  ExpectRefusal(publisher->TryPublish(Note()), "publisher");
  ExpectRefusal(publisher->TryPublish(std::make_shared<Note>()), "publisher");
  ExpectRefusals(*publisher);
  EXPECT_EQ(moved.topic(), "mycelium.test.Note");
  ASSERT_TRUE(moved.Publish(Note()).ok());
  EXPECT_TRUE(subscriber->Receive(kLong).ok());
  subscriber->Finish();
  EXPECT_EQ(SettledLedger().accepted, 1u);
  *publisher = std::move(moved);
  EXPECT_EQ(publisher->subscriber_count(), 1u);
}

TEST_F(MovedFromTest, RawPublisherRefuses) {
  auto publisher = bus_->RawPublisher(RawMessageType("bytes"));
  RawPublisher moved = *std::move(publisher);
  const std::byte bytes[3] = {};
  ExpectRefusal(publisher->Publish(bytes), "publisher");
  ExpectRefusal(publisher->TryPublish(bytes), "publisher");
  ExpectRefusal(publisher->Loan(3).status(), "publisher");
  ExpectRefusals(*publisher);
  EXPECT_TRUE(moved.Publish(bytes).ok());
  EXPECT_EQ(SettledLedger().dropped_for(DropReason::kNoSubscriber), 1u);
}

TEST_F(MovedFromTest, SubscriberRefuses) {
  auto subscriber = bus_->Subscriber<Note>();
  Subscriber<Note> moved = *std::move(subscriber);
  ExpectRefusal(subscriber->Receive(kLong).status(), "subscriber");
  EXPECT_EQ(subscriber->TryReceive().value(), nullptr);
  ExpectRefusals(*subscriber);
  EXPECT_FALSE(moved.closed());
}

TEST_F(MovedFromTest, RawSubscriberRefuses) {
  auto subscriber = bus_->RawSubscriber(RawMessageType("bytes"));
  RawSubscriber moved = *std::move(subscriber);
  ExpectRefusal(subscriber->Receive(kLong).status(), "subscriber");
  EXPECT_FALSE(subscriber->TryReceive()->has_value());
  ExpectRefusals(*subscriber);
  EXPECT_FALSE(moved.closed());
}

TEST_F(MovedFromTest, SubscriptionHandleIsEmpty) {
  auto handle = bus_->Subscribe<Note>([](const Note&, const MessageInfo&) {});
  SubscriptionHandle moved = *std::move(handle);
  handle->Unsubscribe();
  EXPECT_TRUE(handle->status().ok());
  EXPECT_EQ(handle->handler_errors(), 0u);
  EXPECT_EQ(bus_->Publisher<Note>()->subscriber_count(), 1u);
}

TEST_F(MovedFromTest, WhatIsMovedToItselfStays) {
  auto publisher = bus_->Publisher<Note>();
  auto subscriber = bus_->Subscriber<Note>();
  int handled = 0;
  auto handle = bus_->Subscribe<Note>(
      [&](const Note&, const MessageInfo&) { ++handled; });
  auto& same_publisher = *publisher;
  auto& same_subscriber = *subscriber;
  auto& same_handle = *handle;
  *publisher = std::move(same_publisher);
  *subscriber = std::move(same_subscriber);
  *handle = std::move(same_handle);
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  EXPECT_TRUE(subscriber->Receive(kLong).ok());
  subscriber->Finish();
  EXPECT_EQ(handled, 1);
  const Ledger sum = SettledLedger();
  EXPECT_EQ(sum.accepted, 2u);
  EXPECT_EQ(sum.delivered, 2u);
}

}  // namespace
}  // namespace mycelium
