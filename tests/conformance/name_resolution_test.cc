// A name that does not resolve, and later does. The test changes the machine's
// names for this process alone, in a mount namespace. Where the kernel allows
// nobody to make one, the test says so and is skipped.
#include <sched.h>
#include <sys/mount.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>

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
    Write("resolv.conf",
          "nameserver 127.255.255.254\n"
          "options timeout:1 attempts:1\n");
    // Done before there is a second thread, which would keep the old namespace.
    made_ = unshare(CLONE_NEWNS) == 0 &&
            mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
            Put("hosts") && Put("resolv.conf");
  }
  bool made() const { return made_; }
  void Add(const std::string& address, const std::string& name) {
    Write("hosts",
          absl::StrCat("127.0.0.1 localhost\n", address, " ", name, "\n"));
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

TEST(NameResolutionTest, NameThatResolvesLaterIsFound) {
  Names names;
  if (!names.made()) {
    std::printf("skipped: no mount namespace can be made here\n");
    GTEST_SKIP() << "no mount namespace can be made here";
  }
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
  names.Add(address.host, kName);
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

}  // namespace
}  // namespace mycelium::test
