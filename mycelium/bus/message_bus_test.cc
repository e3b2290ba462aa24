#include "mycelium/bus/message_bus.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;
using ::testing::ElementsAre;

constexpr absl::Duration kLong = absl::Seconds(10);

std::unique_ptr<MessageBus> MakeBus(const std::string& node,
                                    BusOptions options = BusOptions()) {
  options.node = node;
  absl::StatusOr<std::unique_ptr<MessageBus>> bus = MessageBus::Create(options);
  EXPECT_TRUE(bus.ok()) << bus.status();
  return *std::move(bus);
}

Note MakeNote(uint64_t id) {
  Note note;
  note.set_id(id);
  note.set_text("hello");
  return note;
}

TEST(MessageBusTest, InlineHandlerRunsInsidePublish) {
  auto bus = MakeBus("a");
  std::vector<uint64_t> got;
  std::thread::id thread;
  auto subscription =
      bus->Subscribe<Note>([&](const Note& note, const MessageInfo& info) {
        got.push_back(note.id());
        thread = std::this_thread::get_id();
        EXPECT_EQ(info.sequence(), note.id());
        EXPECT_EQ(info.topic(), "mycelium.test.Note");
      });
  ASSERT_TRUE(subscription.ok()) << subscription.status();
  auto publisher = bus->Publisher<Note>();
  ASSERT_TRUE(publisher.ok()) << publisher.status();
  ASSERT_TRUE(publisher->Publish(MakeNote(1)).ok());
  ASSERT_TRUE(publisher->Publish(MakeNote(2)).ok());
  EXPECT_THAT(got, ElementsAre(1, 2));
  EXPECT_EQ(thread, std::this_thread::get_id());
  for (const FlowReport& flow : bus->FlowReports()) {
    EXPECT_TRUE(flow.ledger.Balances());
    EXPECT_EQ(flow.ledger.accepted, 2u);
  }
}

TEST(MessageBusTest, PointerIsHandedOverWithoutACopy) {
  auto bus = MakeBus("a");
  const void* got = nullptr;
  auto inline_subscription = bus->Subscribe<Note>(
      [&](const Note& note, const MessageInfo&) { got = &note; });
  auto pull = bus->Subscriber<Note>();
  auto publisher = bus->Publisher<Note>();
  auto note = std::make_shared<const Note>(MakeNote(1));
  ASSERT_TRUE(publisher->Publish(note).ok());
  EXPECT_EQ(got, note.get());
  auto received = pull->Receive(kLong);
  ASSERT_TRUE(received.ok()) << received.status();
  EXPECT_EQ(*received, note.get());
}

TEST(MessageBusTest, UnixLinkDeliversInOrderBothWays) {
  test::ShortTempDir dir;
  const std::string path = dir.file("bus.sock");
  auto a = MakeBus("a");
  auto b = MakeBus("b");
  auto endpoint = BindUnixEndpoint(path, *a);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  ASSERT_TRUE(DialUnixEndpoint(path, *b).ok());
  auto a_sub = a->Subscriber<Note>();
  std::atomic<uint64_t> sum{0};
  auto b_sub = b->Subscribe<Note>(
      [&](const Note& note, const MessageInfo&) { sum += note.id(); });
  auto a_pub = a->Publisher<Note>();
  auto b_pub = b->Publisher<Note>();
  // Each bus has its own subscription too.
  ASSERT_TRUE(a_pub->WaitForSubscribers(2, kLong).ok());
  ASSERT_TRUE(b_pub->WaitForSubscribers(2, kLong).ok());
  for (uint64_t id = 1; id <= 1000; ++id) {
    ASSERT_TRUE(b_pub->Publish(MakeNote(id)).ok());
  }
  for (uint64_t id = 1; id <= 1000; ++id) {
    auto note = a_sub->Receive(kLong);
    ASSERT_TRUE(note.ok()) << note.status();
    ASSERT_EQ((*note)->id(), id);
    ASSERT_EQ(a_sub->info().publisher_node(), "b");
  }
  (void)a_sub->TryReceive();  // Finishes the last one.
  ASSERT_TRUE(b->Flush(kLong).ok());
  EXPECT_EQ(sum, 500500u);
  ASSERT_TRUE(a_pub->Publish(MakeNote(7)).ok());
  auto own = a_sub->Receive(kLong);
  ASSERT_TRUE(own.ok());
  (void)a_sub->TryReceive();
  ASSERT_TRUE(a->Flush(kLong).ok());
  EXPECT_EQ(sum, 500507u);
  uint64_t accepted = 0, delivered = 0;
  for (MessageBus* bus : {a.get(), b.get()}) {
    for (const FlowReport& flow : bus->FlowReports()) {
      accepted += flow.ledger.accepted;
      delivered += flow.ledger.delivered;
      EXPECT_EQ(flow.ledger.in_flight, 0u);
      EXPECT_EQ(flow.ledger.dropped_total(), 0u);
    }
  }
  EXPECT_EQ(accepted, 2002u);
  EXPECT_EQ(delivered, 2002u);
  EXPECT_TRUE(a->Shutdown(kLong).ok());
  EXPECT_TRUE(b->Shutdown(kLong).ok());
}

// Notifies when the node that has it is destroyed.
class Witness final {
 public:
  explicit Witness(absl::Notification& destroyed) : destroyed_(destroyed) {}
  ~Witness() { destroyed_.Notify(); }

 private:
  absl::Notification& destroyed_;
};

class LastOwnerTest : public testing::TestWithParam<PollMode> {};

TEST_P(LastOwnerTest, NodeOutlivesTheHandlerThatDestroysItsLastOwner) {
  test::ShortTempDir dir;
  const std::string path = dir.file("bus.sock");
  auto a = MakeBus("a");
  auto endpoint = BindUnixEndpoint(path, *a);
  absl::Notification destroyed, returned;
  BusOptions options;
  options.poll = GetParam();
  options.log = [witness = std::make_shared<Witness>(destroyed)](
                    LogLevel, absl::string_view) {};
  auto b = MakeBus("b", options);
  options = BusOptions();  // Only the node has the witness.
  SubscriptionHandle subscription;
  int calls = 0;
  auto subscribed = b->Subscribe<Note>([&](const Note&, const MessageInfo&) {
    ++calls;
    b = nullptr;
    subscription = SubscriptionHandle();
    EXPECT_FALSE(destroyed.HasBeenNotified());
    returned.Notify();
  });
  subscription = *std::move(subscribed);
  ASSERT_TRUE(DialUnixEndpoint(path, *b).ok());
  auto publisher = a->Publisher<Note>();
  while (GetParam() == PollMode::kCaller &&
         publisher->subscriber_count() == 0) {
    ASSERT_TRUE(b->Poll(absl::Milliseconds(1)).ok());
  }
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(publisher->Publish(MakeNote(1)).ok());
  ASSERT_TRUE(publisher->Publish(MakeNote(2)).ok());
  while (GetParam() == PollMode::kCaller && b != nullptr) {
    ASSERT_TRUE(b->Poll(absl::Milliseconds(1)).ok());
  }
  destroyed.WaitForNotification();
  EXPECT_TRUE(returned.HasBeenNotified());
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(a->Flush(kLong).ok());
  for (const FlowReport& flow : a->FlowReports()) {
    EXPECT_EQ(flow.ledger.accepted, 2u);
    EXPECT_EQ(flow.ledger.in_flight, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(PollModes, LastOwnerTest,
                         testing::Values(PollMode::kThread, PollMode::kCaller),
                         [](const auto& mode) {
                           return mode.param == PollMode::kThread ? "thread"
                                                                  : "caller";
                         });

TEST(MessageBusTest, SpinningNodeAcceptsConnections) {
  test::ShortTempDir dir;
  const std::string path = dir.file("bus.sock");
  BusOptions spinning;
  spinning.wait = WaitMode::kSpin;
  auto a = MakeBus("a", spinning);
  auto b = MakeBus("b");
  auto subscriber = a->Subscriber<Note>();
  auto endpoint = BindUnixEndpoint(path, *a);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  ASSERT_TRUE(DialUnixEndpoint(path, *b).ok());
  auto publisher = b->Publisher<Note>();
  EXPECT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
}

}  // namespace
}  // namespace mycelium
