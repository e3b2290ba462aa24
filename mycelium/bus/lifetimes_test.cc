// What callbacks and handlers keep alive, and which threads they keep waiting.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/message/protobuf_type.h"
#include "tests/support/notification.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;
using ::mycelium::test::Notification;

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr size_t kLaneBytes = 64 << 10;

std::unique_ptr<MessageBus> MakeBus(BusOptions options = BusOptions()) {
  options.settings.lane_bytes = kLaneBytes;
  options.limits.frame_bytes_max = kLaneBytes / 8;
  auto bus = MessageBus::Create(options);
  EXPECT_TRUE(bus.ok()) << bus.status();
  return *std::move(bus);
}

// What a program may keep alive by a callback: a session that publishes and
// subscribes.
struct Session {
  std::optional<Publisher<Note>> publisher;
  std::optional<SubscriptionHandle> handle;
};

class RoomCallbackTest : public ::testing::Test {
 protected:
  RoomCallbackTest() {
    auto pull = bus_->Subscriber<Note>();
    EXPECT_TRUE(pull.ok()) << pull.status();
    pull_.emplace(*std::move(pull));
  }

  // A publisher that does not wait, with no room for another message.
  std::optional<Publisher<Note>> Refused(PublisherOptions options = {}) {
    options.publish_timeout = absl::ZeroDuration();
    auto publisher = bus_->Publisher<Note>(options);
    EXPECT_TRUE(publisher.ok()) << publisher.status();
    Note note;
    note.set_blob(std::string(1000, 'b'));
    while (publisher->Publish(note).ok()) ++published_;
    return std::make_optional(*std::move(publisher));
  }

  // Whatever is destroyed, the bus goes on.
  void ExpectGoesOn() {
    std::packaged_task<absl::Status()> use([this] {
      auto publisher = bus_->Publisher<Note>();
      return publisher.status();
    });
    std::future<absl::Status> used = use.get_future();
    std::thread user(std::move(use));
    if (used.wait_for(std::chrono::seconds(20)) != std::future_status::ready) {
      ADD_FAILURE() << "a lock of the bus is held for good";
      std::abort();
    }
    EXPECT_TRUE(used.get().ok());
    user.join();
  }

  static bool Ends(const std::weak_ptr<Session>& session) {
    const absl::Time end = absl::Now() + kLong;
    while (!session.expired()) {
      if (absl::Now() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }

  std::unique_ptr<MessageBus> bus_ = MakeBus();
  std::optional<Subscriber<Note>> pull_;
  uint64_t published_ = 0;
};

TEST_F(RoomCallbackTest, KeepsNothingOnceItWasCalled) {
  auto session = std::make_shared<Session>();
  const std::weak_ptr<Session> watch = session;
  session->publisher = Refused();
  std::atomic<int> calls{0};
  session->publisher->CallWhenRoom([session, &calls] { ++calls; });
  session.reset();
  EXPECT_FALSE(watch.expired());
  for (uint64_t i = 0; i < published_; ++i) {
    ASSERT_TRUE(pull_->Receive(kLong).ok());
  }
  (void)pull_->TryReceive();
  EXPECT_TRUE(Ends(watch));
  EXPECT_EQ(calls, 1);
  pull_.reset();
  ExpectGoesOn();
}

TEST_F(RoomCallbackTest, MayBeTheLastOwnerWhereTheSubscriberGoes) {
  auto session = std::make_shared<Session>();
  const std::weak_ptr<Session> watch = session;
  session->publisher = Refused();
  session->publisher->CallWhenRoom([session] {});
  session.reset();
  pull_.reset();
  EXPECT_TRUE(Ends(watch));
  ExpectGoesOn();
}

TEST_F(RoomCallbackTest, MayBeTheLastOwnerWhereThePublisherGoes) {
  auto session = std::make_shared<Session>();
  const std::weak_ptr<Session> watch = session;
  auto handle = bus_->Subscribe<test::Reply>(
      [](const test::Reply&, const MessageInfo&) {});
  ASSERT_TRUE(handle.ok()) << handle.status();
  session->handle = *std::move(handle);
  std::optional<Publisher<Note>> publisher = Refused();
  publisher->CallWhenRoom([session] {});
  session.reset();
  publisher.reset();
  EXPECT_TRUE(Ends(watch));
  ExpectGoesOn();
}

TEST_F(RoomCallbackTest, MayBeTheLastOwnerWhereASubscriberComes) {
  auto session = std::make_shared<Session>();
  const std::weak_ptr<Session> watch = session;
  PublisherOptions options;
  options.topic = "lonely";
  options.require_subscriber = true;
  session->publisher = Refused(options);
  ASSERT_EQ(published_, 0u);
  session->publisher->CallWhenRoom([session] {});
  session.reset();
  SubscriberOptions subscriber;
  subscriber.topic = "lonely";
  auto handle =
      bus_->Subscribe<Note>([](const Note&, const MessageInfo&) {}, subscriber);
  ASSERT_TRUE(handle.ok()) << handle.status();
  EXPECT_TRUE(Ends(watch));
  ExpectGoesOn();
}

// A message for several handlers in this process reaches one after the other.
TEST(InlineHandlersTest, UnsubscribeWaitsForNoneThatHasNotBegun) {
  const std::unique_ptr<MessageBus> bus = MakeBus();
  Notification inside, unsubscribed;
  std::atomic<int> second_calls{0};
  auto first = bus->Subscribe<Note>([&](const Note&, const MessageInfo&) {
    inside.Notify();
    EXPECT_TRUE(unsubscribed.WaitForNotificationWithTimeout(kLong));
  });
  ASSERT_TRUE(first.ok()) << first.status();
  auto second = bus->Subscribe<Note>(
      [&](const Note&, const MessageInfo&) { ++second_calls; });
  ASSERT_TRUE(second.ok()) << second.status();
  auto publisher = bus->Publisher<Note>();
  ASSERT_TRUE(publisher.ok()) << publisher.status();
  std::thread publishing([&] { EXPECT_TRUE(publisher->Publish(Note()).ok()); });
  inside.WaitForNotification();
  EXPECT_TRUE(second->UnsubscribeWithin(absl::ZeroDuration()));
  second->Unsubscribe();
  unsubscribed.Notify();
  publishing.join();
  EXPECT_EQ(second_calls, 0);
  Ledger sum;
  for (const FlowReport& flow : bus->FlowReports()) sum += flow.ledger;
  EXPECT_EQ(sum.accepted, 2u);
  EXPECT_EQ(sum.delivered, 1u);
  EXPECT_EQ(sum.dropped_for(DropReason::kSubscriberGone), 1u);
  EXPECT_TRUE(sum.Balances());
}

TEST(FlowEventTest, MessageToNobodyIsToldOf) {
  std::promise<FlowEvent> told;
  BusOptions options;
  std::atomic<bool> is_told{false};
  options.on_flow = [&](const FlowEvent& event) {
    if (!is_told.exchange(true)) told.set_value(event);
  };
  const std::unique_ptr<MessageBus> bus = MakeBus(options);
  auto publisher = bus->Publisher<Note>();
  ASSERT_TRUE(publisher.ok()) << publisher.status();
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  std::future<FlowEvent> event = told.get_future();
  ASSERT_EQ(event.wait_for(std::chrono::seconds(20)),
            std::future_status::ready);
  EXPECT_EQ(event.get().reason, DropReason::kNoSubscriber);
  const auto flows = bus->FlowReports();
  ASSERT_EQ(flows.size(), 1u);
  EXPECT_TRUE(flows[0].ledger.Balances());
  EXPECT_EQ(flows[0].ledger.dropped_for(DropReason::kNoSubscriber), 1u);
}

TEST(FlowEventTest, PulledMessageThatDoesNotParseIsToldOf) {
  std::promise<FlowEvent> told;
  std::atomic<bool> is_told{false};
  BusOptions options;
  options.on_flow = [&](const FlowEvent& event) {
    if (!is_told.exchange(true)) told.set_value(event);
  };
  const std::unique_ptr<MessageBus> bus = MakeBus(options);
  auto pull = bus->Subscriber<Note>();
  ASSERT_TRUE(pull.ok()) << pull.status();
  auto publisher = bus->RawPublisher(MessageTypeOf<Note>());
  ASSERT_TRUE(publisher.ok()) << publisher.status();
  const std::byte garbage[] = {std::byte{0xff}, std::byte{0xff}};
  ASSERT_TRUE(publisher->Publish(garbage).ok());
  EXPECT_FALSE(pull->TryReceive().ok());
  (void)pull->TryReceive();
  std::future<FlowEvent> event = told.get_future();
  ASSERT_EQ(event.wait_for(std::chrono::seconds(20)),
            std::future_status::ready);
  EXPECT_EQ(event.get().reason, DropReason::kUndecodable);
  const auto flows = bus->FlowReports();
  ASSERT_EQ(flows.size(), 1u);
  EXPECT_TRUE(flows[0].ledger.Balances());
  EXPECT_EQ(flows[0].ledger.dropped_for(DropReason::kUndecodable), 1u);
}

}  // namespace
}  // namespace mycelium
