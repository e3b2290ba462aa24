// Subscriptions that end, handlers that misbehave, and the end of the bus.

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/conformance/conformance_fixture.h"
#include "tests/support/notification.h"

namespace mycelium::test {
namespace {

using ::testing::ElementsAre;

class LifetimeTest : public ConformanceTest {
 protected:
  Publisher<Note> Publishing(size_t subscriptions) {
    auto publisher = alpha_->Publisher<Note>();
    EXPECT_TRUE(publisher.ok()) << publisher.status();
    EXPECT_THAT(publisher->WaitForSubscribers(subscriptions, kLong), IsOk());
    return *std::move(publisher);
  }
  void FlushWaitsForOneShot(std::optional<Overflow> overflow);
};

TEST_P(LifetimeTest, HandlerThatUnsubscribesItselfGetsNothingMore) {
  Open();
  Inbox got;
  SubscriptionHandle handle;
  auto subscribed =
      beta_->Subscribe<Note>([&](const Note& note, const MessageInfo&) {
        handle.Unsubscribe();
        got.Add(note.id());
      });
  handle = *std::move(subscribed);
  Publisher<Note> publisher = Publishing(1);
  for (uint64_t id = 1; id <= 20; ++id) {
    ASSERT_THAT(publisher.Publish(MakeNote(id)), IsOk());
  }
  ASSERT_TRUE(got.WaitFor(1));
  Settle();
  EXPECT_THAT(got.ids(), ElementsAre(1));
}

TEST_P(LifetimeTest, HandlerThatThrowsIsCountedAndCalledAgain) {
  BusOptions options;
  options.log = [](LogLevel, absl::string_view) {};
  Open("", options);
  Inbox got;
  auto handle =
      beta_->Subscribe<Note>([&](const Note& note, const MessageInfo&) {
        got.Add(note.id());
        if (note.id() % 2 == 1) throw std::runtime_error("odd");
      });
  Publisher<Note> publisher = Publishing(1);
  for (uint64_t id = 1; id <= 4; ++id) {
    ASSERT_THAT(publisher.Publish(MakeNote(id)), IsOk());
  }
  ASSERT_TRUE(got.WaitFor(4));
  Settle();
  EXPECT_EQ(got.ids(), Counting(4));
  EXPECT_EQ(handle->handler_errors(), 2u);
}

TEST_P(LifetimeTest, SubscriptionsThatComeAndGoUnderTrafficLeaveATrueLedger) {
  Open();
  auto stays = beta_->Subscriber<Note>(Delivered({}, "stays"));
  Publisher<Note> publisher = Publishing(1);
  // The writer ends first: it may be waiting for the reader to make room.
  std::atomic<bool> stop{false};
  std::atomic<bool> stop_reading{false};
  uint64_t sent = 0;
  std::thread writer([&] {
    while (!stop) {
      ASSERT_THAT(publisher.Publish(MakeNote(sent + 1)), IsOk());
      ++sent;
    }
  });
  uint64_t received = 0;
  std::thread reader([&] {
    while (!stop_reading) {
      const auto note = stays->TryReceive();
      ASSERT_TRUE(note.ok()) << note.status();
      if (*note == nullptr) continue;
      ASSERT_EQ((*note)->id(), ++received);
    }
  });
  for (int round = 0; round < 60; ++round) {
    Inbox got;
    if (round % 3 == 2) {
      auto pull = beta_->Subscriber<Note>(Delivered({}, "pull"));
      EXPECT_TRUE(pull->Receive(kLong).ok());
      continue;
    }
    const bool queued = round % 3 == 0;
    auto handle = beta_->Subscribe<Note>(
        got.Handler(),
        Delivered(queued ? DeliveryMode::kQueued : DeliveryMode::kInline,
                  queued ? "queued" : "inline"));
    EXPECT_TRUE(got.WaitFor(3));
  }
  stop = true;
  writer.join();
  stop_reading = true;
  reader.join();
  const std::vector<uint64_t> rest = ReceiveAll(*stays, sent - received);
  if (!rest.empty()) {
    EXPECT_EQ(rest.front(), received + 1);
    EXPECT_EQ(rest.back(), sent);
  }
}

TEST_P(LifetimeTest, ShutdownEndsPublishingAndReceiving) {
  Open();
  auto pull = alpha_->Subscriber<Note>();
  auto sink = beta_->Subscriber<Note>();
  Publisher<Note> publisher = Publishing(2);
  ASSERT_THAT(publisher.Publish(MakeNote(1)), IsOk());
  ReceiveAll(*pull, 1);
  ReceiveAll(*sink, 1);
  ASSERT_THAT(alpha_->Shutdown(kLong), IsOk());
  EXPECT_THAT(publisher.Publish(MakeNote(2)),
              HasCode(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(pull->Receive(kLong).status(),
              HasCode(absl::StatusCode::kFailedPrecondition));
}

TEST_P(LifetimeTest, FlushAndShutdownInAHandlerAreRefused) {
  Open();
  for (const DeliveryMode mode :
       {DeliveryMode::kInline, DeliveryMode::kQueued}) {
    SubscriberOptions options = Delivered(mode);
    PublisherOptions to;
    options.topic = to.topic =
        mode == DeliveryMode::kInline ? "inline" : "queued";
    Inbox got;
    absl::Status flushed, shut_down;
    auto handle = beta_->Subscribe<Note>(
        [&](const Note& note, const MessageInfo&) {
          flushed = beta_->Flush(kLong);
          shut_down = beta_->Shutdown(kLong);
          got.Add(note.id());
        },
        options);
    auto publisher = alpha_->Publisher<Note>(to);
    ASSERT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
    ASSERT_THAT(publisher->Publish(MakeNote(1)), IsOk());
    ASSERT_TRUE(got.WaitFor(1));
    EXPECT_THAT(flushed, HasCode(absl::StatusCode::kFailedPrecondition));
    EXPECT_THAT(shut_down, HasCode(absl::StatusCode::kFailedPrecondition));
  }
}

// A usual one-shot handler does this.
TEST_P(LifetimeTest, TheyAreRefusedInAHandlerThatHasUnsubscribedItself) {
  Open();
  for (const DeliveryMode mode :
       {DeliveryMode::kInline, DeliveryMode::kQueued}) {
    SubscriberOptions options = Delivered(mode);
    PublisherOptions to;
    options.topic = to.topic =
        mode == DeliveryMode::kInline ? "inline" : "queued";
    Inbox got;
    absl::Status flushed, closed, shut_down;
    SubscriptionHandle handle;
    auto subscribed = beta_->Subscribe<Note>(
        [&](const Note& note, const MessageInfo&) {
          handle.Unsubscribe();
          flushed = beta_->Flush(kLong);
          closed = beta_->Close(kLong);
          shut_down = beta_->Shutdown(kLong);
          got.Add(note.id());
        },
        options);
    ASSERT_THAT(subscribed.status(), IsOk());
    handle = *std::move(subscribed);
    auto publisher = alpha_->Publisher<Note>(to);
    ASSERT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
    ASSERT_THAT(publisher->Publish(MakeNote(1)), IsOk());
    ASSERT_TRUE(got.WaitFor(1));
    EXPECT_THAT(flushed, HasCode(absl::StatusCode::kFailedPrecondition));
    EXPECT_THAT(closed, HasCode(absl::StatusCode::kFailedPrecondition));
    EXPECT_THAT(shut_down, HasCode(absl::StatusCode::kFailedPrecondition));
  }
}

// A new thread often gets the id of one that has ended.
TEST_P(LifetimeTest, ThreadAfterTheOneOfAHandlerIsOutsideIt) {
  Open();
  Inbox got;
  auto handle =
      beta_->Subscribe<Note>(got.Handler(), Delivered(DeliveryMode::kQueued));
  Publisher<Note> publisher = Publishing(1);
  ASSERT_THAT(publisher.Publish(MakeNote(1)), IsOk());
  ASSERT_TRUE(got.WaitFor(1));
  handle->Unsubscribe();  // Joins its thread.
  std::thread([&] { EXPECT_THAT(beta_->Flush(kLong), IsOk()); }).join();
}

// A queued handler that ends its own subscription, and does not return.
class OneShot final {
 public:
  explicit OneShot(MessageBus& bus,
                   std::optional<Overflow> overflow = std::nullopt) {
    SubscriberOptions options = Delivered(DeliveryMode::kQueued);
    options.overflow = overflow;
    auto subscribed = bus.Subscribe<Note>(
        [this](const Note&, const MessageInfo&) {
          handle_.Unsubscribe();
          inside_.Notify();
          go_on_.WaitForNotification();
        },
        options);
    EXPECT_THAT(subscribed.status(), IsOk());
    handle_ = *std::move(subscribed);
  }

  void AwaitInside() { inside_.WaitForNotification(); }
  void GoOn() { go_on_.Notify(); }

 private:
  Notification inside_, go_on_;
  SubscriptionHandle handle_;
};

TEST_P(LifetimeTest, CloseWaitsForAHandlerThatHasUnsubscribedItself) {
  Open();
  OneShot handler(*beta_);
  Publisher<Note> publisher = Publishing(1);
  ASSERT_THAT(publisher.Publish(MakeNote(1)), IsOk());
  handler.AwaitInside();
  EXPECT_THAT(beta_->Close(absl::Milliseconds(20)),
              HasCode(absl::StatusCode::kDeadlineExceeded));
  EXPECT_TRUE(beta_->closed());
  handler.GoOn();
  Settle();
}

TEST_P(LifetimeTest, FlushWaitsForAHandlerThatHasUnsubscribedItself) {
  FlushWaitsForOneShot(std::nullopt);
}

TEST_P(LifetimeTest, FlushWaitsForAHandlerOfALossyLaneThatHasUnsubscribed) {
  FlushWaitsForOneShot(Overflow::kDropOldest);
}

void LifetimeTest::FlushWaitsForOneShot(std::optional<Overflow> overflow) {
  Open();
  OneShot handler(*beta_, overflow);
  Publisher<Note> publisher = Publishing(1);
  ASSERT_THAT(publisher.Publish(MakeNote(1)), IsOk());
  handler.AwaitInside();
  EXPECT_THAT(alpha_->Flush(absl::Milliseconds(20)),
              HasCode(absl::StatusCode::kDeadlineExceeded));
  handler.GoOn();
  EXPECT_THAT(alpha_->Flush(kLong), IsOk());
  for (const FlowReport& report : alpha_->runtime()->FlowReports()) {
    EXPECT_EQ(report.ledger.in_flight, 0u);
  }
}

TEST_P(LifetimeTest, ShutdownUnderTrafficAccountsForAllThatWasAccepted) {
  Open();
  Inbox got;
  auto handle =
      beta_->Subscribe<Note>(got.Handler(), Delivered(DeliveryMode::kQueued));
  Publisher<Note> publisher = Publishing(1);
  absl::Status last;
  uint64_t sent = 0;
  std::thread writer([&] {
    while ((last = publisher.Publish(MakeNote(sent + 1))).ok()) ++sent;
  });
  ASSERT_TRUE(got.WaitFor(100));
  (void)alpha_->Shutdown(kLong);
  writer.join();
  EXPECT_THAT(last, HasCode(absl::StatusCode::kFailedPrecondition));
  Settle();
  const Ledger total = Total();
  EXPECT_EQ(total.accepted, sent);
  EXPECT_EQ(total.delivered, got.ids().size());
  EXPECT_EQ(got.ids(), Counting(got.ids().size()));
}

TEST_P(LifetimeTest, WhatThePeerHasIsDeliveredAfterAShutdownThatCouldNotWait) {
  Open();
  Inbox got;
  Notification go_on;
  auto handle = beta_->Subscribe<Note>(
      [&](const Note& note, const MessageInfo&) {
        go_on.WaitForNotification();
        got.Add(note.id());
      },
      Delivered(DeliveryMode::kQueued));
  Publisher<Note> publisher = Publishing(1);
  for (uint64_t id = 1; id <= 20; ++id) {
    ASSERT_THAT(publisher.Publish(MakeNote(id)), IsOk());
  }
  EXPECT_THAT(alpha_->Shutdown(absl::Milliseconds(20)),
              HasCode(absl::StatusCode::kDeadlineExceeded));
  go_on.Notify();
  // In one node the subscription has ended, too.
  const bool same_node = alpha_->node() == beta_->node();
  ASSERT_TRUE(got.WaitFor(same_node ? 1 : 20));
  Settle();
  const Ledger total = Total();
  EXPECT_EQ(total.accepted, 20u);
  EXPECT_EQ(total.delivered, got.ids().size());
  EXPECT_EQ(got.ids(), Counting(same_node ? 1 : 20));
}

TEST_P(LifetimeTest, MessageThatIsHeldDuringShutdownIsDeliveredOnce) {
  Open();
  auto pull = beta_->Subscriber<Note>();
  Publisher<Note> publisher = Publishing(1);
  for (uint64_t id = 1; id <= 3; ++id) {
    ASSERT_THAT(publisher.Publish(MakeNote(id)), IsOk());
  }
  auto held = pull->Receive(kLong);
  ASSERT_TRUE(held.ok()) << held.status();
  (void)beta_->Shutdown(absl::Milliseconds(20));
  EXPECT_EQ((*held)->id(), 1u);
  Settle();
  const Ledger total = Total();
  EXPECT_EQ(total.accepted, 3u);
  EXPECT_EQ(total.delivered, 1u);
  EXPECT_EQ(total.dropped[static_cast<size_t>(DropReason::kSubscriberGone)],
            2u);
}

MYCELIUM_ALL_TRANSPORTS(LifetimeTest);

}  // namespace
}  // namespace mycelium::test
