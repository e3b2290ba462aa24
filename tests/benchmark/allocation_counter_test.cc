#include "tests/benchmark/allocation_counter.h"

#include <cstdlib>
#include <new>
#include <thread>

#include "gtest/gtest.h"
#include "tests/benchmark/clock.h"

namespace mycelium::bench {
namespace {

class AllocationCounterTest : public testing::Test {
 protected:
  void SetUp() override {
    // Sanitizers bring a malloc of their own, which does not count.
    if (!AllocationsSoFar().has_value()) GTEST_SKIP() << "not counted here";
  }

  template <typename Action>
  int64_t CountOf(Action action) {
    const int64_t before = *AllocationsSoFar();
    action();
    return *AllocationsSoFar() - before;
  }
};

TEST_F(AllocationCounterTest, NothingIsCountedWhenNothingIsAllocated) {
  EXPECT_EQ(CountOf([] {
              int local = 1;
              Consume(&local);
            }),
            0);
}

TEST_F(AllocationCounterTest, OperatorNewAndMallocCountOnceEach) {
  EXPECT_EQ(CountOf([] {
              int* number = new int(1);
              Consume(number);
              delete number;
            }),
            1);
  EXPECT_EQ(CountOf([] {
              void* memory = std::calloc(1, 100);
              Consume(memory);
              memory = std::realloc(memory, 100'000);
              Consume(memory);
              std::free(memory);
            }),
            2);
}

TEST_F(AllocationCounterTest, AlignedFormsCount) {
  struct alignas(256) Wide {
    char bytes[256];
  };
  EXPECT_EQ(CountOf([] {
              Wide* wide = new Wide;
              Consume(wide);
              delete wide;
            }),
            1);
}

TEST_F(AllocationCounterTest, CountsOfEndedThreadsStay) {
  const int64_t before = *AllocationsSoFar();
  std::thread([] {
    for (int i = 0; i < 1000; ++i) {
      int* number = new int(i);
      Consume(number);
      delete number;
    }
  }).join();
  EXPECT_GE(*AllocationsSoFar() - before, 1000);
}

}  // namespace
}  // namespace mycelium::bench
