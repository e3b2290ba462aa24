// MessageBus::Close(): what ends with one bus, and what with the last.
#include <atomic>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/bus/adding_race.h"
#include "mycelium/bus/message_bus.h"
#include "tests/support/notification.h"
#include "tests/support/short_temp_dir.h"
#include "tests/support/sleeping_thread.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;
using ::mycelium::test::Reply;

constexpr absl::Duration kLong = absl::Seconds(10);
constexpr auto kRefused = absl::StatusCode::kFailedPrecondition;

// Services one and two are of node left, three is of node right.
class ClosingTest : public testing::Test {
 protected:
  ClosingTest() {
    std::ofstream(path_) << "socket_dir = \"" << dir_.path() << "\"\n"
                         << "[[nodes]]\nname = \"left\"\n"
                            "services = [\"one\", \"two\"]\n"
                            "[[nodes]]\nname = \"right\"\n"
                            "services = [\"three\"]\n";
    one_ = Make("one");
    two_ = Make("two");
  }

  std::unique_ptr<MessageBus> Make(const std::string& service) {
    auto bus = MessageBus::FromTopology(path_, service);
    EXPECT_TRUE(bus.ok()) << bus.status();
    return bus.ok() ? *std::move(bus) : nullptr;
  }

  static void ExpectBalance(const MessageBus& bus) {
    for (const FlowReport& flow : bus.FlowReports()) {
      EXPECT_TRUE(flow.ledger.Balances()) << flow.topic;
      EXPECT_EQ(flow.ledger.in_flight, 0u) << flow.topic;
    }
  }

  test::ShortTempDir dir_;
  const std::string path_ = dir_.file("topology.toml");
  std::unique_ptr<MessageBus> one_, two_;
};

TEST_F(ClosingTest, OtherBusesOfTheNodeGoOn) {
  auto three = Make("three");
  auto heard = two_->Subscriber<Note>();
  auto answered = three->Subscriber<Reply>();
  auto closed_subscriber = one_->Subscriber<Note>();
  auto closed_publisher = one_->Publisher<Reply>();
  auto notes = three->PublisherTo<Note>("two");
  auto replies = two_->PublisherTo<Reply>("three");
  ASSERT_TRUE(notes->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(replies->WaitForSubscribers(1, kLong).ok());

  ASSERT_TRUE(one_->Close(kLong).ok());
  EXPECT_TRUE(one_->closed());
  EXPECT_FALSE(two_->runtime()->has_ended());
  EXPECT_EQ(closed_publisher->Publish(Reply()).code(), kRefused);
  EXPECT_EQ(closed_subscriber->Receive(kLong).status().code(), kRefused);
  EXPECT_EQ(one_->Publisher<Note>().status().code(), kRefused);
  EXPECT_EQ(one_->Subscriber<Note>().status().code(), kRefused);

  ASSERT_TRUE(notes->Publish(Note()).ok());
  ASSERT_TRUE(replies->Publish(Reply()).ok());
  EXPECT_TRUE(heard->Receive(kLong).ok());
  EXPECT_TRUE(answered->Receive(kLong).ok());
  heard->Finish();
  answered->Finish();
  ASSERT_TRUE(two_->Flush(kLong).ok());
  ASSERT_TRUE(three->Flush(kLong).ok());
  Ledger sums;
  for (const auto* bus : {two_.get(), three.get()}) {
    for (const FlowReport& flow : bus->FlowReports()) {
      sums.accepted += flow.ledger.accepted;
      sums.delivered += flow.ledger.delivered;
      EXPECT_EQ(flow.ledger.in_flight + flow.ledger.dropped_total(), 0u);
    }
  }
  EXPECT_EQ(sums.accepted, 2u);
  EXPECT_EQ(sums.delivered, 2u);
  ASSERT_EQ(two_->LinkReports().size(), 1u);
  EXPECT_TRUE(two_->LinkReports()[0].is_up);
  EXPECT_TRUE(one_->Close(kLong).ok());  // Again.
}

TEST_F(ClosingTest, NodeEndsWithItsLastBus) {
  ASSERT_TRUE(two_->Close(kLong).ok());
  EXPECT_FALSE(one_->runtime()->has_ended());
  ASSERT_TRUE(one_->Close(kLong).ok());
  EXPECT_TRUE(one_->runtime()->has_ended());
  EXPECT_NE(Make("one")->runtime(), one_->runtime());
}

TEST_F(ClosingTest, WhatTheServicePublishedIsWaitedFor) {
  test::Notification busy, leave;
  SubscriberOptions queued;
  queued.delivery = DeliveryMode::kQueued;
  std::atomic<int> handled{0};
  auto handle = two_->Subscribe<Note>(
      [&](const Note&, const MessageInfo&) {
        if (++handled > 1) return;
        busy.Notify();
        leave.WaitForNotification();
      },
      queued);
  auto publisher = one_->Publisher<Note>();
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  busy.WaitForNotification();
  std::thread closing([&] {
    EXPECT_TRUE(one_->Close(kLong).ok());
    EXPECT_EQ(handled, 2);
  });
  while (one_->Publisher<Note>().ok()) std::this_thread::yield();
  EXPECT_EQ(one_->Close(absl::Milliseconds(1)).code(),
            // The first call is not done.
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(one_->closed());
  leave.Notify();
  closing.join();
  ASSERT_TRUE(two_->Flush(kLong).ok());
  ExpectBalance(*two_);
}

TEST_F(ClosingTest, WhatIsNotHandledInTimeIsToldAndTheBusIsClosed) {
  auto subscriber = two_->Subscriber<Note>();
  ASSERT_TRUE(one_->Publisher<Note>()->Publish(Note()).ok());
  EXPECT_EQ(one_->Close(absl::Milliseconds(1)).code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(one_->closed());
  EXPECT_TRUE(subscriber->Receive(kLong).ok());  // It was accepted.
  subscriber->Finish();
  ExpectBalance(*two_);
}

// A handler that does not return keeps no caller beyond the deadline.
TEST_F(ClosingTest, HandlerOnAPublishingThreadIsWaitedForUntilTheDeadline) {
  test::Notification busy, leave;
  auto handle = two_->Subscribe<Note>([&](const Note&, const MessageInfo&) {
    busy.Notify();
    leave.WaitForNotification();
  });
  std::thread publishing(
      [&] { EXPECT_TRUE(one_->Publisher<Note>()->Publish(Note()).ok()); });
  busy.WaitForNotification();
  EXPECT_EQ(two_->Close(absl::Milliseconds(1)).code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(two_->closed());
  leave.Notify();
  publishing.join();
  ExpectBalance(*one_);
}

TEST_F(ClosingTest, HandlerOnTheNodesThreadIsWaitedForUntilTheDeadline) {
  auto three = Make("three");
  test::Notification busy, leave;
  auto handle = three->Subscribe<Note>([&](const Note&, const MessageInfo&) {
    busy.Notify();
    leave.WaitForNotification();
  });
  auto publisher = one_->PublisherTo<Note>("three");
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  busy.WaitForNotification();
  EXPECT_EQ(three->Close(absl::Milliseconds(1)).code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(three->closed());
  EXPECT_FALSE(three->runtime()->has_ended());
  leave.Notify();
  handle->Unsubscribe();                     // Waits for the handler.
  ASSERT_TRUE(three->Shutdown(kLong).ok());  // This waits for the rest.
  ASSERT_TRUE(one_->Flush(kLong).ok());
  Ledger sum;
  for (const auto* bus : {one_.get(), three.get()}) {
    for (const FlowReport& flow : bus->FlowReports()) sum += flow.ledger;
  }
  EXPECT_TRUE(sum.Balances());
  EXPECT_EQ(sum.accepted, 1u);
  EXPECT_EQ(sum.delivered, 1u);
}

TEST_F(ClosingTest, WhatOthersPublishedIsNotWaitedFor) {
  auto subscriber = two_->Subscriber<Note>();
  ASSERT_TRUE(two_->Publisher<Note>()->Publish(Note()).ok());
  EXPECT_TRUE(one_->Close(absl::Milliseconds(1)).ok());
  EXPECT_TRUE(subscriber->Receive(kLong).ok());
  subscriber->Finish();
  ExpectBalance(*two_);
}

TEST_F(ClosingTest, ServiceIsFreeForAnotherBus) {
  ASSERT_TRUE(one_->Close(kLong).ok());
  auto again = Make("one");
  auto subscriber = again->Subscriber<Note>();
  EXPECT_TRUE(one_->Close(kLong).ok());
  one_ = nullptr;  // The new one does not notice.
  EXPECT_EQ(MessageBus::FromTopology(path_, "one").status().code(),
            absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(two_->PublisherTo<Note>("one")->Publish(Note()).ok());
  EXPECT_TRUE(subscriber->Receive(kLong).ok());
  subscriber->Finish();
  ExpectBalance(*two_);
}

TEST_F(ClosingTest, WaitForSubscribersEnds) {
  auto publisher = one_->Publisher<Note>();
  test::Notification started;
  absl::Status waited;
  std::thread waiting([&] {
    started.Notify();
    waited = publisher->WaitForSubscribers(1, absl::InfiniteDuration());
  });
  started.WaitForNotification();
  ASSERT_TRUE(one_->Close(kLong).ok());
  waiting.join();
  EXPECT_EQ(waited.code(), kRefused) << waited;
}

TEST_F(ClosingTest, HandlerMayNotCloseAndTheBusLives) {
  std::vector<absl::Status> closed;
  auto handle = one_->Subscribe<Note>([&](const Note&, const MessageInfo&) {
    closed.push_back(one_->Close(kLong));
  });
  auto publisher = one_->Publisher<Note>();
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  ASSERT_EQ(closed.size(), 2u);
  EXPECT_EQ(closed[0].code(), kRefused);
  EXPECT_FALSE(one_->closed());
  ExpectBalance(*one_);
}

TEST_F(ClosingTest, WhatIsAddedMeanwhileEndsWithIt) {
  // A race: everything that was made must be closed in the end.
  auto of_two = two_->Publisher<Note>();
  for (int round = 0; round < 200 && !HasFailure(); ++round) {
    const auto bus = std::move(one_);
    ExpectAddedMeanwhileEnds<Note>(
        *bus, [&] { return bus->Close(kLong); }, &*of_two);
    one_ = Make("one");
  }
  EXPECT_FALSE(two_->runtime()->has_ended());
}

TEST(ClosingRaceTest, NodeThatABusJoinsMeanwhileIsOpen) {
  // A race: the node ends, or it has the other service, and never both.
  BusOptions options;
  options.poll = PollMode::kCaller;  // A node is made sooner.
  for (int round = 0; round < 1000 && !testing::Test::HasFailure(); ++round) {
    auto node = *NodeRuntime::Create(options, "node", nullptr);
    std::thread joiner([&] {
      while (!node->has_ended()) {
        if (!node->AddService("joins", std::nullopt).ok()) continue;
        for (int look = 0; look < 10; ++look) {
          EXPECT_TRUE(node->CheckOpen().ok()) << "after it was joined";
        }
        node->RemoveService("joins");
      }
    });
    while (!node->has_ended()) {
      if (!node->AddService("closes", std::nullopt).ok()) continue;
      EXPECT_TRUE(node->CloseService("closes", {kNever}).ok());
    }
    joiner.join();
  }
}

TEST_F(ClosingTest, PeersDoNotKeepASubscriptionThatWasClosedWhileItWasAdded) {
  auto three = Make("three");
  auto far = three->Publisher<Note>();
  auto far_reply = three->Publisher<Reply>();
  auto before = two_->Subscriber<Reply>();
  ASSERT_TRUE(far_reply->WaitForSubscribers(1, kLong).ok());
  // The type differs, which is told in the middle of adding.
  auto near = two_->RawPublisher(RawMessageType(MessageTypeOf<Note>().name));
  SubscriberOptions options;
  options.on_error = [this](const absl::Status&) {
    std::thread([this] { EXPECT_TRUE(one_->Close(kLong).ok()); }).join();
  };
  EXPECT_EQ(one_->Subscriber<Note>(options).status().code(), kRefused);
  EXPECT_TRUE(one_->closed());
  auto after = two_->Subscriber<Reply>();  // Comes later on the link.
  ASSERT_TRUE(far_reply->WaitForSubscribers(2, kLong).ok());
  EXPECT_EQ(far->subscriber_count(), 0u);
  ExpectBalance(*two_);
}

TEST(ClosingWhoPollsTest, EveryThreadThatPollsSleepsUntilTheBusIsClosed) {
  BusOptions options;
  options.poll = PollMode::kCaller;
  auto bus = *MessageBus::Create(options);
  const auto poll = [&] {
    absl::Status status;
    while (!bus->closed()) {
      status = bus->Poll(absl::InfiniteDuration()).status();
      EXPECT_TRUE(status.ok() || status.code() == kRefused) << status;
    }
  };
  test::SleepingThread first(poll), second(poll);
  first.AwaitSleep();
  second.AwaitSleep();
  EXPECT_FALSE(first.has_returned() || second.has_returned());
  EXPECT_TRUE(bus->Close(kLong).ok());
  first.Join();
  second.Join();
  EXPECT_EQ(bus->Poll(kLong).status().code(), kRefused);
}

TEST(ClosingWhoPollsTest, OneOfTwoBusesIsClosedWhileItsOtherThreadPolls) {
  test::ShortTempDir dir;
  const std::string path = dir.file("topology.toml");
  std::ofstream(path) << "socket_dir = \"" << dir.path()
                      << "\"\n[[nodes]]\nname = \"left\"\n"
                         "services = [\"one\", \"two\"]\n";
  BusOptions options;
  options.poll = PollMode::kCaller;
  auto one = *MessageBus::FromTopology(path, "one", options);
  auto two = *MessageBus::FromTopology(path, "two", options);
  test::SleepingThread polling([&] {
    while (!one->closed()) {
      EXPECT_TRUE(one->Poll(absl::InfiniteDuration()).ok());
    }
  });
  polling.AwaitSleep();
  EXPECT_TRUE(one->Close(kLong).ok());
  polling.Join();
  EXPECT_TRUE(two->Poll(absl::ZeroDuration()).ok());
  // Nobody would wake a thread that comes only now.
  const auto late = one->Poll(absl::InfiniteDuration());
  EXPECT_TRUE(late.ok()) << late.status();
}

// A wake-up reaches the thread that runs the loop, which is not the one that
// has to hear of it.
TEST_F(ClosingTest, AThreadThatWaitsForItsTurnHearsThatItsBusIsClosed) {
  BusOptions options;
  options.poll = PollMode::kCaller;
  one_ = nullptr;
  two_ = nullptr;
  auto one = *MessageBus::FromTopology(path_, "one", options);
  auto two = *MessageBus::FromTopology(path_, "two", options);
  test::SleepingThread running([&] {
    while (!two->closed()) (void)two->Poll(absl::InfiniteDuration());
  });
  running.AwaitSleep();
  test::Notification heard;
  test::SleepingThread waiting([&] {
    while (!one->closed()) {
      EXPECT_TRUE(one->Poll(absl::InfiniteDuration()).ok());
    }
    heard.Notify();
  });
  waiting.AwaitSleep();
  EXPECT_TRUE(one->Close(kLong).ok());
  heard.WaitForNotification();
  EXPECT_TRUE(two->Close(kLong).ok());
  running.Join();
}

class StandingClock final : public Clock {
 public:
  TimeNs NowNs() override { return 1; }
  int64_t WallNs() override { return 1; }
};

// A thread that would sleep does something instead, once.
class ActsInsteadOfSleeping final : public Waiter {
 public:
  explicit ActsInsteadOfSleeping(std::function<void()> act)
      : act_(std::move(act)) {}
  void WaitWord(const std::atomic<uint32_t>&, uint32_t, TimeNs) override {
    Act();
  }
  void WakeWord(const std::atomic<uint32_t>&) override {}
  int64_t WaitEpoll(int epoll_fd, epoll_event* events, int events_max,
                    TimeNs deadline) override {
    if (deadline > 0) Act();
    return Environment::Real().waiter.WaitEpoll(epoll_fd, events, events_max,
                                                /*deadline=*/0);
  }

 private:
  void Act() {
    if (act_ != nullptr) std::exchange(act_, nullptr)();
  }

  std::function<void()> act_;
};

// The loop is inside a handler's gate between two messages, too.
TEST_F(ClosingTest, WhoHasNoTimeLeftGivesAHandlerAMoment) {
  test::Notification entered, go;
  std::thread publishing;
  StandingClock clock;
  ActsInsteadOfSleeping waiter([&] {
    go.Notify();
    publishing.join();
  });
  Environment environment{Sys::Real(), clock, waiter};
  BusOptions options;
  options.environment = &environment;
  options.poll = PollMode::kCaller;
  one_ = nullptr;
  two_ = nullptr;
  auto one = *MessageBus::FromTopology(path_, "one", options);
  auto two = *MessageBus::FromTopology(path_, "two", options);
  auto handle = one->Subscribe<Note>([&](const Note&, const MessageInfo&) {
    entered.Notify();
    go.WaitForNotification();
  });
  auto publisher = two->Publisher<Note>();
  publishing =
      std::thread([&] { EXPECT_TRUE(publisher->Publish(Note()).ok()); });
  entered.WaitForNotification();
  const absl::Status closed = one->Close(absl::ZeroDuration());
  EXPECT_TRUE(closed.ok()) << closed;
  if (publishing.joinable()) {
    go.Notify();
    publishing.join();
  }
  ExpectBalance(*two);
}

}  // namespace
}  // namespace mycelium
