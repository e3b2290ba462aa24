// What a handler or a callback has captured ends with its subscription, on a
// thread that holds no lock; and that may end anything in turn.
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/support/notification.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;
using ::mycelium::test::Reply;

std::string ModeName(const testing::TestParamInfo<DeliveryMode>& mode) {
  return mode.param == DeliveryMode::kInline ? "Inline" : "Queued";
}

class LettingGoTest : public testing::TestWithParam<DeliveryMode> {
 protected:
  static SubscriberOptions Options() {
    SubscriberOptions options;
    options.delivery = GetParam();
    return options;
  }

  void ExpectBalance() const {
    for (const FlowReport& flow : bus_->FlowReports()) {
      EXPECT_TRUE(flow.ledger.Balances()) << flow.topic;
      EXPECT_EQ(flow.ledger.in_flight, 0u) << flow.topic;
    }
  }

  std::shared_ptr<MessageBus> bus_ = *MessageBus::Create(BusOptions());
};

INSTANTIATE_TEST_SUITE_P(Modes, LettingGoTest,
                         testing::Values(DeliveryMode::kInline,
                                         DeliveryMode::kQueued),
                         ModeName);

TEST_P(LettingGoTest, HandlerEndsWithItsSubscription) {
  auto captured = std::make_shared<int>();
  const std::weak_ptr<int> watched = captured;
  auto handle = bus_->Subscribe<Note>(
      [captured](const Note&, const MessageInfo&) {}, Options());
  captured.reset();
  ASSERT_TRUE(bus_->Publisher<Note>()->Publish(Note()).ok());
  ASSERT_TRUE(bus_->Flush(absl::Seconds(10)).ok());
  EXPECT_FALSE(watched.expired());
  handle->Unsubscribe();
  EXPECT_TRUE(watched.expired());
  ExpectBalance();
}

TEST_P(LettingGoTest, HandlerThatUnsubscribesItselfEndsAfterIt) {
  test::Notification ended;
  // By the time that this notifies, `watched` has expired.
  std::shared_ptr<void> captured(nullptr, [&](void*) { ended.Notify(); });
  const std::weak_ptr<void> watched = captured;
  auto handle = std::make_shared<SubscriptionHandle>();
  bool was_there = false;
  *handle = *bus_->Subscribe<Note>(
      [captured, handle, &watched, &was_there](const Note&,
                                               const MessageInfo&) {
        handle->Unsubscribe();
        was_there = !watched.expired();
      },
      Options());
  captured.reset();
  handle.reset();
  ASSERT_TRUE(bus_->Publisher<Note>()->Publish(Note()).ok());
  ended.WaitForNotification();
  EXPECT_TRUE(was_there);
  EXPECT_TRUE(watched.expired());
  ASSERT_TRUE(bus_->Flush(absl::Seconds(10)).ok());
  ExpectBalance();
}

TEST_P(LettingGoTest, NodeEndsThoughAHandlerHeldItsBus) {
  const std::weak_ptr<MessageBus> bus = bus_;
  const std::weak_ptr<NodeRuntime> node = bus_->runtime();
  auto publisher = std::make_shared<Publisher<Note>>(*bus_->Publisher<Note>());
  auto handle = bus_->Subscribe<Note>(
      [bus = bus_, publisher](const Note&, const MessageInfo&) {}, Options());
  publisher.reset();
  bus_.reset();
  EXPECT_FALSE(bus.expired());
  handle->Unsubscribe();
  EXPECT_TRUE(bus.expired());
  *handle = SubscriptionHandle();
  EXPECT_TRUE(node.expired());
}

TEST_P(LettingGoTest, HandlerHoldsTheHandleOfAnotherSubscription) {
  auto other = std::make_shared<SubscriptionHandle>(*bus_->Subscribe<Note>(
      [](const Note&, const MessageInfo&) {}, Options()));
  auto handle = bus_->Subscribe<Note>(
      [other](const Note&, const MessageInfo&) {}, Options());
  const std::weak_ptr<SubscriptionHandle> watched = std::exchange(other, {});
  handle->Unsubscribe();
  EXPECT_TRUE(watched.expired());
  EXPECT_EQ(bus_->Publisher<Note>()->subscriber_count(), 0u);
}

TEST_P(LettingGoTest, CallbacksHoldTheHandleOfAnotherSubscription) {
  const auto subscribe = [&](const SubscriberOptions& options) {
    return std::make_shared<SubscriptionHandle>(*bus_->Subscribe<Note>(
        [](const Note&, const MessageInfo&) {}, options));
  };
  SubscriberOptions options = Options();
  options.on_error = [other = subscribe(Options())](const absl::Status&) {};
  options.on_publisher_gone =
      [other = subscribe(Options())](const PublisherGone&) {};
  auto handle = subscribe(options);
  options = SubscriberOptions();
  EXPECT_EQ(bus_->Publisher<Note>()->subscriber_count(), 3u);
  handle.reset();
  EXPECT_EQ(bus_->Publisher<Note>()->subscriber_count(), 0u);
}

// Under poll = kCaller handlers run in the calls that wait.
class LettingGoInACallTest : public testing::Test {
 protected:
  // In `call`, which waits, a handler destroys the bus; the peer sees the node
  // go.
  void ExpectNodeEnds(
      absl::FunctionRef<void(std::unique_ptr<MessageBus>& bus)> call) {
    test::Notification gone;
    BusOptions seen;
    seen.on_connection = [&](const ConnectionEvent& event) {
      if (event.state == ConnectionEvent::State::kGone) gone.Notify();
    };
    auto peer = *MessageBus::Create(seen);
    auto endpoint = BindUnixEndpoint(dir_.file("socket"), *peer);
    ASSERT_TRUE(endpoint.ok()) << endpoint.status();
    auto publisher = peer->Publisher<Note>();
    auto slow = peer->Subscriber<Reply>();

    BusOptions polling;
    polling.poll = PollMode::kCaller;
    const std::weak_ptr<void> node = [&] {
      auto kept = std::make_shared<int>();
      polling.log = [kept](LogLevel, absl::string_view) {};
      return kept;
    }();
    auto bus = *MessageBus::Create(polling);
    polling = BusOptions();
    SubscriptionHandle handle;
    handle = *bus->Subscribe<Note>([&](const Note&, const MessageInfo&) {
      handle = SubscriptionHandle();
      bus.reset();
    });
    ASSERT_TRUE(DialUnixEndpoint(dir_.file("socket"), *bus).ok());
    {
      // What the calls that flush wait for.
      auto replies = bus->Publisher<Reply>();
      ASSERT_TRUE(replies->WaitForSubscribers(1, kLong).ok());
      ASSERT_TRUE(replies->Publish(Reply()).ok());
    }
    while (publisher->subscriber_count() == 0) {
      ASSERT_TRUE(bus->Poll(absl::Milliseconds(1)).ok());
    }
    ASSERT_TRUE(publisher->Publish(Note()).ok());
    call(bus);
    EXPECT_EQ(bus, nullptr);
    EXPECT_TRUE(node.expired());  // Destroyed, with its log.
    EXPECT_TRUE(gone.WaitForNotificationWithTimeout(kLong));
    EXPECT_TRUE(slow->Receive(kLong).ok());
    slow->Finish();
    ASSERT_TRUE(peer->Flush(kLong).ok());
    Ledger sum;
    for (const FlowReport& flow : peer->FlowReports()) sum += flow.ledger;
    EXPECT_EQ(sum.accepted, 1u);   // And the other bus counted it.
    EXPECT_EQ(sum.delivered, 1u);  // The one of the other bus.
    EXPECT_EQ(sum.in_flight, 0u);
  }

  static constexpr absl::Duration kLong = absl::Seconds(20);
  static constexpr absl::Duration kShort = absl::Milliseconds(200);
  test::ShortTempDir dir_;
};

TEST_F(LettingGoInACallTest, Poll) {
  ExpectNodeEnds([](std::unique_ptr<MessageBus>& bus) {
    while (bus != nullptr) EXPECT_TRUE(bus->Poll(kShort).ok());
  });
}

TEST_F(LettingGoInACallTest, Flush) {
  ExpectNodeEnds([](std::unique_ptr<MessageBus>& bus) {
    EXPECT_EQ(bus->Flush(kShort).code(), absl::StatusCode::kDeadlineExceeded);
  });
}

TEST_F(LettingGoInACallTest, Close) {
  ExpectNodeEnds([](std::unique_ptr<MessageBus>& bus) {
    EXPECT_EQ(bus->Close(kShort).code(), absl::StatusCode::kDeadlineExceeded);
  });
}

TEST_F(LettingGoInACallTest, Shutdown) {
  ExpectNodeEnds([](std::unique_ptr<MessageBus>& bus) {
    EXPECT_EQ(bus->Shutdown(kShort).code(),
              absl::StatusCode::kDeadlineExceeded);
  });
}

TEST(LettingGoInALoanTest, HandlerLetsGoOfAllButTheLoan) {
  auto bus = *MessageBus::Create(BusOptions());
  std::optional<RawPublisher> publisher =
      *bus->RawPublisher(RawMessageType("bytes"));
  SubscriptionHandle handle;
  bool was_called = false;
  handle =
      *bus->SubscribeRaw(RawMessageType("bytes"),
                         [&](absl::Span<const std::byte>, const MessageInfo&) {
                           was_called = true;
                           handle = SubscriptionHandle();
                           publisher.reset();
                           bus.reset();
                         });
  auto loan = publisher->Loan(64);
  ASSERT_TRUE(loan.ok()) << loan.status();
  EXPECT_TRUE(loan->Publish().ok());
  EXPECT_TRUE(was_called);
  EXPECT_EQ(bus, nullptr);
}

// What is left of the bus belongs to the handle, and ends with the handle
// alone.
TEST(LettingGoOfNeighboursTest, UnsubscribeWithinDoesNotWaitForTheNode) {
  test::ShortTempDir dir;
  auto peer = *MessageBus::Create(BusOptions());
  auto endpoint = BindUnixEndpoint(dir.file("socket"), *peer);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  auto bus = *MessageBus::Create(BusOptions());
  test::Notification inside, go_on;
  SubscriptionHandle handle =
      *bus->Subscribe<Note>([&](const Note&, const MessageInfo&) {
        inside.Notify();
        go_on.WaitForNotification();
      });
  ASSERT_TRUE(DialUnixEndpoint(dir.file("socket"), *bus).ok());
  auto publisher = peer->Publisher<Note>();
  ASSERT_TRUE(publisher->WaitForSubscribers(1, absl::Seconds(20)).ok());
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  inside.WaitForNotification();
  bus.reset();
  EXPECT_FALSE(handle.UnsubscribeWithin(absl::Milliseconds(1)));
  go_on.Notify();
  EXPECT_TRUE(handle.UnsubscribeWithin(absl::InfiniteDuration()));
  handle = SubscriptionHandle();
  EXPECT_TRUE(peer->Flush(absl::Seconds(20)).ok());
  for (const FlowReport& flow : peer->FlowReports()) {
    EXPECT_EQ(flow.ledger.accepted, 1u);
    EXPECT_EQ(flow.ledger.in_flight, 0u);
    EXPECT_EQ(flow.ledger.dropped_total(), 0u);
  }
}

TEST(LettingGoOfNeighboursTest,
     WhoseSubscriptionAnotherHandlerEndedIsNotCalled) {
  auto bus = *MessageBus::Create(BusOptions());
  SubscriptionHandle second;
  int calls = 0;
  auto first = bus->Subscribe<Note>(
      [&](const Note&, const MessageInfo&) { second.Unsubscribe(); });
  second =
      *bus->Subscribe<Note>([&](const Note&, const MessageInfo&) { ++calls; });
  ASSERT_TRUE(bus->Publisher<Note>()->Publish(Note()).ok());
  EXPECT_EQ(calls, 0);
  Ledger sum;
  for (const FlowReport& flow : bus->FlowReports()) sum += flow.ledger;
  EXPECT_TRUE(sum.Balances());
  EXPECT_EQ(sum.accepted, 2u);
  EXPECT_EQ(sum.delivered, 1u);
  EXPECT_EQ(sum.dropped_for(DropReason::kSubscriberGone), 1u);
}

// In the middle of adding, a callback is told of a neighbour with another type.
class LettingGoWhileAddingTest : public testing::Test {
 protected:
  // The thread that adds has `bus_`, and there is no other share of the node.
  template <typename Made>
  void ExpectUsable(absl::StatusOr<Made> made) {
    EXPECT_EQ(bus_, nullptr);
    ASSERT_TRUE(made.ok()) << made.status();
    EXPECT_FALSE(node_.expired());
    made = absl::CancelledError("the test lets go of it");
    EXPECT_TRUE(node_.expired());
  }

  std::function<void(const absl::Status&)> LettingGo() {
    return [this](const absl::Status&) {
      publisher_.reset();
      subscriber_.reset();
      bus_.reset();
    };
  }

  std::unique_ptr<MessageBus> bus_ = *MessageBus::Create(BusOptions());
  const std::weak_ptr<NodeRuntime> node_ = bus_->runtime();
  const MessageType other_ = RawMessageType(MessageTypeOf<Note>().name);
  std::optional<RawPublisher> publisher_;
  std::optional<RawSubscriber> subscriber_;
};

TEST_F(LettingGoWhileAddingTest, Subscriber) {
  publisher_ = *bus_->RawPublisher(other_);
  SubscriberOptions options;
  options.on_error = LettingGo();
  ExpectUsable(bus_->Subscriber<Note>(options));
}

TEST_F(LettingGoWhileAddingTest, RawSubscriber) {
  publisher_ = *bus_->RawPublisher(other_);
  SubscriberOptions options;
  options.on_error = LettingGo();
  ExpectUsable(bus_->RawSubscriber(MessageTypeOf<Note>(), options));
}

TEST_F(LettingGoWhileAddingTest, Subscription) {
  publisher_ = *bus_->RawPublisher(other_);
  SubscriberOptions options;
  options.on_error = LettingGo();
  ExpectUsable(
      bus_->Subscribe<Note>([](const Note&, const MessageInfo&) {}, options));
}

TEST_F(LettingGoWhileAddingTest, Publisher) {
  SubscriberOptions options;
  options.on_error = LettingGo();
  subscriber_.emplace(*bus_->RawSubscriber(other_, options));
  ExpectUsable(bus_->Publisher<Note>());
}

TEST_F(LettingGoWhileAddingTest, RawPublisher) {
  SubscriberOptions options;
  options.on_error = LettingGo();
  subscriber_.emplace(*bus_->RawSubscriber(other_, options));
  ExpectUsable(bus_->RawPublisher(MessageTypeOf<Note>()));
}

// Owned by what it has subscribed.
struct Session {
  std::unique_ptr<MessageBus> bus = *MessageBus::Create(BusOptions());
  SubscriptionHandle handle;
  std::optional<Subscriber<Note>> subscriber;
};

class LettingGoOfTheOwnerTest : public testing::TestWithParam<DeliveryMode> {
 protected:
  // Leaves the session to its handler.
  void Subscribe() {
    auto owner = std::make_shared<Session>();
    session_ = owner.get();
    watched_ = owner;
    SubscriberOptions options;
    options.delivery = GetParam();
    session_->handle = *session_->bus->Subscribe<Note>(
        [owner](const Note&, const MessageInfo&) {}, options);
  }

  Session* session_ = nullptr;
  std::weak_ptr<Session> watched_;
};

INSTANTIATE_TEST_SUITE_P(Modes, LettingGoOfTheOwnerTest,
                         testing::Values(DeliveryMode::kInline,
                                         DeliveryMode::kQueued),
                         ModeName);

TEST_P(LettingGoOfTheOwnerTest, UnsubscribeEndsIt) {
  Subscribe();
  session_->handle.Unsubscribe();
  EXPECT_TRUE(watched_.expired());
}

TEST_P(LettingGoOfTheOwnerTest, UnsubscribeWithinEndsIt) {
  Subscribe();
  EXPECT_TRUE(session_->handle.UnsubscribeWithin(absl::InfiniteDuration()));
  EXPECT_TRUE(watched_.expired());
}

TEST_P(LettingGoOfTheOwnerTest, AssignmentEndsIt) {
  Subscribe();
  session_->handle = SubscriptionHandle();
  EXPECT_TRUE(watched_.expired());
}

TEST(LettingGoOfTheOwnerOfASubscriberTest, UnsubscribeEndsIt) {
  auto owner = std::make_shared<Session>();
  Session* const session = owner.get();
  const std::weak_ptr<Session> watched = owner;
  SubscriberOptions options;
  options.on_error = [kept = std::move(owner)](const absl::Status&) {};
  session->subscriber.emplace(*session->bus->Subscriber<Note>(options));
  options = SubscriberOptions();
  session->subscriber->Unsubscribe();
  EXPECT_TRUE(watched.expired());
}

}  // namespace
}  // namespace mycelium
