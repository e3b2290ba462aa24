#include "mycelium/bus/node_registry.h"

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "tests/support/faulty_sys.h"
#include "tests/support/notification.h"
#include "tests/support/short_temp_dir.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;

constexpr absl::Duration kLong = absl::Seconds(10);

class NodeRegistryTest : public testing::Test {
 protected:
  NodeRegistryTest() {
    std::ofstream(path_) << "socket_dir = \"" << dir_.path() << "\"\n"
                         << "[[nodes]]\nname = \"left\"\n"
                            "services = [\"one\", \"two\"]\n"
                            "[[nodes]]\nname = \"right\"\n"
                            "services = [\"three\"]\n";
  }

  test::ShortTempDir dir_;
  const std::string path_ = dir_.file("topology.toml");
};

TEST_F(NodeRegistryTest, ServicesOfOneNodeShareIt) {
  auto one = MessageBus::FromTopology(path_, "one");
  auto two = MessageBus::FromTopology(path_, "two");
  auto three = MessageBus::FromTopology(path_, "three");
  ASSERT_TRUE(one.ok() && two.ok() && three.ok());
  EXPECT_EQ((*one)->runtime(), (*two)->runtime());
  EXPECT_NE((*one)->runtime(), (*three)->runtime());
}

TEST_F(NodeRegistryTest, AnotherNodeThanTheTopologySaysIsRefused) {
  BusOptions options;
  options.node = "left";
  EXPECT_TRUE(MessageBus::FromTopology(path_, "one", options).ok());
  EXPECT_EQ(
      MessageBus::FromTopology(path_, "three", options).status(),
      absl::InvalidArgumentError("BusOptions: node is \"left\", but " + path_ +
                                 " has service \"three\" on node \"right\"; "
                                 "leave it empty"));
}

TEST_F(NodeRegistryTest, NodeIsNoServiceToPublishToNorToBe) {
  auto one = *MessageBus::FromTopology(path_, "one");
  const auto fault = [this](const std::string& rest) {
    return absl::NotFoundError(path_ + ": no node hosts service " + rest);
  };
  EXPECT_EQ(one->PublisherTo<Note>("right").status(),
            fault("\"right\"; that is a node, which hosts three"));
  EXPECT_EQ(MessageBus::FromTopology(path_, "left").status(),
            fault("\"left\"; that is a node, which hosts one, two"));
  EXPECT_EQ(one->PublisherTo<Note>("thre").status(),
            fault("\"thre\"; nearest: three"));
  EXPECT_TRUE(one->PublisherTo<Note>("three").ok());
}

TEST_F(NodeRegistryTest, PublisherToANameThatIsEmptyDoesNotReachAll) {
  EXPECT_EQ(
      (*MessageBus::FromTopology(path_, "one"))->PublisherTo<Note>("").status(),
      absl::InvalidArgumentError(
          "a publisher to one service needs its name; Publisher() reaches "
          "all"));
}

TEST_F(NodeRegistryTest, NodeThatWasShutDownIsMadeAnewWhileItsPublisherLives) {
  auto first = MessageBus::FromTopology(path_, "one");
  ASSERT_TRUE(first.ok()) << first.status();
  auto publisher = (*first)->Publisher<Note>();
  ASSERT_TRUE((*first)->Shutdown(kLong).ok());
  auto second = MessageBus::FromTopology(path_, "one");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_NE((*first)->runtime(), (*second)->runtime());
  EXPECT_EQ(publisher->Publish(Note()).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE((*second)->Publisher<Note>()->Publish(Note()).ok());
  const auto flows = (*second)->FlowReports();
  ASSERT_EQ(flows.size(), 1u);
  EXPECT_EQ(flows[0].ledger.accepted, 1u);
  EXPECT_TRUE(flows[0].ledger.Balances());
}

TEST_F(NodeRegistryTest, NodeThatShutsDownIsToBeTriedAgain) {
  auto one = *MessageBus::FromTopology(path_, "one");
  auto subscriber = one->Subscriber<Note>();
  auto publisher = one->Publisher<Note>();
  ASSERT_TRUE(publisher->Publish(Note()).ok());
  std::thread ending([&] { EXPECT_TRUE(one->Shutdown(kLong).ok()); });
  while (one->runtime()->CheckOpen().ok()) std::this_thread::yield();
  const absl::Status early = MessageBus::FromTopology(path_, "two").status();
  EXPECT_EQ(early.code(), absl::StatusCode::kUnavailable) << early;
  EXPECT_TRUE(subscriber->Receive(kLong).ok());
  subscriber->Finish();
  ending.join();
  for (const FlowReport& flow : one->FlowReports()) {
    EXPECT_EQ(flow.ledger.delivered, 1u);
    EXPECT_EQ(flow.ledger.in_flight, 0u);
  }
  EXPECT_TRUE(MessageBus::FromTopology(path_, "two").ok());
}

TEST_F(NodeRegistryTest, NodeThatIsBeingDestroyedIsToBeTriedAgain) {
  test::Notification busy, leave;
  BusOptions options;
  options.on_connection = [&](const ConnectionEvent&) {
    if (busy.HasBeenNotified()) return;
    busy.Notify();
    leave.WaitForNotification();
  };
  auto one = *MessageBus::FromTopology(path_, "one", options);
  auto three = *MessageBus::FromTopology(path_, "three");
  busy.WaitForNotification();
  const std::weak_ptr<NodeRuntime> node = one->runtime();
  std::thread ending([&] { one.reset(); });
  while (!node.expired()) std::this_thread::yield();
  const absl::Status early = MessageBus::FromTopology(path_, "one").status();
  EXPECT_EQ(early.code(), absl::StatusCode::kUnavailable) << early;
  leave.Notify();
  ending.join();
  EXPECT_TRUE(MessageBus::FromTopology(path_, "one").ok());
}

TEST_F(NodeRegistryTest, HandlerThatLetGoOfTheNodeIsToldAtOnce) {
  std::unique_ptr<MessageBus> one;
  test::Notification made, told;
  absl::Status early;
  BusOptions options;
  options.on_connection = [&](const ConnectionEvent&) {
    if (told.HasBeenNotified()) return;
    made.WaitForNotification();
    one.reset();
    early = MessageBus::FromTopology(path_, "one").status();
    told.Notify();
  };
  one = *MessageBus::FromTopology(path_, "one", options);
  auto three = *MessageBus::FromTopology(path_, "three");
  made.Notify();
  told.WaitForNotification();
  EXPECT_EQ(early.code(), absl::StatusCode::kUnavailable) << early;
  // The node's own thread ends it, and the node may be made again then.
  while (true) {
    auto again = MessageBus::FromTopology(path_, "one");
    if (again.ok()) break;
    ASSERT_EQ(again.status().code(), absl::StatusCode::kUnavailable);
    std::this_thread::yield();
  }
}

TEST_F(NodeRegistryTest, WhatEndsWithANodeMayMakeTheNextOne) {
  // A race: the call that finds that the file has changed may have the last
  // share of the node.
  const std::string other = dir_.file("other.toml");
  for (int round = 0; round < 50; ++round) {
    std::filesystem::copy_file(
        path_, other, std::filesystem::copy_options::overwrite_existing);
    BusOptions options;
    options.on_connection = [kept =
                                 std::shared_ptr<void>(nullptr, [this](void*) {
                                   (void)MessageBus::FromTopology(path_, "two");
                                 })](const ConnectionEvent&) {};
    auto bus = *MessageBus::FromTopology(other, "one", options);
    options = BusOptions();
    std::ofstream(other, std::ios::app) << "[[nodes]]\nname = \"third\"\n";
    std::atomic<bool> joining{false}, over{false};
    std::thread joiner([&] {
      while (!over) {
        (void)MessageBus::FromTopology(other, "one");
        joining = true;
      }
    });
    while (!joining) std::this_thread::yield();
    bus.reset();
    over = true;
    joiner.join();
  }
}

TEST_F(NodeRegistryTest, WaitForSubscribersSaysWhichNodeIsNotThereAndWhy) {
  auto one = MessageBus::FromTopology(path_, "one");
  ASSERT_TRUE(one.ok()) << one.status();
  const std::string nobody =
      "topic \"mycelium.test.Note\" has 0 of 1 subscribers after 1ms; ";
  const std::string is_down = "node right is not connected: connect " +
                              dir_.file("right.sock") +
                              ": No such file or directory";
  const auto waited = [&](const std::string& service) {
    auto publisher = service.empty() ? (*one)->Publisher<Note>()
                                     : (*one)->PublisherTo<Note>(service);
    const absl::Status status =
        publisher->WaitForSubscribers(1, absl::Milliseconds(1));
    EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
    return std::string(status.message());
  };
  // The bus has dialled once before it was returned.
  EXPECT_EQ(waited("three"), nobody + is_down);
  EXPECT_EQ(waited(""), nobody + is_down);
  EXPECT_EQ(waited("two"), nobody + "service two is one of this node, left");
  ASSERT_EQ((*one)->LinkReports().size(), 1u);
  EXPECT_EQ((*one)->LinkReports()[0].address, dir_.file("right.sock"));

  auto three = MessageBus::FromTopology(path_, "three");
  ASSERT_TRUE(three.ok()) << three.status();
  auto notes = (*three)->Subscriber<Note>();
  ASSERT_TRUE(
      (*one)->PublisherTo<Note>("three")->WaitForSubscribers(1, kLong).ok());
  auto other = (*one)->PublisherTo<mycelium::test::Reply>("three");
  EXPECT_EQ(other->WaitForSubscribers(1, absl::Milliseconds(1)).message(),
            "topic \"mycelium.test.Reply\" has 0 of 1 subscribers after 1ms; "
            "node right is connected, and service three of it has no "
            "subscription to that topic");
}

TEST_F(NodeRegistryTest, SocketDirIsMadeUnlessTheEndpointNamesAnotherPlace) {
  for (const std::string kind : {"grpc", "unix"}) {
    const test::ShortTempDir dir;
    std::ofstream(path_) << "socket_dir = \"" << dir.file("made") << "\"\n"
                         << "[[nodes]]\nname = \"left\"\nservices = [\"one\"]\n"
                         << "port = 1\nendpoint = { kind = \"" << kind
                         << "\" }\n"
                         << "[[nodes]]\nname = \"right\"\n";
    auto bus = MessageBus::FromTopology(path_, "one");
    EXPECT_TRUE(bus.ok()) << kind << ": " << bus.status();
  }
}

TEST_F(NodeRegistryTest, EndpointOfGrpcIsLoggedWhereTheBuildHasNone) {
  std::ofstream(path_, std::ios::app) << "[[nodes]]\nname = \"open\"\n"
                                         "services = [\"four\"]\nport = 1\n"
                                         "endpoint = { kind = \"grpc\" }\n";
  std::vector<std::string> warnings;
  BusOptions options;
  options.poll = PollMode::kCaller;  // The caller's thread logs, too.
  options.log = [&](LogLevel level, absl::string_view line) {
    if (level == LogLevel::kWarning) warnings.emplace_back(line);
  };
  auto one = MessageBus::FromTopology(path_, "one", options);
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_THAT(warnings, testing::IsEmpty());
  auto four = MessageBus::FromTopology(path_, "four", options);
  ASSERT_TRUE(four.ok()) << four.status();
  EXPECT_THAT(warnings,
              testing::ElementsAre(
                  // port: nobody binds it.
                  "node open does not listen at 127.0.0.1:1: its endpoint is "
                  "of kind grpc, which this build does not have"));
}

// Both ways in which a callback can run while a node starts: on its thread, and
// in the call that starts it.
class StartingNodeTest : public NodeRegistryTest,
                         public testing::WithParamInterface<PollMode> {};

INSTANTIATE_TEST_SUITE_P(Modes, StartingNodeTest,
                         testing::Values(PollMode::kThread, PollMode::kCaller),
                         [](const auto& mode) {
                           return mode.param == PollMode::kThread
                                      ? std::string("Thread")
                                      : std::string("Caller");
                         });

TEST_P(StartingNodeTest, CallbackThatAddsAServiceToItDoesNotWait) {
  test::FaultySys sys;
  sys.FailNth("connect", 1, -EACCES);  // The connect of its first dial.
  Environment environment{sys, Environment::Real().clock,
                          Environment::Real().waiter};
  BusOptions options;
  options.environment = &environment;
  options.poll = GetParam();
  std::vector<absl::Status> from_callback;
  BusOptions calling = options;
  calling.on_connection = [&](const ConnectionEvent& event) {
    if (event.state != ConnectionEvent::State::kRefused) return;
    from_callback.push_back(
        MessageBus::FromTopology(path_, "two", options).status());
  };
  auto one = MessageBus::FromTopology(path_, "one", calling);
  ASSERT_TRUE(one.ok()) << one.status();
  ASSERT_EQ(from_callback.size(), 1u);
  EXPECT_EQ(from_callback[0].code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(from_callback[0].message(),
              testing::HasSubstr("node left is being started"));
  auto two = MessageBus::FromTopology(path_, "two", options);
  ASSERT_TRUE(two.ok()) << two.status();
  EXPECT_EQ((*one)->runtime(), (*two)->runtime());
}

}  // namespace
}  // namespace mycelium
