// Callbacks that users give: a log that is not there, and callbacks that throw.
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "mycelium/bus/guarded_callback.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/unix_endpoint.h"
#include "mycelium/schema/digest.h"
#include "tests/support/notification.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;

constexpr absl::Duration kLong = absl::Seconds(10);

// A type of the same name as Note that is not the same.
MessageType OtherNote() {
  MessageType type = MessageTypeOf<Note>();
  type.digest = Digest::Of("another schema");
  return type;
}

std::unique_ptr<MessageBus> MakeBus(BusOptions options) {
  auto bus = MessageBus::Create(options);
  EXPECT_TRUE(bus.ok()) << bus.status();
  return bus.ok() ? *std::move(bus) : nullptr;
}

// Waits until the log has an error that says `what`.
class LoggedError final {
 public:
  explicit LoggedError(std::string what) : what_(std::move(what)) {}

  LogSink Sink() {
    return [this](LogLevel level, absl::string_view message) {
      if (level != LogLevel::kError || !absl::StrContains(message, what_) ||
          told_.HasBeenNotified()) {
        return;
      }
      told_.Notify();
    };
  }
  bool WasLogged() { return told_.HasBeenNotified(); }
  bool Wait() { return told_.WaitForNotificationWithTimeout(kLong); }

 private:
  const std::string what_;
  test::Notification told_;
};

// Two nodes, of which the second dials the first.
struct Pair {
  Pair(const BusOptions& of_first, const BusOptions& of_second)
      : first(MakeBus(of_first)),
        second(MakeBus(of_second)),
        endpoint(BindUnixEndpoint(dir.file("socket"), *first)) {
    EXPECT_TRUE(endpoint.ok()) << endpoint.status();
    EXPECT_TRUE(DialUnixEndpoint(dir.file("socket"), *second).ok());
  }

  // Expects that one message goes from the second to the first, and that there
  // is no other.
  void ExpectMessagePasses() {
    auto subscriber = first->Subscriber<Note>();
    auto publisher = second->Publisher<Note>();
    absl::Status matched;
    do {  // Under poll = kCaller it has to poll.
      (void)first->Poll(absl::ZeroDuration());
      matched = publisher->WaitForSubscribers(1, absl::Milliseconds(1));
    } while (matched.code() == absl::StatusCode::kDeadlineExceeded);
    ASSERT_TRUE(matched.ok()) << matched;
    ASSERT_TRUE(publisher->Publish(Note()).ok());
    EXPECT_TRUE(subscriber->Receive(kLong).ok());
    subscriber->Finish();
    uint64_t accepted = 0, delivered = 0;
    for (const MessageBus* bus : {first.get(), second.get()}) {
      for (const FlowReport& flow : bus->FlowReports()) {
        accepted += flow.ledger.accepted;
        delivered += flow.ledger.delivered;
        EXPECT_EQ(flow.ledger.dropped_total(), 0u);
      }
    }
    EXPECT_EQ(accepted, 1u);
    EXPECT_EQ(delivered, 1u);
  }

  test::ShortTempDir dir;
  std::unique_ptr<MessageBus> first, second;
  absl::StatusOr<UnixEndpointHandle> endpoint;
};

TEST(CallbacksTest, NullLogIsSilent) {
  BusOptions options;
  options.log = nullptr;
  auto bus = MakeBus(options);
  auto handle = bus->Subscribe<Note>([](const Note&, const MessageInfo&) {
    throw std::runtime_error("of a subscription");
  });
  auto publisher = bus->Publisher<Note>();
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  EXPECT_EQ(handle->handler_errors(), 1u);
  auto refused = bus->RawSubscriber(OtherNote());
  EXPECT_EQ(refused->status().code(), absl::StatusCode::kFailedPrecondition);
  for (const FlowReport& flow : bus->FlowReports()) {
    EXPECT_TRUE(flow.ledger.Balances());
    EXPECT_EQ(flow.ledger.accepted, 1u);
    EXPECT_EQ(flow.ledger.delivered, 1u);
  }
}

TEST(CallbacksTest, LogThatThrowsIsLeftAlone) {
  BusOptions options;
  options.log = [](LogLevel, absl::string_view) {
    throw std::runtime_error("no room in the log");
  };
  auto bus = MakeBus(options);
  auto publisher = bus->Publisher<Note>();
  auto refused = bus->RawSubscriber(OtherNote());
  EXPECT_EQ(refused->status().code(), absl::StatusCode::kFailedPrecondition);
  auto subscriber = bus->Subscriber<Note>();
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  EXPECT_TRUE(subscriber->Receive(kLong).ok());
  subscriber->Finish();
  for (const FlowReport& flow : bus->FlowReports()) {
    EXPECT_EQ(flow.ledger.accepted, 1u);
    EXPECT_EQ(flow.ledger.delivered, 1u);
  }
}

TEST(CallbacksTest, WhatIsLoggedIsOneLineThatEnds) {
  std::vector<std::string> lines;
  BusOptions options;
  options.log = [&](LogLevel, absl::string_view line) {
    lines.emplace_back(line);
  };
  auto bus = MakeBus(options);
  auto handle = bus->Subscribe<Note>([](const Note& note, const MessageInfo&) {
    throw std::runtime_error(note.text());
  });
  auto publisher = bus->Publisher<Note>();
  Note note;
  note.set_text("7\nmycelium: all is well\x1B[2J");
  ASSERT_TRUE(publisher->Publish(note).ok());
  note.set_text(std::string(100'000, 'x'));
  ASSERT_TRUE(publisher->Publish(note).ok());
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_TRUE(absl::EndsWith(lines[0], "threw: 7?mycelium: all is well?[2J"))
      << lines[0];
  EXPECT_LE(lines[1].size(), kLogBytesMax + 3);
  EXPECT_TRUE(absl::EndsWith(lines[1], "xx..."));
  for (const FlowReport& flow : bus->FlowReports()) {
    EXPECT_EQ(flow.ledger.accepted, 2u);
    EXPECT_EQ(flow.ledger.delivered, 2u);
  }
}

TEST(CallbacksTest, ErrorCallbackThatThrowsLeavesTheSubscriberToItsOwner) {
  LoggedError error("to \"mycelium.test.Note\": on_error threw: 7");
  BusOptions options;
  options.log = error.Sink();
  auto bus = MakeBus(options);
  auto publisher = bus->Publisher<Note>();
  SubscriberOptions listening;
  listening.on_error = [](const absl::Status&) {
    throw std::runtime_error("7");
  };
  auto refused = bus->RawSubscriber(OtherNote(), listening);
  ASSERT_TRUE(refused.ok()) << refused.status();
  EXPECT_TRUE(error.WasLogged());
  EXPECT_EQ(publisher->refusals().size(), 1u);
  refused->Unsubscribe();
  EXPECT_TRUE(publisher->refusals().empty());
}

TEST(CallbacksTest, ConnectionCallbackThatThrowsHarmsNoLink) {
  LoggedError error("on_connection threw: 7");
  BusOptions options;
  options.log = error.Sink();
  options.on_connection = [](const ConnectionEvent&) {
    throw std::runtime_error("7");
  };
  Pair pair(options, BusOptions());
  EXPECT_TRUE(error.Wait());
  pair.ExpectMessagePasses();
}

TEST(CallbacksTest, WhatIsNoStdExceptionGoesNoFurtherEither) {
  LoggedError error(
      "on_connection threw: an exception that is no std::exception");
  BusOptions options;
  options.log = error.Sink();
  options.on_connection = [](const ConnectionEvent&) { throw 7; };
  Pair pair(options, BusOptions());
  EXPECT_TRUE(error.Wait());
  pair.ExpectMessagePasses();
}

TEST(CallbacksTest, WhoPollsGoesOnAfterACallbackThatThrows) {
  LoggedError error("on_connection threw: 7");
  BusOptions options;
  options.poll = PollMode::kCaller;
  options.log = error.Sink();
  options.on_connection = [](const ConnectionEvent&) {
    throw std::runtime_error("7");
  };
  Pair pair(options, BusOptions());
  while (!error.WasLogged()) ASSERT_TRUE(pair.first->Poll(kLong).ok());
  pair.ExpectMessagePasses();
}

TEST(CallbacksTest, PartingCallbackThatThrowsHarmsNoOtherPublisher) {
  LoggedError error("to \"mycelium.test.Note\": on_publisher_gone threw: 7");
  BusOptions options;
  options.log = error.Sink();
  Pair pair(options, BusOptions());
  SubscriberOptions listening;
  listening.on_publisher_gone = [](const PublisherGone&) {
    throw std::runtime_error("7");
  };
  auto subscriber = pair.first->Subscriber<Note>(listening);
  auto gone = pair.second->Publisher<Note>();
  ASSERT_TRUE(gone->WaitForSubscribers(1, kLong).ok());
  ASSERT_TRUE(gone->Publish(Note()).ok());
  EXPECT_TRUE(subscriber->Receive(kLong).ok());
  subscriber->Finish();
  EXPECT_TRUE(pair.second->Shutdown(kLong).ok());
  EXPECT_TRUE(error.Wait());
  auto here = pair.first->Publisher<Note>();
  ASSERT_TRUE(here->Publish(Note()).ok());
  EXPECT_TRUE(subscriber->Receive(kLong).ok());
  subscriber->Finish();
  Ledger sum;
  for (const auto& report : pair.first->FlowReports()) sum += report.ledger;
  EXPECT_EQ(sum.delivered, 2u);
  EXPECT_EQ(sum.in_flight + sum.dropped_total(), 0u);
}

TEST(CallbacksTest, FlowCallbackThatThrowsHarmsNoFlow) {
  LoggedError error("on_flow threw: 7");
  BusOptions options;
  options.log = error.Sink();
  options.on_flow = [](const FlowEvent&) { throw std::runtime_error("7"); };
  auto bus = MakeBus(options);
  auto publisher = bus->Publisher<Note>();
  auto dropping = bus->Subscriber<Note>();
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  dropping->Unsubscribe();
  EXPECT_TRUE(error.Wait());
  auto subscriber = bus->Subscriber<Note>();
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  EXPECT_TRUE(subscriber->Receive(kLong).ok());
  subscriber->Finish();
  Ledger sum;
  for (const auto& report : bus->FlowReports()) sum += report.ledger;
  EXPECT_EQ(sum.accepted, 2u);
  EXPECT_EQ(sum.delivered, 1u);
  EXPECT_EQ(sum.dropped_for(DropReason::kSubscriberGone), 1u);
  EXPECT_EQ(sum.in_flight, 0u);
}

TEST(CallbacksTest, WaiterForRoomThatThrowsHarmsNotWhoMakesIt) {
  LoggedError error(
      "publisher of \"mycelium.test.Note\": callback of CallWhenRoom() threw: "
      "7");
  BusOptions options;
  options.log = error.Sink();
  auto bus = MakeBus(options);
  PublisherOptions impatient;
  impatient.publish_timeout = absl::ZeroDuration();
  auto publisher = bus->Publisher<Note>(impatient);
  auto subscriber = bus->Subscriber<Note>();
  Note large;
  large.set_blob(std::string(100'000, 'x'));
  uint64_t accepted = 0;
  while (publisher->Publish(large).ok()) ++accepted;
  publisher->CallWhenRoom(nullptr);
  publisher->CallWhenRoom([] { throw std::runtime_error("7"); });
  EXPECT_FALSE(error.WasLogged());
  for (uint64_t i = 0; i < accepted; ++i) {
    ASSERT_TRUE(subscriber->Receive(kLong).ok());
  }
  subscriber->Finish();
  EXPECT_TRUE(error.WasLogged());
  for (const FlowReport& flow : bus->FlowReports()) {
    EXPECT_EQ(flow.ledger.accepted, accepted);
    EXPECT_EQ(flow.ledger.delivered, accepted);
    EXPECT_EQ(flow.ledger.in_flight, 0u);
  }
}

}  // namespace
}  // namespace mycelium
