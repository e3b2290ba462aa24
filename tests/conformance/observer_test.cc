// Observers (`mycelium status`), which only look, and what the node and its
// peers notice of them.

#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/base/version.h"
#include "mycelium/bus/observers.h"
#include "mycelium/bus/status_bound.h"
#include "mycelium/bus/unix_endpoint.h"
#include "tests/conformance/raw_peer.h"
#include "tests/conformance/served_node.h"
#include "tests/support/short_temp_dir.h"
#include "tests/support/two_users_sys.h"

namespace mycelium::test {
namespace {

using ::testing::HasSubstr;

v1::Hello ObserversHello() {
  v1::Hello hello;
  hello.set_observe(true);
  return hello;
}

class ObserverTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(AllTransports, ObserverTest,
                         ::testing::Values("unix", "shm"),
                         [](const auto& info) { return info.param; });

TEST_P(ObserverTest, ObserverIsToldWhatTheNodeDoes) {
  ServedNode served(GetParam());
  RawPeer peer = served.Greeted("friend");
  RawPeer observer(served.path());
  const v1::NodeStatus status =
      observer.SayHello(ObserversHello()).node_status();
  EXPECT_TRUE(observer.Closed());
  EXPECT_EQ(status.node(), "served");
  EXPECT_EQ(status.version(), Version());
  EXPECT_EQ(status.pid(), getpid());
  EXPECT_NE(status.incarnation(), 0u);
  ASSERT_EQ(status.endpoints_size(), 1);
  EXPECT_EQ(status.endpoints(0).address(), served.path());
  EXPECT_EQ(status.endpoints(0).transport(), GetParam());
  ASSERT_EQ(status.links_size(), 1);
  EXPECT_EQ(status.links(0).peer(), "friend");
  EXPECT_EQ(status.links(0).state(), "connected");
  EXPECT_TRUE(status.links(0).is_up());
  ASSERT_EQ(status.publishers_size(), 1);
  EXPECT_EQ(status.publishers(0).topic(), "mycelium.test.Note");
  EXPECT_EQ(status.subscriptions_size(), 2);
}

TEST_P(ObserverTest, ObserverIsNoPeerAndNobodyHearsOfHim) {
  ServedNode served(GetParam());
  const std::string told = served.Told();
  const size_t flows = served.bus().FlowReports().size();
  for (int i = 0; i < 3; ++i) {
    RawPeer observer(served.path());
    EXPECT_TRUE(observer.SayHello(ObserversHello()).has_node_status());
    EXPECT_TRUE(observer.Closed());
  }
  EXPECT_TRUE(served.bus().LinkReports().empty());
  EXPECT_EQ(served.bus().FlowReports().size(), flows);
  EXPECT_EQ(served.Told(), told);
  served.ExpectServesOthers();
}

// What a node that lets `user` connect tells an observer of that user.
v1::Control ToldToUser(const std::string& transport, uid_t user) {
  TwoUsersSys sys(user);
  Environment environment{sys, Environment::Real().clock,
                          Environment::Real().waiter};
  BusOptions options;
  options.environment = &environment;
  options.allow_uids = {static_cast<int64_t>(user)};
  ServedNode served(transport, options);
  RawPeer peer = served.Greeted("friend");
  EXPECT_TRUE(peer.connected());
  RawPeer observer(served.path());
  const v1::Control answer = observer.SayHello(ObserversHello());
  EXPECT_TRUE(observer.Closed());
  return answer;
}

TEST_P(ObserverTest, UserWhoMayConnectMayNotObserve) {
  const v1::Control answer = ToldToUser(GetParam(), 54321);
  EXPECT_EQ(answer.reject().reason(), v1::Reject::NOT_ALLOWED);
  EXPECT_THAT(answer.reject().message(), HasSubstr("or of root"));
}

TEST_P(ObserverTest, SameUserAndRootMayObserve) {
  EXPECT_TRUE(ToldToUser(GetParam(), TwoUsersSys::kOurs).has_node_status());
  EXPECT_TRUE(ToldToUser(GetParam(), 0).has_node_status());
}

TEST_P(ObserverTest, HundredAtOnceAreAnsweredOrRefusedAndTheNodeServesOthers) {
  const size_t before = OpenDescriptors();
  {
    ServedNode served(GetParam());
    v1::Control control;
    *control.mutable_hello() = ObserversHello();
    std::vector<std::unique_ptr<RawPeer>> crowd;
    for (int i = 0; i < 100; ++i) {
      crowd.push_back(std::make_unique<RawPeer>(served.path()));
      ASSERT_TRUE(crowd.back()->SendControl(control));
    }
    int answered = 0;
    for (const auto& observer : crowd) {
      const auto record = observer->Read();
      ASSERT_TRUE(record.has_value());
      if (record->control.has_node_status()) {
        ++answered;
      } else {
        EXPECT_EQ(record->control.reject().reason(),
                  v1::Reject::TOO_MANY_OBSERVERS);
      }
      EXPECT_TRUE(observer->Closed());
    }
    EXPECT_GE(answered, static_cast<int>(Observers::kObserversMax));
    served.ExpectServesOthers();
    served.Shutdown();
  }
  EXPECT_EQ(OpenDescriptors(), before);
}

TEST_P(ObserverTest, ObserverThatIsCutShortOrGoesOnTalkingHarmsNobody) {
  ServedNode served(GetParam());
  v1::Control control;
  *control.mutable_hello() = ObserversHello();
  const std::string bytes = ControlBytes(control);
  for (size_t sent = 0; sent < bytes.size(); ++sent) {
    RawPeer observer(served.path());
    ASSERT_TRUE(observer.Send(bytes.substr(0, sent)));
  }
  RawPeer talker(served.path());
  ASSERT_TRUE(talker.Send(bytes + std::string(100'000, 'x')));
  EXPECT_TRUE(talker.Closed());
  served.ExpectServesOthers();
}

TEST_P(ObserverTest, NodeWithManyFlowsStaysWithinTheBoundAndSaysSo) {
  constexpr int kPublishers = 1000;
  ServedNode served(GetParam());
  std::vector<Publisher<Note>> publishers;
  for (int i = 0; i < kPublishers; ++i) {
    PublisherOptions options;
    options.topic = absl::StrCat(std::string(250, 't'), i);
    publishers.push_back(*served.bus().Publisher<Note>(options));
    ASSERT_TRUE(publishers.back().Publish(MakeNote(1)).ok());  // To nobody.
  }
  RawPeer observer(served.path());
  const auto record = [&] {
    v1::Control control;
    *control.mutable_hello() = ObserversHello();
    EXPECT_TRUE(observer.SendControl(control));
    return observer.Read();
  }();
  ASSERT_TRUE(record.has_value());
  EXPECT_LE(record->body.size(), kStatusBytesMax + 16);
  const v1::NodeStatus& status = record->control.node_status();
  EXPECT_GT(status.flows_left_out(), 0u);
  EXPECT_EQ(
      static_cast<uint64_t>(status.flows_size()) + status.flows_left_out(),
      served.bus().FlowReports().size());
}

TEST_P(ObserverTest, NodeAloneOnItsHostListensIfItsEndpointSaysSo) {
  ShortTempDir dir;
  const std::string file = dir.file("t.toml");
  std::ofstream(file) << "socket_dir = \"" << dir.path()
                      << "\"\n[[nodes]]\nname = \"alone\"\n"
                      << "services = [\"one\"]\nendpoint = { kind = \""
                      << GetParam() << "\" }\n";
  const auto bus = MessageBus::FromTopology(file, "one");
  ASSERT_TRUE(bus.ok()) << bus.status();
  RawPeer observer(dir.file("alone.sock"));
  const v1::NodeStatus status =
      observer.SayHello(ObserversHello()).node_status();
  EXPECT_EQ(status.node(), "alone");
  EXPECT_EQ(status.services(0).name(), "one");
  EXPECT_EQ(status.topology_digest().size(), 32u);
}

TEST(ObserverPathTest, PathsThatAreNotUtf8AreToldAsText) {
  ShortTempDir dir;
  const std::string file = dir.file("t\xff.toml");
  std::ofstream(file) << "socket_dir = \"" << dir.path() << "\"\n"
                      << "[[nodes]]\nname = \"a\"\nservices = [\"one\"]\n"
                      << "[[nodes]]\nname = \"b\"\nservices = [\"two\"]\n"
                      << "[[routes]]\ntransport = \"unix\"\n";
  const auto bus = MessageBus::FromTopology(file, "one");
  ASSERT_TRUE(bus.ok()) << bus.status();
  const std::string bound = dir.file("caf\xe9.sock");
  const auto endpoint = BindUnixEndpoint(bound, **bus);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  ASSERT_TRUE(DialUnixEndpoint(dir.file("\xfe.sock"), **bus).ok());
  RawPeer observer(bound);
  const v1::NodeStatus status =
      observer.SayHello(ObserversHello()).node_status();
  EXPECT_EQ(status.node(), "a");
  ASSERT_EQ(status.endpoints_size(), 2);
  EXPECT_EQ(status.endpoints(1).address(), dir.file("caf\\xe9.sock"));
  ASSERT_EQ(status.links_size(), 2);
  const bool topology_first = status.links(0).address() == dir.file("b.sock");
  const v1::LinkStatus& to_b = status.links(topology_first ? 0 : 1);
  EXPECT_THAT(to_b.rule(), HasSubstr(dir.file("t\\xff.toml")));
  const v1::LinkStatus& by_hand = status.links(topology_first ? 1 : 0);
  EXPECT_EQ(by_hand.address(), dir.file("\\xfe.sock"));
  EXPECT_THAT(by_hand.last_error(), HasSubstr(dir.file("\\xfe.sock")));
}

}  // namespace
}  // namespace mycelium::test
