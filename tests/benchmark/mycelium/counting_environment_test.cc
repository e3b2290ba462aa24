#include "tests/benchmark/mycelium/counting_environment.h"

#include "gtest/gtest.h"

namespace mycelium::bench {
namespace {

TEST(CountingEnvironmentTest, CallsThatComeWithMessagesAreCounted) {
  CountingSys sys;
  const int64_t timer = sys.TimerFd();
  ASSERT_GE(timer, 0);
  const int fd = static_cast<int>(timer);
  EXPECT_EQ(sys.calls(), 0);  // A timer is made once.
  EXPECT_EQ(sys.TimerFdSet(fd, 0), 0);
  EXPECT_EQ(sys.calls(), 1);
  std::atomic<uint32_t> word{0};
  sys.FutexWake(&word, 1);
  EXPECT_EQ(sys.calls(), 2);
  sys.Close(fd);
}

}  // namespace
}  // namespace mycelium::bench
