// Three hosts, each a network namespace with an address of its own, on a switch
// whose ports the test unplugs. Where the kernel allows nobody to make
// namespaces, the test says so and is skipped.
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/conformance/faulty_proxy.h"
#include "tests/conformance/process_fixture.h"

namespace mycelium::test {
namespace {

bool Run(const std::string& command) {
  return std::system((command + " 2>/dev/null").c_str()) == 0;
}

// The namespaces a, b and c, on a switch in a fourth.
class Network final {
 public:
  // A random prefix: a run that was killed has left its namespaces behind, and
  // pids in a sandbox are small.
  Network() : prefix_(absl::StrCat("myc", std::random_device()())) {
    made_ = Run("ip netns add " + Name("switch")) &&
            Run(InSwitch("ip link add bridge type bridge")) &&
            Run(InSwitch("ip link set bridge up"));
    int number = 0;
    for (const std::string host : {"a", "b", "c"}) {
      made_ = made_ && AddHost(host, ++number);
    }
  }
  ~Network() {
    for (const std::string name : {"a", "b", "c", "switch"}) {
      (void)Run("ip netns del " + Name(name));
    }
  }

  bool made() const { return made_; }
  std::string Name(const std::string& host) const { return prefix_ + host; }
  // `state`: up or down.
  void SetPort(const std::string& host, const std::string& state) {
    EXPECT_TRUE(Run(InSwitch("ip link set dev port-" + host + " " + state)));
  }

 private:
  std::string InSwitch(const std::string& command) const {
    return absl::StrCat("ip netns exec ", Name("switch"), " ", command);
  }
  bool AddHost(const std::string& host, int number) {
    const std::string inside = "ip -n " + Name(host) + " ";
    return Run("ip netns add " + Name(host)) &&
           Run(InSwitch(absl::StrCat("ip link add name port-", host,
                                     " type veth peer name eth0 netns ",
                                     Name(host)))) &&
           Run(InSwitch("ip link set dev port-" + host +
                        " master bridge up")) &&
           Run(inside + "link set lo up") &&
           Run(absl::StrCat(inside, "addr add 10.99.0.", number,
                            "/24 dev eth0")) &&
           Run(inside + "link set eth0 up");
  }

  const std::string prefix_;
  bool made_ = false;
};

// What this thread starts during this object's life is on that host.
class OnHost final {
 public:
  OnHost(const Network& network, const std::string& host)
      : home_(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
    const std::string path = "/run/netns/" + network.Name(host);
    const int there = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT_EQ(setns(there, CLONE_NEWNET), 0) << path;
    close(there);
  }
  ~OnHost() {
    EXPECT_EQ(setns(home_, CLONE_NEWNET), 0);
    close(home_);
  }

 private:
  const int home_;
};

class ThreeHostsTest : public ProcessTest {
 protected:
  void SetUp() override {
    if (!network_.made()) {
      std::printf("skipped: no network namespaces can be made here\n");
      GTEST_SKIP() << "no network namespaces can be made here";
    }
    WriteFile("topology.toml", /*knows_c=*/true);
    WriteFile("stranger.toml", /*knows_c=*/false);
  }

  // The topology of host number `own`: it listens at 9001, and the others are
  // behind their proxies.
  void WriteFileOf(int own, const std::vector<int>& proxies) {
    const std::string names = "abc";
    const std::string services[] = {"writer", "reader", "other"};
    std::ofstream file(dir_.file(absl::StrCat(own, ".toml")));
    file << "insecure = true\n";
    for (int host = 0; host < 3; ++host) {
      file << "[[nodes]]\nname = \"" << names[host] << "\"\nservices = [\""
           << services[host] << "\"]\nhost = \"10.99.0." << host + 1
           << "\"\nport = " << (host == own ? 9001 : proxies[host]) << "\n";
    }
    file << "[defaults]\nretain = \"60s\"\npublish_timeout = \"300ms\"\n"
         << "[limits]\nkeepalive = \"500ms\"\nreconnect_max = \"100ms\"\n";
  }

  // Without `knows_c` the other nodes do not know the third.
  void WriteFile(const std::string& name, bool knows_c) {
    std::ofstream file(dir_.file(name));
    file << "insecure = true\n"
         << "[[nodes]]\nname = \"a\"\nservices = [\"writer\"]\n"
         << "host = \"10.99.0.1\"\nport = 9001\n"
         << "[[nodes]]\nname = \"b\"\nservices = [\"reader\"]\n"
         << "host = \"10.99.0.2\"\nport = 9001\n"
         << "[[nodes]]\nname = \"" << (knows_c ? "c" : "stranger")
         << "\"\nservices = [\"other\"]\n"
         << "host = \"10.99.0.3\"\nport = 9001\n"
         << "[defaults]\nretain = \"60s\"\npublish_timeout = \"300ms\"\n"
         << "[limits]\nkeepalive = \"500ms\"\nreconnect_max = \"100ms\"\n";
  }

  // Stops the writer. Checks that everything it published came once and in
  // order to each of the two readers, and that both sides have counted it.
  static void ExpectAllArrive(PeerProcess& writer,
                              std::array<PeerProcess*, 2> readers) {
    (void)writer.Ask("stop", "stopped");
    EXPECT_EQ(writer.Ask("flush", "flushed"), "OK");
    const uint64_t accepted = writer.counts().accepted;
    const Counted sent = LedgerOf(writer);
    EXPECT_EQ(sent.accepted, 2 * accepted);
    EXPECT_EQ(sent.in_flight + sent.dropped, 0u);
    for (PeerProcess* const reader : readers) {
      EXPECT_EQ(LedgerOf(*reader).delivered, accepted);
      ExpectEachOnceInOrder(reader->counts().received[1], accepted);
    }
  }

  std::unique_ptr<PeerProcess> StartOn(const std::string& host,
                                       const std::string& role,
                                       const Flags& more) {
    const OnHost inside(network_, host);
    auto peer = Start(role, /*run=*/1, more);
    peer->Await("ready");
    return peer;
  }

  Network network_;
};

TEST_F(ThreeHostsTest, HostThatIsCutOffAndRejoinsGetsEachMessageOnce) {
  auto writer = StartOn("a", "publish", {"--to="});
  auto reader = StartOn("b", "subscribe", {});
  auto other = StartOn("c", "subscribe", {"--service=other"});
  EXPECT_EQ(writer->Ask("wait 2", "waited"), "OK");
  writer->Tell("stream");
  EXPECT_EQ(reader->Ask("await 1000", "reached 1000"), "");
  network_.SetPort("b", "down");
  writer->Await("event disconnected b");
  reader->Await("event disconnected a");
  network_.SetPort("b", "up");
  writer->Await("event reconnected b");
  const uint64_t goal = reader->counts().received[1].count + 1000;
  reader->Ask(absl::StrCat("await ", goal), absl::StrCat("reached ", goal));
  ExpectAllArrive(*writer, {reader.get(), other.get()});
}

TEST_F(ThreeHostsTest, FaultsBetweenHostsLoseAndRepeatNothing) {
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  std::vector<std::unique_ptr<FaultyProxy>> proxies;
  std::vector<int> ports;
  for (int host = 0; host < 3; ++host) {
    const OnHost inside(network_, std::string(1, "abc"[host]));
    proxies.push_back(std::make_unique<FaultyProxy>(
        absl::StrCat("10.99.0.", host + 1), /*target=*/9001, seed + host,
        /*bytes_max=*/64 << 10));
    ports.push_back(proxies.back()->port());
  }
  for (int host = 0; host < 3; ++host) WriteFileOf(host, ports);
  const auto file = [&](int host) {
    return "--topology=" + dir_.file(absl::StrCat(host, ".toml"));
  };
  auto writer = StartOn("a", "publish", {"--to=", file(0)});
  auto reader = StartOn("b", "subscribe", {file(1)});
  auto other = StartOn("c", "subscribe", {"--service=other", file(2)});
  EXPECT_EQ(writer->Ask("wait 2", "waited"), "OK");
  writer->Tell("stream");
  const auto faults = [&] {
    uint64_t sum = 0;
    for (const auto& proxy : proxies) {
      for (const auto fault :
           {FaultyProxy::Fault::kDrop, FaultyProxy::Fault::kReset,
            FaultyProxy::Fault::kHalfClose, FaultyProxy::Fault::kBlackhole,
            FaultyProxy::Fault::kDelay, FaultyProxy::Fault::kThrottle}) {
        sum += proxy->count(fault);
      }
    }
    return sum;
  };
  // Chance decides how much a connection carries before its fault.
  constexpr uint64_t kFaults = 6;
  for (int more = 1; more <= 50 && faults() < kFaults; ++more) {
    for (PeerProcess* peer : {reader.get(), other.get()}) {
      const std::string goal = absl::StrCat(10'000 * more);
      EXPECT_EQ(peer->Ask("await " + goal, "reached " + goal), "");
    }
  }
  uint64_t connections = 0;
  for (const auto& proxy : proxies) {
    proxy->Impose(FaultyProxy::Fault::kNone);
    connections += proxy->connections();
  }
  std::cout << connections << " connections, " << faults() << " faults\n";
  EXPECT_GE(faults(), kFaults);
  ExpectAllArrive(*writer, {reader.get(), other.get()});
}

TEST_F(ThreeHostsTest, NodeOfAnotherHostThatTheTopologyDoesNotHaveIsRefused) {
  auto writer = StartOn("a", "publish", {});
  auto reader = StartOn("b", "subscribe", {});
  auto stranger =
      StartOn("c", "subscribe",
              {"--service=other", "--topology=" + dir_.file("stranger.toml")});
  stranger->Await("event refused");
  SendAll(*writer, *reader, 100);
  EXPECT_EQ(LedgerOf(*stranger).delivered, 0u);
}

}  // namespace
}  // namespace mycelium::test
