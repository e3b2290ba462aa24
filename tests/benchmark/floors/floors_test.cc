// What holds for every floor: it carries all messages of every case that it
// claims to support. The benchmark tells how fast it is.

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "tests/benchmark/floors/codec.h"
#include "tests/benchmark/floors/futex_wake.h"
#include "tests/benchmark/floors/grpc_callback.h"
#include "tests/benchmark/floors/grpc_stream.h"
#include "tests/benchmark/floors/handover.h"
#include "tests/benchmark/floors/socketpair.h"
#include "tests/benchmark/floors/spsc_ring.h"
#include "tests/benchmark/floors/tcp.h"

namespace mycelium::bench {
namespace {

constexpr int64_t kMessages = 300;
constexpr int64_t kWarmUp = 20;

std::unique_ptr<System> MakeFloor(const std::string& name) {
  if (name == "handover") return std::make_unique<HandoverFloor>();
  if (name == "spsc_ring") return std::make_unique<SpscRingFloor>();
  if (name == "futex_wake") return std::make_unique<FutexWakeFloor>();
  if (name == "grpc_stream") return std::make_unique<GrpcStreamFloor>();
  return std::make_unique<SocketpairFloor>();
}

Case MakeCase(const std::string& transport, Mode mode, Wait wait,
              size_t bytes) {
  Case what;
  what.transport = transport;
  what.mode = mode;
  what.wait = wait;
  what.bytes = bytes;
  what.messages = kMessages;
  what.warm_up = kWarmUp;
  what.rate_per_s = 100'000;
  what.ring_bytes = 4096;
  what.deadline_ms = 30'000;
  return what;
}

using FloorCase = std::tuple<const char*, const char*, Mode, Wait>;

std::vector<FloorCase> SupportedCases() {
  std::vector<FloorCase> cases;
  for (const char* name :
       {"handover", "spsc_ring", "socketpair", "futex_wake"}) {
    for (const char* transport : {"inproc", "shm", "unix"}) {
      for (const Mode mode :
           {Mode::kLatency, Mode::kOpen, Mode::kFlood, Mode::kWake}) {
        for (const Wait wait : {Wait::kSpin, Wait::kBlock}) {
          const Case what = MakeCase(transport, mode, wait, 64);
          if (!MakeFloor(name)->Supports(what)) continue;
          cases.emplace_back(name, transport, mode, wait);
        }
      }
    }
  }
  return cases;
}

class FloorTest : public testing::TestWithParam<FloorCase> {
 protected:
  void RunAndCheck(size_t bytes) {
    const auto [name, transport, mode, wait] = GetParam();
    const std::unique_ptr<System> floor = MakeFloor(name);
    const Case what = MakeCase(transport, mode, wait, bytes);
    ASSERT_TRUE(floor->Supports(what)) << "whatever the size";
    // A side that sleeps leaves its CPU to the other side, so one CPU is
    // enough.
    const absl::StatusOr<RoundResult> result =
        floor->Run(what, CpuPair{0, wait == Wait::kBlock ? 0 : 1});
    ASSERT_TRUE(result.ok()) << result.status();
    const size_t samples = mode == Mode::kFlood ? 0 : kMessages;
    EXPECT_EQ(result->latencies_ns.size(), samples);
    for (const int64_t ns : result->latencies_ns) EXPECT_GT(ns, 0);
    EXPECT_GE(result->messages, kMessages);
    EXPECT_GT(result->elapsed_ns, 0);
    EXPECT_TRUE(result->syscalls.has_value());
    EXPECT_GT(*result->cpu_ns, 0);
  }
};

TEST_P(FloorTest, CarriesEverySmallMessage) { RunAndCheck(64); }

TEST_P(FloorTest, CarriesMessagesThatDoNotDivideTheRing) { RunAndCheck(1000); }

TEST_P(FloorTest, CarriesMessagesLargerThanTheRingAskedFor) {
  RunAndCheck(100'000);
}

INSTANTIATE_TEST_SUITE_P(Floors, FloorTest,
                         testing::ValuesIn(SupportedCases()));

TEST(FloorsTest, EachCaseHasOneFloorOrNoCandidateEither) {
  for (const char* transport : {"inproc", "shm", "unix", "grpc"}) {
    for (const Mode mode :
         {Mode::kLatency, Mode::kOpen, Mode::kFlood, Mode::kWake}) {
      for (const Wait wait : {Wait::kSpin, Wait::kBlock, Wait::kAdaptive}) {
        const Case what = MakeCase(transport, mode, wait, 64);
        int floors = 0;
        for (const char* name : {"handover", "spsc_ring", "socketpair",
                                 "grpc_stream", "futex_wake"}) {
          floors += MakeFloor(name)->Supports(what) ? 1 : 0;
        }
        const bool is_grpc = what.transport == "grpc";
        const bool is_measured = mode == Mode::kWake
                                     ? wait == Wait::kBlock && !is_grpc
                                     : wait == Wait::kBlock || !is_grpc;
        EXPECT_EQ(floors, is_measured ? 1 : 0) << Describe(what);
      }
    }
  }
}

// Carries each message in every mode that it supports.
void CheckBetweenHosts(System& floor, const std::vector<Mode>& modes) {
  for (const Mode mode : modes) {
    for (const size_t bytes : {size_t{64}, size_t{100'000}}) {
      Case what = MakeCase("grpc", mode, Wait::kBlock, bytes);
      what.rate_per_s = 2000;
      ASSERT_TRUE(floor.Supports(what));
      const auto result = floor.Run(what, CpuPair{0, 0});
      ASSERT_TRUE(result.ok()) << result.status() << Name(mode);
      EXPECT_EQ(result->latencies_ns.size(),
                mode == Mode::kFlood ? 0u : size_t{kMessages});
      EXPECT_GE(result->messages, kMessages);
      EXPECT_GT(result->elapsed_ns, 0);
      EXPECT_GT(*result->cpu_ns, 0);
    }
  }
}

TEST(FloorsTest, GrpcStreamCarriesEachMessageInEveryMode) {
  GrpcStreamFloor floor;
  CheckBetweenHosts(floor, {Mode::kLatency, Mode::kOpen, Mode::kFlood});
}

TEST(FloorsTest, GrpcCallbackCarriesEachMessageInEveryMode) {
  GrpcCallbackFloor floor;
  CheckBetweenHosts(floor, {Mode::kLatency, Mode::kFlood});
}

TEST(FloorsTest, TcpCarriesEachMessageInEveryMode) {
  TcpFloor floor;
  CheckBetweenHosts(floor, {Mode::kLatency, Mode::kOpen, Mode::kFlood});
}

TEST(FloorsTest, CodecParsesEachMessageThatItSerialised) {
  CodecFloor floor;
  Case what = MakeCase("shm", Mode::kLatency, Wait::kSpin, 64);
  EXPECT_FALSE(floor.Supports(what));  // Raw bytes need no encoding.
  what.kind = Kind::kProtobuf;
  for (const size_t bytes : {size_t{64}, size_t{100'000}}) {
    what.bytes = bytes;
    ASSERT_TRUE(floor.Supports(what));
    const auto result = floor.Run(what, CpuPair{0, 0});
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->messages, kMessages);
    EXPECT_FALSE(result->latencies_ns.empty());
    EXPECT_EQ(result->messages_per_sample, 64);
    for (const int64_t ns : result->latencies_ns) EXPECT_GT(ns, 0);
  }
}

TEST(FloorsTest, SpinningThroughMemoryMakesNoSystemCall) {
  const Case what = MakeCase("shm", Mode::kLatency, Wait::kSpin, 64);
  const auto result = HandoverFloor().Run(what, CpuPair{});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->syscalls, 0);
}

TEST(FloorsTest, FloodOfTheSocketGathersMessagesIntoOneCall) {
  const Case what = MakeCase("unix", Mode::kFlood, Wait::kBlock, 64);
  const auto result = SocketpairFloor().Run(what, CpuPair{});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_LT(*result->syscalls, kMessages / 2);
}

}  // namespace
}  // namespace mycelium::bench
