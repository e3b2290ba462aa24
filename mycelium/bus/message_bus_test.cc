#include "mycelium/bus/message_bus.h"

#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/support/faulty_sys.h"
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

TEST(MessageBusTest, NoDescriptorsLeftIsAStatus) {
  test::FaultySys sys;
  Environment environment{sys, Environment::Real().clock,
                          Environment::Real().waiter};
  BusOptions options;
  options.environment = &environment;
  sys.Fail("epoll_create", {-EMFILE});
  EXPECT_EQ(MessageBus::Create(options).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(MessageBus::Create(options).ok());
}

TEST(MessageBusTest, SubscriptionIsMatchedOnceThereIsMemoryForItsLane) {
  test::FaultySys sys;
  Environment environment{sys, Environment::Real().clock,
                          Environment::Real().waiter};
  BusOptions options;
  options.environment = &environment;
  std::atomic<int> errors{0};
  options.log = [&](LogLevel level, absl::string_view) {
    if (level == LogLevel::kError) ++errors;
  };
  test::ShortTempDir dir;
  auto publishing = MakeBus("a", options);
  auto subscribing = MakeBus("b");
  auto subscriber = subscribing->Subscriber<Note>();
  ASSERT_TRUE(subscriber.ok()) << subscriber.status();
  auto publisher = publishing->Publisher<Note>();
  ASSERT_TRUE(publisher.ok()) << publisher.status();
  sys.Fail("map", {-ENOMEM, -ENOMEM});
  auto endpoint = BindUnixEndpoint(dir.file("a"), *publishing);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  ASSERT_TRUE(DialUnixEndpoint(dir.file("a"), *subscribing).ok());
  const absl::Status matched = publisher->WaitForSubscribers(1, kLong);
  EXPECT_TRUE(matched.ok()) << matched;
  EXPECT_EQ(sys.Left("map"), 0u);
  EXPECT_EQ(errors, 1) << "said once, not at each attempt";
  ASSERT_TRUE(publisher->Publish(MakeNote(1)).ok());
  EXPECT_TRUE(subscriber->Receive(kLong).ok());
  (void)subscriber->TryReceive();  // Finishes it.
  EXPECT_TRUE(publishing->Shutdown(kLong).ok());
  for (const FlowReport& flow : publishing->FlowReports()) {
    EXPECT_EQ(flow.ledger.accepted, 1u);
    EXPECT_EQ(flow.ledger.in_flight + flow.ledger.dropped_total(), 0u);
  }
}

}  // namespace
}  // namespace mycelium
