#include "mycelium/bus/subscriber.h"

#include <poll.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/bus_fixture.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/support/faulty_sys.h"
#include "tests/support/notification.h"
#include "tests/support/short_temp_dir.h"
#include "tests/support/sleeping_thread.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;

using SubscriberTest = BusFixture;

TEST_F(SubscriberTest, UnsubscribeDropsWhatIsQueuedAndKeepsTheLastMessage) {
  auto pull = bus_->Subscriber<Note>();
  auto publisher = bus_->Publisher<Note>();
  for (int i = 1; i <= 3; ++i) {
    Note note;
    note.set_id(static_cast<uint64_t>(i));
    ASSERT_TRUE(publisher->Publish(note).ok());
  }
  const absl::StatusOr<const Note*> first = pull->Receive(kLong);
  ASSERT_TRUE(first.ok()) << first.status();
  pull->Unsubscribe();
  pull->Unsubscribe();
  EXPECT_EQ((*first)->id(), 1u);
  EXPECT_TRUE(pull->closed());
  EXPECT_EQ(publisher->subscriber_count(), 0u);
  EXPECT_EQ(pull->Receive(kLong).status().code(),
            absl::StatusCode::kFailedPrecondition);
  pull->Finish();
  ASSERT_TRUE(bus_->Flush(kLong).ok());
  const Ledger sum = SettledLedger();
  EXPECT_EQ(sum.accepted, 3u);
  EXPECT_EQ(sum.delivered, 1u);
  EXPECT_EQ(sum.dropped_for(DropReason::kSubscriberGone), 2u);
}

TEST_F(SubscriberTest, MessageIsDeliveredFromTheReceiveAndInFlightToItsFinish) {
  auto pull = bus_->Subscriber<Note>();
  auto publisher = bus_->Publisher<Note>();
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  EXPECT_EQ(bus_->FlowReports().at(0).ledger.delivered, 0u);
  ASSERT_TRUE(pull->Receive(kLong).ok());
  const Ledger held = bus_->FlowReports().at(0).ledger;
  EXPECT_EQ(held.delivered, 1u);
  EXPECT_EQ(held.in_flight, 1u);
  pull->Finish();
  EXPECT_EQ(SettledLedger().delivered, 1u);
}

TEST_F(SubscriberTest, UnsubscribeEndsAReceiveOfAnotherThread) {
  auto pull = bus_->Subscriber<Note>();
  absl::Status ended;
  std::thread receiver([&] { ended = pull->Receive(kLong).status(); });
  pull->Unsubscribe();
  receiver.join();
  EXPECT_EQ(ended.code(), absl::StatusCode::kFailedPrecondition) << ended;
  EXPECT_EQ(SettledLedger().accepted, 0u);
}

TEST_F(SubscriberTest, ReceiveWaitsOnThoughWhatWasThereWasDroppedForNewer) {
  const MessageType type = RawMessageType("frames");
  SubscriberOptions options;
  options.overflow = Overflow::kLatest;
  auto pull = bus_->RawSubscriber(type, options);
  // From here on a receive looks before it takes.
  ASSERT_TRUE(pull->Descriptor().ok());
  std::atomic<bool> over{false};
  std::thread publishing([&] {
    auto publisher = bus_->RawPublisher(type);
    const std::vector<std::byte> bytes(512 << 10);
    while (!over) EXPECT_TRUE(publisher->Publish(bytes).ok());
  });
  absl::Status status;
  for (int i = 0; i < 2'000 && status.ok(); ++i) {
    status = pull->Receive(kLong).status();
  }
  EXPECT_TRUE(status.ok()) << status;
  over = true;
  publishing.join();
  pull->Finish();
  pull->Unsubscribe();
  EXPECT_TRUE(SettledLedger().Balances());
}

TEST_F(SubscriberTest, PublishWaitsForTheThreadThatHasBegunToReceive) {
  const MessageType type = RawMessageType("bytes");
  const std::vector<std::byte> bytes(64 << 10);
  auto pull = bus_->RawSubscriber(type);
  PublisherOptions options;
  options.publish_timeout = absl::Milliseconds(1);
  auto publisher = bus_->RawPublisher(type, "", options);
  ASSERT_TRUE(publisher->Publish(bytes).ok());
  ASSERT_TRUE(pull->Receive(kLong).ok());
  test::Notification waits, may_go_on;
  std::thread receiver([&] {
    const auto received = pull->Receive(kLong, [&] {
      waits.Notify();
      may_go_on.WaitForNotification();
      return true;
    });
    EXPECT_TRUE(received.ok()) << received.status();
  });
  waits.WaitForNotification();
  while (publisher->TryPublish(bytes).ok()) continue;
  const absl::Status published = publisher->Publish(bytes);
  EXPECT_THAT(std::string(published.message()),
              testing::HasSubstr("waited 1ms"));
  may_go_on.Notify();
  receiver.join();
  while ((*pull->TryReceive()).has_value()) continue;
  EXPECT_TRUE(SettledLedger().Balances());
}

bool IsReadable(int descriptor) {
  pollfd wanted = {descriptor, POLLIN, 0};
  return poll(&wanted, 1, /*timeout=*/0) == 1;
}

// As in a loop that asks for the descriptor at each turn.
TEST_F(SubscriberTest, DescriptorThatIsAskedForAgainStaysReadable) {
  auto pull = bus_->Subscriber<Note>();
  auto late = bus_->Subscriber<Note>();
  const absl::StatusOr<int> descriptor = pull->Descriptor();
  ASSERT_TRUE(descriptor.ok()) << descriptor.status();
  EXPECT_FALSE(IsReadable(*descriptor));
  ASSERT_TRUE(bus_->Close(kLong).ok());
  EXPECT_TRUE(IsReadable(*descriptor));
  EXPECT_EQ(*pull->Descriptor(), *descriptor);
  EXPECT_TRUE(IsReadable(*descriptor));
  // A subscriber that asks only now is told at once.
  EXPECT_TRUE(IsReadable(*late->Descriptor()));
}

// A handler that looks into another queue: as on any other thread.
TEST_F(SubscriberTest, ReceiveThatDoesNotWaitMayBeCalledInAHandlerOfTheNode) {
  test::ShortTempDir dir;
  auto peer = *MessageBus::Create(BusOptions());
  auto endpoint = BindUnixEndpoint(dir.file("socket"), *peer);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  auto queue = bus_->RawSubscriber(RawMessageType("other"));
  absl::Status looked, waited;
  auto handle = bus_->Subscribe<Note>([&](const Note&, const MessageInfo&) {
    looked = queue->Receive(absl::ZeroDuration()).status();
    waited = queue->Receive(kLong).status();
  });
  ASSERT_TRUE(DialUnixEndpoint(dir.file("socket"), *bus_).ok());
  auto publisher = peer->Publisher<Note>();
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  ASSERT_TRUE(peer->Flush(kLong).ok());
  EXPECT_EQ(looked.code(), absl::StatusCode::kDeadlineExceeded) << looked;
  EXPECT_EQ(waited.code(), absl::StatusCode::kFailedPrecondition) << waited;
  for (const FlowReport& flow : peer->FlowReports()) {
    EXPECT_EQ(flow.ledger.accepted, 1u);
    EXPECT_EQ(flow.ledger.in_flight, 0u);
  }
}

// The same handler waits for room on a thread of the program, and not on the
// thread that runs the links, though another thread could make room.
TEST_F(SubscriberTest, PublishDoesNotWaitOnTheThreadThatRunsTheLinks) {
  test::ShortTempDir dir;
  auto peer = *MessageBus::Create(BusOptions());
  auto endpoint = BindUnixEndpoint(dir.file("socket"), *peer);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  const MessageType type = RawMessageType("full");
  const std::vector<std::byte> bytes(64 << 10);
  auto full = bus_->RawSubscriber(type);
  PublisherOptions options;
  options.publish_timeout = absl::Milliseconds(1);
  auto into_full = bus_->RawPublisher(type, "", options);
  while (into_full->TryPublish(bytes).ok()) continue;
  std::vector<std::string> refused;
  auto handle = bus_->Subscribe<Note>([&](const Note&, const MessageInfo&) {
    refused.emplace_back(into_full->Publish(bytes).message());
  });
  ASSERT_TRUE(DialUnixEndpoint(dir.file("socket"), *bus_).ok());
  auto remote = peer->Publisher<Note>();
  ASSERT_TRUE(remote->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(remote->Publish(Note()).ok());
  ASSERT_TRUE(peer->Flush(kLong).ok());
  auto local = bus_->Publisher<Note>();
  ASSERT_TRUE(local->Publish(Note()).ok());
  EXPECT_THAT(refused,
              testing::ElementsAre(testing::HasSubstr("runs the links"),
                                   testing::HasSubstr("waited 1ms")));
}

class EndingTest : public BusFixture,
                   public ::testing::WithParamInterface<DeliveryMode> {
 protected:
  // Subscribes `handler`, and publishes one message, whose handler is under way
  // when this returns.
  void RunHandler(std::function<void()> handler) {
    SubscriberOptions options;
    options.delivery = GetParam();
    handle_ = *bus_->Subscribe<Note>(
        [this, handler = std::move(handler)](const Note&, const MessageInfo&) {
          inside_.Notify();
          go_on_.WaitForNotification();
          handler();
        },
        options);
    publishing_ = std::thread([this] {
      auto publisher = bus_->Publisher<Note>();
      EXPECT_TRUE(publisher->Publish(Note()).ok());
    });
    inside_.WaitForNotification();
  }

  void TearDown() override {
    publishing_.join();
    ASSERT_TRUE(bus_->Flush(kLong).ok());
    EXPECT_EQ(SettledLedger().accepted, 1u);
    EXPECT_EQ(SettledLedger().delivered, 1u);
  }

  test::Notification inside_, go_on_;
  std::atomic<bool> is_over_{false};
  SubscriptionHandle handle_;
  std::thread publishing_;
};

TEST_P(EndingTest, EachThreadThatEndsItWaitsForTheHandler) {
  RunHandler([this] { is_over_ = true; });
  std::atomic<int> early{0};
  const auto end = [&] {
    handle_.Unsubscribe();
    if (!is_over_) ++early;
  };
  test::SleepingThread first(end), second(end);
  first.AwaitSleep();
  second.AwaitSleep();
  go_on_.Notify();
  first.Join();
  second.Join();
  EXPECT_EQ(early, 0);
}

TEST_P(EndingTest, HandlerEndsItWhileAnotherThreadWaitsForTheHandler) {
  RunHandler([this] {
    handle_.Unsubscribe();
    is_over_ = true;
  });
  bool was_over = false;
  test::SleepingThread other([&] {
    handle_.Unsubscribe();
    was_over = is_over_;
  });
  other.AwaitSleep();
  go_on_.Notify();
  other.Join();
  EXPECT_TRUE(was_over);
}

TEST_P(EndingTest, HandlerThatHasEndedItIsWaitedForByTheNext) {
  test::Notification ended, on;
  RunHandler([&] {
    handle_.Unsubscribe();
    ended.Notify();
    on.WaitForNotification();
    is_over_ = true;
  });
  go_on_.Notify();
  ended.WaitForNotification();
  bool was_over = false;
  test::SleepingThread other([&] {
    handle_.Unsubscribe();
    was_over = is_over_;
  });
  other.AwaitSleep();
  on.Notify();
  other.Join();
  EXPECT_TRUE(was_over);
}

TEST_P(EndingTest, UnsubscribeWithinWaitsNoLongerThanItIsTold) {
  RunHandler([this] { is_over_ = true; });
  EXPECT_FALSE(handle_.UnsubscribeWithin(absl::ZeroDuration()));
  EXPECT_FALSE(handle_.UnsubscribeWithin(absl::Milliseconds(1)));
  EXPECT_FALSE(is_over_);
  bool was_over = false, is_out = false;
  test::SleepingThread other([&] {
    is_out = handle_.UnsubscribeWithin(absl::InfiniteDuration());
    was_over = is_over_;
  });
  other.AwaitSleep();
  go_on_.Notify();
  other.Join();
  EXPECT_TRUE(was_over);
  EXPECT_TRUE(is_out);
  EXPECT_TRUE(handle_.UnsubscribeWithin(absl::ZeroDuration()));
}

// Nor does it wait for the thread of a subscription that has nothing to do.
TEST_F(SubscriberTest, UnsubscribeWithinNoTimeIsOverWhereNoHandlerRuns) {
  for (int i = 0; i < 100; ++i) {
    for (const auto mode : {DeliveryMode::kInline, DeliveryMode::kQueued}) {
      SubscriberOptions options;
      options.delivery = mode;
      SubscriptionHandle handle = *bus_->Subscribe<Note>(
          [](const Note&, const MessageInfo&) {}, options);
      EXPECT_TRUE(handle.UnsubscribeWithin(absl::ZeroDuration()));
    }
  }
}

TEST_P(EndingTest, HandlerThatEndsItsOwnIsNotWaitedFor) {
  bool is_out = false;
  RunHandler([&] {
    is_out = handle_.UnsubscribeWithin(absl::InfiniteDuration());
    is_over_ = true;
  });
  go_on_.Notify();
  handle_.Unsubscribe();
  EXPECT_TRUE(is_over_);
  EXPECT_TRUE(is_out);
}

INSTANTIATE_TEST_SUITE_P(Modes, EndingTest,
                         ::testing::Values(DeliveryMode::kInline,
                                           DeliveryMode::kQueued),
                         [](const auto& info) {
                           return info.param == DeliveryMode::kInline
                                      ? "Inline"
                                      : "Queued";
                         });

TEST_F(SubscriberTest, WhatTwoThreadsEndAtOnceIsCountedOnce) {
  NodeRuntime& node = *bus_->runtime();
  auto publisher = bus_->Publisher<Note>();
  constexpr int kRounds = 1000;
  for (int round = 0; round < kRounds; ++round) {
    auto subscription = node.AddSubscription(
        bus_->service(), MessageTypeOf<Note>(), DeliveryMode::kInline,
        SubscriberOptions(),
        [](const Payload&, const MessageInfo&) { return true; });
    ASSERT_TRUE(subscription.ok()) << subscription.status();
    ASSERT_TRUE(publisher->Publish(Note()).ok());
    std::atomic<int> ready{0};
    const auto end = [&] {
      for (++ready; ready < 2;) continue;
      node.RemoveSubscription(*subscription);
    };
    std::thread other(end);
    end();
    other.join();
  }
  const Ledger sum = SettledLedger();
  EXPECT_EQ(sum.accepted, uint64_t{kRounds});
  EXPECT_EQ(sum.delivered, uint64_t{kRounds});
}

TEST_F(SubscriberTest, DeadlineSaysWhichPublisherHasNoLane) {
  test::FaultySys sys;
  sys.Fail("map", std::vector<int64_t>(1000, -ENOMEM));
  Environment environment{sys, Environment::Real().clock,
                          Environment::Real().waiter};
  BusOptions options;
  options.node = "short-of-memory";
  options.environment = &environment;
  auto publishing = *MessageBus::Create(options);
  auto publisher = publishing->Publisher<Note>();
  test::ShortTempDir dir;
  auto endpoint = BindUnixEndpoint(dir.file("socket"), *publishing);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  test::Notification told;
  SubscriberOptions listening;
  listening.on_error = [&](const absl::Status&) { told.Notify(); };
  auto pull = bus_->Subscriber<Note>(listening);
  ASSERT_TRUE(DialUnixEndpoint(dir.file("socket"), *bus_).ok());
  ASSERT_TRUE(told.WaitForNotificationWithTimeout(kLong));
  EXPECT_EQ(pull->status().code(), absl::StatusCode::kResourceExhausted);
  const absl::Status late = pull->Receive(absl::Milliseconds(1)).status();
  EXPECT_EQ(late.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(late.message()),
              ::testing::ContainsRegex(
                  "topic .*Note. of node short-of-memory is not delivered: "
                  ".*Cannot allocate memory"));
  EXPECT_EQ(SettledLedger().accepted, 0u);
}

}  // namespace
}  // namespace mycelium
