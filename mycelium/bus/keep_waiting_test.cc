// Calls that wait ask whether to go on, and end when they are told not to.
#include <cstddef>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mycelium/bus/bus_fixture.h"
#include "mycelium/bus/message_bus.h"
#include "tests/support/notification.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;

class KeepWaitingTest : public BusFixture {
 protected:
  // A subscription whose handler stays inside, once `busy_`, until `leave_`.
  SubscriptionHandle SubscribeStuck(DeliveryMode mode) {
    SubscriberOptions options;
    options.delivery = mode;
    return *bus_->Subscribe<Note>(
        [this](const Note&, const MessageInfo&) {
          busy_.Notify();
          leave_.WaitForNotification();
        },
        options);
  }

  test::Notification busy_, leave_;
  int asked_ = 0;
  // Goes on once, and not again.
  const KeepWaiting once_ = [this] { return ++asked_ < 2; };
};

TEST_F(KeepWaitingTest, FlushIsCancelled) {
  auto subscriber = bus_->Subscriber<Note>();
  auto publisher = bus_->Publisher<Note>();
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  EXPECT_EQ(bus_->Flush(kLong, once_).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(asked_, 2);
  EXPECT_TRUE(subscriber->Receive(kLong).ok());
  subscriber->Finish();
  EXPECT_TRUE(bus_->Flush(kLong, once_).ok());
  EXPECT_EQ(asked_, 2);  // There was nothing to wait for.
  EXPECT_EQ(SettledLedger().accepted, 1u);
}

// There is always more in flight, but no longer what there was at the call.
TEST_F(KeepWaitingTest, FlushDoesNotWaitForWhatIsPublishedMeanwhile) {
  auto subscriber = bus_->Subscriber<Note>();
  auto publisher = bus_->Publisher<Note>();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(publisher->Publish(Note()).ok());
  const absl::Status flushed = bus_->Flush(kLong, [&] {
    ++asked_;
    EXPECT_TRUE(publisher->Publish(Note()).ok());
    EXPECT_TRUE(subscriber->Receive(kLong).ok());  // Finishes the one before.
    return asked_ < 10;
  });
  EXPECT_TRUE(flushed.ok()) << flushed;
  EXPECT_EQ(asked_, 4);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(subscriber->Receive(kLong).ok());
  subscriber->Finish();
  EXPECT_EQ(SettledLedger().accepted, 7u);
}

TEST_F(KeepWaitingTest, WaitForSubscribersIsCancelled) {
  auto publisher = bus_->Publisher<Note>();
  EXPECT_EQ(publisher->WaitForSubscribers(1, kLong, once_).code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(asked_, 2);
}

TEST_F(KeepWaitingTest, TypedReceiveIsCancelled) {
  auto subscriber = bus_->Subscriber<Note>();
  EXPECT_EQ(subscriber->Receive(kLong, once_).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(asked_, 2);
  auto publisher = bus_->Publisher<Note>();
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  EXPECT_TRUE(subscriber->Receive(kLong, once_).ok());
  EXPECT_EQ(asked_, 2);  // There was nothing to wait for.
  subscriber->Finish();
  EXPECT_EQ(SettledLedger().accepted, 1u);
}

TEST_F(KeepWaitingTest, CancelledReceiveTakesNothing) {
  const MessageType type = RawMessageType("bytes");
  auto subscriber = bus_->RawSubscriber(type);
  auto publisher = bus_->RawPublisher(type);
  EXPECT_EQ(subscriber->Receive(kLong, once_).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(asked_, 2);
  const std::byte bytes[3] = {};
  const auto publish_and_stop = [&] {
    EXPECT_TRUE(publisher->Publish(bytes).ok());
    return false;
  };
  EXPECT_EQ(subscriber->Receive(kLong, publish_and_stop).status().code(),
            absl::StatusCode::kCancelled);
  auto received = subscriber->Receive(absl::ZeroDuration());
  ASSERT_TRUE(received.ok()) << received.status();
  EXPECT_EQ(received->size(), 3u);
  subscriber->Finish();
  EXPECT_EQ(SettledLedger().accepted, 1u);
}

TEST_F(KeepWaitingTest, TimeoutEndsAWaitThatIsToGoOn) {
  auto subscriber = bus_->RawSubscriber(RawMessageType("bytes"));
  const auto for_ever = [this] {
    ++asked_;
    return true;
  };
  const absl::Status waited =
      subscriber->Receive(absl::Milliseconds(120), for_ever).status();
  EXPECT_EQ(waited.code(), absl::StatusCode::kDeadlineExceeded);
  // Names the whole time, not a part.
  EXPECT_EQ(waited.message(), "no message on \"bytes\" within 120ms");
  EXPECT_GE(asked_, 1);
}

// What is not waited for is dropped, as it is at a deadline.
TEST_F(KeepWaitingTest, CloseEndsAtOnce) {
  auto subscriber = bus_->Subscriber<Note>();
  ASSERT_TRUE(bus_->Publisher<Note>()->Publish(Note()).ok());
  EXPECT_EQ(bus_->Close(kLong, once_).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(asked_, 2);
  EXPECT_TRUE(bus_->closed());
  EXPECT_TRUE(bus_->Close(kLong, once_).ok());
  EXPECT_EQ(asked_, 2);
  EXPECT_EQ(SettledLedger().dropped_total(), 1u);
}

TEST_F(KeepWaitingTest, ShutdownDoesNotWaitForAHandlerEither) {
  SubscriptionHandle handle = SubscribeStuck(DeliveryMode::kQueued);
  auto publisher = bus_->Publisher<Note>();
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(publisher->Publish(Note()).ok());
  busy_.WaitForNotification();
  EXPECT_EQ(bus_->Shutdown(kLong, once_).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(asked_, 2);
  // The node ends without the handler.
  EXPECT_TRUE(bus_->Shutdown(kLong).ok());
  leave_.Notify();
  handle.Unsubscribe();
  const Ledger ledger = SettledLedger();
  EXPECT_EQ(ledger.delivered, 1u);
  EXPECT_EQ(ledger.dropped_total(), 1u);
}

// Nothing is in flight: only the handler's return is waited for.
TEST_F(KeepWaitingTest, CloseThatWaitsForAHandlerOnlyIsCancelled) {
  SubscriptionHandle handle = SubscribeStuck(DeliveryMode::kInline);
  auto publisher = bus_->Publisher<Note>();
  std::thread publishing([&] { EXPECT_TRUE(publisher->Publish(Note()).ok()); });
  busy_.WaitForNotification();
  EXPECT_EQ(bus_->Close(kLong, once_).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(asked_, 2);
  EXPECT_TRUE(bus_->closed());
  leave_.Notify();
  publishing.join();
  handle.Unsubscribe();
  EXPECT_EQ(SettledLedger().delivered, 1u);
}

TEST_F(KeepWaitingTest, UnsubscribingIsCancelledAndMayGoOn) {
  SubscriptionHandle handle = SubscribeStuck(DeliveryMode::kQueued);
  ASSERT_TRUE(bus_->Publisher<Note>()->Publish(Note()).ok());
  busy_.WaitForNotification();
  EXPECT_FALSE(handle.UnsubscribeWithin(absl::InfiniteDuration(), once_));
  EXPECT_EQ(asked_, 2);
  leave_.Notify();
  EXPECT_TRUE(
      handle.UnsubscribeWithin(absl::InfiniteDuration(), [] { return true; }));
  EXPECT_EQ(SettledLedger().delivered, 1u);
}

TEST_F(KeepWaitingTest, SecondCloseIsCancelledAloneAndTheFirstGoesOn) {
  auto subscriber = bus_->Subscriber<Note>();
  ASSERT_TRUE(bus_->Publisher<Note>()->Publish(Note()).ok());
  test::Notification asked;
  std::thread first([&] {
    EXPECT_TRUE(bus_->Close(kLong,
                            [&asked] {
                              asked.Notify();
                              return true;
                            })
                    .ok());
  });
  asked.WaitForNotification();
  EXPECT_EQ(bus_->Close(kLong, once_).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(asked_, 2);
  EXPECT_FALSE(bus_->closed());
  EXPECT_TRUE(subscriber->Receive(kLong).ok());
  subscriber->Finish();
  first.join();
  EXPECT_EQ(SettledLedger().delivered, 1u);
}

}  // namespace
}  // namespace mycelium
