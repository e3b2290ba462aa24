// Two living processes find each other again within `retain`, by any way that
// is left, and lose nothing: one side cannot be reached, another address is
// dialled, or a handler is at work.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mycelium/bus/grpc_endpoint.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/shared_memory_transport.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/conformance/cutting_relay.h"
#include "tests/conformance/faulty_proxy.h"
#include "tests/conformance/peer_page.h"
#include "tests/support/comes.h"
#include "tests/support/loopback_address.h"
#include "tests/support/notification.h"
#include "tests/support/short_temp_dir.h"
#include "tests/support/silent_listener.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium::test {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr absl::Duration kRetain = absl::Seconds(2);
using State = ConnectionEvent::State;

// The events that a node is told of its links.
class Events final {
 public:
  BusOptions Watched(BusOptions options) {
    options.log = [](LogLevel, absl::string_view) {};
    options.on_connection = [this](const ConnectionEvent& event) {
      ++counts_[static_cast<size_t>(event.state)];
      // Settled: a broken connection came back or was given up.
      const bool is_settled =
          event.state == State::kReconnected || event.state == State::kGone;
      if (is_settled && !settled_.HasBeenNotified()) settled_.Notify();
    };
    return options;
  }
  int count(State state) const { return counts_[static_cast<size_t>(state)]; }
  bool AwaitSettled() { return settled_.WaitForNotificationWithTimeout(kLong); }

 private:
  std::atomic<int> counts_[8] = {};
  Notification settled_;
};

BusOptions Named(const std::string& node) {
  BusOptions options;
  options.node = node;
  options.settings.retain = kRetain;
  options.settings.lane_bytes = 64 << 10;
  options.limits.frame_bytes_max = 8 << 10;
  options.limits.reconnect_min = absl::Milliseconds(1);
  return options;
}

std::unique_ptr<MessageBus> Opened(
    absl::StatusOr<std::unique_ptr<MessageBus>> bus) {
  EXPECT_TRUE(bus.ok()) << bus.status();
  return bus.ok() ? *std::move(bus) : nullptr;
}

Note NoteOf(uint64_t id, size_t bytes = 0) {
  Note note;
  note.set_id(id);
  note.set_blob(std::string(bytes, BlobFillOf(id)));
  return note;
}

void RecordIn(ReceivedIds& ids, const Note& note) {
  ids.Record(note.id());
  if (note.blob().find_first_not_of(BlobFillOf(note.id())) !=
      std::string::npos) {
    ++ids.torn;
  }
}

Ledger TotalOf(const MessageBus& bus) {
  Ledger sum;
  for (const FlowReport& flow : bus.FlowReports()) sum += flow.ledger;
  return sum;
}

// One subscription; its messages have ids from 1 on.
class Reading final {
 public:
  explicit Reading(MessageBus& bus) {
    auto handle = bus.Subscribe<Note>(
        [this](const Note& note, const MessageInfo&) { RecordIn(ids_, note); },
        OptionsOf(this));
    EXPECT_TRUE(handle.ok()) << handle.status();
    handle_ = *std::move(handle);
  }
  void ExpectEachOnce(uint64_t count) const {
    EXPECT_EQ(ids_.count, count);
    EXPECT_EQ(ids_.last, count);
    EXPECT_EQ(ids_.gaps + ids_.duplicates + ids_.torn, 0u);
    EXPECT_EQ(gone_, 0) << "a publisher that lives was said to be gone";
  }

 private:
  static SubscriberOptions OptionsOf(Reading* self) {
    SubscriberOptions options;
    options.on_publisher_gone = [self](const PublisherGone&) { ++self->gone_; };
    return options;
  }

  ReceivedIds ids_ = {};
  std::atomic<int> gone_{0};
  SubscriptionHandle handle_;
};

// Listens there, and accepts nobody. The caller closes it.
int SilentSocketAt(const std::string& path) {
  const int silent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  EXPECT_EQ(bind(silent, reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
  EXPECT_EQ(listen(silent, 8), 0);
  return silent;
}

class RedialTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kEach = 20;

  // Publishes more, with or without a connection.
  void Publish(Publisher<Note>& publisher) {
    for (uint64_t i = 0; i < kEach; ++i) {
      EXPECT_TRUE(publisher.Publish(NoteOf(++published_)).ok());
    }
  }
  void ExpectAllArrived(MessageBus& from, const Reading& to) {
    EXPECT_TRUE(from.Flush(kLong).ok());
    to.ExpectEachOnce(published_);
    const Ledger sent = TotalOf(from);
    EXPECT_EQ(sent.accepted, published_);
    EXPECT_EQ(sent.in_flight, 0u);
    EXPECT_EQ(sent.dropped_total(), 0u);
  }

  // Node b of b.toml publishes to node a of a.toml, loses its connection, and
  // has it again within `retain`. `lose` breaks the connection.
  void ExpectGoesOn(
      const std::function<void(const std::function<void()>& until_lost)>&
          lose) {
    Events a_events, b_events;
    const auto a = Opened(MessageBus::FromTopology(dir_.file("a.toml"), "one",
                                                   a_events.Watched({})));
    const auto b = Opened(MessageBus::FromTopology(dir_.file("b.toml"), "two",
                                                   b_events.Watched({})));
    Reading reading(*a);
    auto publisher = b->Publisher<Note>();
    ASSERT_TRUE(publisher.ok()) << publisher.status();
    ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
    Publish(*publisher);
    ASSERT_TRUE(b->Flush(kLong).ok());
    lose([&] {
      EXPECT_TRUE(
          Comes([&] { return b_events.count(State::kDisconnected) > 0; }));
      Publish(*publisher);
    });
    ASSERT_TRUE(b_events.AwaitSettled());
    EXPECT_EQ(b_events.count(State::kGone) + a_events.count(State::kGone), 0);
    ExpectAllArrived(*b, reading);
  }

  ShortTempDir dir_;
  uint64_t published_ = 0;
};

// The node that is named first dials an address that never answers; the other
// one dials it with success.
TEST_F(RedialTest, NodeThatReachesNobodyLetsTheOtherOneIn) {
  const LoopbackAddress host;
  const SilentListener silent;
  const std::string silent_port =
      silent.address().substr(silent.address().rfind(':') + 1);
  FaultyProxy proxy(host.host, host.port, /*seed=*/1, /*bytes_max=*/1);
  proxy.Impose(FaultyProxy::Fault::kNone);
  const auto write =
      [&](const std::string& path, absl::string_view port_of_a,
          absl::string_view host_of_b, absl::string_view port_of_b) {
        std::ofstream(path)
            << "[[nodes]]\nname = \"a\"\nservices = [\"one\"]\nhost = \""
            << host.host << "\"\nport = " << port_of_a
            << "\n[[nodes]]\nname = \"b\"\nservices = [\"two\"]\nhost = \""
            << host_of_b << "\"\nport = " << port_of_b
            << "\n[defaults]\ntransport = \"grpc\"\nretain = \"2s\"\n"
            << "[limits]\nhandshake = \"30s\"\nreconnect_max = \"100ms\"\n";
      };
  // As in a network where one way is blocked.
  write(dir_.file("a.toml"), absl::StrCat(host.port), "127.0.0.1", silent_port);
  write(dir_.file("b.toml"), absl::StrCat(proxy.port()), host.host,
        absl::StrCat(LoopbackAddress().port));
  ExpectGoesOn([&](const std::function<void()>& until_lost) {
    proxy.Impose(FaultyProxy::Fault::kReset);
    until_lost();
    proxy.Impose(FaultyProxy::Fault::kNone);
  });
}

// The same on one host. The kernel connects clients to every listening socket,
// even if nobody ever accepts the connection.
TEST_F(RedialTest, NodeThatIsNotAnsweredLetsTheOtherOneIn) {
  const std::string silent_path = dir_.file("silent");
  const int silent = SilentSocketAt(silent_path);
  const auto write =
      [&](const std::string& path, absl::string_view a, absl::string_view b) {
        std::ofstream(path)
            << "[[nodes]]\nname = \"a\"\nservices = [\"one\"]\nendpoint = "
            << "{ kind = \"unix\", addr = \"" << a << "\" }\n"
            << "[[nodes]]\nname = \"b\"\nservices = [\"two\"]\nendpoint = "
            << "{ kind = \"unix\", addr = \"" << b << "\" }\n"
            << "[defaults]\nretain = \"2s\"\n[limits]\nhandshake = "
               "\"30s\"\nreconnect_max = \"100ms\"\n";
      };
  write(dir_.file("a.toml"), dir_.file("real"), silent_path);
  write(dir_.file("b.toml"), dir_.file("relay"), dir_.file("b"));
  CuttingRelay relay(dir_.file("relay"), dir_.file("real"), 1, 0);
  ExpectGoesOn([&](const std::function<void()>& until_lost) {
    relay.Cut();
    until_lost();
  });
  close(silent);
}

// A second address of the same process takes over the lanes.
class SecondAddressTest : public RedialTest,
                          public ::testing::WithParamInterface<bool> {};

TEST_P(SecondAddressTest, GoesOnWhereTheFirstLeftOff) {
  const bool is_known_before = GetParam();
  Events there_events, here_events;
  const auto there =
      Opened(MessageBus::Create(there_events.Watched(Named("there"))));
  const auto here =
      Opened(MessageBus::Create(here_events.Watched(Named("here"))));
  auto endpoint = BindUnixEndpoint(dir_.file("real"), *there);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  std::optional<CuttingRelay> first;
  first.emplace(dir_.file("first"), dir_.file("real"), 1, 0);
  CuttingRelay second(dir_.file("second"), dir_.file("real"), 1, 0);
  Reading reading(*there), answers(*here);
  ASSERT_TRUE(DialUnixEndpoint(dir_.file("first"), *here).ok());
  auto publisher = here->Publisher<Note>();
  ASSERT_TRUE(publisher.ok()) << publisher.status();
  ASSERT_TRUE(publisher->WaitForSubscribers(2, kLong).ok());
  // Now each has heard of the other.
  Publish(*publisher);
  ASSERT_TRUE(here->Flush(kLong).ok());
  if (is_known_before) {
    ASSERT_TRUE(DialUnixEndpoint(dir_.file("second"), *here).ok());
    // It is refused, since there is a link, and says nothing more.
    ASSERT_TRUE(Comes([&] { return second.closed() > 0; }));
    for (int i = 0; i < 200; ++i) {
      Publish(*publisher);
      ASSERT_TRUE(here->Flush(kLong).ok());
    }
  }
  Publish(*publisher);
  first.reset();
  ASSERT_TRUE(
      Comes([&] { return here_events.count(State::kDisconnected) > 0; }));
  Publish(*publisher);
  if (!is_known_before) {
    ASSERT_TRUE(DialUnixEndpoint(dir_.file("second"), *here).ok());
  }
  ASSERT_TRUE(here_events.AwaitSettled());
  Publish(*publisher);
  EXPECT_TRUE(here->Flush(kLong).ok());
  reading.ExpectEachOnce(published_);
  answers.ExpectEachOnce(published_);
  const Ledger sent = TotalOf(*here);
  EXPECT_EQ(sent.accepted, 2 * published_);
  EXPECT_EQ(sent.dropped_total() + sent.in_flight, 0u);
  for (const Events* events : {&here_events, &there_events}) {
    EXPECT_EQ(events->count(State::kGone), 0);
    EXPECT_GE(events->count(State::kReconnected), 1);
  }
}

INSTANTIATE_TEST_SUITE_P(Whenever, SecondAddressTest, ::testing::Bool(),
                         [](const auto& info) {
                           return info.param ? "DialledBefore" : "DialledThen";
                         });

// The first connection was not answered for so long that the second was tried.
// Both are read in the end, and the later one gets the link. Chance decides
// which answer arrives first, so the test tries again.
class TwoDialsTest : public RedialTest,
                     public ::testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(AgainAndAgain, TwoDialsTest, ::testing::Range(0, 5));

TEST_P(TwoDialsTest, LaterOneIsTheOneThatStays) {
  Events there_events, here_events;
  const auto there =
      Opened(MessageBus::Create(there_events.Watched(Named("there"))));
  const auto here =
      Opened(MessageBus::Create(here_events.Watched(Named("here"))));
  auto endpoint = BindUnixEndpoint(dir_.file("real"), *here);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  CuttingRelay first(dir_.file("first"), dir_.file("real"), 1, 0);
  CuttingRelay second(dir_.file("second"), dir_.file("real"), 1, 0);
  Notification is_inside, go_on;
  uint64_t got = 0;
  auto handle =
      here->Subscribe<Note>([&](const Note& note, const MessageInfo&) {
        ++got;
        EXPECT_EQ(note.id(), got);
        if (got != 2) return;
        is_inside.Notify();
        go_on.WaitForNotification();
      });
  ASSERT_TRUE(handle.ok()) << handle.status();
  auto publisher = there->Publisher<Note>();
  ASSERT_TRUE(publisher.ok()) << publisher.status();
  ASSERT_TRUE(DialUnixEndpoint(dir_.file("first"), *there).ok());
  ASSERT_TRUE(publisher->WaitForSubscribers(1, kLong).ok());
  EXPECT_TRUE(publisher->Publish(NoteOf(1)).ok());
  ASSERT_TRUE(there->Flush(kLong).ok());
  ASSERT_TRUE(DialUnixEndpoint(dir_.file("second"), *there).ok());
  // The dial is refused, since there is a link; the dialler learns which node
  // is there.
  ASSERT_TRUE(Comes([&] { return second.closed() > 0; }));
  // The event loop of "here" stands still.
  EXPECT_TRUE(publisher->Publish(NoteOf(2)).ok());
  is_inside.WaitForNotification();
  const uint64_t before = first.passed(), before_second = second.passed();
  first.Cut();
  // Whichever of them is the first.
  EXPECT_TRUE(Comes([&] {
    return first.passed() != before && second.passed() != before_second;
  }));
  go_on.Notify();
  ASSERT_TRUE(there_events.AwaitSettled());
  EXPECT_TRUE(publisher->Publish(NoteOf(3)).ok());
  EXPECT_TRUE(there->Flush(kLong).ok());
  EXPECT_EQ(got, 3u);
  const auto closed = [&] { return first.closed() + second.closed(); };
  (void)Comes([&] { return closed() >= 2; });
  EXPECT_EQ(closed(), 2u) << "the one that was refused, and one of the two";
  EXPECT_EQ(there_events.count(State::kGone), 0);
  const Ledger sent = TotalOf(*there);
  EXPECT_EQ(sent.accepted, 3u);
  EXPECT_EQ(sent.dropped_total() + sent.in_flight, 0u);
}

// An inline handler is at work, and more has come for it than waits in memory:
// the node does not count as away for that.
class BusyReaderTest : public RedialTest,
                       public ::testing::WithParamInterface<bool> {};

TEST_P(BusyReaderTest, IsConnectedAgainWhileItsHandlerWorks) {
  constexpr size_t kBytes = 1000;
  constexpr uint64_t kLocal = 40, kRemote = 60;
  const bool reader_dials = GetParam();
  Events reader_events, writer_events;
  const auto reader =
      Opened(MessageBus::Create(reader_events.Watched(Named("reader"))));
  const auto writer =
      Opened(MessageBus::Create(writer_events.Watched(Named("writer"))));
  Notification is_inside, go_on;
  uint64_t local = 0;
  ReceivedIds remote = {};
  auto handle =
      reader->Subscribe<Note>([&](const Note& note, const MessageInfo& info) {
        if (info.publisher_node() == "reader") {
          if (local++ > 0) return;
          is_inside.Notify();
          go_on.WaitForNotification();
        } else {
          RecordIn(remote, note);
        }
      });
  ASSERT_TRUE(handle.ok()) << handle.status();
  MessageBus& binds = reader_dials ? *writer : *reader;
  auto endpoint = BindUnixEndpoint(dir_.file("real"), binds);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  CuttingRelay relay(dir_.file("relay"), dir_.file("real"), 1, 0);
  ASSERT_TRUE(
      DialUnixEndpoint(dir_.file("relay"), reader_dials ? *reader : *writer)
          .ok());
  auto to_self = reader->Publisher<Note>();
  auto to_reader = writer->Publisher<Note>();
  ASSERT_TRUE(to_reader->WaitForSubscribers(1, kLong).ok());
  // Now each has heard of the other.
  EXPECT_TRUE(to_reader->Publish(NoteOf(1, kBytes)).ok());
  ASSERT_TRUE(writer->Flush(kLong).ok());

  std::thread user([&] { EXPECT_TRUE(to_self->Publish(NoteOf(0)).ok()); });
  is_inside.WaitForNotification();
  for (uint64_t id = 1; id <= kLocal; ++id) {
    EXPECT_TRUE(to_self->Publish(NoteOf(id, kBytes)).ok());
  }
  for (uint64_t id = 2; id <= kRemote; ++id) {
    EXPECT_TRUE(to_reader->Publish(NoteOf(id, kBytes)).ok());
  }
  relay.Cut();
  for (Events* events : {&writer_events, &reader_events}) {
    EXPECT_TRUE(events->AwaitSettled());
    EXPECT_EQ(events->count(State::kGone), 0);
  }
  go_on.Notify();
  user.join();
  EXPECT_TRUE(writer->Flush(kLong).ok());
  EXPECT_TRUE(reader->Flush(kLong).ok());
  EXPECT_EQ(local, 1 + kLocal);
  EXPECT_EQ(remote.count, kRemote);
  EXPECT_EQ(remote.gaps + remote.duplicates + remote.torn, 0u);
  const Ledger sent = TotalOf(*writer);
  EXPECT_EQ(sent.accepted, kRemote);
  EXPECT_EQ(sent.dropped_total() + sent.in_flight, 0u);
}

INSTANTIATE_TEST_SUITE_P(Whoever, BusyReaderTest, ::testing::Bool(),
                         [](const auto& info) {
                           return info.param ? "ReaderDials" : "WriterDials";
                         });

// Another process has the address by now. It must not take itself for the
// dialled one.
TEST_F(RedialTest, NodeThatIsNotMeantIsNotConnected) {
  std::ofstream(dir_.file("topology.toml"))
      << "socket_dir = \"" << dir_.path() << "\"\n"
      << "[[nodes]]\nname = \"a\"\nservices = [\"one\"]\n"
      << "[[nodes]]\nname = \"y\"\nservices = [\"two\"]\n"
      << "[defaults]\ntransport = \"unix\"\n";
  Events x_events, a_events;
  const auto x = Opened(MessageBus::Create(x_events.Watched(Named("x"))));
  auto endpoint = BindUnixEndpoint(dir_.file("y.sock"), *x);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  const auto a = Opened(MessageBus::FromTopology(dir_.file("topology.toml"),
                                                 "one", a_events.Watched({})));
  ASSERT_TRUE(Comes([&] { return a_events.count(State::kRefused) > 0; }));
  bool is_told = false;
  for (const LinkReport& link : a->LinkReports()) {
    is_told |= absl::StrContains(link.last_error, "this is node x, not y");
  }
  EXPECT_TRUE(is_told);
  EXPECT_EQ(x_events.count(State::kConnected), 0);
}

// The kernel also connects clients to a process that is stopped or busy; such a
// process has refused nobody.
TEST_F(RedialTest, SilenceIsNoRefusalOnOneHostEither) {
  const std::string path = dir_.file("silent");
  const int silent = SilentSocketAt(path);
  Events events;
  BusOptions options = Named("here");
  options.limits.handshake = absl::Milliseconds(20);
  auto opened = SharedMemoryTransport::Open(path, std::nullopt, 0,
                                            events.Watched(options));
  ASSERT_TRUE(opened.ok()) << opened.status();
  const absl::Status waited = (*opened)->WaitForPeer(absl::Milliseconds(200));
  EXPECT_TRUE(absl::IsDeadlineExceeded(waited)) << waited;
  EXPECT_TRUE(absl::StrContains(waited.message(), "did not say who it is"))
      << waited;
  opened->reset();  // By now it has told all events.
  EXPECT_EQ(events.count(State::kRefused), 0);
  close(silent);
}

}  // namespace
}  // namespace mycelium::test
