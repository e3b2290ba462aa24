#include "mycelium/bus/message_bus.h"

#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/adding_race.h"
#include "mycelium/bus/unix_endpoint.h"
#include "mycelium/transport/outgoing.h"
#include "mycelium/transport/uds/unix_transport.h"
#include "tests/support/faulty_sys.h"
#include "tests/support/notification.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

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
  EXPECT_EQ(publisher->Publish(std::shared_ptr<const Note>()).code(),
            absl::StatusCode::kInvalidArgument);
  pull->Finish();
  const auto flows = bus->FlowReports();
  ASSERT_EQ(flows.size(), 1u);
  EXPECT_EQ(flows[0].ledger.delivered, 2u) << "once by each subscription";
  EXPECT_TRUE(flows[0].ledger.Balances());
}

TEST(MessageBusTest, BusesOfTheProcessShareOneNode) {
  auto one = MessageBus::OfProcess("one");
  auto two = MessageBus::OfProcess("");
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_EQ((*one)->node(), (*two)->node());
  EXPECT_NE((*one)->service(), (*two)->service());
  EXPECT_EQ(MessageBus::OfProcess("one").status().code(),
            absl::StatusCode::kAlreadyExists);
  auto subscriber = (*two)->Subscriber<Note>();
  auto publisher = (*one)->PublisherTo<Note>((*two)->service());
  ASSERT_TRUE(publisher->Publish(MakeNote(1)).ok());
  ASSERT_TRUE(subscriber->Receive(kLong).ok());
  subscriber->Finish();
  EXPECT_TRUE((*one)->Shutdown(kLong).ok());
  for (const FlowReport& flow : (*one)->FlowReports()) {
    EXPECT_EQ(flow.transport, "inproc");
    EXPECT_EQ(flow.ledger.accepted, 1u);
    EXPECT_EQ(flow.ledger.delivered, 1u);
    EXPECT_EQ(flow.ledger.in_flight, 0u);
  }
  // The next one begins anew.
  EXPECT_TRUE(MessageBus::OfProcess("one").ok());
}

TEST(MessageBusTest, PublisherThatRequiresASubscriberIsUnavailableWithoutOne) {
  auto bus = MakeBus("a");
  PublisherOptions options;
  options.require_subscriber = true;
  auto publisher = bus->Publisher<Note>(options);
  EXPECT_EQ(publisher->Publish(MakeNote(1)).code(),
            absl::StatusCode::kUnavailable);
  auto subscriber = bus->Subscriber<Note>();
  EXPECT_TRUE(publisher->Publish(MakeNote(2)).ok());
  EXPECT_TRUE(subscriber->Receive(kLong).ok());
  subscriber->Finish();
  uint64_t accepted = 0;
  for (const FlowReport& flow : bus->FlowReports()) {
    EXPECT_TRUE(flow.ledger.Balances());
    accepted += flow.ledger.accepted;
  }
  EXPECT_EQ(accepted, 1u);
}

TEST(MessageBusTest, FinishedMessageIsHandledBeforeTheNextReceive) {
  auto bus = MakeBus("a");
  auto subscriber = bus->Subscriber<Note>();
  auto publisher = bus->Publisher<Note>();
  ASSERT_TRUE(publisher->Publish(MakeNote(1)).ok());
  ASSERT_TRUE(subscriber->Receive(kLong).ok());
  EXPECT_EQ(bus->Flush(absl::ZeroDuration()).code(),
            absl::StatusCode::kDeadlineExceeded);
  subscriber->Finish();
  EXPECT_TRUE(bus->Flush(absl::ZeroDuration()).ok());
  EXPECT_FALSE(subscriber->closed());
  EXPECT_TRUE(subscriber->TakeNews().ok());
  EXPECT_TRUE(bus->Shutdown(kLong).ok());
  EXPECT_TRUE(subscriber->closed());
  EXPECT_EQ(subscriber->TakeNews().code(),
            absl::StatusCode::kFailedPrecondition);
  for (const FlowReport& flow : bus->FlowReports()) {
    EXPECT_EQ(flow.ledger.accepted, 1u);
    EXPECT_EQ(flow.ledger.delivered, 1u);
    EXPECT_EQ(flow.ledger.in_flight + flow.ledger.dropped_total(), 0u);
  }
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

// The largest message that `publisher` takes now.
std::vector<std::byte> PublishLargest(RawPublisher& publisher, size_t most) {
  std::vector<std::byte> bytes(most);
  absl::Status sent;
  while (!(sent = publisher.Publish(bytes)).ok()) {
    EXPECT_EQ(sent.code(), absl::StatusCode::kInvalidArgument) << sent;
    if (sent.code() != absl::StatusCode::kInvalidArgument) break;
    bytes.pop_back();
  }
  return bytes;
}

TEST(MessageBusTest, LargestFrameOfALinkWaitsForABusyHandler) {
  test::ShortTempDir dir;
  const std::string path = dir.file("bus.sock");
  BusOptions options;
  options.limits.frame_bytes_max = 32 << 10;
  options.settings.lane_bytes = 64 << 10;
  auto a = MakeBus("a", options);
  auto b = MakeBus("b", options);
  const MessageType type = RawMessageType("bytes");
  std::vector<size_t> got;
  test::Notification busy, passed, done;
  auto handle = b->SubscribeRaw(
      type, [&](absl::Span<const std::byte> bytes, const MessageInfo& info) {
        got.push_back(bytes.size());
        if (info.publisher_node() == "a") return done.Notify();
        busy.Notify();
        passed.WaitForNotification();
      });
  SubscriberOptions on_marker;
  on_marker.topic = "marker";
  auto marked = b->SubscribeRaw(
      type, [&](auto, const MessageInfo&) { passed.Notify(); }, on_marker);
  auto endpoint = BindUnixEndpoint(path, *a);
  ASSERT_TRUE(DialUnixEndpoint(path, *b).ok());
  auto publisher = a->RawPublisher(type);
  PublisherOptions to_marker;
  to_marker.topic = "marker";
  auto marker = a->RawPublisher(type, "", to_marker);
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(marker->WaitForSubscribers(1, kLong).ok());
  std::thread local([&] {
    auto own = b->RawPublisher(type);
    EXPECT_TRUE(own->Publish({}).ok());
  });
  busy.WaitForNotification();
  const size_t largest = PublishLargest(*publisher, 32 << 10).size();
  ASSERT_TRUE(marker->Publish({}).ok());
  local.join();
  ASSERT_TRUE(a->Flush(kLong).ok());
  EXPECT_THAT(got, ElementsAre(0, largest));
  EXPECT_GT(largest, (32u << 10) - 64);
  for (MessageBus* bus : {a.get(), b.get()}) {
    for (const FlowReport& flow : bus->FlowReports()) {
      EXPECT_EQ(flow.ledger.dropped_total(), 0u);
      EXPECT_EQ(flow.ledger.in_flight, 0u);
    }
  }
}

TEST(MessageBusTest, LanesThatDoNotTakeTheLargestFrameAreRefused) {
  BusOptions options;
  options.settings.lane_bytes = 64 << 10;
  options.limits.frame_bytes_max = 32 << 10;
  EXPECT_TRUE(MessageBus::Create(options).ok());
  ++options.limits.frame_bytes_max;
  EXPECT_EQ(MessageBus::Create(options).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// Counts how often threads sleep, or give way.
class CountingWaiter final : public Waiter {
 public:
  void WaitWord(const std::atomic<uint32_t>& word, uint32_t expected,
                TimeNs deadline) override {
    ++sleeps;
    Environment::Real().waiter.WaitWord(word, expected, deadline);
  }
  void WakeWord(const std::atomic<uint32_t>& word) override {
    Environment::Real().waiter.WakeWord(word);
  }
  int64_t WaitEpoll(int epoll_fd, epoll_event* events, int events_max,
                    TimeNs deadline) override {
    return Environment::Real().waiter.WaitEpoll(epoll_fd, events, events_max,
                                                deadline);
  }
  void GiveWay() override { ++ways_given; }
  std::atomic<int> sleeps{0}, ways_given{0};
};

TEST(MessageBusTest, ReceiverWaitsAsTheRouteToItsServiceSays) {
  test::ShortTempDir dir;
  const std::string path = dir.file("t.toml");
  std::ofstream(path) << "[[nodes]]\nname = \"n\"\n"
                         "services = [\"spins\", \"blocks\", \"adapts\"]\n"
                         "[defaults]\nwait = \"block\"\nspin = \"10ms\"\n"
                         "[[routes]]\nto = \"spins\"\nwait = \"spin\"\n"
                         "[[routes]]\nto = \"adapts\"\nwait = \"adaptive\"\n";
  CountingWaiter waiter;
  Environment environment{Sys::Real(), Environment::Real().clock, waiter};
  BusOptions options;
  options.environment = &environment;
  auto spins = MessageBus::FromTopology(path, "spins", options);
  ASSERT_TRUE(spins.ok()) << spins.status();
  auto blocks = MessageBus::FromTopology(path, "blocks", options);
  ASSERT_TRUE(blocks.ok()) << blocks.status();
  auto adapts = MessageBus::FromTopology(path, "adapts", options);
  auto spinning = (*spins)->Subscriber<Note>();
  auto blocking = (*blocks)->Subscriber<Note>();
  auto adapting = adapts.value()->Subscriber<Note>();
  waiter.sleeps = 0;
  EXPECT_FALSE(spinning->Receive(absl::Milliseconds(5)).ok());
  EXPECT_EQ(waiter.sleeps, 0);
  EXPECT_FALSE(blocking->Receive(absl::Milliseconds(5)).ok());
  EXPECT_GE(waiter.sleeps, 1);
  EXPECT_EQ(waiter.ways_given, 0);
  for (int i = 0; i < 1000 && waiter.ways_given == 0; ++i) {
    EXPECT_FALSE(adapting->Receive(absl::Milliseconds(5)).ok());
  }
  EXPECT_GE(waiter.ways_given, 1);
}

// The kernel, except that every peer is a stranger.
class StrangersSys final : public Sys {
 public:
  int64_t GetSockOpt(int fd, int level, int name, void* value,
                     socklen_t* bytes) override {
    const int64_t got = Sys::GetSockOpt(fd, level, name, value, bytes);
    if (name == SO_PEERCRED) static_cast<ucred*>(value)->uid = 4711;
    return got;
  }
};

// Remembers the first refusal of a node.
class Refusals final {
 public:
  void AddTo(BusOptions* options) {
    options->on_connection = [this](const ConnectionEvent& event) {
      if (event.state != ConnectionEvent::State::kRefused ||
          told_.HasBeenNotified()) {
        return;
      }
      status_ = event.status;
      told_.Notify();
    };
    options->log = [](LogLevel, absl::string_view) {};
  }
  absl::Status Wait() {
    told_.WaitForNotification();
    return status_;
  }

 private:
  test::Notification told_;
  absl::Status status_;
};

TEST(MessageBusTest, BothSidesLearnThatAUserMayNotConnect) {
  test::ShortTempDir dir;
  const std::string path = dir.file("bus.sock");
  StrangersSys sys;
  Environment strange{sys, Environment::Real().clock,
                      Environment::Real().waiter};
  Refusals at_a, at_b;
  BusOptions options;
  options.environment = &strange;
  at_a.AddTo(&options);
  auto a = MakeBus("a", options);
  auto endpoint = BindUnixEndpoint(path, *a);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  options = BusOptions();
  at_b.AddTo(&options);
  auto b = MakeBus("b", options);
  ASSERT_TRUE(DialUnixEndpoint(path, *b).ok());
  const absl::Status told_a = at_a.Wait(), told_b = at_b.Wait();
  EXPECT_EQ(told_a.code(), absl::StatusCode::kPermissionDenied) << told_a;
  EXPECT_THAT(std::string(told_a.message()), HasSubstr("has uid 4711"));
  EXPECT_EQ(told_b.code(), absl::StatusCode::kPermissionDenied) << told_b;
  EXPECT_THAT(std::string(told_b.message()), HasSubstr("NOT_ALLOWED"));
  const std::vector<LinkReport> links = b->LinkReports();
  ASSERT_EQ(links.size(), 1u);
  EXPECT_EQ(links[0].address, path);
  EXPECT_FALSE(links[0].is_up);
  EXPECT_THAT(links[0].last_error, HasSubstr("NOT_ALLOWED"));
}

// Answers every connection with one control message, and closes it.
class Answering final {
 public:
  Answering(const std::string& path, const v1::Control& answer)
      : loop_(*EventLoop::Create(Environment::Real())) {
    UnixTransport::Options options;
    options.frame_bytes_max = 4096;
    options.log = [](LogLevel, absl::string_view) {};
    transport_.emplace(Environment::Real(), *loop_, options);
    std::string record;
    AppendControlRecord(answer.SerializeAsString(), &record);
    listener_ = *transport_->Listen(
        path, [record](std::unique_ptr<Channel> channel, const absl::Status&) {
          std::string bytes = record;
          const iovec piece = {bytes.data(), bytes.size()};
          EXPECT_TRUE(channel->Send(absl::MakeConstSpan(&piece, 1)).ok());
          channel->Close();
        });
    thread_ = std::thread([this] {
      while (!stop_) loop_->RunOnce(kNever, 0);
    });
  }
  ~Answering() {
    stop_ = true;
    loop_->Wake();
    thread_.join();
  }

 private:
  std::unique_ptr<EventLoop> loop_;
  std::optional<UnixTransport> transport_;
  std::unique_ptr<Listener> listener_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

TEST(MessageBusTest, DiallerLearnsThatItsProtocolIsNotSpoken) {
  v1::Control rejecting, answering;
  v1::Reject& reject = *rejecting.mutable_reject();
  reject.set_reason(v1::Reject::PROTOCOL_VERSION);
  reject.set_message("protocol version 1; this node speaks 9");
  v1::Hello& hello = *answering.mutable_hello();
  hello.set_protocol_version(9);
  hello.set_node("future");
  hello.set_incarnation(1);
  for (const v1::Control& answer : {rejecting, answering}) {
    test::ShortTempDir dir;
    const std::string path = dir.file("bus.sock");
    Answering future(path, answer);
    Refusals told;
    BusOptions options;
    told.AddTo(&options);
    auto bus = MakeBus("a", options);
    ASSERT_TRUE(DialUnixEndpoint(path, *bus).ok());
    const absl::Status status = told.Wait();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("protocol version"));
    const std::vector<LinkReport> links = bus->LinkReports();
    ASSERT_EQ(links.size(), 1u);
    EXPECT_THAT(links[0].last_error, HasSubstr("protocol version"));
  }
}

TEST(MessageBusTest, HandlesThatHaveNothingSaySo) {
  SubscriptionHandle none;
  EXPECT_EQ(none.handler_errors(), 0u);
  EXPECT_TRUE(none.status().ok());
  auto bus = MakeBus("a");
  auto made = bus->Subscribe<Note>([](const Note&, const MessageInfo&) {});
  SubscriptionHandle taken = *std::move(made);
  EXPECT_EQ(made->handler_errors(), 0u);
  EXPECT_TRUE(made->status().ok());
  auto pull = bus->Subscriber<Note>();
  EXPECT_EQ(pull->info().sequence(), 0u);
  EXPECT_EQ(pull->info().topic(), "");
  EXPECT_EQ(pull->info().publisher_node(), "");
  const Subscriber<Note> moved = *std::move(pull);
  EXPECT_TRUE(pull->status().ok());
}

TEST(MessageBusTest, SecondShutdownWaitsForTheFirst) {
  auto bus = MakeBus("a");
  test::Notification busy, leave;
  SubscriberOptions queued;
  queued.delivery = DeliveryMode::kQueued;
  auto handle = bus->Subscribe<Note>(
      [&](const Note&, const MessageInfo&) {
        busy.Notify();
        leave.WaitForNotification();
      },
      queued);
  auto publisher = bus->Publisher<Note>();
  ASSERT_TRUE(publisher->Publish(MakeNote(1)).ok());
  busy.WaitForNotification();
  std::thread first([&] { EXPECT_TRUE(bus->Shutdown(kLong).ok()); });
  while (bus->Publisher<Note>().ok()) std::this_thread::yield();
  EXPECT_EQ(bus->Shutdown(absl::Milliseconds(1)).code(),
            absl::StatusCode::kDeadlineExceeded);
  leave.Notify();
  EXPECT_TRUE(bus->Shutdown(kLong).ok());
  EXPECT_TRUE(bus->runtime()->has_ended());
  first.join();
  for (const FlowReport& flow : bus->FlowReports()) {
    EXPECT_TRUE(flow.ledger.Balances());
  }
}

TEST(MessageBusTest, ShutdownEndsAWaitForSubscribers) {
  auto bus = MakeBus("a");
  auto publisher = bus->Publisher<Note>();
  test::Notification started;
  absl::Status waited;
  std::thread waiting([&] {
    started.Notify();
    waited = publisher->WaitForSubscribers(1, absl::InfiniteDuration());
  });
  started.WaitForNotification();
  ASSERT_TRUE(bus->Shutdown(kLong).ok());
  waiting.join();
  EXPECT_EQ(waited.code(), absl::StatusCode::kFailedPrecondition) << waited;
}

TEST(MessageBusTest, NothingIsAddedAfterAShutdown) {
  test::ShortTempDir dir;
  auto bus = MakeBus("a");
  ASSERT_TRUE(bus->Shutdown(kLong).ok());
  const auto refused = absl::StatusCode::kFailedPrecondition;
  EXPECT_EQ(bus->Publisher<Note>().status().code(), refused);
  EXPECT_EQ(bus->Subscriber<Note>().status().code(), refused);
  EXPECT_EQ(BindUnixEndpoint(dir.file("s"), *bus).status().code(), refused);
  EXPECT_EQ(DialUnixEndpoint(dir.file("s"), *bus).code(), refused);
}

TEST(MessageBusTest, WhatIsAddedDuringAShutdownEndsWithIt) {
  // A race: everything that was made must be closed in the end.
  for (int round = 0; round < 50; ++round) {
    const auto bus = MakeBus("a");
    ExpectAddedMeanwhileEnds<Note>(*bus, [&] { return bus->Shutdown(kLong); });
  }
}

// Notifies when the node that has it is destroyed.
class Witness final {
 public:
  explicit Witness(test::Notification& destroyed) : destroyed_(destroyed) {}
  ~Witness() { destroyed_.Notify(); }

 private:
  test::Notification& destroyed_;
};

class LastOwnerTest : public testing::TestWithParam<PollMode> {};

TEST_P(LastOwnerTest, NodeOutlivesTheHandlerThatDestroysItsLastOwner) {
  test::ShortTempDir dir;
  const std::string path = dir.file("bus.sock");
  auto a = MakeBus("a");
  auto endpoint = BindUnixEndpoint(path, *a);
  test::Notification destroyed, returned;
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
  // The node may be gone before the second message is published, which is then
  // for nobody.
  uint64_t accepted = 0;
  for (const FlowReport& flow : a->FlowReports()) {
    accepted += flow.ledger.accepted;
    EXPECT_EQ(flow.ledger.in_flight, 0u);
  }
  EXPECT_EQ(accepted, 2u);
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
