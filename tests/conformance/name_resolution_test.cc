// A name that does not resolve, and later does; and a name of several
// addresses. The tests change the machine's names for this process alone, in a
// mount namespace. Where the kernel allows nobody to make one, they say so and
// are skipped.
#include <sched.h>
#include <sys/mount.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mycelium/bus/grpc_endpoint.h"
#include "mycelium/bus/message_bus.h"
#include "tests/conformance/two_way_side.h"
#include "tests/support/loopback_address.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium::test {
namespace {

constexpr uint64_t kMessages = 100;
constexpr absl::Duration kLong = TwoWaySide::kLong;
constexpr char kName[] = "later.mycelium.test";

// Files of this process that replace those below /etc.
class Names final {
 public:
  Names() {
    Write("hosts", "127.0.0.1 localhost\n");
    Write("host.conf", "multi on\n");  // A name has all its lines.
    Write("resolv.conf",
          "nameserver 127.255.255.254\n"
          "options timeout:1 attempts:1\n");
    // Done before there is a second thread, which would keep the old namespace.
    made_ = unshare(CLONE_NEWNS) == 0 &&
            mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
            Put("hosts") && Put("host.conf") && Put("resolv.conf");
  }
  bool made() const { return made_; }
  // In place of what was added before.
  void Add(const std::vector<std::string>& addresses, const std::string& name) {
    std::string hosts = "127.0.0.1 localhost\n";
    for (const std::string& address : addresses) {
      absl::StrAppend(&hosts, address, " ", name, "\n");
    }
    Write("hosts", hosts);
  }

 private:
  // In place, so that the file stays the mounted one.
  void Write(const std::string& file, const std::string& text) {
    std::ofstream(dir_.file(file)) << text;
  }
  bool Put(const std::string& file) {
    return mount(dir_.file(file).c_str(), ("/etc/" + file).c_str(), nullptr,
                 MS_BIND, nullptr) == 0;
  }

  const ShortTempDir dir_;
  bool made_ = false;
};

class NameResolutionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (names_.made()) return;
    std::printf("skipped: no mount namespace can be made here\n");
    GTEST_SKIP() << "no mount namespace can be made here";
  }

  Names& names_ = OfProcess();

 private:
  // One for all tests: the first one starts threads.
  static Names& OfProcess() {
    static auto* const names = new Names;
    return *names;
  }
};

TEST_F(NameResolutionTest, NameThatResolvesLaterIsFound) {
  const LoopbackAddress address;
  BusOptions options = TwoWaySide::Options();
  options.insecure = true;  // A name may be any machine's.
  TwoWaySide bound("b", "west", "east", kMessages, options);
  TwoWaySide dialled("a", "east", "west", kMessages, options);
  auto endpoint = BindGrpcEndpoint(address.host_port(), bound.bus());
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  ASSERT_TRUE(
      DialGrpcEndpoint(absl::StrCat(kName, ":", address.port), dialled.bus())
          .ok());
  std::string error;
  const auto end = absl::Now() + kLong;
  while (error.empty() && absl::Now() < end) {
    for (const LinkReport& link : dialled.bus().LinkReports()) {
      error = link.last_error;
    }
    std::this_thread::yield();
  }
  EXPECT_TRUE(absl::StrContains(error, kName)) << error;
  names_.Add({address.host}, kName);
  bound.Start([](uint64_t) {});
  dialled.Start([](uint64_t) {});
  bound.Join();
  dialled.Join();
  EXPECT_TRUE(bound.bus().Flush(kLong).ok());
  EXPECT_TRUE(dialled.bus().Flush(kLong).ok());
  bound.ExpectEachOnceInOrder();
  dialled.ExpectEachOnceInOrder();
  bound.ExpectBalance();
  dialled.ExpectBalance();
}

// gRPC may take a moment to close the port of a listener that is gone.
absl::StatusOr<GrpcEndpointHandle> BindOnceFree(const std::string& address,
                                                MessageBus& bus) {
  const absl::Time end = absl::Now() + kLong;
  while (true) {
    auto bound = BindGrpcEndpoint(address, bus);
    if (!absl::IsAlreadyExists(bound.status()) || absl::Now() > end) {
      return bound;
    }
    std::this_thread::yield();
  }
}

// Or a node would dial the name and meet whoever listens at the other address.
TEST_F(NameResolutionTest, ListenerGetsAllAddressesOfANameOrNone) {
  const LoopbackAddress address;
  const LoopbackAddress other;
  names_.Add({address.host, other.host}, kName);
  BusOptions options;
  options.insecure = true;
  options.node = "first";
  const auto first = MessageBus::Create(options);
  ASSERT_TRUE(first.ok()) << first.status();
  options.node = "second";
  const auto second = MessageBus::Create(options);
  ASSERT_TRUE(second.ok()) << second.status();
  const std::string named = absl::StrCat(kName, ":", address.port);
  for (const std::string& host : {address.host, other.host}) {
    const std::string one = absl::StrCat(host, ":", address.port);
    {
      const auto taken = BindOnceFree(one, **first);
      ASSERT_TRUE(taken.ok()) << taken.status();
      EXPECT_EQ(BindGrpcEndpoint(named, **second).status().code(),
                absl::StatusCode::kAlreadyExists);
    }
    // What could be taken was given back.
    const auto both = BindOnceFree(named, **second);
    ASSERT_TRUE(both.ok()) << both.status();
    EXPECT_EQ(both->address(), named);
    EXPECT_EQ(BindGrpcEndpoint(one, **first).status().code(),
              absl::StatusCode::kAlreadyExists);
  }
}

}  // namespace
}  // namespace mycelium::test
