#include "mycelium/transport/grpc/why_not_listening.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mycelium/base/fd.h"
#include "tests/support/loopback_address.h"

namespace mycelium {
namespace {

using absl::StatusCode;

// Lets no process take an address, and gives `error` as the reason.
class RefusingSys final : public Sys {
 public:
  explicit RefusingSys(int64_t error) : error_(error) {}
  int64_t Bind(int, const sockaddr*, socklen_t) override { return -error_; }

 private:
  const int64_t error_;
};

TEST(WhyNotListeningTest, SomebodyElseListens) {
  Sys sys;
  const Fd socket(sys, static_cast<int>(sys.Socket(AF_INET, SOCK_STREAM)));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(sys.Bind(socket.get(), any, bytes), 0);
  ASSERT_EQ(sys.Listen(socket.get(), 1), 0);
  ASSERT_EQ(getsockname(socket.get(), any, &bytes), 0);
  const std::string text = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  const absl::Status why = WhyNotListening(sys, text);
  EXPECT_EQ(why.code(), StatusCode::kAlreadyExists) << why;
  EXPECT_TRUE(absl::StrContains(why.message(), text)) << why;
}

TEST(WhyNotListeningTest, AddressIsNotOfThisMachine) {
  Sys sys;
  // An address for documentation only (RFC 5737).
  const absl::Status why = WhyNotListening(sys, "192.0.2.1:0");
  EXPECT_EQ(why.code(), StatusCode::kFailedPrecondition) << why;
  EXPECT_TRUE(absl::StrContains(why.message(), "no address of this machine"));
}

TEST(WhyNotListeningTest, UserMayNot) {
  RefusingSys sys(EACCES);
  const absl::Status why = WhyNotListening(sys, "ipv4:127.0.0.1:0");
  EXPECT_EQ(why.code(), StatusCode::kPermissionDenied) << why;
}

TEST(WhyNotListeningTest, AnythingElseIsSaidInTheWordsOfTheSystem) {
  RefusingSys sys(ENOBUFS);
  const absl::Status why = WhyNotListening(sys, "[::1]:0");
  EXPECT_EQ(why.code(), StatusCode::kUnavailable) << why;
  EXPECT_TRUE(absl::StrContains(why.message(), "buffer space")) << why;
}

TEST(WhyNotListeningTest, HostIsNotKnown) {
  Sys sys;
  // A label has at most 63 bytes, so no server is asked.
  const std::string host(64, 'h');
  const absl::Status why = WhyNotListening(sys, host + ":0");
  EXPECT_EQ(why.code(), StatusCode::kInvalidArgument) << why;
  EXPECT_TRUE(absl::StrContains(why.message(), host)) << why;
}

TEST(AddressesToListenAtTest, NumbersPortZeroAndUnknownNamesStayAsTheyAre) {
  Sys sys;
  const test::LoopbackAddress free;
  for (const std::string& address :
       {free.host_port(), absl::StrCat("ipv4:", free.host_port()),
        absl::StrCat("[::]:", free.port), std::string("localhost:0"),
        std::string("unix:/tmp/socket"),
        absl::StrCat(std::string(64, 'h'), ":", free.port)}) {
    EXPECT_EQ(AddressesToListenAt(sys, address),
              std::vector<std::string>{address});
  }
}

TEST(WhyNotListeningTest, ReasonThatIsOverIsNoneThatIsMadeUp) {
  Sys sys;
  const absl::Status why = WhyNotListening(sys, "127.0.0.1:0");
  EXPECT_EQ(why.code(), StatusCode::kUnavailable) << why;
}

}  // namespace
}  // namespace mycelium
