// A process forks while it has links and its threads hold locks: the child is
// told so, and neither the process nor its peers notice.

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/conformance/forked_child.h"
#include "tests/conformance/process_fixture.h"

namespace mycelium::test {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr int kForks = 20;

// Whether this process has used gRPC, whichever test came first.
bool used_grpc = false;

Counted Settled(const MessageBus& bus) {
  Counted sum;
  for (const FlowReport& flow : bus.FlowReports()) {
    sum.accepted += flow.ledger.accepted;
    sum.delivered += flow.ledger.delivered;
    sum.dropped += flow.ledger.dropped_total();
    sum.in_flight += flow.ledger.in_flight;
  }
  return sum;
}

class ForkTest : public ProcessTest,
                 public ::testing::WithParamInterface<PollMode> {
 protected:
  // This process is the service, and counts the events of its connection.
  std::unique_ptr<ForkedThings> Join(const std::string& service) {
    used_grpc |= TransportUnderTest() == "grpc";
    BusOptions options;
    options.poll = GetParam();
    options.on_connection = [this](const ConnectionEvent&) { ++events_; };
    auto bus =
        MessageBus::FromTopology(dir_.file("topology.toml"), service, options);
    EXPECT_TRUE(bus.ok()) << bus.status();
    if (!bus.ok()) return nullptr;
    auto things = ForkedThings::Make(*std::move(bus), dir_.path());
    EXPECT_TRUE(things.ok()) << things.status();
    return things.ok() ? *std::move(things) : nullptr;
  }

  void ForkManyTimes(std::unique_ptr<ForkedThings>& things) {
    for (int i = 0; i < kForks && !HasFailure(); ++i) {
      EXPECT_EQ(UseInForkedChild(things, dir_.path(), used_grpc), "")
          << "fork " << i;
    }
  }

  std::atomic<int> events_{0};
};

TEST_P(ForkTest, ChildrenOfAPublisherDisturbNobody) {
  auto reader = Reader();
  auto things = Join("writer");
  ASSERT_NE(things, nullptr);
  MessageBus& bus = *things->bus;
  auto publisher = bus.PublisherTo<Note>("reader");
  ASSERT_TRUE(publisher.ok());
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> sent{0};
  std::thread stream([&] {
    Note note;
    note.set_text("1");
    while (!stop) {
      note.set_id(sent + 1);
      if (publisher->Publish(note).ok()) ++sent;
      if (GetParam() == PollMode::kCaller) (void)bus.Poll(absl::ZeroDuration());
    }
  });
  ForkManyTimes(things);
  stop = true;
  stream.join();
  EXPECT_TRUE(bus.Flush(kLong).ok());
  const Counted ours = Settled(bus);
  EXPECT_EQ(ours.accepted, sent);
  EXPECT_EQ(ours.dropped + ours.in_flight, 0u);
  EXPECT_EQ(LedgerOf(*reader).delivered, sent);
  ExpectEachOnceInOrder(reader->counts().received[1], sent);
  EXPECT_EQ(events_, 1) << "the connection did not last";
}

TEST_P(ForkTest, ChildrenOfASubscriberDisturbNobody) {
  auto things = Join("reader");
  ASSERT_NE(things, nullptr);
  MessageBus& bus = *things->bus;
  std::atomic<uint64_t> handled{0};
  auto subscription = bus.Subscribe<Note>(
      [&](const Note& note, const MessageInfo&) { handled = note.id(); });
  ASSERT_TRUE(subscription.ok());
  SubscriberOptions second;
  second.name = "second";
  auto pull = bus.Subscriber<Note>(second);
  ASSERT_TRUE(pull.ok());
  std::atomic<bool> stop{false};
  uint64_t pulled = 0;
  std::thread receive([&] {
    while (!stop) {
      const auto note = pull->Receive(absl::Milliseconds(5));
      if (note.ok()) ++pulled;
    }
  });
  auto writer = Writer();
  EXPECT_EQ(writer->Ask("wait 2", "waited"), "OK");
  writer->Tell("stream");
  ForkManyTimes(things);
  (void)writer->Ask("stop", "stopped");
  EXPECT_EQ(writer->Ask("flush", "flushed"), "OK");
  stop = true;
  receive.join();
  const uint64_t accepted = writer->counts().accepted;
  EXPECT_EQ(handled, accepted);
  EXPECT_EQ(pulled, accepted);
  const Counted theirs = LedgerOf(*writer);
  EXPECT_EQ(theirs.accepted, 2 * accepted);
  EXPECT_EQ(theirs.dropped + theirs.in_flight, 0u);
  EXPECT_EQ(Settled(bus).delivered, 2 * accepted);
  EXPECT_EQ(events_, 1) << "the connection did not last";
}

INSTANTIATE_TEST_SUITE_P(Polls, ForkTest,
                         ::testing::Values(PollMode::kThread,
                                           PollMode::kCaller),
                         [](const auto& info) {
                           return info.param == PollMode::kThread ? "thread"
                                                                  : "caller";
                         });

// Without a link: the calls within one process.
TEST(LocalForkTest, ChildrenOfAMonolithDisturbNobody) {
  const ShortTempDir dir;
  auto made = MessageBus::Create();
  ASSERT_TRUE(made.ok());
  auto things = ForkedThings::Make(*std::move(made), dir.path());
  ASSERT_TRUE(things.ok()) << things.status();
  MessageBus& bus = *(*things)->bus;
  uint64_t handled = 0;
  auto subscription =
      bus.Subscribe<Note>([&](const Note&, const MessageInfo&) { ++handled; });
  SubscriberOptions options;
  options.name = "queued";
  options.delivery = DeliveryMode::kQueued;
  std::atomic<uint64_t> queued_handled{0};
  auto queued = bus.Subscribe<Note>(
      [&](const Note&, const MessageInfo&) { ++queued_handled; }, options);
  auto publisher = bus.Publisher<Note>();
  ASSERT_TRUE(subscription.ok() && queued.ok() && publisher.ok());
  std::atomic<bool> stop{false};
  uint64_t sent = 0;
  std::thread stream([&] {
    while (!stop) {
      if (publisher->Publish(std::make_shared<const Note>()).ok()) ++sent;
    }
  });
  // This thread holds the lock of the registry most of the time.
  std::thread join([&] {
    while (!stop) EXPECT_TRUE(MessageBus::OfProcess("").ok());
  });
  for (int i = 0; i < kForks && !::testing::Test::HasFailure(); ++i) {
    EXPECT_EQ(UseInForkedChild(*things, dir.path(), used_grpc), "")
        << "fork " << i;
  }
  stop = true;
  join.join();
  stream.join();
  EXPECT_TRUE(bus.Flush(kLong).ok());
  EXPECT_EQ(handled, sent);
  EXPECT_EQ(queued_handled, sent);
  const Counted counted = Settled(bus);
  EXPECT_EQ(counted.accepted, 2 * sent);
  EXPECT_EQ(counted.delivered, 2 * sent);
  EXPECT_EQ(counted.dropped + counted.in_flight, 0u);
}

class ParentKilledTest : public ProcessTest {
 protected:
  ParentKilledTest() {
    WriteTopology("a", "b", /*retain=*/"20s", /*publish_timeout=*/"300ms",
                  "keepalive = \"500ms\"\n");
  }
};

TEST_F(ParentKilledTest, PeerIsToldThoughAChildLives) {
  auto reader = Reader();
  auto writer = Writer();
  SendAll(*writer, *reader, 100);
  EXPECT_EQ(writer->Ask("fork", "forked"), "OK");
  writer->Kill();
  reader->Await("event disconnected a");
  EXPECT_EQ(LedgerOf(*reader).delivered, 100u);
}

TEST_F(ParentKilledTest, SuccessorListensThoughAChildLives) {
  if (TransportUnderTest() == "grpc") {
    GTEST_SKIP()
        << "gRPC's listening socket is the child's too, while it lives";
  }
  auto reader = Reader();
  auto first = Writer(/*run=*/2);
  EXPECT_EQ(first->Ask("wait 1", "waited"), "OK");
  EXPECT_EQ(first->Ask("fork", "forked"), "OK");
  first->Kill();
  auto second = Writer(/*run=*/1);
  SendAll(*second, *reader, 100);
  const Counted sent = LedgerOf(*second);
  EXPECT_EQ(sent.accepted, LedgerOf(*reader).delivered);
  EXPECT_EQ(sent.dropped + sent.in_flight, 0u);
}

}  // namespace
}  // namespace mycelium::test
