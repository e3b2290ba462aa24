#include "mycelium/topology/topology_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mycelium/topology/diagnostics.h"
#include "mycelium/topology/topology_fixture.h"

namespace mycelium {
namespace {

using ::testing::ElementsAre;

// The errors of a text that is refused as it has to be.
std::string ErrorsOf(const std::string& text,
                     const std::map<std::string, std::string>& env = {}) {
  const absl::StatusOr<Topology> topology = ParseHere(text, env);
  EXPECT_EQ(topology.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(topology.status().message());
}

TEST(TopologyParserTest, NodesKeepWhatTheFileSays) {
  const absl::StatusOr<Topology> topology = ParseHere(R"(
insecure = true
socket_dir = "/run/demo"
[[nodes]]
name = "feed"
services = ["prices", "trades"]
[[nodes]]
name = "brain"
services = ["strategy"]
host = "10.0.1.10"
port = 9001
endpoint = { kind = "tcp", addr = "0.0.0.0:9100" }
)");
  ASSERT_TRUE(topology.ok()) << topology.status();
  EXPECT_EQ(topology->path, "t.toml");
  EXPECT_EQ(topology->socket_dir, "/run/demo");
  ASSERT_EQ(topology->nodes.size(), 2u);
  EXPECT_THAT(topology->nodes[0].services, ElementsAre("prices", "trades"));
  EXPECT_EQ(topology->nodes[0].place, "");
  EXPECT_EQ(topology->nodes[1].host, "10.0.1.10");
  EXPECT_EQ(topology->nodes[1].port, 9001);
  EXPECT_EQ(topology->nodes[1].endpoint->kind, TransportKind::kGrpc);
  EXPECT_EQ(GrpcListenAddress(topology->nodes[1]), "0.0.0.0:9100");
  EXPECT_EQ(GrpcDialAddress(topology->nodes[1]), "10.0.1.10:9001");
  EXPECT_EQ(topology->NodeOfService("trades"), &topology->nodes[0]);
  EXPECT_EQ(topology->FindNode("brain"), &topology->nodes[1]);
  EXPECT_EQ(topology->FindNode("strategy"), nullptr);
}

TEST(TopologyParserTest, SchemaIsExactUnlessItSaysOtherwise) {
  for (const std::string text : {"", "schema = \"exact\"\n"}) {
    const auto topology = ParseHere(text + "[[nodes]]\nname = \"feed\"\n");
    ASSERT_TRUE(topology.ok()) << topology.status();
    EXPECT_EQ(topology->schema, SchemaPolicy::kExact);
  }
}

TEST(TopologyParserTest, DefaultsLimitsAndTlsAreRead) {
  const absl::StatusOr<Topology> topology = ParseHere(R"(
schema = "compatible"
allow_anonymous = true
allow_uids = [1001, 1002]
[[nodes]]
name = "feed"
[defaults]
transport = "unix"
overflow = "drop_oldest"
depth = 7
window = 3
lane_bytes = "128KiB"
publish_timeout = "250ms"
retain = "0"
wait = "spin"
spin = "20us"
[limits]
handshake = "5s"
frame_bytes_max = 4096
links = 8
reconnect_min = "20ms"
reconnect_max = "3s"
keepalive = "1m"
[tls]
certificate = "/etc/c.pem"
key = "/etc/k.pem"
ca = "/etc/ca.pem"
require_client_certificate = true
)");
  ASSERT_TRUE(topology.ok()) << topology.status();
  EXPECT_EQ(topology->schema, SchemaPolicy::kCompatible);
  EXPECT_EQ(topology->default_transport, TransportKind::kUnix);
  EXPECT_EQ(topology->defaults.overflow, Overflow::kDropOldest);
  EXPECT_EQ(topology->defaults.depth, 7);
  EXPECT_EQ(topology->defaults.window, 3);
  EXPECT_EQ(topology->defaults.lane_bytes, 128 << 10);
  EXPECT_EQ(topology->defaults.publish_timeout, absl::Milliseconds(250));
  EXPECT_EQ(topology->defaults.retain, absl::ZeroDuration());
  EXPECT_EQ(topology->defaults.wait, WaitMode::kSpin);
  EXPECT_EQ(topology->defaults.spin, absl::Microseconds(20));
  EXPECT_EQ(topology->limits.handshake, absl::Seconds(5));
  EXPECT_EQ(topology->limits.frame_bytes_max, 4096);
  EXPECT_EQ(topology->limits.links, 8);
  EXPECT_EQ(topology->limits.reconnect_min, absl::Milliseconds(20));
  EXPECT_EQ(topology->limits.reconnect_max, absl::Seconds(3));
  EXPECT_EQ(topology->limits.keepalive, absl::Minutes(1));
  EXPECT_TRUE(topology->tls.enabled());
  EXPECT_TRUE(topology->tls.require_client_certificate);
  EXPECT_TRUE(topology->allow_anonymous);
  EXPECT_FALSE(topology->insecure);
  EXPECT_THAT(topology->allow_uids, ElementsAre(1001, 1002));
}

TEST(TopologyParserTest, KeysOfOlderFilesAreRead) {
  const absl::StatusOr<Topology> topology = ParseHere(R"(
[deployment]
mode = "bundled"
[inter_node]
transport = "unix"
socket_dir = "/tmp/mycelium"
[[nodes]]
name = "adapters"
services = ["polygon-adapter"]
host = "localhost"
port = 9001
endpoint = { kind = "unix" }
)");
  ASSERT_TRUE(topology.ok()) << topology.status();
  EXPECT_EQ(topology->socket_dir, "/tmp/mycelium");
  EXPECT_EQ(topology->default_transport, TransportKind::kUnix);
}

TEST(TopologyParserTest, EveryWayToWriteThisMachineIsOnePlace) {
  for (const char* host : {"localhost", "LOCALHOST", "127.0.0.1", "::1",
                           "[::1]", "here", "Here.", "HERE"}) {
    const absl::StatusOr<Topology> topology = ParseHere(
        absl::StrCat("[[nodes]]\nname = \"a\"\nhost = \"", host, "\"\n"));
    ASSERT_TRUE(topology.ok()) << topology.status();
    EXPECT_EQ(topology->nodes[0].place, "") << host;
  }
}

TEST(TopologyParserTest, VariablesAreReplacedInHostPortAndSocketDir) {
  const absl::StatusOr<Topology> topology = ParseHere(
      "insecure = true\n"
      "socket_dir = \"${BASE}/x$y\"\n"
      "[[nodes]]\nname = \"a\"\nhost = \"${A}.${B}\"\nport = \"90${P}\"\n",
      {{"BASE", "/run"}, {"A", "alpha"}, {"B", "example"}, {"P", "01"}});
  ASSERT_TRUE(topology.ok()) << topology.status();
  EXPECT_EQ(topology->socket_dir, "/run/x$y");
  EXPECT_EQ(topology->nodes[0].host, "alpha.example");
  EXPECT_EQ(topology->nodes[0].port, 9001);
}

TEST(TopologyParserTest, SocketDirHasADefault) {
  const std::string text = "[[nodes]]\nname = \"a\"\n";
  EXPECT_EQ(ParseHere(text)->socket_dir, "/tmp/mycelium-1000");
  EXPECT_EQ(
      ParseHere(text, {{"XDG_RUNTIME_DIR", "/run/user/1000"}})->socket_dir,
      "/run/user/1000/mycelium");
}

TEST(TopologyParserTest, EveryErrorIsReportedInTheOrderOfTheFile) {
  EXPECT_EQ(ErrorsOf("[limits]\nlinks = 0\n"
                     "[[nodes]]\nname = \"\"\nport = 0\n"
                     "[[routes]]\nfrom = \"a\"\nwait = \"spni\"\n"),
            "t.toml:2:9: [limits]: links 0 is out of bounds; 1 to 4096\n"
            "t.toml:4:8: [[nodes]]: name is empty\n"
            "t.toml:5:8: [[nodes]]: port 0 is out of bounds; 1 to 65535\n"
            "t.toml:7:8: route \"a -> *\": from: no service or node \"a\"\n"
            "t.toml:8:8: route \"a -> *\": unknown wait \"spni\"; known: spin, "
            "adaptive, block; nearest: spin");
}

TEST(TopologyParserTest, ErrorsBeyondTheBoundAreCounted) {
  std::string text = "[[nodes]]\nname = \"a\"\n";
  for (size_t i = 0; i < kErrorsMax; ++i)
    absl::StrAppend(&text, "k", i, "=1\n");
  EXPECT_FALSE(absl::StrContains(ErrorsOf(text), "more errors"));
  text += "one_more = 1\n";
  const std::vector<std::string> lines = absl::StrSplit(ErrorsOf(text), '\n');
  EXPECT_EQ(lines.size(), kErrorsMax + 1);
  EXPECT_EQ(lines.back(), "t.toml: and 1 more errors");
}

TEST(TopologyParserTest, TextOfTheLargestSizeIsReadAndOneByteMoreIsNot) {
  std::string text = "[[nodes]]\nname = \"a\"\n#";
  text.resize(kTopologyBytesMax, ' ');
  EXPECT_TRUE(ParseHere(text).ok());
  text += ' ';
  EXPECT_EQ(ErrorsOf(text),
            "t.toml:1:1: file: it has 262145 bytes; at most 262144");
}

TEST(TopologyParserTest, KeysAndValuesNestUpToTheBound) {
  std::string key = "a";
  for (int i = 1; i < 16; ++i) key += ".a";
  const std::string node = "[[nodes]]\nname = \"x\"\n";
  EXPECT_EQ(ErrorsOf(absl::StrCat(node, "[", key, "]\n")),
            "t.toml:3:2: top level: unknown key \"a\"; known: nodes, routes, "
            "defaults, limits, tls, schema, insecure, allow_anonymous, "
            "allow_uids, socket_dir, deployment, inter_node");
  EXPECT_EQ(ErrorsOf(absl::StrCat(node, "[", key, ".a]\n")),
            "t.toml:3:33: TOML: a key has more than 16 parts");
  const std::string deep(100'000, '[');
  EXPECT_THAT(ErrorsOf("x = " + deep),
              ::testing::HasSubstr("t.toml:1:21: TOML: "));
  std::string dots = "a";
  for (int i = 0; i < 100'000; ++i) dots += ".a";
  EXPECT_THAT(ErrorsOf(dots + " = 1"),
              ::testing::HasSubstr("a key has more than 16 parts"));
  // Behind strings that end in quotes, too.
  for (const char quote : {'"', '\''}) {
    for (const size_t more : {0, 1, 2}) {
      const std::string three(3, quote);
      EXPECT_THAT(ErrorsOf(absl::StrCat("x = { b = ", three, "q",
                                        std::string(more, quote), three, ", ",
                                        dots, " = 1 }")),
                  ::testing::HasSubstr("a key has more than 16 parts"))
          << more << " of " << quote;
    }
  }
}

TEST(TopologyParserTest, DotsInStringsAndCommentsAreNoKeys) {
  const std::string dots(60, '.');
  EXPECT_TRUE(
      ParseHere(absl::StrCat("# ", dots, "\nsocket_dir = '/tmp/", dots,
                             "'\n[[nodes]] # ", dots, "\nname = \"a\\\"\"\n"))
          .ok());
  EXPECT_TRUE(ParseHere(absl::StrCat("socket_dir = \"\"\"/tmp\\\n", dots,
                                     "\"\"\"\n[[nodes]]\nname = \"a\"\n"))
                  .ok());
}

TEST(TopologyParserTest, NodesUpToTheBoundAreRead) {
  std::string text;
  for (size_t i = 0; i < kNodesMax; ++i) {
    absl::StrAppend(&text, "[[nodes]]\nname = \"n", i, "\"\n");
  }
  EXPECT_TRUE(ParseHere(text).ok());
  text += "[[nodes]]\nname = \"one-more\"\n";
  EXPECT_EQ(ErrorsOf(text),
            "t.toml:2049:1: top level: nodes: 1025 given; at most 1024");
}

TEST(TopologyParserTest, RoutesUpToTheBoundAreRead) {
  std::string text = "[[nodes]]\nname = \"a\"\n";
  for (size_t i = 0; i < kRoutesMax; ++i) {
    absl::StrAppend(&text, "[[routes]]\ntopics = [\"t", i, "\"]\ndepth = 1\n");
  }
  EXPECT_TRUE(ParseHere(text).ok());
  text += "[[routes]]\n";
  EXPECT_EQ(ErrorsOf(text),
            "t.toml:3075:1: top level: routes: 1025 given; at most 1024");
}

std::string List(size_t count) {
  std::string list;
  for (size_t i = 0; i < count; ++i) absl::StrAppend(&list, "\"s", i, "\",");
  return absl::StrCat("[", list, "]");
}

TEST(TopologyParserTest, ServicesAndTopicsUpToTheBoundAreRead) {
  const std::string node = "[[nodes]]\nname = \"a\"\nservices = ";
  EXPECT_TRUE(ParseHere(node + List(kServicesPerNodeMax)).ok());
  EXPECT_THAT(
      ErrorsOf(node + List(kServicesPerNodeMax + 1)),
      ::testing::HasSubstr("node \"a\": services: 257 given; at most 256"));
  const std::string route = "[[nodes]]\nname = \"a\"\n[[routes]]\ntopics = ";
  EXPECT_TRUE(ParseHere(route + List(kTopicsPerRouteMax)).ok());
  EXPECT_THAT(ErrorsOf(route + List(kTopicsPerRouteMax + 1)),
              ::testing::HasSubstr("topics: 257 given; at most 256"));
}

TEST(TopologyParserTest, AllowedUidsUpToTheBoundAreRead) {
  std::string uids;
  for (size_t i = 0; i < kAllowUidsMax; ++i) uids += "1,";
  const std::string node = "]\n[[nodes]]\nname = \"a\"\n";
  EXPECT_TRUE(ParseHere(absl::StrCat("allow_uids = [", uids, node)).ok());
  EXPECT_EQ(ErrorsOf(absl::StrCat("allow_uids = [", uids, "1", node)),
            "t.toml:1:14: top level: allow_uids: 257 given; at most 256");
}

TEST(TopologyParserTest, TopicsOfTheLargestSizeAreRead) {
  const std::string route = "[[nodes]]\nname = \"a\"\n[[routes]]\ntopics = [\"";
  const std::string topic(kTopicBytesMax, 't');
  EXPECT_TRUE(ParseHere(route + topic + "\"]\n").ok());
  EXPECT_THAT(ErrorsOf(route + topic + "t\"]\n"),
              ::testing::HasSubstr("has 256 bytes; at most 255"));
}

TEST(TopologyParserTest, NamesOfTheLargestSizeAreRead) {
  const std::string name(kNameBytesMax, 'n');
  EXPECT_TRUE(ParseHere("socket_dir = \"/s\"\n[[nodes]]\nname = \"" + name +
                        "\"\nservices = [\"" + name + "\"]\n")
                  .ok());
  EXPECT_EQ(ErrorsOf("socket_dir = \"/s\"\n[[nodes]]\nname = \"a\"\n"
                     "services = [\"n" +
                     name + "\"]\n"),
            "t.toml:4:13: node \"a\": service \"n" + name +
                "\" has 65 bytes; at most 64");
  EXPECT_EQ(
      ErrorsOf("socket_dir = \"/s\"\n[[nodes]]\nname = \"n" + name + "\"\n"),
      "t.toml:3:8: node \"n" + name + "\": name \"n" + name +
          "\" has 65 bytes; at most 64");
}

TEST(TopologyParserTest, SocketPathOf107BytesFitsAndOf108DoesNot) {
  // "<dir>/feed.sock": ten bytes beside the directory.
  const std::string dir = "/" + std::string(96, 'd');
  const std::string node = "\"\n[[nodes]]\nname = \"feed\"\n";
  const absl::StatusOr<Topology> longest =
      ParseHere("socket_dir = \"" + dir + node);
  ASSERT_TRUE(longest.ok()) << longest.status();
  EXPECT_EQ(longest->SocketPath(longest->nodes[0]).size(), 107u);
  EXPECT_THAT(
      ErrorsOf("socket_dir = \"" + dir + "d" + node),
      ::testing::AllOf(::testing::StartsWith(
                           "t.toml:1:14: node \"feed\": socket path \"/ddd"),
                       ::testing::EndsWith("has 108 bytes; at most 107")));
}

TEST(TopologyParserTest, SocketPathIsBoundedWhereNodesMeetElsewhere) {
  const std::string dir = "/" + std::string(120, 'd');
  const std::string top = "insecure = true\n";
  const auto nodes = [](const std::string& host) {
    return "[[nodes]]\nname = \"a\"\nhost = \"10.0.0.5\"\nport = 9001\n"
           "[[nodes]]\nname = \"b\"\nhost = \"" +
           host + "\"\nport = 9002\n";
  };
  const std::string configured = top + "socket_dir = \"" + dir + "\"\n";
  EXPECT_THAT(ErrorsOf(configured + nodes("10.0.0.5")),
              ::testing::AllOf(
                  ::testing::HasSubstr("t.toml:2:14: node \"a\": socket path"),
                  ::testing::HasSubstr("t.toml:2:14: node \"b\": socket path"),
                  ::testing::EndsWith("has 128 bytes; at most 107")));
  EXPECT_TRUE(ParseHere(configured + nodes("10.0.0.6")).ok());
  // Where the runtime directory of this machine is does not matter there.
  EXPECT_TRUE(
      ParseHere(top + nodes("10.0.0.5"), {{"XDG_RUNTIME_DIR", dir}}).ok());
}

TEST(TopologyParserTest, NodeThatOnlyDialsListsNodesThatListen) {
  const std::string gateway =
      "[[nodes]]\nname = \"client\"\n"
      "[[nodes]]\nname = \"gateway\"\nhost = \"gateway.example.com\"\n"
      "port = 9001\nendpoint = { kind = \"grpc\", addr = \"0.0.0.0:9001\" }\n";
  const absl::Status with_ca =
      ParseHere(gateway + "[tls]\nca = \"/etc/ca.pem\"\n").status();
  EXPECT_TRUE(with_ca.ok()) << with_ca;
  EXPECT_THAT(ErrorsOf(gateway), ::testing::HasSubstr("without TLS"));
  // A node of this machine has its certificate in this file.
  EXPECT_THAT(ErrorsOf("[[nodes]]\nname = \"a\"\nendpoint = "
                       "{ kind = \"grpc\", addr = \"0.0.0.0:9001\" }\n"
                       "[tls]\nca = \"/etc/ca.pem\"\n"),
              ::testing::HasSubstr("without TLS"));
}

TEST(TopologyParserTest, VariableThatIsEmptyIsNoPathOfTls) {
  EXPECT_EQ(ErrorsOf("[[nodes]]\nname = \"a\"\n[tls]\ncertificate = \"/c\"\n"
                     "key = \"/k\"\nca = \"${MYC_CA}\"\n",
                     {{"MYC_CA", ""}}),
            "t.toml:6:6: [tls]: ca is empty; leave the key out for none");
}

TEST(TopologyParserTest, AddressesOfOneMachineHaveAPortEach) {
  EXPECT_TRUE(ParseHere("[[nodes]]\nname = \"a\"\nport = 9001\n"
                        "[[nodes]]\nname = \"b\"\nendpoint = "
                        "{ kind = \"grpc\", addr = \"127.0.0.2:9001\" }\n"
                        "[[nodes]]\nname = \"c\"\nport = 9002\nendpoint = "
                        "{ kind = \"grpc\", addr = \"127.0.0.1:9002\" }\n")
                  .ok());
}

}  // namespace
}  // namespace mycelium
