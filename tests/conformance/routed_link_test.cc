// Two nodes of one host whose topology file says how they meet. They meet over
// the transport that Explain() names, whichever of the two nodes the file
// mentions.
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/topology/environment.h"
#include "mycelium/topology/route_rules.h"
#include "mycelium/topology/topology_loader.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/conformance/two_buses.h"
#include "tests/support/loopback_address.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

class TwoRoutedNodes : public ::testing::Test {
 protected:
  void Write(const std::string& services_of_feed, const std::string& routes) {
    std::ofstream file(path_);
    file << "socket_dir = \"" << dir_.path() << "\"\n";
    const auto node = [&](const std::string& name,
                          const std::string& services) {
      file << "[[nodes]]\nname = \"" << name << "\"\nservices = [" << services
           << "]\nport = " << LoopbackAddress().port << "\n";
    };
    node("feed", services_of_feed);
    node("brain", "\"t\"");
    file << routes;
  }

  void ExpectThatTheyMeetOver(const std::string& transport) {
    auto publishing = MessageBus::FromTopology(path_, "s");
    ASSERT_THAT(publishing.status(), IsOk());
    auto receiving = MessageBus::FromTopology(path_, "t");
    ASSERT_THAT(receiving.status(), IsOk());
    Inbox inbox;
    auto subscription = (*receiving)->Subscribe<Note>(inbox.Handler());
    ASSERT_THAT(subscription.status(), IsOk());
    auto publisher = (*publishing)->PublisherTo<Note>("t");
    ASSERT_THAT(publisher.status(), IsOk());
    ASSERT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
    ASSERT_THAT(publisher->Publish(MakeNote(1)), IsOk());
    EXPECT_THAT((*publishing)->Flush(kLong), IsOk());
    EXPECT_EQ(inbox.ids(), Counting(1));
    for (const auto& bus : {publishing->get(), receiving->get()}) {
      const std::vector<LinkReport> links = bus->LinkReports();
      ASSERT_EQ(links.size(), 1u);
      EXPECT_EQ(links[0].transport, transport);
    }
    ExpectAllDelivered(**publishing, **receiving, 1);
  }

  ShortTempDir dir_;
  const std::string path_ = dir_.file("topology.toml");
};

struct Routed {
  const char* name;
  const char* transport;
  std::string routes;  // Between `feed` with service s and `brain` with t.
};

class RoutedLinkTest : public TwoRoutedNodes,
                       public ::testing::WithParamInterface<Routed> {};

TEST_P(RoutedLinkTest, NodesMeetOverWhatExplainSays) {
  Write("\"s\"", GetParam().routes);
  const auto topology = LoadTopology(Sys::Real(), path_, ProcessEnvironment());
  ASSERT_THAT(topology.status(), IsOk());
  for (const auto& [from, to] : {std::make_pair("s", "t"), {"t", "s"}}) {
    const auto connection = Explain(*topology, from, to);
    ASSERT_THAT(connection.status(), IsOk());
    EXPECT_EQ(WordOf(connection->transport), GetParam().transport);
  }
  ExpectThatTheyMeetOver(GetParam().transport);
}

INSTANTIATE_TEST_SUITE_P(
    Routes, RoutedLinkTest,
    ::testing::Values(Routed{"none", "shm", ""},
                      Routed{"there", "grpc",
                             "[[routes]]\nfrom = \"feed\"\nto = \"brain\"\n"
                             "transport = \"grpc\"\n"},
                      Routed{"back", "grpc",
                             "[[routes]]\nfrom = \"brain\"\nto = \"feed\"\n"
                             "transport = \"grpc\"\n"},
                      Routed{
                          "service", "unix",
                          "[[routes]]\nfrom = \"s\"\ntransport = \"unix\"\n"},
                      Routed{"topic", "unix",
                             "[[routes]]\nto = \"t\"\ntopics = [\"ticks\"]\n"
                             "transport = \"unix\"\n"}),
    [](const auto& info) { return info.param.name; });

TEST_F(TwoRoutedNodes, MeetThoughAServiceHasTheNameOfTheOtherNode) {
  Write("\"s\", \"brain\"", "");
  ExpectThatTheyMeetOver("shm");
}

}  // namespace
}  // namespace mycelium::test
