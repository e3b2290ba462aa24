#ifndef TESTS_CONFORMANCE_PROCESS_FIXTURE_H_
#define TESTS_CONFORMANCE_PROCESS_FIXTURE_H_

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/conformance/peer_process.h"
#include "tests/support/loopback_address.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {

// The sums of a process over all its flows.
struct Counted {
  uint64_t accepted = 0, delivered = 0, in_flight = 0;
  uint64_t dropped = 0;  // All, of which:
  uint64_t gone = 0, poison = 0, overflow = 0, too_large = 0;
};

// Reads a peer's answer to "ledger".
inline Counted CountedOf(const std::string& answer) {
  const std::vector<std::string> words = absl::StrSplit(answer, ' ');
  Counted counted;
  uint64_t* const fields[] = {&counted.accepted,  &counted.delivered,
                              &counted.in_flight, &counted.dropped,
                              &counted.gone,      &counted.poison,
                              &counted.overflow,  &counted.too_large};
  EXPECT_EQ(words.size(), std::size(fields)) << answer;
  for (size_t i = 0; i < words.size() && i < std::size(fields); ++i) {
    EXPECT_TRUE(absl::SimpleAtoi(words[i], fields[i])) << answer;
  }
  return counted;
}

// The counts of a peer now. `service`: only of the flows to it, if it is not
// empty.
inline Counted CountedBy(PeerProcess& peer, const std::string& service = "") {
  return CountedOf(peer.Ask("ledger " + service, "ledger"));
}

// The transport that carries the links: a test runs once for each, see BUILD.
inline std::string TransportUnderTest() {
  const char* const transport = std::getenv("MYCELIUM_TEST_TRANSPORT");
  return transport == nullptr ? "unix" : transport;
}

// Two nodes of one host: service `writer` publishes to service `reader`.
class ProcessTest : public ::testing::Test {
 protected:
  using Flags = std::vector<std::string>;

  ProcessTest() { WriteTopology("a", "b"); }

  // `retain`: how long lanes wait for a subscriber that died. `limits`: lines
  // of the topology's table of that name.
  void WriteTopology(const std::string& writer, const std::string& reader,
                     const std::string& retain = "200ms",
                     const std::string& publish_timeout = "300ms",
                     const std::string& limits = "") {
    std::ofstream file(dir_.file("topology.toml"));
    file << "socket_dir = \"" << dir_.path() << "\"\n"
         << "schema = \"" << schema_ << "\"\n"
         << NodeOf(writer, "writer") << NodeOf(reader, "reader")
         << "[defaults]\ntransport = \"" << TransportUnderTest()
         << "\"\nretain = \"" << retain << "\"\n"
         << "publish_timeout = \"" << publish_timeout
         << "\"\nlane_bytes = \"64KiB\"\n"
         << "[limits]\nframe_bytes_max = \"8KiB\"\n"
         << "reconnect_max = \"50ms\"\n"
         << limits;
  }

  // Processes that start from here on take frames of half that size.
  void HalveFrames() { ReplaceInTopology("8KiB", "4KiB"); }

  void ReplaceInTopology(const std::string& from, const std::string& to) {
    std::stringstream text;
    text << std::ifstream(dir_.file("topology.toml")).rdbuf();
    std::ofstream(dir_.file("topology.toml"))
        << absl::StrReplaceAll(text.str(), {{from, to}});
  }

  // The lines of a node, which has an address where the transport needs one.
  std::string NodeOf(const std::string& name, const std::string& service) {
    std::string lines = absl::StrCat("[[nodes]]\nname = \"", name,
                                     "\"\nservices = [\"", service, "\"]\n");
    if (TransportUnderTest() == "grpc") {
      absl::StrAppend(&lines, "host = \"", host_.host,
                      "\"\nport = ", LoopbackAddress().port, "\n");
    }
    return lines;
  }

  std::unique_ptr<PeerProcess> Start(const std::string& role, int run,
                                     const Flags& more = {}) {
    const bool publishes = role == "publish";
    Flags flags = {"--role=" + role, absl::StrCat("--run=", run),
                   "--topology=" + dir_.file("topology.toml"),
                   publishes ? "--service=writer" : "--service=reader",
                   "--to=reader"};
    flags.insert(flags.end(), more.begin(), more.end());
    return std::make_unique<PeerProcess>(
        flags, dir_.file(absl::StrCat("page", ++pages_)), binary_);
  }
  std::unique_ptr<PeerProcess> Writer(int run = 1) {
    auto peer = Start("publish", run);
    peer->Await("ready");
    return peer;
  }
  // Starts a reader that awaits messages of the writer's `run`.
  std::unique_ptr<PeerProcess> Reader(int run = 1, const Flags& more = {}) {
    auto peer = Start("subscribe", run, more);
    peer->Await("ready");
    return peer;
  }

  // The same, and checks that everything it counts went over the transport
  // under test, and nothing fell back to a socket.
  static Counted LedgerOf(PeerProcess& peer, const std::string& service = "") {
    std::vector<std::string> links =
        absl::StrSplit(peer.Ask("links", "links"), ' ');
    links.erase(links.begin(),
                links.begin() + std::min<size_t>(2, links.size()));
    EXPECT_THAT(links, ::testing::Each(TransportUnderTest()));
    return CountedBy(peer, service);
  }

  // Also checks that its process ends well. Its last ledger can still be read.
  static void ShutDown(PeerProcess& peer) {
    EXPECT_EQ(peer.Ask("shutdown", "shut"), "OK");
    EXPECT_EQ(peer.AwaitEnd(), "exit 0");
  }

  static void ExpectEachOnceInOrder(const ReceivedIds& ids, uint64_t count) {
    EXPECT_EQ(ids.first, 1u);
    EXPECT_EQ(ids.last, count);
    EXPECT_EQ(ids.count, count);
    EXPECT_EQ(ids.gaps, 0u);
    EXPECT_EQ(ids.duplicates, 0u);
    EXPECT_EQ(ids.torn, 0u);
  }

  // Publishes, and compares what both sides know once all has arrived.
  static void SendAll(PeerProcess& writer, PeerProcess& reader,
                      uint64_t count) {
    EXPECT_EQ(writer.Ask("wait 1", "waited"), "OK");
    writer.Tell(absl::StrCat("publish ", count));
    EXPECT_EQ(writer.Await("published").substr(0, 2), "OK");
    EXPECT_EQ(writer.Ask("flush", "flushed"), "OK");
    ExpectAllArrived(writer, reader, count);
  }

  static void ExpectAllArrived(PeerProcess& writer, PeerProcess& reader,
                               uint64_t count) {
    const Counted sent = LedgerOf(writer);
    const Counted got = LedgerOf(reader);
    EXPECT_EQ(writer.counts().accepted, count);
    EXPECT_EQ(sent.accepted, count);
    EXPECT_EQ(sent.in_flight, 0u);
    EXPECT_EQ(sent.dropped, 0u);
    EXPECT_EQ(got.delivered, count);
    EXPECT_EQ(got.dropped, 0u);
    ExpectEachOnceInOrder(reader.counts().received[1], count);
  }

  ShortTempDir dir_;
  const LoopbackAddress host_;  // Of all nodes.
  std::string schema_ = "exact";
  std::string binary_ = "conformance_peer";  // Of processes that start.
  int pages_ = 0;
};

}  // namespace mycelium::test

#endif  // TESTS_CONFORMANCE_PROCESS_FIXTURE_H_
