// Whatever one system call does, the delivery contract holds: each call of each
// kind that a small scenario makes fails once, in each way that its kind can.

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/faults/scenario.h"

namespace mycelium::test {
namespace {

// The test runs once for each of these: see BUILD.
std::string TransportUnderTest() {
  const char* const transport = std::getenv("MYCELIUM_TEST_TRANSPORT");
  return transport == nullptr ? "unix" : transport;
}
bool Shares() { return TransportUnderTest() == "shm"; }

// The ways in which a kind of call fails: errnos, and reads and writes that
// move less than they were asked to.
struct Faults {
  std::string call;
  std::vector<int> errnos;
  std::vector<size_t> shorts;
};

std::vector<Faults> AllFaults() {
  std::vector<Faults> faults = {
      {"open", {EINTR, EMFILE, ENFILE, ENOMEM}, {}},
      {"close", {EINTR, EIO, ENOSPC}, {}},
      {"read", {EINTR, EAGAIN, EIO}, {1}},
      {"write", {EINTR, EAGAIN, ENOSPC}, {}},
      {"fstat", {ENOMEM, EIO}, {}},
      {"lstat", {ENOMEM, EIO}, {}},
      {"unlink", {ENOMEM, EIO}, {}},
      {"mkdir", {ENOSPC, ENOMEM, EIO}, {}},
      {"chmod", {ENOMEM, EIO}, {}},
      {"flock", {EINTR, EAGAIN, ENOLCK}, {}},
      {"socket", {EMFILE, ENFILE, ENOMEM, ENOBUFS}, {}},
      {"bind", {ENOSPC, ENOMEM}, {}},
      {"listen", {ENOMEM}, {}},
      {"accept", {EINTR, EAGAIN, EMFILE, ENFILE, ENOMEM, ECONNABORTED}, {}},
      {"connect", {EINTR, EAGAIN, ENOMEM, ECONNREFUSED, ECONNRESET}, {}},
      {"shutdown", {ENOTCONN}, {}},
      {"sendmsg",
       {EINTR, EAGAIN, EPIPE, ECONNRESET, ENOMEM, ENOBUFS, ETOOMANYREFS},
       {1, 17, 40}},
      {"recvmsg", {EINTR, EAGAIN, ECONNRESET, ENOMEM}, {1, 17}},
      {"getsockopt", {ENOMEM, ENOTCONN}, {}},
      {"epoll_create", {EMFILE, ENFILE, ENOMEM}, {}},
      {"epoll_ctl", {ENOMEM, ENOSPC}, {}},
      {"epoll_wait", {EINTR}, {}},
      {"eventfd", {EMFILE, ENFILE, ENOMEM}, {}},
      {"timerfd", {EMFILE, ENFILE, ENOMEM}, {}},
      {"map", {ENOMEM, EAGAIN}, {}},
      {"unmap", {ENOMEM}, {}},
      {"dontfork", {ENOMEM}, {}},
      {"memfd_create", {ENOSYS, EMFILE, ENOMEM}, {}},
      {"reserve", {EINTR, ENOSPC, ENOMEM}, {}},
      {"add_seals", {EINVAL, EPERM}, {}},
      {"hostname", {EPERM}, {}},
      {"getrandom", {EINTR, EAGAIN}, {}},
  };
  if (Shares()) {
    faults.push_back({"get_seals", {EINVAL}, {}});
  } else {
    faults.push_back({"recv", {EINTR, EAGAIN, ECONNRESET, ENOMEM}, {1, 17}});
  }
  return faults;
}

FaultySys::Counts CountCalls() {
  ScenarioSys sys;
  Scenario(sys, TransportUnderTest()).Run();
  return sys.counts();
}

class SystemCallFaultTest : public testing::TestWithParam<Faults> {
 protected:
  static void TearDownTestSuite() {
    std::cout << "in all " << runs_ << " runs with one fault each, in "
              << answered_ << " of which a call of the bus returned an error\n";
  }

  // Runs the scenario with one fault, which has to happen.
  void RunOnce(ScenarioSys& sys, int fault) {
    Scenario scenario(sys, TransportUnderTest(), fault);
    scenario.Run();
    EXPECT_TRUE(sys.fired()) << "the scenario is not the same each time";
    ++runs_;
    answered_ += scenario.calls_failed() > 0 ? 1 : 0;
  }

  static inline uint64_t runs_ = 0;
  static inline uint64_t answered_ = 0;
};

TEST_P(SystemCallFaultTest, NthCallFailsAndTheContractHolds) {
  const Faults& faults = GetParam();
  const uint64_t before = runs_;
  const FaultySys::Counts counts = CountCalls();
  const auto made = counts.find(faults.call);
  ASSERT_NE(made, counts.end()) << "the scenario makes no such call";
  for (uint64_t nth = 1; nth <= made->second; ++nth) {
    for (const int error : faults.errnos) {
      SCOPED_TRACE(testing::Message() << faults.call << " number " << nth
                                      << ": " << strerror(error));
      ScenarioSys sys;
      sys.FailNth(faults.call, nth, -error);
      RunOnce(sys, error);
    }
    for (const size_t bytes_max : faults.shorts) {
      SCOPED_TRACE(testing::Message() << faults.call << " number " << nth
                                      << ": only " << bytes_max << " bytes");
      ScenarioSys sys;
      sys.ShortenNth(faults.call, nth, bytes_max);
      RunOnce(sys, /*fault=*/0);
    }
    // One broken law is enough; hundreds of runs would say it again.
    if (HasFailure()) break;
  }
  std::cout << faults.call << ": " << made->second << " calls, "
            << runs_ - before << " runs\n";
}

INSTANTIATE_TEST_SUITE_P(EachKind, SystemCallFaultTest,
                         testing::ValuesIn(AllFaults()),
                         [](const auto& info) { return info.param.call; });

TEST(ScenarioTest, MakesTheSameCallsEachTime) {
  EXPECT_EQ(CountCalls(), CountCalls());
}

// Otherwise a kind could be left out unnoticed.
TEST(ScenarioTest, MakesCallsOfEveryKindButThese) {
  const FaultySys::Counts counts = CountCalls();
  std::vector<std::string> not_made;
  for (const std::string& kind : FaultySys::Kinds()) {
    if (counts.count(kind) == 0) not_made.push_back(kind);
  }
  // Not tried here: sleeping on a word, which a single thread does not do (see
  // futex_faults_test); other processes and successors of dead ones (see
  // handover_faults_test); listing, which nodes do not do; and `setsockopt`,
  // which only serves to find the reason why gRPC cannot listen.
  EXPECT_THAT(not_made, testing::UnorderedElementsAre(
                            "setsockopt", "futex_wait", "futex_wake",
                            "map_over", Shares() ? "recv" : "get_seals",
                            "pidfd_open", "read_directory"));
  std::vector<std::string> not_failed;
  for (const auto& [kind, number] : counts) {
    bool fails = false;
    for (const Faults& faults : AllFaults()) fails |= faults.call == kind;
    if (!fails) not_failed.push_back(kind);
  }
  // A timer of ours can be set as long as it is open.
  EXPECT_THAT(not_failed, testing::ElementsAre("timerfd_set"));
}

}  // namespace
}  // namespace mycelium::test
