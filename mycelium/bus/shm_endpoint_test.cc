#include "mycelium/bus/shm_endpoint.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/heavy_barrier.h"
#include "mycelium/bus/unix_endpoint.h"
#include "mycelium/transport/uds/unix_transport.h"
#include "tests/support/comes.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;
using ::mycelium::test::ShortTempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using State = ConnectionEvent::State;

constexpr absl::Duration kLong = absl::Seconds(20);

// What on_connection told, for other threads to wait for.
class Connections final {
 public:
  std::function<void(const ConnectionEvent&)> Callback() {
    return [this](const ConnectionEvent& event) {
      const std::lock_guard<std::mutex> lock(mutex_);
      events_.push_back(event);
      changed_.notify_all();
    };
  }
  // The first event of that kind; one of another kind if none comes.
  ConnectionEvent Await(State state) {
    std::unique_lock<std::mutex> lock(mutex_);
    ConnectionEvent found;
    found.state = State::kConnected;
    found.status = absl::DeadlineExceededError("no such event came");
    changed_.wait_for(lock, absl::ToChronoSeconds(kLong), [&] {
      for (const ConnectionEvent& event : events_) {
        if (event.state != state) continue;
        found = event;
        return true;
      }
      return false;
    });
    return found;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ConnectionEvent> events_;
};

Digest DigestOf(const std::string& text) { return Digest::Of(text); }

class ShmEndpointTest : public ::testing::Test {
 protected:
  static std::unique_ptr<MessageBus> MakeBus(
      const std::string& node, BusOptions options = BusOptions()) {
    options.node = node;
    options.log = [](LogLevel, absl::string_view) {};
    absl::StatusOr<std::unique_ptr<MessageBus>> bus =
        MessageBus::Create(options);
    EXPECT_TRUE(bus.ok()) << bus.status();
    return *std::move(bus);
  }

  // Both buses together: accepted = delivered + dropped + in flight.
  static Ledger Total(const MessageBus& a, const MessageBus& b) {
    Ledger total;
    for (const FlowReport& flow : a.FlowReports()) total += flow.ledger;
    for (const FlowReport& flow : b.FlowReports()) total += flow.ledger;
    EXPECT_TRUE(total.Balances())
        << "accepted " << total.accepted << ", delivered " << total.delivered
        << ", dropped " << total.dropped_total() << ", in flight "
        << total.in_flight;
    return total;
  }

  static Note MakeNote(uint64_t id, size_t blob_bytes = 0) {
    Note note;
    note.set_id(id);
    note.set_blob(std::string(blob_bytes, 'b'));
    return note;
  }

  // What is counted once `frames` frames have come: a frame counts when the
  // thread that has handed it out goes on.
  static EndpointCounts AwaitReceived(const EndpointStats& stats,
                                      uint64_t frames) {
    const auto deadline =
        std::chrono::steady_clock::now() + absl::ToChronoSeconds(kLong);
    EndpointCounts counts = stats.Read();
    while (counts.traffic.frames_received < frames &&
           std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
      counts = stats.Read();
    }
    return counts;
  }

  const ShortTempDir dir_;
  const std::string path_ = dir_.file("service.shm");
};

TEST_F(ShmEndpointTest, BothEndsPublishAndSubscribe) {
  auto bound = MakeBus("bound");
  auto dialler = MakeBus("dialler");
  auto endpoint = BindShmEndpoint(path_, *bound);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  ASSERT_TRUE(DialShmEndpoint(path_, *dialler).ok());
  for (auto [from, to] : {std::pair(bound.get(), dialler.get()),
                          std::pair(dialler.get(), bound.get())}) {
    auto pull = to->Subscriber<Note>();
    auto publisher = from->Publisher<Note>();
    ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
    ASSERT_TRUE(publisher->Publish(MakeNote(7)).ok());
    auto note = pull->Receive(kLong);
    ASSERT_TRUE(note.ok()) << note.status();
    EXPECT_EQ((*note)->id(), 7u);
    (void)pull->TryReceive();
    ASSERT_TRUE(from->Flush(kLong).ok());
  }
  ASSERT_EQ(bound->LinkReports().size(), 1u);
  EXPECT_EQ(bound->LinkReports()[0].transport, "shm");
  EXPECT_EQ(bound->LinkReports()[0].fallback, "");
  EXPECT_EQ(Total(*bound, *dialler).delivered, 2u);
}

TEST_F(ShmEndpointTest, NobodyGetsHisOwnMessagesBackOverALink) {
  auto bound = MakeBus("bound");
  auto dialler = MakeBus("dialler");
  auto endpoint = BindShmEndpoint(path_, *bound);
  ASSERT_TRUE(DialShmEndpoint(path_, *dialler).ok());
  auto ours = bound->Subscriber<Note>();
  auto theirs = dialler->Subscriber<Note>();
  auto publisher = bound->Publisher<Note>();
  ASSERT_TRUE(publisher->WaitForSubscribers(2, kLong).ok());
  ASSERT_TRUE(publisher->Publish(MakeNote(1)).ok());
  // The bus's own subscription gets it once; what comes next is the next one.
  ASSERT_TRUE(theirs->Receive(kLong).ok());
  ASSERT_TRUE(ours->Receive(kLong).ok());
  EXPECT_EQ(*ours->TryReceive(), nullptr);
  EXPECT_EQ(*theirs->TryReceive(), nullptr);
  ASSERT_TRUE(bound->Flush(kLong).ok());
  ASSERT_TRUE(dialler->Flush(kLong).ok());
  EXPECT_EQ(*ours->TryReceive(), nullptr);
  const Ledger total = Total(*bound, *dialler);
  EXPECT_EQ(total.accepted, 2u);
  EXPECT_EQ(total.delivered, 2u);
}

// How often a loop had all processes run a barrier.
class BarrierCountingSys final : public Sys {
 public:
  int64_t BarrierInAllProcesses() override {
    ++barriers;
    return Sys::BarrierInAllProcesses();
  }

  std::atomic<int> barriers{0};
};

// Which spares its publishers a locked instruction for each message.
TEST_F(ShmEndpointTest, ReaderThatWasBusySleepsBehindABarrierAndNoOtherDoes) {
  BarrierCountingSys sys;
  SystemWaiter waiter(sys, Environment::Real().clock);
  Environment environment = {sys, Environment::Real().clock, waiter};
  BusOptions options;
  options.environment = &environment;
  options.poll = PollMode::kCaller;
  options.wait = WaitMode::kBlock;  // An idle Poll() sleeps in any case.
  auto reader = MakeBus("reader", options);
  if (!has_shared_heavy_barrier()) {
    GTEST_SKIP() << "the kernel has no membarrier between processes";
  }
  auto writer = MakeBus("writer");
  auto endpoint = BindShmEndpoint(path_, *writer);
  ASSERT_TRUE(DialShmEndpoint(path_, *reader).ok());
  uint64_t got = 0;
  auto subscription = reader->Subscribe<Note>(
      [&](const Note& note, const MessageInfo&) { got = note.id(); });
  auto publisher = writer->Publisher<Note>();
  uint64_t published = 0;
  const auto publish = [&](int count) {
    for (; count > 0; --count) {
      ASSERT_TRUE(publisher->Publish(MakeNote(++published)).ok());
    }
  };
  // Until nothing more comes, and then through a sleep.
  const auto run = [&] {
    const absl::Time until = absl::Now() + kLong;
    bool ran = true;
    while (ran || got < published) {
      ASSERT_LT(absl::Now(), until);
      const absl::StatusOr<bool> polled = reader->Poll(absl::Milliseconds(1));
      ASSERT_TRUE(polled.ok()) << polled.status();
      ran = *polled;
    }
  };
  ASSERT_TRUE(test::Comes([&] {
    run();
    return HasFatalFailure() || publisher->subscriber_count() > 0;
  }));
  publish(1);
  run();
  int before = sys.barriers;
  publish(3'000);
  run();
  EXPECT_EQ(sys.barriers - before, 1);
  before = sys.barriers;
  for (int i = 0; i < 10; ++i) {
    publish(1);
    run();
  }
  EXPECT_EQ(sys.barriers, before);
  ASSERT_TRUE(writer->Flush(kLong).ok());
  EXPECT_EQ(Total(*reader, *writer).delivered, 3'011u);
}

TEST_F(ShmEndpointTest, SecondEndpointAtOnePathIsRefused) {
  auto bound = MakeBus("bound");
  auto other = MakeBus("other");
  auto endpoint = BindShmEndpoint(path_, *bound);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  EXPECT_EQ(BindShmEndpoint(path_, *other).status().code(),
            absl::StatusCode::kAlreadyExists);
}

TEST_F(ShmEndpointTest, PeerWithAnotherDigestIsRefusedOnBothSides) {
  const Digest ours = DigestOf("ours"), theirs = DigestOf("theirs");
  Connections at_bound, at_dialler;
  BusOptions options;
  options.on_connection = at_bound.Callback();
  auto bound = MakeBus("bound", options);
  options.on_connection = at_dialler.Callback();
  options.schema_digest = theirs;
  auto dialler = MakeBus("dialler", options);
  auto stats = std::make_shared<EndpointStats>();
  auto endpoint = BindShmEndpoint(path_, *bound, ours, kShmCapacity, stats);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  ASSERT_TRUE(DialShmEndpoint(path_, *dialler).ok());
  for (Connections* const side : {&at_bound, &at_dialler}) {
    const ConnectionEvent refused = side->Await(State::kRefused);
    EXPECT_EQ(refused.state, State::kRefused);
    EXPECT_EQ(refused.status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(refused.status.message(), HasSubstr(ours.ToHex()));
    EXPECT_THAT(refused.status.message(), HasSubstr(theirs.ToHex()));
  }
  EXPECT_GE(stats->Read().handshake_failures, 1u);
  EXPECT_EQ(stats->Read().connections, 0u);
}

TEST_F(ShmEndpointTest, PeerWithTheSameDigestOrNoneIsLetIn) {
  const Digest digest = DigestOf("ours");
  auto bound = MakeBus("bound");
  auto stats = std::make_shared<EndpointStats>();
  auto endpoint = BindShmEndpoint(path_, *bound, digest, kShmCapacity, stats);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  for (const bool has_digest : {true, false}) {
    Connections connections;
    BusOptions options;
    options.on_connection = connections.Callback();
    if (has_digest) options.schema_digest = digest;
    auto dialler = MakeBus(has_digest ? "same" : "none", options);
    ASSERT_TRUE(DialShmEndpoint(path_, *dialler).ok());
    EXPECT_TRUE(connections.Await(State::kConnected).status.ok());
    (void)dialler->Shutdown(kLong);
  }
  EXPECT_EQ(stats->Read().connections, 2u);
  EXPECT_EQ(stats->Read().handshake_failures, 0u);
}

TEST_F(ShmEndpointTest, DigestOtherThanTheBussIsRefused) {
  BusOptions options;
  options.schema_digest = DigestOf("of the bus");
  auto bus = MakeBus("bound", options);
  EXPECT_EQ(BindShmEndpoint(path_, *bus, DigestOf("another")).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(BindShmEndpoint(path_, *bus, options.schema_digest).ok());
}

TEST_F(ShmEndpointTest, CapacityHasBounds) {
  auto bus = MakeBus("bound");
  for (const size_t bad : {size_t{1}, size_t{4095}, (size_t{1} << 30) + 1}) {
    EXPECT_EQ(BindShmEndpoint(path_, *bus, std::nullopt, bad).status().code(),
              absl::StatusCode::kInvalidArgument)
        << bad;
    EXPECT_EQ(DialShmEndpoint(path_, *bus, bad).code(),
              absl::StatusCode::kInvalidArgument)
        << bad;
  }
  EXPECT_TRUE(DialShmEndpoint(path_, *bus, 4096).ok());
  EXPECT_TRUE(BindShmEndpoint(path_, *bus, std::nullopt, 4096).ok());
  EXPECT_TRUE(BindShmEndpoint(path_, *bus, std::nullopt, 1 << 30).ok());
}

TEST_F(ShmEndpointTest, CapacityIsThatOfLanesInBothDirections) {
  constexpr size_t kCapacity = 64 * 1024;
  BusOptions options;
  options.settings.publish_timeout = absl::ZeroDuration();
  auto bound = MakeBus("bound", options);
  auto dialler = MakeBus("dialler", options);
  auto endpoint = BindShmEndpoint(path_, *bound, std::nullopt, kCapacity);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  ASSERT_TRUE(DialShmEndpoint(path_, *dialler).ok());
  for (auto [from, to] : {std::pair(bound.get(), dialler.get()),
                          std::pair(dialler.get(), bound.get())}) {
    const MessageType type = RawMessageType("blob");
    auto pull = to->RawSubscriber(type);
    auto publisher = from->RawPublisher(type);
    ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
    // The largest frame takes half of the capacity.
    const std::vector<std::byte> most(kCapacity / 2 - sizeof(FrameHeader) + 1);
    const absl::Status too_large = publisher->Publish(most);
    EXPECT_EQ(too_large.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(too_large.message(), HasSubstr("32769"));
    EXPECT_THAT(too_large.message(), HasSubstr("32768"));
    ASSERT_TRUE(publisher->Publish(absl::MakeSpan(most).subspan(1)).ok());
    ASSERT_TRUE(pull->Receive(kLong).ok());
    (void)pull->TryReceive();
    ASSERT_TRUE(from->Flush(kLong).ok());
  }
  EXPECT_EQ(Total(*bound, *dialler).delivered, 2u);
}

TEST_F(ShmEndpointTest, StatsCountFramesAndBytesEachWay) {
  auto stats = std::make_shared<EndpointStats>();
  {
    auto bound = MakeBus("bound");
    auto dialler = MakeBus("dialler");
    auto endpoint =
        BindShmEndpoint(path_, *bound, std::nullopt, kShmCapacity, stats);
    ASSERT_TRUE(DialShmEndpoint(path_, *dialler).ok());
    const MessageType type = RawMessageType("blob");
    const std::vector<std::byte> bytes(100);
    const uint64_t frame_bytes = AlignedFrameBytes(sizeof(FrameHeader) + 100);
    auto to_bound = bound->RawSubscriber(type);
    auto from_dialler = dialler->RawPublisher(type);
    ASSERT_TRUE(from_dialler->WaitForSubscribers(1, kLong).ok());
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(from_dialler->Publish(bytes).ok());
      ASSERT_TRUE(to_bound->Receive(kLong).ok());
    }
    (void)to_bound->TryReceive();
    ASSERT_TRUE(dialler->Flush(kLong).ok());
    const EndpointCounts received = AwaitReceived(*stats, 3);
    EXPECT_EQ(received.connections, 1u);
    EXPECT_EQ(received.traffic.frames_received, 3u);
    EXPECT_EQ(received.traffic.bytes_received, 3 * frame_bytes);
    EXPECT_EQ(received.traffic.frames_sent, 0u);

    auto to_dialler = dialler->RawSubscriber(type);
    auto from_bound = bound->RawPublisher(type);
    to_bound = bound->RawSubscriber(RawMessageType("other"));
    ASSERT_TRUE(from_bound->WaitForSubscribers(1, kLong).ok());
    for (int i = 0; i < 5; ++i) {
      ASSERT_TRUE(from_bound->Publish(bytes).ok());
      ASSERT_TRUE(to_dialler->Receive(kLong).ok());
    }
    (void)to_dialler->TryReceive();
    ASSERT_TRUE(bound->Flush(kLong).ok());
    EXPECT_EQ(stats->Read().traffic.frames_sent, 5u);
    EXPECT_EQ(stats->Read().traffic.bytes_sent, 5 * frame_bytes);
    EXPECT_EQ(Total(*bound, *dialler).delivered, 8u);
  }
  // The counts outlive the bus, with what its links have carried.
  EXPECT_EQ(stats->Read().traffic.frames_received, 3u);
  EXPECT_EQ(stats->Read().traffic.frames_sent, 5u);
  EXPECT_EQ(stats->Read().connections, 1u);
}

TEST_F(ShmEndpointTest, StatsCountStallsAndDropsByReason) {
  BusOptions options;
  options.settings.publish_timeout = absl::Milliseconds(1);
  auto bound = MakeBus("bound", options);
  auto dialler = MakeBus("dialler", options);
  auto stats = std::make_shared<EndpointStats>();
  auto endpoint = BindShmEndpoint(path_, *bound, std::nullopt, 4096, stats);
  ASSERT_TRUE(DialShmEndpoint(path_, *dialler).ok());
  SubscriberOptions lossy;
  lossy.topic = "lossy";
  lossy.overflow = Overflow::kDropOldest;
  lossy.depth = 4;
  auto last = dialler->Subscriber<Note>(lossy);
  auto all = dialler->Subscriber<Note>();
  PublisherOptions to_lossy;
  to_lossy.topic = "lossy";
  auto lossy_publisher = bound->Publisher<Note>(to_lossy);
  auto publisher = bound->Publisher<Note>();
  ASSERT_TRUE(lossy_publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  uint64_t accepted = 0;
  absl::Status sent = publisher->Publish(MakeNote(1, 500));
  for (; sent.ok(); ++accepted) sent = publisher->Publish(MakeNote(1, 500));
  EXPECT_EQ(sent.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(stats->Read().traffic.stalls, 1u);
  for (uint64_t id = 1; id <= 100; ++id) {
    ASSERT_TRUE(lossy_publisher->Publish(MakeNote(id)).ok());
  }
  for (uint64_t i = 0; i < accepted; ++i) {
    ASSERT_TRUE(all->Receive(kLong).ok());
  }
  (void)all->TryReceive();
  auto next = last->Receive(kLong);
  while (next.ok() && (*next)->id() < 100) next = last->Receive(kLong);
  ASSERT_TRUE(next.ok()) << next.status();
  (void)last->TryReceive();
  ASSERT_TRUE(bound->Flush(kLong).ok());
  const Ledger total = Total(*bound, *dialler);
  EXPECT_EQ(total.in_flight, 0u);
  EXPECT_GT(total.dropped_for(DropReason::kOverflow), 0u);
  EXPECT_EQ(stats->Read().dropped_for(DropReason::kOverflow),
            total.dropped_for(DropReason::kOverflow));
}

TEST_F(ShmEndpointTest, StatsCountWhoSaysGarbage) {
  Connections connections;
  BusOptions options;
  options.on_connection = connections.Callback();
  auto bound = MakeBus("bound", options);
  auto stats = std::make_shared<EndpointStats>();
  auto endpoint =
      BindShmEndpoint(path_, *bound, std::nullopt, kShmCapacity, stats);
  auto loop = EventLoop::Create(Environment::Real());
  UnixTransport transport(Environment::Real(), **loop, {});
  auto channel = transport.Dial(path_);
  ASSERT_TRUE(channel.ok()) << channel.status();
  char garbage[64] = "this is no handshake";
  const iovec piece = {garbage, sizeof garbage};
  ASSERT_TRUE((*channel)->Send(absl::MakeConstSpan(&piece, 1)).ok());
  const absl::Status refused = connections.Await(State::kRefused).status;
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(refused.message().find(
                "node bound: a connection over shm was not accepted: "),
            0u)
      << refused;
  EXPECT_EQ(stats->Read().handshake_failures, 1u);
  (*channel)->Close();
}

TEST_F(ShmEndpointTest, UnixEndpointCountsToo) {
  auto bound = MakeBus("bound");
  auto dialler = MakeBus("dialler");
  auto stats = std::make_shared<EndpointStats>();
  auto endpoint = BindUnixEndpoint(path_, *bound, stats);
  ASSERT_TRUE(DialUnixEndpoint(path_, *dialler).ok());
  auto pull = bound->Subscriber<Note>();
  auto publisher = dialler->Publisher<Note>();
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(publisher->Publish(MakeNote(1)).ok());
  ASSERT_TRUE(pull->Receive(kLong).ok());
  (void)pull->TryReceive();
  ASSERT_TRUE(dialler->Flush(kLong).ok());
  EXPECT_EQ(bound->LinkReports()[0].transport, "unix");
  EXPECT_EQ(stats->Read().connections, 1u);
  const EndpointCounts counts = AwaitReceived(*stats, 1);
  EXPECT_EQ(counts.traffic.frames_received, 1u);
  EXPECT_EQ(
      counts.traffic.bytes_received,
      AlignedFrameBytes(sizeof(FrameHeader) + MakeNote(1).ByteSizeLong()));
  EXPECT_EQ(Total(*bound, *dialler).delivered, 1u);
}

}  // namespace
}  // namespace mycelium
