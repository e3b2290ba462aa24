// Dialling by hand a node to which there is a link already.
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/shm_endpoint.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/support/notification.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium {
namespace {

constexpr absl::Duration kLong = absl::Seconds(10);
constexpr uint64_t kBefore = 500;  // Messages exchanged before each try.

struct End {
  explicit End(const std::string& name, BusOptions options = BusOptions()) {
    options.node = name;
    options.delivers_locally = false;
    options.on_connection = [this](const ConnectionEvent& event) {
      if (event.state == ConnectionEvent::State::kConnected) ++connected;
      if (event.state == ConnectionEvent::State::kRefused &&
          !refused.HasBeenNotified()) {
        refused.Notify();
      }
    };
    bus = *MessageBus::Create(options);
    SubscriberOptions subscribing;
    subscribing.on_publisher_gone = [this](const PublisherGone&) { ++gone; };
    subscriber.emplace(
        *bus->RawSubscriber(RawMessageType("Ball"), subscribing));
    publisher.emplace(*bus->RawPublisher(RawMessageType("Ball")));
  }

  std::atomic<int> connected{0};
  std::atomic<int> gone{0};
  test::Notification refused;
  std::unique_ptr<MessageBus> bus;
  std::optional<RawSubscriber> subscriber;
  std::optional<RawPublisher> publisher;
};

class DiallingTest : public ::testing::Test {
 protected:
  // The same message goes there and back `times` times.
  void Exchange(End& from, End& to, uint64_t times) {
    const char ball = 'o';
    const auto bytes = absl::MakeConstSpan(
        reinterpret_cast<const std::byte*>(&ball), sizeof ball);
    for (uint64_t i = 0; i < times; ++i) {
      ASSERT_TRUE(from.publisher->Publish(bytes).ok());
      ASSERT_TRUE(to.subscriber->Receive(kLong).ok());
      EXPECT_FALSE(to.subscriber->info().redelivered());
      ASSERT_TRUE(to.publisher->Publish(bytes).ok());
      ASSERT_TRUE(from.subscriber->Receive(kLong).ok());
      EXPECT_FALSE(from.subscriber->info().redelivered());
    }
    exchanged_ += 2 * times;
  }

  void ExpectOneLinkAndEachMessageOnce(End& one, End& two) {
    (void)one.subscriber->TryReceive();  // Finishes the last one.
    (void)two.subscriber->TryReceive();
    EXPECT_TRUE(one.bus->Flush(kLong).ok());
    EXPECT_TRUE(two.bus->Flush(kLong).ok());
    Ledger sum;
    for (const End* const end : {&one, &two}) {
      EXPECT_EQ(end->connected, 1);
      EXPECT_EQ(end->gone, 0);
      for (const FlowReport& flow : end->bus->FlowReports()) sum += flow.ledger;
    }
    EXPECT_EQ(sum.accepted, exchanged_);
    EXPECT_EQ(sum.delivered, exchanged_);
    EXPECT_EQ(sum.dropped_total() + sum.in_flight, 0u);
  }

  test::ShortTempDir dir_;
  uint64_t exchanged_ = 0;
};

TEST_F(DiallingTest, SameAddressAgainLeavesTheLinkAsItIs) {
  End one("one"), two("two");
  const auto bound = BindUnixEndpoint(dir_.file("one"), *one.bus);
  ASSERT_TRUE(bound.ok()) << bound.status();
  ASSERT_TRUE(DialUnixEndpoint(dir_.file("one"), *two.bus).ok());
  ASSERT_TRUE(one.publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(two.publisher->WaitForSubscribers(1, kLong).ok());
  for (int time = 0; time < 5; ++time) {
    Exchange(one, two, kBefore);
    ASSERT_TRUE(DialUnixEndpoint(dir_.file("one"), *two.bus).ok());
  }
  Exchange(two, one, kBefore);
  ExpectOneLinkAndEachMessageOnce(one, two);
}

TEST_F(DiallingTest, SameAddressAgainIsNotDialledTwice) {
  End one("one"), two("two");
  const std::string path = dir_.file("one");
  for (int time = 0; time < 3; ++time) {
    ASSERT_TRUE(DialUnixEndpoint(path, *two.bus).ok());
  }
  ASSERT_TRUE(DialShmEndpoint(path, *two.bus).ok());
  // One for each connector; no node listens.
  EXPECT_EQ(two.bus->LinkReports().size(), 2u);
  ASSERT_TRUE(DialUnixEndpoint(dir_.file("elsewhere"), *two.bus).ok());
  EXPECT_EQ(two.bus->LinkReports().size(), 3u);
  const auto bound = BindUnixEndpoint(path, *one.bus);
  ASSERT_TRUE(bound.ok()) << bound.status();
  ASSERT_TRUE(DialUnixEndpoint(path, *two.bus).ok());
  ASSERT_TRUE(one.publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(two.publisher->WaitForSubscribers(1, kLong).ok());
  Exchange(one, two, kBefore);
  ExpectOneLinkAndEachMessageOnce(one, two);
}

TEST_F(DiallingTest,
       NodeThatTakesAnAddressOfALinkedNodeIsFoundByDiallingAgain) {
  End dialler("dialler"), linked("linked"), next("next");
  const std::string path = dir_.file("shared");
  const auto other = BindUnixEndpoint(dir_.file("other"), *linked.bus);
  ASSERT_TRUE(other.ok()) << other.status();
  ASSERT_TRUE(DialUnixEndpoint(dir_.file("other"), *dialler.bus).ok());
  ASSERT_TRUE(dialler.publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(linked.publisher->WaitForSubscribers(1, kLong).ok());
  const absl::Time deadline = absl::Now() + kLong;
  const auto await_reports = [&](size_t count) {
    while (dialler.bus->LinkReports().size() != count) {
      if (absl::Now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  };
  ASSERT_TRUE(DialUnixEndpoint(path, *dialler.bus).ok());
  ASSERT_TRUE(await_reports(2)) << "nobody listens there yet";
  {
    const auto bound = BindUnixEndpoint(path, *linked.bus);
    ASSERT_TRUE(bound.ok()) << bound.status();
    ASSERT_TRUE(DialUnixEndpoint(path, *dialler.bus).ok());
    ASSERT_TRUE(await_reports(1)) << "it is known who answers there";
  }
  const auto bound = BindUnixEndpoint(path, *next.bus);
  ASSERT_TRUE(bound.ok()) << bound.status();
  ASSERT_TRUE(DialUnixEndpoint(path, *dialler.bus).ok());
  EXPECT_TRUE(next.publisher->WaitForSubscribers(1, kLong).ok());
  EXPECT_TRUE(dialler.publisher->WaitForSubscribers(2, kLong).ok());
  EXPECT_EQ(linked.connected, 1);
}

TEST_F(DiallingTest, NodesThatAnsweredAtAnAddressBeforeAreForgotten) {
  BusOptions options;
  options.limits.links = 2;
  options.limits.reconnect_max = absl::Milliseconds(20);
  End dialler("dialler", options);
  const std::string path = dir_.file("listener");
  for (int run = 0; run < 4; ++run) {
    SCOPED_TRACE(run);
    End listener(absl::StrCat("made-up-", run));
    const auto bound = BindUnixEndpoint(path, *listener.bus);
    ASSERT_TRUE(bound.ok()) << bound.status();
    ASSERT_TRUE(DialUnixEndpoint(path, *dialler.bus).ok());
    ASSERT_TRUE(dialler.publisher->WaitForSubscribers(1, kLong).ok());
    ASSERT_TRUE(listener.publisher->WaitForSubscribers(1, kLong).ok());
    exchanged_ = 0;
    Exchange(dialler, listener, 1);
    const std::vector<LinkReport> links = dialler.bus->LinkReports();
    ASSERT_EQ(links.size(), 1u);
    EXPECT_EQ(links[0].peer, absl::StrCat("made-up-", run));
  }
  // Nor do they take the links of others.
  const auto bound = BindUnixEndpoint(dir_.file("here"), *dialler.bus);
  ASSERT_TRUE(bound.ok()) << bound.status();
  End guest("guest");
  ASSERT_TRUE(DialUnixEndpoint(dir_.file("here"), *guest.bus).ok());
  EXPECT_TRUE(guest.publisher->WaitForSubscribers(1, kLong).ok());
}

TEST_F(DiallingTest, AnotherProcessOfANameDoesNotGetTheLinkOfTheFirst) {
  End one("one"), two("two"), impostor("two");
  const auto at_two = BindUnixEndpoint(dir_.file("two"), *two.bus);
  ASSERT_TRUE(at_two.ok()) << at_two.status();
  const auto at_impostor =
      BindUnixEndpoint(dir_.file("impostor"), *impostor.bus);
  ASSERT_TRUE(at_impostor.ok()) << at_impostor.status();
  ASSERT_TRUE(DialUnixEndpoint(dir_.file("two"), *one.bus).ok());
  ASSERT_TRUE(one.publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(two.publisher->WaitForSubscribers(1, kLong).ok());
  Exchange(one, two, kBefore);
  ASSERT_TRUE(DialUnixEndpoint(dir_.file("impostor"), *one.bus).ok());
  const absl::Time deadline = absl::Now() + kLong;
  const auto is_told = [&] {
    for (const LinkReport& link : one.bus->LinkReports()) {
      if (absl::StrContains(link.last_error, "another process")) return true;
    }
    return false;
  };
  while (!is_told()) {
    ASSERT_LT(absl::Now(), deadline);
    std::this_thread::yield();
  }
  Exchange(two, one, kBefore);
  ExpectOneLinkAndEachMessageOnce(one, two);
}

TEST_F(DiallingTest, LastCallSaysWhatCapacityIsAskedFor) {
  End one("one"), two("two");
  const std::string path = dir_.file("one");
  const auto bound = BindShmEndpoint(path, *one.bus, std::nullopt, 64 << 10);
  ASSERT_TRUE(bound.ok()) << bound.status();
  ASSERT_TRUE(two.bus->runtime()->DialShm(path, 128 << 10).ok());
  two.refused.WaitForNotification();
  ASSERT_TRUE(two.bus->runtime()->DialShm(path, 64 << 10).ok());
  ASSERT_TRUE(one.publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(two.publisher->WaitForSubscribers(1, kLong).ok());
  Exchange(one, two, kBefore);
  EXPECT_EQ(two.bus->LinkReports().size(), 1u);
}

TEST_F(DiallingTest, AnotherTransportToTheSameNodeLeavesTheLinkAsItIs) {
  End one("one"), two("two");
  const auto bound = BindUnixEndpoint(dir_.file("one"), *one.bus);
  ASSERT_TRUE(bound.ok()) << bound.status();
  const auto shared = BindShmEndpoint(dir_.file("shared"), *one.bus);
  ASSERT_TRUE(shared.ok()) << shared.status();
  ASSERT_TRUE(DialUnixEndpoint(dir_.file("one"), *two.bus).ok());
  ASSERT_TRUE(one.publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(two.publisher->WaitForSubscribers(1, kLong).ok());
  Exchange(one, two, kBefore);
  ASSERT_TRUE(DialShmEndpoint(dir_.file("shared"), *two.bus).ok());
  Exchange(two, one, kBefore);
  ExpectOneLinkAndEachMessageOnce(one, two);
}

// The refusal is at another address than the one where the two are connected.
TEST_F(DiallingTest, RefusalAtAnotherAddressDoesNotHideTheLink) {
  BusOptions digest_of_two;
  digest_of_two.schema_digest = Digest::Of("two");
  End one("one"), two("two", digest_of_two);
  const auto bound = BindUnixEndpoint(dir_.file("one"), *one.bus);
  ASSERT_TRUE(bound.ok()) << bound.status();
  const auto shared =
      BindShmEndpoint(dir_.file("shared"), *one.bus, Digest::Of("other"));
  ASSERT_TRUE(shared.ok()) << shared.status();
  ASSERT_TRUE(DialUnixEndpoint(dir_.file("one"), *two.bus).ok());
  ASSERT_TRUE(two.publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(DialShmEndpoint(dir_.file("shared"), *two.bus).ok());
  ASSERT_TRUE(two.refused.WaitForNotificationWithTimeout(kLong));
  const v1::NodeStatus status = two.bus->runtime()->Status();
  ASSERT_EQ(status.links_size(), 1);
  EXPECT_TRUE(status.links(0).is_up());
  EXPECT_EQ(status.links(0).state(), "connected");
}

TEST_F(DiallingTest, BothSidesOneAfterTheOtherHaveOneLink) {
  for (const bool first_dials : {true, false}) {
    SCOPED_TRACE(first_dials);
    test::ShortTempDir dir;
    exchanged_ = 0;
    End one("one"), two("two");
    const auto at_one = BindUnixEndpoint(dir.file("one"), *one.bus);
    ASSERT_TRUE(at_one.ok()) << at_one.status();
    const auto at_two = BindUnixEndpoint(dir.file("two"), *two.bus);
    ASSERT_TRUE(at_two.ok()) << at_two.status();
    const auto dial_one = [&] {
      return DialUnixEndpoint(dir.file("one"), *two.bus);
    };
    const auto dial_two = [&] {
      return DialUnixEndpoint(dir.file("two"), *one.bus);
    };
    ASSERT_TRUE((first_dials ? dial_two() : dial_one()).ok());
    ASSERT_TRUE(one.publisher->WaitForSubscribers(1, kLong).ok());
    ASSERT_TRUE(two.publisher->WaitForSubscribers(1, kLong).ok());
    Exchange(one, two, kBefore);
    ASSERT_TRUE((first_dials ? dial_one() : dial_two()).ok());
    Exchange(two, one, kBefore);
    ExpectOneLinkAndEachMessageOnce(one, two);
  }
}

}  // namespace
}  // namespace mycelium
