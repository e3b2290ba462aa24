#include "mycelium/base/thread_number.h"

#include <set>
#include <thread>

#include "gtest/gtest.h"

namespace mycelium {
namespace {

TEST(ThreadNumberTest, EachThreadHasItsOwnAndNoneIsUsedAgain) {
  const uint64_t ours = EnsureThreadNumber();
  EXPECT_NE(ours, 0u);
  std::set<uint64_t> numbers = {ours};
  for (int i = 0; i < 8; ++i) {
    std::thread([&numbers] {
      EXPECT_EQ(ThreadNumber(), 0u);
      const uint64_t number = EnsureThreadNumber();
      EXPECT_TRUE(numbers.insert(number).second);
      EXPECT_EQ(ThreadNumber(), number);
      EXPECT_EQ(EnsureThreadNumber(), number);
    }).join();
  }
  EXPECT_EQ(ThreadNumber(), ours);
}

}  // namespace
}  // namespace mycelium
