// A node that goes on for months, on ever new topics.
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/shm_endpoint.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
// How many entries a node may gather before it looks for those to forget.
constexpr size_t kSlack = 500;

class ForgettingTest : public ::testing::Test {
 protected:
  static std::unique_ptr<MessageBus> MakeBus(const std::string& node) {
    BusOptions options;
    options.node = node;
    options.log = [](LogLevel, absl::string_view) {};
    return *MessageBus::Create(options);
  }

  // Sends one message, or several, on a topic that was not used before.
  void UseNewTopic(MessageBus& from, MessageBus& to, bool is_heard) {
    PublisherOptions publishing;
    SubscriberOptions subscribing;
    publishing.topic = subscribing.topic = "topic " + std::to_string(++topics_);
    auto publisher = from.RawPublisher(type_, "", publishing);
    ASSERT_TRUE(publisher.ok()) << publisher.status();
    if (!is_heard) {
      ASSERT_TRUE(publisher->Publish({}).ok());
      ++accepted_;
      return;
    }
    const bool is_first = topics_ % 2 == 0;
    if (topics_ % 3 == 0) {
      auto handle = to.SubscribeRaw(
          type_, [](auto, const MessageInfo&) {}, subscribing);
      ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
      ASSERT_TRUE(publisher->Publish({}).ok());
      ++accepted_;
      if (is_first) {
        const RawPublisher ended = *std::move(publisher);
      }
      return;
    }
    auto subscriber = to.RawSubscriber(type_, subscribing);
    ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
    for (int i = 0; i < 2; ++i) ASSERT_TRUE(publisher->Publish({}).ok());
    accepted_ += 2;
    // With a message on its way, and one that is left.
    if (is_first) {
      const RawPublisher ended = *std::move(publisher);
    }
    ASSERT_TRUE(subscriber->Receive(kLong).ok());
  }

  static void AddUp(const MessageBus& bus, Ledger* sum) {
    const auto reports = bus.FlowReports();
    EXPECT_LE(reports.size(), 4 * FlowReportTable::kEndedMax);
    for (const FlowReport& flow : reports) *sum += flow.ledger;
  }

  const MessageType type_ = RawMessageType("Item");
  uint64_t topics_ = 0;
  uint64_t accepted_ = 0;
};

TEST_F(ForgettingTest, TopicsOfOneProcessLeaveNothingButTheirSum) {
  auto bus = MakeBus("node");
  const size_t before = bus->runtime()->EntryCount();
  for (int i = 0; i < 20'000; ++i) {
    ASSERT_NO_FATAL_FAILURE(UseNewTopic(*bus, *bus, i % 5 != 0));
  }
  EXPECT_LE(bus->runtime()->EntryCount(), before + kSlack);
  Ledger sum;
  AddUp(*bus, &sum);
  EXPECT_EQ(sum.accepted, accepted_);
  EXPECT_EQ(sum.in_flight, 0u);
  EXPECT_EQ(sum.delivered + sum.dropped_total(), accepted_);
}

class ForgettingOverALinkTest : public ForgettingTest,
                                public ::testing::WithParamInterface<bool> {};

TEST_P(ForgettingOverALinkTest, TopicsOfTwoNodesLeaveNothingButTheirSum) {
  test::ShortTempDir dir;
  auto one = MakeBus("one"), two = MakeBus("two");
  const bool shares = GetParam();
  auto endpoint = shares ? BindShmEndpoint(dir.file("one"), *one)
                         : BindUnixEndpoint(dir.file("one"), *one);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  ASSERT_TRUE((shares ? DialShmEndpoint(dir.file("one"), *two)
                      : DialUnixEndpoint(dir.file("one"), *two))
                  .ok());
  UseNewTopic(*one, *two, /*is_heard=*/true);
  const size_t before =
      one->runtime()->EntryCount() + two->runtime()->EntryCount();
  for (int i = 0; i < 2'000; ++i) {
    ASSERT_NO_FATAL_FAILURE(UseNewTopic(i % 4 == 0 ? *two : *one,
                                        i % 4 == 0 ? *one : *two,
                                        /*is_heard=*/true));
  }
  ASSERT_TRUE(one->Flush(kLong).ok());
  ASSERT_TRUE(two->Flush(kLong).ok());
  EXPECT_LE(one->runtime()->EntryCount() + two->runtime()->EntryCount(),
            before + 2 * kSlack);
  EXPECT_TRUE(one->Shutdown(kLong).ok());
  EXPECT_TRUE(two->Shutdown(kLong).ok());
  Ledger sum;
  AddUp(*one, &sum);
  AddUp(*two, &sum);
  EXPECT_EQ(sum.accepted, accepted_);
  EXPECT_EQ(sum.in_flight, 0u);
  EXPECT_EQ(sum.delivered + sum.dropped_total(), accepted_);
}

INSTANTIATE_TEST_SUITE_P(Transports, ForgettingOverALinkTest, ::testing::Bool(),
                         [](const auto& info) {
                           return info.param ? "shm" : "unix";
                         });

}  // namespace
}  // namespace mycelium
