#include <atomic>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "mycelium/bus/grpc_endpoint.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/conformance/cutting_relay.h"
#include "tests/conformance/peer_page.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::test {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr uint64_t kMessages = 50'000;
constexpr uint64_t kCutsMin = 50;

// A bus that publishes one topic and has two subscriptions to the other.
class Side final {
 public:
  Side(const std::string& node, const std::string& sends,
       const std::string& gets)
      : sends_(sends) {
    BusOptions options;
    options.node = node;
    options.log = [](LogLevel, absl::string_view) {};
    options.settings.lane_bytes = 256 << 10;
    options.settings.retain = kLong;
    options.settings.publish_timeout = kLong;
    options.limits.frame_bytes_max = 16 << 10;
    options.limits.reconnect_min = absl::Milliseconds(1);
    options.limits.reconnect_max = absl::Milliseconds(5);
    options.on_connection = [this](const ConnectionEvent& event) {
      if (event.state == ConnectionEvent::State::kGone) ++gone_;
      if (event.state == ConnectionEvent::State::kReconnected) ++reconnected_;
      // A connection that was cut is UNAVAILABLE.
      if (!event.status.ok() && !absl::IsUnavailable(event.status)) {
        ++complaints_;
        std::cout << event.status << "\n";
      }
    };
    auto bus = MessageBus::Create(options);
    EXPECT_TRUE(bus.ok()) << bus.status();
    bus_ = *std::move(bus);
    SubscriberOptions wanted;
    wanted.topic = gets;
    wanted.name = "inline";
    auto handle = bus_->Subscribe<Note>(
        [this](const Note& note, const MessageInfo&) {
          handled_.Record(note.id());
        },
        wanted);
    EXPECT_TRUE(handle.ok()) << handle.status();
    handle_ = *std::move(handle);
    wanted.name = "pull";
    auto subscriber = bus_->Subscriber<Note>(wanted);
    EXPECT_TRUE(subscriber.ok()) << subscriber.status();
    pull_.emplace(*std::move(subscriber));
  }

  // Publishes and receives on two threads, until Join().
  void Start(CuttingRelay& relay) {
    publishing_ = std::thread([this, &relay] { PublishAll(relay); });
    pulling_ = std::thread([this] { PullAll(); });
  }
  void Join() {
    publishing_.join();
    pulling_.join();
  }

  void ExpectEachOnceInOrder() const {
    for (const ReceivedIds* ids : {&handled_, &pulled_}) {
      EXPECT_EQ(ids->first, 1u);
      EXPECT_EQ(ids->last, kMessages);
      EXPECT_EQ(ids->count, kMessages);
      EXPECT_EQ(ids->gaps, 0u);
      EXPECT_EQ(ids->duplicates, 0u);
    }
  }

  // Two subscriptions there, two here.
  void ExpectBalance() const {
    Ledger sum;
    for (const FlowReport& flow : bus_->FlowReports()) sum += flow.ledger;
    EXPECT_EQ(sum.accepted, 2 * kMessages);
    EXPECT_EQ(sum.delivered, 2 * kMessages);
    EXPECT_EQ(sum.in_flight, 0u);
    EXPECT_EQ(sum.dropped_total(), 0u);
  }

  MessageBus& bus() { return *bus_; }
  uint64_t gone() const { return gone_; }
  uint64_t reconnected() const { return reconnected_; }
  uint64_t complaints() const { return complaints_; }

 private:
  void PublishAll(CuttingRelay& relay) {
    PublisherOptions options;
    options.topic = sends_;
    auto publisher = bus_->Publisher<Note>(options);
    ASSERT_TRUE(publisher.ok()) << publisher.status();
    ASSERT_TRUE(publisher->WaitForSubscribers(2, kLong).ok());
    const auto deadline =
        std::chrono::steady_clock::now() + std::chrono::seconds(30);
    Note note;
    for (uint64_t id = 1; id <= kMessages;) {
      note.set_id(id);
      // Some are longer than what one read takes.
      note.set_blob(std::string(id % 500 == 0 ? 9'000 : id % 97, 'x'));
      const absl::Status sent = publisher->Publish(note);
      if (sent.ok()) {
        if (id % 2500 == 0) relay.Cut();
        ++id;
        continue;
      }
      // Full, and the peer is being dialled.
      ASSERT_EQ(sent.code(), absl::StatusCode::kUnavailable) << sent;
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "at id " << id;
      std::this_thread::yield();
    }
    published_.emplace(*std::move(publisher));
  }

  void PullAll() {
    while (pulled_.last < kMessages) {
      auto note = pull_->Receive(kLong);
      ASSERT_TRUE(note.ok()) << note.status() << " after " << pulled_.last;
      pulled_.Record((*note)->id());
    }
    (void)pull_->TryReceive();  // Finishes the last one.
  }

  const std::string sends_;
  std::atomic<uint64_t> gone_{0};
  std::atomic<uint64_t> reconnected_{0};
  std::atomic<uint64_t> complaints_{0};
  ReceivedIds handled_ = {};
  ReceivedIds pulled_ = {};
  std::unique_ptr<MessageBus> bus_;
  SubscriptionHandle handle_;
  std::optional<Subscriber<Note>> pull_;
  std::optional<Publisher<Note>> published_;
  std::thread publishing_;
  std::thread pulling_;
};

// Both directions at once, with the dialling node named first or last.
void ExpectNothingLostAcrossCuts(const std::string& transport,
                                 const std::string& dials,
                                 const std::string& binds) {
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  ShortTempDir dir;
  Side bound(binds, "west", "east");
  Side dialled(dials, "east", "west");
  // What stands between the two passes bytes on, whatever they mean.
  std::optional<UnixEndpointHandle> unix_endpoint;
  std::optional<GrpcEndpointHandle> grpc_endpoint;
  if (transport == "unix") {
    auto endpoint = BindUnixEndpoint(dir.file("real"), bound.bus());
    ASSERT_TRUE(endpoint.ok()) << endpoint.status();
    unix_endpoint.emplace(*std::move(endpoint));
  } else {
    auto endpoint = BindGrpcEndpoint("unix:" + dir.file("real"), bound.bus());
    ASSERT_TRUE(endpoint.ok()) << endpoint.status();
    grpc_endpoint.emplace(*std::move(endpoint));
  }
  CuttingRelay relay(dir.file("relay"), dir.file("real"), seed, 200'000);
  const std::string path = dir.file("relay");
  const absl::Status dialling =
      transport == "unix" ? DialUnixEndpoint(path, dialled.bus())
                          : DialGrpcEndpoint("unix:" + path, dialled.bus());
  ASSERT_TRUE(dialling.ok()) << dialling;
  bound.Start(relay);
  dialled.Start(relay);
  bound.Join();
  dialled.Join();
  relay.StopRandomCuts();
  relay.Cut();
  EXPECT_TRUE(bound.bus().Flush(kLong).ok());
  EXPECT_TRUE(dialled.bus().Flush(kLong).ok());
  std::cout << relay.cuts() << " cuts, " << dialled.reconnected()
            << " times reconnected\n";
  EXPECT_GE(relay.cuts(), kCutsMin);
  // Neither end took what the other sent next for corrupt. (One may close a
  // connection all the same: if the Hello of one that was cut is read behind
  // the Hello of its successor, it takes its place for a moment.)
  EXPECT_EQ(bound.complaints() + dialled.complaints(), 0u);
  EXPECT_GT(dialled.reconnected(), 0u);
  EXPECT_EQ(bound.gone() + dialled.gone(), 0u);
  bound.ExpectEachOnceInOrder();
  dialled.ExpectEachOnceInOrder();
  bound.ExpectBalance();
  dialled.ExpectBalance();
  EXPECT_TRUE(dialled.bus().Shutdown(kLong).ok());
  EXPECT_TRUE(bound.bus().Shutdown(kLong).ok());
}

class ReconnectTest : public ::testing::TestWithParam<std::string> {};

TEST_P(ReconnectTest, CutConnectionLosesAndRepeatsNothingBothWays) {
  ExpectNothingLostAcrossCuts(GetParam(), "a", "b");
}

TEST_P(ReconnectTest, CutConnectionLosesNothingWhereTheSecondNameDials) {
  ExpectNothingLostAcrossCuts(GetParam(), "b", "a");
}

INSTANTIATE_TEST_SUITE_P(AllTransports, ReconnectTest,
                         ::testing::Values("unix", "grpc"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace mycelium::test
