// What an endpoint counts, to the message, in cases that shm_endpoint_test does
// not have.
#include "mycelium/bus/endpoint_stats.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/shm_endpoint.h"
#include "mycelium/codec/frame_format.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr size_t kBytes = 100;

class EndpointStatsTest : public ::testing::Test {
 protected:
  static std::unique_ptr<MessageBus> MakeBus(
      const std::string& node, BusOptions options = BusOptions()) {
    options.node = node;
    options.log = [](LogLevel, absl::string_view) {};
    auto bus = MessageBus::Create(options);
    EXPECT_TRUE(bus.ok()) << bus.status();
    return *std::move(bus);
  }

  // The endpoint of `bound`, at a path of its own.
  std::shared_ptr<EndpointStats> Bind(MessageBus& bound,
                                      const std::string& name) {
    auto stats = std::make_shared<EndpointStats>();
    auto endpoint = BindShmEndpoint(dir_.file(name), bound, std::nullopt,
                                    kShmCapacity, stats);
    EXPECT_TRUE(endpoint.ok()) << endpoint.status();
    endpoints_.push_back(*std::move(endpoint));
    return stats;
  }
  void Dial(const std::string& name, MessageBus& from) {
    ASSERT_TRUE(DialShmEndpoint(dir_.file(name), from).ok());
  }

  // Connects a client that says nothing.
  int Connect(const std::string& name) {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, dir_.file(name).c_str());
    EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address),
                      sizeof address),
              0);
    return fd;
  }

  static bool Await(const std::function<bool()>& is_so) {
    const absl::Time end = absl::Now() + kLong;
    while (!is_so() && absl::Now() < end) std::this_thread::yield();
    return is_so();
  }

  static Ledger SumOf(const std::vector<const MessageBus*>& buses) {
    Ledger sum;
    for (const MessageBus* const bus : buses) {
      for (const FlowReport& flow : bus->FlowReports()) sum += flow.ledger;
    }
    EXPECT_TRUE(sum.Balances());
    return sum;
  }

  const test::ShortTempDir dir_;
  const MessageType type_ = RawMessageType("blob");
  const std::vector<std::byte> bytes_ = std::vector<std::byte>(kBytes);
  std::vector<ShmEndpointHandle> endpoints_;
};

TEST_F(EndpointStatsTest, FramesOfALossyLaneCountWhenTheyAreTaken) {
  auto bound = MakeBus("bound");
  auto guest = MakeBus("guest");
  const auto stats = Bind(*bound, "a");
  Dial("a", *guest);
  SubscriberOptions lossy;
  lossy.overflow = Overflow::kDropOldest;
  lossy.depth = 4;
  auto to_bound = bound->RawSubscriber(type_, lossy);
  auto publisher = guest->RawPublisher(type_);
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(publisher->Publish(bytes_).ok());
    ASSERT_TRUE(to_bound->Receive(kLong).ok());
  }
  (void)to_bound->TryReceive();
  ASSERT_TRUE(guest->Flush(kLong).ok());
  const uint64_t frame_bytes = AlignedFrameBytes(sizeof(FrameHeader) + kBytes);
  EXPECT_TRUE(Await([&] { return stats->Read().traffic.frames_received == 5; }))
      << stats->Read().traffic.frames_received;
  EXPECT_EQ(stats->Read().traffic.bytes_received, 5 * frame_bytes);
  EXPECT_EQ(SumOf({bound.get(), guest.get()}).delivered, 5u);
}

// Drops of the peers that came to this endpoint count, and those of no others.
TEST_F(EndpointStatsTest, MessagesOfOnePeerThatWereDroppedCountAtItsEndpoint) {
  auto bound = MakeBus("bound");
  auto guest = MakeBus("guest");
  auto other = MakeBus("other");
  const auto stats = Bind(*bound, "a");
  const auto stats_of_other = Bind(*bound, "b");
  Dial("a", *guest);
  Dial("b", *other);
  auto to_bound = bound->RawSubscriber(type_);
  auto from_guest = guest->RawPublisher(type_);
  auto from_other = other->RawPublisher(type_);
  ASSERT_TRUE(from_guest->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(from_other->WaitForSubscribers(1, kLong).ok());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(from_guest->Publish(bytes_).ok());
  ASSERT_TRUE(from_other->Publish(bytes_).ok());
  ASSERT_TRUE(Await([&] {
    return stats->Read().traffic.frames_received == 3 &&
           stats_of_other->Read().traffic.frames_received == 1;
  }));
  to_bound->Unsubscribe();
  EXPECT_TRUE(Await([&] {
    return stats->Read().dropped_for(DropReason::kSubscriberGone) == 3 &&
           stats_of_other->Read().dropped_for(DropReason::kSubscriberGone) == 1;
  })) << stats->Read().dropped_for(DropReason::kSubscriberGone)
      << " and "
      << stats_of_other->Read().dropped_for(DropReason::kSubscriberGone);
  EXPECT_EQ(SumOf({bound.get(), guest.get(), other.get()})
                .dropped_for(DropReason::kSubscriberGone),
            4u);
}

TEST_F(EndpointStatsTest, WhatAPeerWasThatIsForgottenStaysCounted) {
  std::atomic<bool> is_gone{false};
  BusOptions options;
  options.on_connection = [&](const ConnectionEvent& event) {
    if (event.state == ConnectionEvent::State::kGone) is_gone = true;
  };
  auto bound = MakeBus("bound", options);
  const auto stats = Bind(*bound, "a");
  auto to_bound = bound->RawSubscriber(type_);
  Ledger of_guest;
  {
    auto guest = MakeBus("guest");
    Dial("a", *guest);
    auto publisher = guest->RawPublisher(type_);
    ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(publisher->Publish(bytes_).ok());
      ASSERT_TRUE(to_bound->Receive(kLong).ok());
    }
    (void)to_bound->TryReceive();
    ASSERT_TRUE(guest->Flush(kLong).ok());
    of_guest = SumOf({guest.get(), bound.get()});
    ASSERT_TRUE(guest->Shutdown(kLong).ok());
  }
  ASSERT_TRUE(Await([&] { return is_gone.load(); }));
  EXPECT_EQ(of_guest.delivered, 3u);
  EXPECT_EQ(stats->Read().traffic.frames_received, 3u);
  EXPECT_EQ(stats->Read().connections, 1u);
  // And once more, by the next node of that name.
  auto next = MakeBus("guest");
  Dial("a", *next);
  auto publisher = next->RawPublisher(type_);
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(publisher->Publish(bytes_).ok());
  ASSERT_TRUE(to_bound->Receive(kLong).ok());
  EXPECT_TRUE(Await([&] { return stats->Read().traffic.frames_received == 4; }))
      << stats->Read().traffic.frames_received;
  EXPECT_EQ(stats->Read().connections, 2u);
}

TEST_F(EndpointStatsTest, WhoSaysNothingIsAFailureEach) {
  BusOptions options;
  options.limits.handshake = absl::Milliseconds(50);
  auto bound = MakeBus("bound", options);
  const auto stats = Bind(*bound, "a");
  const int first = Connect("a"), second = Connect("a");
  EXPECT_TRUE(Await([&] { return stats->Read().handshake_failures == 2; }))
      << stats->Read().handshake_failures;
  close(first);
  close(second);
  bound = nullptr;
  EXPECT_EQ(stats->Read().handshake_failures, 2u) << "once each";
  EXPECT_EQ(stats->Read().connections, 0u);
}

// For each connection that is one too many, the oldest goes.
TEST_F(EndpointStatsTest, SilentOnesThatMakeRoomAreFailures) {
  BusOptions options;
  options.limits.links = 2;
  options.limits.handshake = absl::Minutes(1);
  auto bound = MakeBus("bound", options);
  const auto stats = Bind(*bound, "a");
  std::vector<int> silent;
  for (int i = 0; i < 5; ++i) silent.push_back(Connect("a"));
  EXPECT_TRUE(Await([&] { return stats->Read().handshake_failures == 3; }))
      << stats->Read().handshake_failures;
  bound = nullptr;
  // The connections that were left are no failures.
  EXPECT_EQ(stats->Read().handshake_failures, 3u);
  for (const int fd : silent) close(fd);
}

// As when ended flows have lost their nodes' names.
TEST(EndpointCountsTest, DropsThatAPeerHasNoMoreDoNotMakeItsEndpointsFall) {
  constexpr auto kPoison = static_cast<size_t>(DropReason::kPoison);
  EndpointStats stats;
  EndpointCounts said;
  said.dropped[kPoison] = 10;  // Before the link came here.
  stats.AddLink(&said, [&] { return said; });
  EXPECT_EQ(stats.Read().dropped_for(DropReason::kPoison), 0u);
  said.dropped[kPoison] = 3;
  EXPECT_EQ(stats.Read().dropped_for(DropReason::kPoison), 0u) << "wraps";
  said.dropped[kPoison] = 5;
  EXPECT_EQ(stats.Read().dropped_for(DropReason::kPoison), 2u);
  said.dropped[kPoison] = 0;
  EXPECT_EQ(stats.Read().dropped_for(DropReason::kPoison), 2u) << "falls";
  said.dropped[kPoison] = 1;
  stats.RemoveLink(&said);
  EXPECT_EQ(stats.Read().dropped_for(DropReason::kPoison), 3u);
}

}  // namespace
}  // namespace mycelium
