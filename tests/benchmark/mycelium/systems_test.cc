// What holds for every candidate: it carries all messages of every case that it
// claims to support. The benchmark tells how fast it is.

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/benchmark/mycelium/inline_system.h"
#include "tests/benchmark/mycelium/queued_system.h"
#include "tests/benchmark/mycelium/unix_system.h"
#include "tests/benchmark/mycelium/wake_system.h"

namespace mycelium::bench {
namespace {

constexpr int64_t kMessages = 300;

Case MakeCase(const std::string& transport, Mode mode, Wait wait, Kind kind) {
  Case what;
  what.transport = transport;
  what.kind = kind;
  what.mode = mode;
  what.wait = wait;
  what.messages = kMessages;
  what.warm_up = 20;
  what.rate_per_s = 10'000;
  what.ring_bytes = 65'536;
  what.deadline_ms = 30'000;
  return what;
}

// Runs each case of `system`, and returns how many there were.
int CheckCases(System& system) {
  int cases = 0;
  for (const char* transport : {"inproc", "shm", "unix", "grpc"}) {
    for (const Mode mode :
         {Mode::kLatency, Mode::kOpen, Mode::kFlood, Mode::kWake}) {
      for (const Wait wait : {Wait::kSpin, Wait::kBlock, Wait::kAdaptive}) {
        for (const Kind kind : {Kind::kRaw, Kind::kProtobuf, Kind::kLoan}) {
          const Case what = MakeCase(transport, mode, wait, kind);
          if (!system.Supports(what)) continue;
          SCOPED_TRACE(absl::StrCat(system.variant(), " ", Describe(what)));
          ++cases;
          const auto result = system.Run(what, CpuPair{});
          EXPECT_TRUE(result.ok()) << result.status();
          if (!result.ok()) continue;
          if (mode != Mode::kFlood) {
            EXPECT_EQ(result->latencies_ns.size(), size_t{kMessages});
          }
          for (const int64_t ns : result->latencies_ns) EXPECT_GT(ns, 0);
          EXPECT_GE(result->messages, kMessages);
          EXPECT_GT(result->elapsed_ns, 0);
          EXPECT_GT(*result->cpu_ns, 0);
          // gRPC makes its own calls, which nobody counts.
          EXPECT_EQ(result->syscalls.has_value(), what.transport != "grpc");
        }
      }
    }
  }
  return cases;
}

TEST(SystemsTest, InlineCarriesEachMessageOfEveryCase) {
  InlineSystem by_reference(InlineSystem::Publish::kByReference);
  EXPECT_EQ(CheckCases(by_reference), 2);
  InlineSystem by_pointer(InlineSystem::Publish::kByPointer);
  EXPECT_EQ(CheckCases(by_pointer), 1);
}

TEST(SystemsTest, QueuedCarriesEachMessageOfEveryCase) {
  QueuedSystem receive(QueuedSystem::Pull::kReceive);
  EXPECT_EQ(CheckCases(receive), 27);
  QueuedSystem try_receive(QueuedSystem::Pull::kTryReceive);
  EXPECT_EQ(CheckCases(try_receive), 9);
}

TEST(SystemsTest, CallerCarriesEachMessageOfEveryCase) {
  UnixSystem caller(UnixSystem::Polling::kCaller);
  EXPECT_EQ(CheckCases(caller), 45);
}

TEST(SystemsTest, ThreadCarriesEachMessageOfEveryCase) {
  UnixSystem thread(UnixSystem::Polling::kThread);
  EXPECT_EQ(CheckCases(thread), 45);
}

TEST(SystemsTest, WakeCarriesEachMessageOfEveryCase) {
  int cases = 0;
  for (const WakeSystem::Path path :
       {WakeSystem::Path::kInproc, WakeSystem::Path::kLinkCaller,
        WakeSystem::Path::kLinkThread}) {
    WakeSystem system(path);
    cases += CheckCases(system);
  }
  EXPECT_EQ(cases, 5);
}

}  // namespace
}  // namespace mycelium::bench
