// Bad topology files, one per row: code, position and text of the error.

#include <gtest/gtest.h>

#include <string>

#include "mycelium/topology/topology_fixture.h"

namespace mycelium {
namespace {

struct BadInput {
  const char* name;
  std::string text;
  const char* errors;  // After "t.toml:".
};

void PrintTo(const BadInput& input, std::ostream* out) { *out << input.name; }

class BadInputTest : public testing::TestWithParam<BadInput> {};

TEST_P(BadInputTest, IsRefusedWithPositionAndReason) {
  const absl::StatusOr<Topology> topology = ParseHere(GetParam().text);
  EXPECT_EQ(topology.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(topology.status().message()),
            std::string("t.toml:") + GetParam().errors);
}

constexpr char kNode[] = "[[nodes]]\nname = \"a\"\nservices = [\"s\"]\n";
constexpr char kTwoNodes[] =
    "[[nodes]]\nname = \"a\"\nservices = [\"s\", \"t\"]\n"
    "[[nodes]]\nname = \"b\"\nservices = [\"u\"]\n";  // Ends with line 6.

std::string Node(const std::string& rest) { return kNode + rest + "\n"; }
std::string Route(const std::string& rest) {
  return std::string(kTwoNodes) + "[[routes]]\n" + rest + "\n";
}

INSTANTIATE_TEST_SUITE_P(
    Toml, BadInputTest,
    testing::Values(
        BadInput{"EmptyFile", "",
                 "1:1: top level: no nodes; a topology has at least one "
                 "[[nodes]]"},
        BadInput{"OnlyComments", "# nothing\n",
                 "1:1: top level: no nodes; a topology has at least one "
                 "[[nodes]]"},
        BadInput{"Truncated", "[[nodes]]\nname = \"fe",
                 "2:11: TOML: Error while parsing string: encountered "
                 "end-of-file"},
        BadInput{"InvalidUtf8", "[[nodes]]\nname = \"\xff\"\n",
                 "2:8: TOML: Encountered invalid utf-8 sequence"},
        BadInput{"RepeatedKey", Node("name = \"b\""),
                 "4:8: TOML: Error while parsing key-value pair: cannot "
                 "redefine existing string 'name'"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    UnknownKeys, BadInputTest,
    testing::Values(
        BadInput{"Node", "[[node]]\nname = \"a\"\n",
                 "1:3: top level: unknown key \"node\"; nearest: nodes"},
        BadInput{"TopLevel", "socketdir = \"/x\"\n" + Node(""),
                 "1:1: top level: unknown key \"socketdir\"; nearest: "
                 "socket_dir"},
        BadInput{"InNode", Node("prot = 1"),
                 "4:1: node \"a\": unknown key \"prot\"; nearest: port"},
        BadInput{"InEndpoint", Node("endpoint = { kind = \"unix\", adr = 1 }"),
                 "4:29: node \"a\": endpoint: unknown key \"adr\"; nearest: "
                 "addr"},
        BadInput{"InDefaults", Node("[defaults]\nwiat = \"spin\""),
                 "5:1: [defaults]: unknown key \"wiat\"; nearest: wait"},
        BadInput{"InRoute", Route("form = \"s\""),
                 "8:1: route \"* -> *\": unknown key \"form\"; nearest: from"},
        BadInput{"InLimits", Node("[limits]\nlink = 3"),
                 "5:1: [limits]: unknown key \"link\"; nearest: links"},
        BadInput{"InTls", Node("[tls]\ncert_chain = \"x\""),
                 "5:1: [tls]: unknown key \"cert_chain\"; known: certificate, "
                 "key, ca, require_client_certificate, insecure"},
        BadInput{"InDeployment", Node("[deployment]\nmod = \"x\""),
                 "5:1: [deployment]: unknown key \"mod\"; nearest: mode"},
        BadInput{"InInterNode", Node("[inter_node]\nsocket_dri = \"/x\""),
                 "5:1: [inter_node]: unknown key \"socket_dri\"; nearest: "
                 "socket_dir"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Names, BadInputTest,
    testing::Values(
        BadInput{"DuplicateNode", Node("[[nodes]]\nname = \"a\""),
                 "5:8: node \"a\": name is taken by the node of line 2"},
        BadInput{"DuplicateService",
                 "[[nodes]]\nname = \"a\"\nservices = [\"s\", \"s\"]\n",
                 "3:18: node \"a\": service \"s\" is listed twice"},
        BadInput{"ServiceInTwoNodes",
                 Node("[[nodes]]\nname = \"b\"\nservices = [\"s\"]"),
                 "6:13: node \"b\": service \"s\" is in node \"a\" already"},
        BadInput{"Missing", "[[nodes]]\nservices = [\"s\"]\n",
                 "1:1: [[nodes]]: no name; each node has one"},
        BadInput{"Empty", "[[nodes]]\nname = \"\"\n",
                 "2:8: [[nodes]]: name is empty"},
        BadInput{"Slash", "[[nodes]]\nname = \"a/b\"\n",
                 "2:8: node \"a/b\": name \"a/b\" contains \"/\""},
        BadInput{"DotDot", "[[nodes]]\nname = \"a..b\"\n",
                 "2:8: node \"a..b\": name \"a..b\" contains \"..\""},
        BadInput{"Dot", "[[nodes]]\nname = \".\"\n",
                 "2:8: node \".\": name \".\" is a directory"},
        BadInput{"Nul", "[[nodes]]\nname = \"a\\u0000b\"\n",
                 "2:8: node \"a\\000b\": name \"a\\000b\" contains \"\\000\""},
        BadInput{"Star", "[[nodes]]\nname = \"*\"\n",
                 "2:8: node \"*\": name \"*\" contains \"*\""},
        BadInput{"Variable", "[[nodes]]\nname = \"${X}\"\n",
                 "2:8: node \"${X}\": name \"${X}\" contains \"$\""},
        BadInput{"EmptyService", "[[nodes]]\nname = \"a\"\nservices = [\"\"]\n",
                 "3:13: node \"a\": service is empty"},
        BadInput{"ServiceWithSlash",
                 "[[nodes]]\nname = \"a\"\nservices = [\"../s\"]\n",
                 "3:13: node \"a\": service \"../s\" contains \"..\""}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Addresses, BadInputTest,
    testing::Values(
        BadInput{"RemoteWithoutPort",
                 "insecure = true\n" + Node("host = \"10.0.1.10\""),
                 "5:8: node \"a\": host \"10.0.1.10\" is remote, and there is "
                 "no port to dial"},
        BadInput{"RemoteWithoutTls", Node("host = \"10.0.1.10\"\nport = 9001"),
                 "4:8: node \"a\": host \"10.0.1.10\" without TLS; add a "
                 "certificate in [tls], or insecure = true to send in the "
                 "clear"},
        BadInput{"ListensWithWhomItTrustsAlone",
                 Node("host = \"here\"\nport = 9001\n"
                      "[tls]\nca = \"/etc/ca.pem\""),
                 "4:8: node \"a\": host \"here\" without TLS; add a "
                 "certificate in [tls], or insecure = true to send in the "
                 "clear"},
        BadInput{"ListensBeyondWithoutTls",
                 Node("endpoint = { kind = \"grpc\", addr = \"0.0.0.0:9001\" "
                      "}"),
                 "4:36: node \"a\": addr \"0.0.0.0:9001\" listens beyond this "
                 "machine without TLS; add a certificate in [tls], or insecure "
                 "= true to send in the clear"},
        BadInput{"Port0", Node("port = 0"),
                 "4:8: node \"a\": port 0 is out of bounds; 1 to 65535"},
        BadInput{"Port65536", Node("port = 65536"),
                 "4:8: node \"a\": port 65536 is out of bounds; 1 to 65535"},
        BadInput{"Port70000", Node("port = 70000"),
                 "4:8: node \"a\": port 70000 is out of bounds; 1 to 65535"},
        BadInput{"NegativePort", Node("port = -1"),
                 "4:8: node \"a\": port -1 is out of bounds; 1 to 65535"},
        BadInput{"PortWord", Node("port = \"http\""),
                 "4:8: node \"a\": port \"http\" is no number"},
        BadInput{"OnePortTwice",
                 Node("port = 9001\n[[nodes]]\nname = \"b\"\n"
                      "host = \"localhost\"\nport = 9001"),
                 "8:8: node \"b\": port 9001 of this machine is taken by node "
                 "\"a\""},
        BadInput{"OneRemotePortTwice",
                 "insecure = true\n" +
                     Node("host = \"far\"\nport = 9001\n[[nodes]]\n"
                          "name = \"b\"\nhost = \"FAR\"\nport = 9001"),
                 "10:8: node \"b\": port 9001 of \"FAR\" is taken by node "
                 "\"a\""},
        BadInput{"OneAddrTwice",
                 Node("endpoint = { kind = \"unix\", addr = \"/x\" }\n"
                      "[[nodes]]\nname = \"b\"\n"
                      "endpoint = { kind = \"unix\", addr = \"/x\" }"),
                 "7:36: node \"b\": addr \"/x\" is taken by node \"a\""},
        BadInput{"EmptyHost", Node("host = \"\""),
                 "4:8: node \"a\": host is empty; leave the key out for this "
                 "machine"},
        BadInput{"HostOfAllInterfaces", Node("host = \"0.0.0.0\""),
                 "4:8: node \"a\": host \"0.0.0.0\" can be bound, not dialled; "
                 "write it in the addr of an endpoint"},
        BadInput{"HostOfAllIpv6Interfaces", Node("host = \"[::]\""),
                 "4:8: node \"a\": host \"[::]\" can be bound, not dialled; "
                 "write it in the addr of an endpoint"},
        BadInput{"HostOfAZoneAlone", Node("host = \"%\""),
                 "4:8: node \"a\": host \"%\" is neither a name nor an "
                 "address"},
        BadInput{"HostWithBlank", Node("host = \"a b\""),
                 "4:8: node \"a\": host \"a b\" is neither a name nor an "
                 "address"},
        BadInput{"HostOfUrl", Node("host = \"http://a\""),
                 "4:8: node \"a\": host \"http://a\" is neither a name nor an "
                 "address"},
        BadInput{"HostWithPort", Node("host = \"far:9001\""),
                 "4:8: node \"a\": host \"far:9001\" is neither a name nor an "
                 "address; write port = 9001 beside it"},
        BadInput{"UnsetVariable", Node("host = \"${HOST_OF_A}\""),
                 "4:8: node \"a\": host: environment variable HOST_OF_A is not "
                 "set"},
        BadInput{"UnsetVariableInPort", Node("port = \"${PORT}\""),
                 "4:8: node \"a\": port: environment variable PORT is not "
                 "set"},
        BadInput{"UnsetVariableInSocketDir",
                 "socket_dir = \"${DIR}/x\"\n" + Node(""),
                 "1:14: top level: socket_dir: environment variable DIR is not "
                 "set"},
        BadInput{"OpenVariable", Node("host = \"${HOST\""),
                 "4:8: node \"a\": host: \"${\" without \"}\" in "
                 "\"${HOST\""},
        BadInput{"EmptyVariable", Node("host = \"${}\""),
                 "4:8: node \"a\": host: \"\" is no name of a variable"},
        BadInput{"RelativeSocketDir", "socket_dir = \"run\"\n" + Node(""),
                 "1:14: top level: socket_dir \"run\" is no absolute path"},
        BadInput{"EndpointWithoutKind", Node("endpoint = { addr = \"/x\" }"),
                 "4:12: node \"a\": endpoint: no kind; known: shm, unix, grpc, "
                 "tcp"},
        BadInput{"EndpointRelativePath",
                 Node("endpoint = { kind = \"shm\", addr = \"x\" }"),
                 "4:35: node \"a\": endpoint: addr \"x\" is no absolute path"},
        BadInput{"EndpointWithoutPort",
                 Node("endpoint = { kind = \"tcp\", addr = \"127.0.0.1\" }"),
                 "4:35: node \"a\": endpoint: addr \"127.0.0.1\" is no "
                 "host:port"},
        BadInput{"EndpointOfGrpcWithoutAddrAndPort",
                 Node("endpoint = { kind = \"tcp\" }"),
                 "4:12: node \"a\": endpoint: kind grpc needs an addr such as "
                 "\"127.0.0.1:9001\", or the node a port"},
        BadInput{"EndpointOfGrpcOfARemoteNodeWithoutPort",
                 "insecure = true\n" + Node("host = \"far\"\n"
                                            "endpoint = { kind = \"grpc\" }"),
                 "5:8: node \"a\": host \"far\" is remote, and there is no "
                 "port to dial"},
        BadInput{"EndpointBareIpv6",
                 Node("endpoint = { kind = \"tcp\", addr = \"::1:90\" }"),
                 "4:35: node \"a\": endpoint: addr \"::1:90\" is no "
                 "host:port"},
        BadInput{"CertificateWithoutKey", Node("[tls]\ncertificate = \"c\""),
                 "4:1: [tls]: certificate without key"},
        BadInput{"EmptyPathsOfTls",
                 Node("[tls]\ncertificate = \"\"\nkey = \"\"\nca = \"\""),
                 "5:15: [tls]: certificate is empty; leave the key out for "
                 "none\nt.toml:6:7: [tls]: key is empty; leave the key out for "
                 "none\nt.toml:7:6: [tls]: ca is empty; leave the key out for "
                 "none"},
        BadInput{"NulInAPathOfTls", Node("[tls]\nca = \"/a\\u0000b\""),
                 "5:6: [tls]: ca \"/a\\000b\" is no path"},
        BadInput{"ClientCertificateWithoutCa",
                 Node("[tls]\nrequire_client_certificate = true"),
                 "5:30: [tls]: require_client_certificate without ca; there is "
                 "nothing to check a certificate with"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Types, BadInputTest,
    testing::Values(
        BadInput{"NodesInteger", "nodes = 3\n",
                 "1:9: top level: nodes: expected tables, each headed "
                 "[[nodes]], got an integer"},
        BadInput{"NodesTable", "[nodes]\nname = \"a\"\n",
                 "1:1: top level: nodes: expected tables, each headed "
                 "[[nodes]], got a table"},
        BadInput{"NodesOfStrings", "nodes = [\"a\"]\n",
                 "1:10: top level: nodes: expected tables, each headed "
                 "[[nodes]], got a string"},
        BadInput{"Name", "[[nodes]]\nname = 3\n",
                 "2:8: [[nodes]]: name: expected a string, got an integer"},
        BadInput{"Services", "[[nodes]]\nname = \"a\"\nservices = \"s\"\n",
                 "3:12: node \"a\": services: expected an array of strings, "
                 "got a string"},
        BadInput{"ServiceElement",
                 "[[nodes]]\nname = \"a\"\nservices = [\"s\", 1.5]\n",
                 "3:18: node \"a\": services: expected an array of strings, "
                 "got a float"},
        BadInput{"Host", Node("host = 10"),
                 "4:8: node \"a\": host: expected a string, got an integer"},
        BadInput{"Port", Node("port = true"),
                 "4:8: node \"a\": port: expected an integer, or a string with "
                 "${VAR}, got a boolean"},
        BadInput{"Endpoint", Node("endpoint = \"unix\""),
                 "4:12: node \"a\": endpoint: expected a table, got a string"},
        BadInput{"EndpointKind", Node("endpoint = { kind = 1 }"),
                 "4:21: node \"a\": endpoint: kind: expected a string, got an "
                 "integer"},
        BadInput{"SocketDir", "socket_dir = 1\n" + Node(""),
                 "1:14: top level: socket_dir: expected a string, got an "
                 "integer"},
        BadInput{"Insecure", "insecure = \"yes\"\n" + Node(""),
                 "1:12: top level: insecure: expected true or false, got a "
                 "string"},
        BadInput{"AllowUids", "allow_uids = 3\n" + Node(""),
                 "1:14: top level: allow_uids: expected an array of integers, "
                 "got an integer"},
        BadInput{"AllowUidsElement", "allow_uids = [\"root\"]\n" + Node(""),
                 "1:15: top level: allow_uids: expected an array of integers, "
                 "got a string"},
        BadInput{"AllowUidsNegative", "allow_uids = [-1]\n" + Node(""),
                 "1:15: top level: allow_uids: -1 is no uid; 0 to 4294967294"},
        BadInput{"Defaults", "defaults = []\n" + Node(""),
                 "1:12: top level: defaults: expected a table, got an array"},
        BadInput{"Limits", "limits = 1979-05-27\n" + Node(""),
                 "1:10: top level: limits: expected a table, got a date or "
                 "time"},
        BadInput{"Tls", "tls = true\n" + Node(""),
                 "1:7: top level: tls: expected a table, got a boolean"},
        BadInput{"Routes", "routes = {}\n" + Node(""),
                 "1:10: top level: routes: expected tables, each headed "
                 "[[routes]], got a table"},
        BadInput{"RouteFrom", Route("from = 1"),
                 "8:8: route \"* -> *\": from: expected a string, got an "
                 "integer"},
        BadInput{"RouteTopics", Route("topics = \"x\""),
                 "8:10: route \"* -> *\": topics: expected an array of "
                 "strings, got a string"},
        BadInput{"Depth", Route("depth = \"9\""),
                 "8:9: route \"* -> *\": depth: expected an integer, got a "
                 "string"},
        BadInput{"Duration", Route("retain = 5"),
                 "8:10: route \"* -> *\": retain: expected a duration such as "
                 "\"250ms\" or \"5s\", got an integer"},
        BadInput{"DurationText", Route("retain = \"5\""),
                 "8:10: route \"* -> *\": retain: \"5\" is no duration such as "
                 "\"250ms\" or \"5s\""},
        BadInput{"Bytes", Route("lane_bytes = 1.5"),
                 "8:14: route \"* -> *\": lane_bytes: expected an integer or a "
                 "size such as \"4MiB\", got a float"},
        BadInput{"BytesText", Route("lane_bytes = \"4MB\""),
                 "8:14: route \"* -> *\": lane_bytes: \"4MB\" is no size such "
                 "as 4096, \"64KiB\" or \"4MiB\""}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Words, BadInputTest,
    testing::Values(
        BadInput{"Transport", Route("transport = \"shmem\""),
                 "8:13: route \"* -> *\": unknown transport \"shmem\"; known: "
                 "inproc, shm, unix, grpc, tcp; nearest: shm"},
        BadInput{"Overflow", Route("overflow = \"drop-oldest\""),
                 "8:12: route \"* -> *\": unknown overflow \"drop-oldest\"; "
                 "known: block, fail, drop_newest, drop_oldest, latest, "
                 "disconnect; nearest: drop_oldest"},
        BadInput{"Wait", Node("[defaults]\nwait = \"sleep\""),
                 "5:8: [defaults]: unknown wait \"sleep\"; known: spin, "
                 "adaptive, block"},
        BadInput{"EndpointKind", Node("endpoint = { kind = \"unx\" }"),
                 "4:21: node \"a\": endpoint: unknown kind \"unx\"; known: "
                 "shm, unix, grpc, tcp; nearest: unix"},
        BadInput{"EndpointInproc", Node("endpoint = { kind = \"inproc\" }"),
                 "4:21: node \"a\": endpoint: unknown kind \"inproc\"; known: "
                 "shm, unix, grpc, tcp"},
        BadInput{"DefaultInproc", Node("[defaults]\ntransport = \"inproc\""),
                 "5:13: [defaults]: transport inproc cannot join two nodes; "
                 "known: shm, unix, grpc, tcp"},
        BadInput{"Mode", Node("[deployment]\nmode = \"bundle\""),
                 "5:8: [deployment]: unknown mode \"bundle\"; known: monolith, "
                 "bundled, isolated, distributed; nearest: bundled"},
        BadInput{"Schema", "schema = \"exakt\"\n" + Node(""),
                 "1:10: top level: unknown schema \"exakt\"; known: exact, "
                 "compatible; nearest: exact"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Routes, BadInputTest,
    testing::Values(
        BadInput{"LaneOfRoute", Route("lane_bytes = \"1MiB\""),
                 "8:14: route \"* -> *\": lane_bytes 1MiB takes frames of at "
                 "most 512KiB, but frame_bytes_max of [limits] is 2MiB"},
        BadInput{"LaneOfDefaults",
                 Node("[defaults]\nlane_bytes = \"64KiB\"\n"
                      "[limits]\nframe_bytes_max = \"33KiB\""),
                 "5:14: [defaults]: lane_bytes 64KiB takes frames of at most "
                 "32KiB, but frame_bytes_max of [limits] is 33KiB"},
        BadInput{"FramesOfLimits", Node("[limits]\nframe_bytes_max = 2097153"),
                 "5:19: [limits]: lane_bytes 4MiB takes frames of at most "
                 "2MiB, but frame_bytes_max of [limits] is 2097153"},
        BadInput{"UnknownFrom", Route("from = \"ss\""),
                 "8:8: route \"ss -> *\": from: no service or node \"ss\"; "
                 "nearest: s"},
        BadInput{"UnknownTo", Route("to = \"nowhere\""),
                 "8:6: route \"* -> nowhere\": to: no service or node "
                 "\"nowhere\"; known: a, b, s, t, u"},
        BadInput{"EmptyFrom", Route("from = \"\""),
                 "8:8: route \"* -> *\": from is empty; leave the key out for "
                 "any"},
        BadInput{"EmptyTopics", Route("topics = []"),
                 "8:10: route \"* -> *\": topics is empty; leave the key out "
                 "for all topics"},
        BadInput{"WaitOfOnePublisher", Route("from = \"s\"\nwait = \"spin\""),
                 "7:1: route \"s -> *\": wait: a subscription waits for all "
                 "publishers at once; set it in a route without `from`, or in "
                 "[defaults]"},
        BadInput{"SpinOfOnePublisher",
                 Route("from = \"s\"\nto = \"u\"\nspin = \"1us\""),
                 "7:1: route \"s -> u\": spin: a subscription waits for all "
                 "publishers at once; set it in a route without `from`, or in "
                 "[defaults]"},
        BadInput{"Conflict",
                 Route("from = \"s\"\noverflow = \"fail\"\n[[routes]]\n"
                       "from = \"s\"\noverflow = \"latest\"\ndepth = 2"),
                 "10:1: route \"s -> *\": conflicting routes: lines 7 and 10 "
                 "are equally specific and differ in overflow"},
        BadInput{"ConflictOfEnds",
                 Route("from = \"s\"\ndepth = 1\n[[routes]]\nto = \"u\"\n"
                       "depth = 2"),
                 "10:1: route \"* -> u\": conflicting routes: lines 7 and 10 "
                 "are equally specific and differ in depth"},
        BadInput{"ConflictOfTopics",
                 Route("topics = [\"x\", \"y\"]\ndepth = 1\n[[routes]]\n"
                       "topics = [\"z\", \"y\"]\ndepth = 2"),
                 "10:1: route \"* -> *\": conflicting routes: lines 7 and 10 "
                 "are equally specific and differ in depth"},
        BadInput{"SocketOfAnotherNode",
                 "socket_dir = \"/run/m\"\n" +
                     Node("endpoint = { kind = \"unix\", addr = "
                          "\"/run/m/b.sock\" }\n"
                          "[[nodes]]\nname = \"b\""),
                 "5:36: node \"a\": addr \"/run/m/b.sock\" is the socket of "
                 "node \"b\" in line 7"},
        BadInput{
            "PortOfAnotherNode",
            "insecure = true\n" + Node("port = 9001\n[[nodes]]\nname = \"b\"\n"
                                       "endpoint = { kind = \"grpc\", addr = "
                                       "\"0.0.0.0:9001\" }"),
            "8:36: node \"b\": addr \"0.0.0.0:9001\" is taken by node "
            "\"a\", which listens at \"127.0.0.1:9001\""},
        BadInput{"AddressOfAnotherNode",
                 Node("port = 9001\n[[nodes]]\nname = \"b\"\n"
                      "endpoint = { kind = \"grpc\", addr = "
                      "\"127.0.0.1:9001\" }"),
                 "7:36: node \"b\": addr \"127.0.0.1:9001\" is taken by node "
                 "\"a\", which listens at \"127.0.0.1:9001\""},
        BadInput{"PortOfALaterNode",
                 Node("endpoint = { kind = \"grpc\", addr = "
                      "\"localhost:9002\" }\n"
                      "[[nodes]]\nname = \"b\"\nport = 9002"),
                 "7:8: node \"b\": port 9002 of this machine is taken by node "
                 "\"a\", which listens at \"localhost:9002\""},
        BadInput{"AllInterfacesAndOne",
                 "insecure = true\n" +
                     Node("endpoint = { kind = \"grpc\", addr = "
                          "\":9001\" }\n"
                          "[[nodes]]\nname = \"b\"\nendpoint = { kind = "
                          "\"grpc\", addr = \"[::1]:9001\" }"),
                 "8:36: node \"b\": addr \"[::1]:9001\" is taken by node "
                 "\"a\", which listens at \":9001\""},
        BadInput{"AllInterfacesTwice",
                 "insecure = true\n" +
                     Node("endpoint = { kind = \"grpc\", addr = "
                          "\"[::]:9001\" }\n"
                          "[[nodes]]\nname = \"b\"\nendpoint = { kind = "
                          "\"grpc\", addr = \"0.0.0.0:9001\" }"),
                 "8:36: node \"b\": addr \"0.0.0.0:9001\" is taken by node "
                 "\"a\", which listens at \"[::]:9001\""},
        BadInput{"SocketOfAnotherNodeWithMoreSlashes",
                 "socket_dir = \"/run//m/\"\n" +
                     Node("endpoint = { kind = \"unix\", addr = "
                          "\"/run/./m/b.sock\" }\n"
                          "[[nodes]]\nname = \"b\""),
                 "5:36: node \"a\": addr \"/run/./m/b.sock\" is the socket of "
                 "node \"b\" in line 7"},
        BadInput{"OneAddrTwiceWithMoreSlashes",
                 Node("endpoint = { kind = \"unix\", addr = \"//x\" }\n"
                      "[[nodes]]\nname = \"b\"\n"
                      "endpoint = { kind = \"shm\", addr = \"/./x\" }"),
                 "7:35: node \"b\": addr \"/./x\" is taken by node \"a\""},
        BadInput{"LinkOfTwoDirections",
                 Route("from = \"a\"\nto = \"b\"\ntransport = \"unix\"\n"
                       "[[routes]]\n"
                       "from = \"b\"\nto = \"a\"\ntransport = \"shm\""),
                 "14:13: route \"b -> a\": transport shm: line 10 asks for "
                 "unix, and two nodes have one link, for both directions, all "
                 "services and all topics"},
        BadInput{"LinkOfTwoServices",
                 Route("from = \"s\"\nto = \"u\"\ntransport = \"unix\"\n"
                       "[[routes]]\n"
                       "from = \"t\"\nto = \"u\"\ntransport = \"shm\""),
                 "14:13: route \"t -> u\": transport shm: line 10 asks for "
                 "unix, and two nodes have one link, for both directions, all "
                 "services and all topics"},
        BadInput{"LinkOfTwoTopics",
                 Route("topics = [\"x\"]\ntransport = \"unix\"\n"
                       "[[routes]]\n"
                       "topics = [\"y\"]\ntransport = \"shm\""),
                 "12:13: route \"* -> *\": transport shm: line 9 asks for "
                 "unix, and two nodes have one link, for both directions, all "
                 "services and all topics"},
        BadInput{"LinkOfEitherEnd",
                 Route("from = \"a\"\ntransport = \"unix\"\n"
                       "[[routes]]\nfrom = \"b\"\ntransport = \"shm\""),
                 "12:13: route \"b -> *\": transport shm: line 9 asks for "
                 "unix, and two nodes have one link, for both directions, all "
                 "services and all topics"},
        BadInput{"LinkOfTwoRoutesAndOneThatCannotDecide",
                 Route("from = \"a\"\ntransport = \"unix\"\n"
                       "[[routes]]\nfrom = \"b\"\ntransport = \"shm\"\n"
                       "[[routes]]\nfrom = \"s\"\ntopics = [\"x\"]\n"
                       "transport = \"grpc\""),
                 "12:13: route \"b -> *\": transport shm: line 9 asks for "
                 "unix, and two nodes have one link, for both directions, all "
                 "services and all topics"},
        BadInput{"LinkThatANamedRouteDoesNotGet",
                 Route("from = \"a\"\nto = \"b\"\ntransport = \"unix\"\n"
                       "[[routes]]\n"
                       "from = \"u\"\nto = \"s\"\ntransport = \"shm\""),
                 "10:13: route \"a -> b\": transport unix: line 14 asks for "
                 "shm, and two nodes have one link, for both directions, all "
                 "services and all topics"},
        BadInput{"InprocBetweenNodes",
                 Route("from = \"s\"\nto = \"u\"\ntransport = \"inproc\""),
                 "10:13: route \"s -> u\": transport inproc: the ends are in "
                 "different nodes; known: shm, unix, grpc, tcp"},
        BadInput{"UnixInOneNode",
                 Route("from = \"s\"\nto = \"t\"\ntransport = \"unix\""),
                 "10:13: route \"s -> t\": transport unix: both ends are in "
                 "node \"a\"; known: inproc"},
        BadInput{"GrpcWithoutPort",
                 Route("from = \"s\"\nto = \"u\"\ntransport = \"tcp\""),
                 "10:13: route \"s -> u\": transport grpc: neither end has a "
                 "port"},
        BadInput{"DefaultGrpcWithoutPort",
                 std::string(kTwoNodes) + "[defaults]\ntransport = \"grpc\"\n",
                 "8:13: default transport: grpc needs a port at node \"a\" or "
                 "node \"b\""},
        BadInput{"UnixBetweenHosts",
                 "insecure = true\n" + Node("[[nodes]]\nname = \"b\"\n"
                                            "host = \"far\"\nport = 1\n"
                                            "[[routes]]\nfrom = \"a\"\n"
                                            "to = \"b\"\ntransport = \"shm\""),
                 "12:13: route \"a -> b\": transport shm: the ends are on "
                 "different hosts; known: grpc, tcp"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace mycelium
