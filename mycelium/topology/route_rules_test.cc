#include "mycelium/topology/route_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "mycelium/topology/topology_fixture.h"

namespace mycelium {
namespace {

using ::testing::UnorderedElementsAre;

constexpr char kNodes[] = R"(insecure = true
socket_dir = "/run/m"
[[nodes]]
name = "feed"
services = ["prices", "trades"]
[[nodes]]
name = "brain"
services = ["strategy"]
[[nodes]]
name = "far"
services = ["ledger"]
host = "10.0.1.10"
port = 9001
)";  // Ends with line 13.

Topology Parsed(const std::string& text) {
  absl::StatusOr<Topology> topology = ParseHere(text);
  EXPECT_TRUE(topology.ok()) << topology.status();
  return topology.ok() ? *std::move(topology) : Topology();
}

// "<transport> <address> <rule>"
std::string Explained(const Topology& topology, const std::string& from,
                      const std::string& to) {
  const absl::StatusOr<Connection> connection = Explain(topology, from, to);
  if (!connection.ok()) return connection.status().ToString();
  return std::string(WordOf(connection->transport)) + " <" +
         connection->address + "> " + connection->rule;
}

TEST(RouteRulesTest, ServicesOfOneNodeShareTheProcess) {
  EXPECT_EQ(Explained(Parsed(kNodes), "prices", "trades"),
            "inproc <> same node");
}

TEST(RouteRulesTest, NodesOfOneHostMeetAtTheSocketOfTheOther) {
  const Topology topology = Parsed(kNodes);
  EXPECT_EQ(Explained(topology, "prices", "strategy"),
            "shm </run/m/brain.sock> same host: default");
  EXPECT_EQ(Explained(topology, "brain", "feed"),
            "shm </run/m/feed.sock> same host: default");
}

TEST(RouteRulesTest, NodesOfDifferentHostsMeetOverGrpc) {
  const Topology topology = Parsed(kNodes);
  EXPECT_EQ(Explained(topology, "prices", "ledger"),
            "grpc <10.0.1.10:9001> different hosts");
  EXPECT_EQ(Explained(topology, "ledger", "prices"),
            "grpc <10.0.1.10:9001> different hosts; dialled by \"feed\"");
}

TEST(RouteRulesTest, UnknownNameIsNotFoundAndNamesTheNearest) {
  const Topology topology = Parsed(kNodes);
  EXPECT_EQ(Explain(topology, "price", "strategy").status(),
            absl::NotFoundError(
                "t.toml: no service or node \"price\"; nearest: prices"));
  EXPECT_EQ(Explain(topology, "prices", "").status().code(),
            absl::StatusCode::kNotFound);
}

TEST(RouteRulesTest, ShmIsChosenByItsRoute) {
  const std::string route =
      std::string(kNodes) + "[[routes]]\nfrom = \"prices\"\n";
  EXPECT_EQ(
      Explained(Parsed(route + "transport = \"shm\"\n"), "prices", "strategy"),
      "shm </run/m/brain.sock> routes[0] at t.toml:14:1");
}

// Two nodes have one link: whatever a route between them says of it holds for
// both directions, for their other services and for other topics.
TEST(RouteRulesTest, RouteDecidesTheWholeLink) {
  const std::string unix_ = "transport = \"unix\"\n";
  for (const std::string ends :
       {"from = \"feed\"\nto = \"brain\"\n", "from = \"prices\"\n",
        "from = \"brain\"\nto = \"trades\"\n", "topics = [\"a\"]\n"}) {
    const Topology topology =
        Parsed(std::string(kNodes) + "[[routes]]\n" + ends + unix_);
    for (const std::string from : {"feed", "prices", "trades"}) {
      for (const std::string to : {"brain", "strategy"}) {
        EXPECT_EQ(Explained(topology, from, to),
                  "unix </run/m/brain.sock> routes[0] at t.toml:14:1")
            << ends << from << " " << to;
        EXPECT_EQ(Explained(topology, to, from),
                  "unix </run/m/feed.sock> routes[0] at t.toml:14:1")
            << ends << to << " " << from;
      }
    }
  }
}

TEST(RouteRulesTest, MostSpecificRouteDecidesTheLink) {
  const Topology topology = Parsed(std::string(kNodes) +
                                   "[[nodes]]\nname = \"disk\"\n"
                                   "[[routes]]\ntransport = \"unix\"\n"
                                   "[[routes]]\nfrom = \"strategy\"\n"
                                   "to = \"feed\"\ntransport = \"shm\"\n");
  EXPECT_EQ(Explained(topology, "feed", "brain"),
            "shm </run/m/brain.sock> routes[1] at t.toml:18:1");
  EXPECT_EQ(Explained(topology, "disk", "brain"),
            "unix </run/m/brain.sock> routes[0] at t.toml:16:1");
}

// What is refused of routes that contradict: see bad_input_test.
TEST(RouteRulesTest, ThirdRouteThatNamesBothNodesDecidesBetweenTwo) {
  const Topology topology = Parsed(std::string(kNodes) +
                                   "[[routes]]\nfrom = \"feed\"\n"
                                   "transport = \"unix\"\n"
                                   "[[routes]]\nfrom = \"brain\"\n"
                                   "transport = \"shm\"\n"
                                   "[[routes]]\nfrom = \"feed\"\n"
                                   "to = \"brain\"\ntransport = \"shm\"\n");
  EXPECT_EQ(Explained(topology, "brain", "feed"),
            "shm </run/m/feed.sock> routes[2] at t.toml:20:1");
}

TEST(RouteRulesTest, OpenRouteThatCannotApplySaysSo) {
  const Topology topology =
      Parsed(std::string(kNodes) + "[[routes]]\ntransport = \"unix\"\n");
  EXPECT_EQ(Explained(topology, "prices", "ledger"),
            "grpc <10.0.1.10:9001> different hosts; routes[0] at t.toml:14:1 "
            "asks for unix, which needs one host");
  const Topology grpc =
      Parsed(std::string(kNodes) + "[[routes]]\ntransport = \"grpc\"\n");
  EXPECT_EQ(Explained(grpc, "prices", "strategy"),
            "shm </run/m/brain.sock> same host: default; routes[0] at "
            "t.toml:14:1 asks for grpc, but neither node has a port");
}

TEST(RouteRulesTest, RouteBehindOneThatCannotApplyDecides) {
  const Topology topology =
      Parsed(std::string(kNodes) +
             "[[routes]]\ntransport = \"unix\"\n"
             "[[routes]]\nfrom = \"prices\"\ntransport = \"grpc\"\n");
  EXPECT_EQ(Explained(topology, "prices", "strategy"),
            "unix </run/m/brain.sock> routes[0] at t.toml:14:1; routes[1] at "
            "t.toml:16:1 asks for grpc, but neither node has a port");
}

TEST(RouteRulesTest, RouteThatNamesBothNodesMayStandBehindAnImpossibleOne) {
  const Topology topology =
      Parsed(std::string(kNodes) +
             "[[routes]]\nfrom = \"feed\"\nto = \"brain\"\n"
             "transport = \"unix\"\n"
             "[[routes]]\nfrom = \"prices\"\ntopics = [\"x\"]\n"
             "transport = \"grpc\"\n");
  EXPECT_EQ(Explained(topology, "feed", "brain"),
            "unix </run/m/brain.sock> routes[0] at t.toml:14:1; routes[1] at "
            "t.toml:18:1 asks for grpc, but neither node has a port");
}

TEST(RouteRulesTest, RouteThatCannotApplyContradictsNothing) {
  const Topology topology =
      Parsed(std::string(kNodes) +
             "[[routes]]\nfrom = \"feed\"\ntransport = \"unix\"\n"
             "[[routes]]\nfrom = \"brain\"\ntransport = \"grpc\"\n");
  EXPECT_EQ(Explained(topology, "prices", "strategy"),
            "unix </run/m/brain.sock> routes[0] at t.toml:14:1; routes[1] at "
            "t.toml:17:1 asks for grpc, but neither node has a port");
}

TEST(RouteRulesTest, RouteWithinANodeIsAboutNoLink) {
  const Topology topology =
      Parsed(std::string(kNodes) +
             "[[routes]]\nfrom = \"strategy\"\nto = \"brain\"\n"
             "transport = \"inproc\"\n"
             "[[routes]]\nfrom = \"strategy\"\ntopics = [\"ticks\"]\n"
             "transport = \"unix\"\n");
  EXPECT_EQ(Explained(topology, "feed", "strategy"),
            "unix </run/m/brain.sock> routes[1] at t.toml:18:1");
}

TEST(RouteRulesTest, EndpointChoosesTheSocketOnOneHost) {
  const Topology topology = Parsed(
      "socket_dir = \"/run/m\"\n"
      "[[nodes]]\nname = \"a\"\n"
      "[[nodes]]\nname = \"b\"\n"
      "endpoint = { kind = \"unix\", addr = \"/run/own.sock\" }\n");
  EXPECT_EQ(Explained(topology, "a", "b"),
            "unix </run/own.sock> endpoint of node \"b\" at t.toml:6:36");
  EXPECT_EQ(Explained(topology, "b", "a"),
            "unix </run/m/a.sock> endpoint of node \"b\" at t.toml:6:36");
}

TEST(RouteRulesTest, GrpcEndpointChangesNothingOnOneHost) {
  const Topology topology = Parsed(
      "socket_dir = \"/run/m\"\n"
      "[[nodes]]\nname = \"a\"\n"
      "[[nodes]]\nname = \"b\"\n"
      "endpoint = { kind = \"tcp\", addr = \"127.0.0.1:9001\" }\n");
  EXPECT_EQ(Explained(topology, "a", "b"),
            "shm </run/m/b.sock> same host: default");
}

TEST(RouteRulesTest, DefaultTransportIsUsedOnOneHost) {
  const Topology topology = Parsed(
      "[[nodes]]\nname = \"a\"\nport = 9001\n"
      "[[nodes]]\nname = \"b\"\nport = 9002\nhost = \"::1\"\n"
      "[defaults]\ntransport = \"tcp\"\n");
  EXPECT_EQ(Explained(topology, "a", "b"),
            "grpc <[::1]:9002> [defaults] at t.toml:9:13");
  EXPECT_EQ(Explained(topology, "b", "a"),
            "grpc <127.0.0.1:9001> [defaults] at t.toml:9:13");
}

TEST(RouteRulesTest, MostSpecificRouteWinsForEachSettingSeparately) {
  const Topology topology = Parsed(std::string(kNodes) + R"(
[defaults]
depth = 1
window = 1
[[routes]]
from = "prices"
to = "strategy"
topics = ["t"]
depth = 4
[[routes]]
from = "prices"
to = "strategy"
depth = 3
overflow = "fail"
[[routes]]
to = "strategy"
depth = 2
overflow = "latest"
retain = "9s"
)");
  const RouteSettings topic = SettingsFor(topology, "prices", "strategy", "t");
  EXPECT_EQ(topic.depth, 4);
  EXPECT_EQ(topic.overflow, Overflow::kFail);
  EXPECT_EQ(topic.retain, absl::Seconds(9));
  EXPECT_EQ(topic.window, 1);
  EXPECT_EQ(SettingsFor(topology, "prices", "strategy").depth, 3);
  EXPECT_EQ(SettingsFor(topology, "trades", "strategy").depth, 2);
  EXPECT_EQ(SettingsFor(topology, "prices", "ledger").depth, 1);
  EXPECT_EQ(SettingsFor(topology, "nobody", "strategy").depth, 2);
  EXPECT_EQ(SettingsFor(topology, "nobody", "strategy").overflow,
            Overflow::kLatest);
}

TEST(RouteRulesTest, ServiceIsMoreSpecificThanItsNode) {
  const Topology topology = Parsed(std::string(kNodes) + R"(
[[routes]]
from = "prices"
depth = 7
[[routes]]
from = "feed"
depth = 8
)");
  EXPECT_EQ(SettingsFor(topology, "prices", "strategy").depth, 7);
  EXPECT_EQ(SettingsFor(topology, "trades", "strategy").depth, 8);
  EXPECT_EQ(SettingsFor(topology, "feed", "strategy").depth, 8);
}

TEST(RouteRulesTest, ServiceGoesBeforeANodeOfTheSameName) {
  const Topology topology = Parsed(R"(
[[nodes]]
name = "x"
services = ["y"]
[[nodes]]
name = "y"
services = ["x"]
[[routes]]
from = "x"
depth = 5
)");
  EXPECT_EQ(topology.FindServiceOrNode("x")->name, "y");
  EXPECT_EQ(SettingsFor(topology, "x", "y").depth, 5);
  EXPECT_EQ(SettingsFor(topology, "y", "x").depth, 1024);
}

TEST(RouteRulesTest, LinksAreThoseOfNodesThoughAServiceHasTheNameOfOne) {
  const Topology topology = Parsed(R"(socket_dir = "/run/m"
[[nodes]]
name = "x"
services = ["y"]
[[nodes]]
name = "y"
services = ["z"]
)");
  EXPECT_EQ(Explained(topology, "x", "y"), "inproc <> same node");
  const auto links = LinksOf(topology, *topology.FindNode("x"));
  ASSERT_TRUE(links.ok()) << links.status();
  ASSERT_EQ(links->size(), 1);
  EXPECT_EQ((*links)[0].peer->name, "y");
  EXPECT_EQ((*links)[0].connection.transport, TransportKind::kShm);
  EXPECT_EQ((*links)[0].connection.address, "/run/m/y.sock");
  EXPECT_TRUE(ListensLocally(topology, *topology.FindNode("x")));
  EXPECT_TRUE(SharesMemory(topology, "x", "y"));
  EXPECT_FALSE(SharesMemory(topology, "x", "stranger"));
}

TEST(RouteRulesTest, RoutesThatAgreeAreNoConflict) {
  EXPECT_TRUE(ParseHere(std::string(kNodes) + R"(
[[routes]]
from = "prices"
depth = 2
[[routes]]
to = "strategy"
depth = 2
wait = "spin"
[[routes]]
from = "trades"
depth = 3
topics = ["a"]
[[routes]]
from = "trades"
depth = 4
topics = ["b"]
)")
                  .ok());
}

TEST(RouteRulesTest, LinkRetainsAsLongAsTheLongestRouteBetweenItsNodes) {
  const Topology topology = Parsed(R"(
[defaults]
retain = "2s"
[[nodes]]
name = "a"
services = ["a1", "a2"]
[[nodes]]
name = "b"
services = ["b1"]
[[nodes]]
name = "c"
[[nodes]]
name = "d"
[[routes]]
from = "b1"
to = "a2"
topics = ["t"]
retain = "9s"
[[routes]]
from = "c"
to = "d"
retain = "1s"
[[routes]]
from = "d"
to = "c"
retain = "1s"
)");
  EXPECT_EQ(LongestRetain(topology, "a", "b"), absl::Seconds(9));
  EXPECT_EQ(LongestRetain(topology, "b", "a"), absl::Seconds(9));
  EXPECT_EQ(LongestRetain(topology, "a", "c"), absl::Seconds(2));
  EXPECT_EQ(LongestRetain(topology, "c", "d"), absl::Seconds(1));
  EXPECT_EQ(LongestRetain(topology, "a", "stranger"), absl::Seconds(2));
}

TEST(RouteRulesTest,
     NodeListensLocallyForPeersOfItsPlaceOrIfItsEndpointSaysSo) {
  const Topology topology = Parsed(kNodes);
  EXPECT_TRUE(ListensLocally(topology, *topology.FindNode("feed")));
  EXPECT_FALSE(ListensLocally(topology, *topology.FindNode("far")));
  EXPECT_THAT(LocalListeners(topology),
              UnorderedElementsAre(topology.FindNode("feed"),
                                   topology.FindNode("brain")));
  const auto alone = [](const std::string& endpoint) {
    const Topology one = Parsed("[[nodes]]\nname = \"one\"\n" + endpoint);
    return ListensLocally(one, one.nodes[0]);
  };
  EXPECT_FALSE(alone(""));
  EXPECT_FALSE(alone("endpoint = { kind = \"grpc\" }\nport = 1\n"));
  EXPECT_TRUE(alone("endpoint = { kind = \"shm\" }\n"));
  EXPECT_TRUE(alone("endpoint = { kind = \"unix\", addr = \"/run/o\" }\n"));
}

// LocalListeners() decides each link without its texts. Of two nodes of a
// place, one with a port, it must find what LinksOf() says of them.
TEST(RouteRulesTest, LocalListenersAreTheNodesWithALinkOverASocket) {
  const auto words = {"", "shm", "unix", "grpc"};
  int files = 0, listening = 0;
  for (const std::string defaults : words) {
    for (const std::string endpoint : words) {
      for (const std::string open : words) {
        for (const std::string direct : words) {
          for (const std::string port : {"", "port = 9001\n"}) {
            std::string text = "insecure = true\nsocket_dir = \"/run/m\"\n";
            if (!defaults.empty()) {
              text += "[defaults]\ntransport = \"" + defaults + "\"\n";
            }
            text += "[[nodes]]\nname = \"a\"\n" + port +
                    "[[nodes]]\nname = \"b\"\n";
            if (!endpoint.empty()) {
              text += "endpoint = { kind = \"" + endpoint + "\" }\n";
            }
            if (!open.empty()) {
              text +=
                  "[[routes]]\nfrom = \"a\"\ntransport = \"" + open + "\"\n";
            }
            if (!direct.empty()) {
              text += "[[routes]]\nfrom = \"b\"\nto = \"a\"\ntransport = \"" +
                      direct + "\"\n";
            }
            const absl::StatusOr<Topology> topology = ParseHere(text);
            if (!topology.ok()) continue;
            SCOPED_TRACE(text);
            const auto links = LinksOf(*topology, topology->nodes[0]);
            ASSERT_TRUE(links.ok());
            ASSERT_EQ(links->size(), 1u);
            const bool by_socket =
                (*links)[0].connection.transport != TransportKind::kGrpc;
            const auto listeners = LocalListeners(*topology);
            EXPECT_EQ(listeners.contains(&topology->nodes[0]), by_socket);
            EXPECT_EQ(ListensLocally(*topology, topology->nodes[0]), by_socket);
            ++files;
            listening += by_socket ? 1 : 0;
          }
        }
      }
    }
  }
  EXPECT_GT(listening, 50);
  EXPECT_GT(files - listening, 50);
}

}  // namespace
}  // namespace mycelium
