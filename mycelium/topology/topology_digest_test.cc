#include <gtest/gtest.h>

#include <string>

#include "mycelium/topology/topology_fixture.h"

namespace mycelium {
namespace {

constexpr char kText[] =
    "[[nodes]]\nname = \"a\"\nservices = [\"s\", \"t\"]\n"
    "[[nodes]]\nname = \"b\"\nservices = [\"u\"]\n"
    "[[routes]]\nfrom = \"s\"\ntopics = [\"x\", \"y\"]\ndepth = 3\n";

std::string DigestOf(const std::string& text) {
  const absl::StatusOr<Topology> topology = ParseHere(text);
  EXPECT_TRUE(topology.ok()) << topology.status();
  return topology.ok() ? ContentDigest(*topology) : "";
}

TEST(TopologyDigestTest, OrderLayoutAndCommentsDoNotMatter) {
  EXPECT_EQ(DigestOf(kText),
            DigestOf("# A comment.\n"
                     "[[routes]]\ntopics = [\"y\", \"x\"]\ndepth=3\n"
                     "from = \"s\"\n"
                     "[[nodes]]\nservices = [\"u\"]\nname = \"b\"\n"
                     "[[nodes]]\nservices = [\"t\",\n \"s\"]\nname = 'a'\n"));
}

TEST(TopologyDigestTest, DefaultSocketDirOfAMachineDoesNotMatter) {
  EXPECT_EQ(ContentDigest(*ParseHere(kText)),
            ContentDigest(*ParseHere(kText, {{"XDG_RUNTIME_DIR", "/run/u"}})));
}

TEST(TopologyDigestTest, EveryMeaningMatters) {
  const std::string digest = DigestOf(kText);
  for (const char* more :
       {"[[nodes]]\nname = \"c\"\n", "[[routes]]\nretain = \"1s\"\n",
        "[defaults]\ndepth = 3\n", "[defaults]\ntransport = \"unix\"\n",
        "[limits]\nlinks = 3\n", "[limits]\nkeepalive = \"3s\"\n"}) {
    EXPECT_NE(digest, DigestOf(std::string(kText) + more)) << more;
  }
  for (const char* top :
       {"insecure = true\n", "allow_uids = [3]\n", "allow_anonymous = true\n",
        "socket_dir = \"/x\"\n", "schema = \"compatible\"\n"}) {
    EXPECT_NE(digest, DigestOf(std::string(top) + kText)) << top;
  }
}

TEST(TopologyDigestTest, WhoIsTrustedCounts) {
  const std::string pair = "[tls]\ncertificate = '/c'\nkey = '/k'\n";
  EXPECT_NE(DigestOf(std::string(kText) + pair),
            DigestOf(std::string(kText) + pair + "ca = '/a'\n"));
  EXPECT_NE(DigestOf(std::string(kText) + pair + "ca = '/a'\n"),
            DigestOf(std::string(kText) + "[tls]\nca = '/a'\n"));
  // Where the files lie does not.
  EXPECT_EQ(DigestOf(std::string(kText) + "[tls]\nca = '/a'\n"),
            DigestOf(std::string(kText) + "[tls]\nca = '/b'\n"));
}

TEST(TopologyDigestTest, UidThatIsSaidTwiceIsSaid) {
  EXPECT_EQ(DigestOf(std::string("allow_uids = [7, 3]\n") + kText),
            DigestOf(std::string("allow_uids = [3, 7, 7]\n") + kText));
}

TEST(TopologyDigestTest, NamesCannotBeTakenForOtherFacts) {
  EXPECT_NE(DigestOf("[[nodes]]\nname = 'a'\nservices = ['s', 't']\n"),
            DigestOf("[[nodes]]\nname = 'a'\nservices = ['s\",\"t']\n"));
}

TEST(TopologyDigestTest, TextOfEveryKeyIsPinned) {
  const absl::StatusOr<Topology> topology = ParseHere(R"(
schema = "compatible"
insecure = true
allow_anonymous = true
allow_uids = [7, 3]
socket_dir = "/run/m"
[[nodes]]
name = "a"
services = ["t", "s"]
host = "10.0.0.5"
port = 9001
endpoint = { kind = "grpc", addr = "0.0.0.0:9100" }
certificate_name = "a.example"
[[nodes]]
name = "b"
endpoint = { kind = "unix", addr = "/run/b" }
[[routes]]
from = "s"
to = "b"
topics = ["y", "x"]
transport = "grpc"
overflow = "latest"
depth = 3
window = 4
lane_bytes = "8MiB"
publish_timeout = "2s"
retain = "9s"
[[routes]]
to = "b"
wait = "block"
spin = "10us"
[defaults]
transport = "unix"
overflow = "fail"
depth = 5
window = 6
lane_bytes = "2MiB"
publish_timeout = "250ms"
retain = "7s"
wait = "spin"
spin = "20us"
[limits]
handshake = "5s"
frame_bytes_max = "1MiB"
links = 8
reconnect_min = "20ms"
reconnect_max = "3s"
keepalive = "1m"
redeliver_max = 4
[tls]
certificate = "/c"
key = "/k"
ca = "/a"
require_client_certificate = true
)");
  ASSERT_TRUE(topology.ok()) << topology.status();
  EXPECT_EQ(CanonicalText(*topology),
            R"(mycelium topology 1
access allow_uids=["3","7"] allow_anonymous=1 insecure=1 certificate=1 ca=1 )"
            R"(require_client_certificate=1 schema=compatible
defaults transport=unix overflow=fail depth=5 window=6 lane_bytes=2097152 )"
            R"(publish_timeout=250ms retain=7s wait=spin spin=20us
limits handshake=5s frame_bytes_max=1048576 links=8 reconnect_min=20ms )"
            R"(reconnect_max=3s keepalive=1m redeliver_max=4
node "a" services=["s","t"] host="10.0.0.5" port=9001 )"
            R"(endpoint=grpc:"0.0.0.0:9100" certificate_name="a.example"
node "b" services=[] host="" port=0 endpoint=unix:"/run/b"
route "" -> "b" topics=[] wait=block spin=10us
route "s" -> "b" topics=["x","y"] transport=grpc overflow=latest depth=3 )"
            R"(window=4 lane_bytes=8388608 publish_timeout=2s retain=9s
socket_dir "/run/m"
)");
}

TEST(TopologyDigestTest, TextAndDigestArePinned) {
  const absl::StatusOr<Topology> topology =
      ParseHere("[[nodes]]\nname = \"a\"\nservices = [\"s\"]\n");
  ASSERT_TRUE(topology.ok());
  EXPECT_EQ(CanonicalText(*topology),
            "mycelium topology 1\n"
            "access allow_uids=[] allow_anonymous=0 insecure=0 certificate=0 "
            "ca=0 require_client_certificate=0 schema=exact\n"
            "defaults overflow=block depth=1024 window=16 lane_bytes=4194304 "
            "publish_timeout=1s retain=5s wait=adaptive spin=50us\n"
            "limits handshake=2s frame_bytes_max=2097152 links=256 "
            "reconnect_min=10ms reconnect_max=2s keepalive=10s "
            "redeliver_max=3\n"
            "node \"a\" services=[\"s\"] host=\"\" port=0\n");
  EXPECT_EQ(ContentDigest(*topology),
            "cf204fab6558925d1d563710069a353d5c16500cab7d5348c64d17e80f1f84b9");
}

}  // namespace
}  // namespace mycelium
