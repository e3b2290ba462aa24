#include "tests/benchmark/case.h"

#include "gtest/gtest.h"

namespace mycelium::bench {
namespace {

Case Of(const char* transport, Mode mode, size_t bytes) {
  Case what;
  what.transport = transport;
  what.mode = mode;
  what.bytes = bytes;
  return what;
}

TEST(CaseTest, FloodOfSmallMessagesTakesItsTime) {
  for (const size_t bytes : {kBytesMin, size_t{64}}) {
    // 9 ns a message is the fastest that the ring of the floor ever was.
    EXPECT_GE(MessagesFor(Of("shm", Mode::kFlood, bytes), 200) * 9,
              100'000'000);
    EXPECT_GE(MessagesFor(Of("unix", Mode::kFlood, bytes), 200) * 15,
              100'000'000);
  }
}

TEST(CaseTest, FloodOfACandidateTakesTenTimesAsLongAtMost) {
  for (const char* transport : {"inproc", "shm", "unix", "grpc"}) {
    EXPECT_LE(MessagesFor(Of(transport, Mode::kFlood, kBytesMin), 200) * 100,
              2'000'000'000);
  }
}

TEST(CaseTest, SamplesThatAreKeptAreBounded) {
  EXPECT_EQ(MessagesFor(Of("shm", Mode::kLatency, 64), 86'400'000), 2'000'000);
  EXPECT_EQ(MessagesFor(Of("shm", Mode::kLatency, kBytesMax), 1), 200);
  EXPECT_EQ(MessagesFor(Of("shm", Mode::kFlood, kBytesMax), 1), 200);
}

}  // namespace
}  // namespace mycelium::bench
