#include "mycelium/bus/loan_pool.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/transport/lane/fake_shared_memory.h"

namespace mycelium {
namespace {

using Taken = std::shared_ptr<LoanPool::Memory>;

class LoanPoolTest : public ::testing::Test {
 protected:
  Taken Take(size_t bytes) {
    const auto make = [this](size_t memory_bytes) {
      std::shared_ptr<LoanMemory> memory;
      if (!has_memory_) return memory;
      if (during_make_ != nullptr) std::exchange(during_make_, nullptr)();
      memory = test::MakeLoanMemory(++made_, memory_bytes);
      made_bytes_ += memory_bytes;
      return memory;
    };
    const auto finish = [this] { ++finished_; };
    const LoanPool::Lender lender = {make, finish};
    return pool_->Take(bytes, &lender);
  }

  static bool IsShared(const Taken& taken) { return taken->place() != nullptr; }

  std::atomic<bool> has_memory_{true};
  std::function<void()> during_make_;  // Runs the next time.
  std::atomic<uint32_t> made_{0};
  std::atomic<size_t> made_bytes_{0};
  std::atomic<int> finished_{0};
  std::shared_ptr<LoanPool> pool_ = std::make_shared<LoanPool>();
};

TEST_F(LoanPoolTest, LoansThatAreOpenAtOnceDoNotOverlap) {
  std::vector<Taken> taken;
  std::set<const std::byte*> places;
  for (int i = 0; i < 200; ++i) {
    taken.push_back(Take(5000));
    ASSERT_TRUE(IsShared(taken.back()));
    const LoanPlace& place = *taken.back()->place();
    EXPECT_EQ(taken.back()->bytes().size(), 5000u);
    EXPECT_EQ(taken.back()->bytes().data(),
              place.memory->bytes().data() + place.offset);
    places.insert(taken.back()->bytes().data());
  }
  for (auto place = places.begin(); std::next(place) != places.end(); ++place) {
    const std::byte* const next = *std::next(place);
    EXPECT_TRUE(next >= *place + 5000) << "one begins in another";
  }
  EXPECT_EQ(places.size(), 200u);
}

TEST_F(LoanPoolTest, LoansOfAllSizesAreAligned) {
  for (const bool has_memory : {true, false}) {
    has_memory_ = has_memory;
    pool_ = std::make_shared<LoanPool>();
    std::vector<Taken> taken;
    for (const size_t bytes : {1, 24, 100, 4096, 5000, 70000, 100}) {
      taken.push_back(Take(bytes));
      EXPECT_EQ(IsShared(taken.back()), has_memory);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(taken.back()->bytes().data()) %
                    LoanPool::kAlignment,
                0u)
          << bytes << " bytes";
    }
  }
}

TEST_F(LoanPoolTest, StreamOfLoansTakesTurnsInOneMemory) {
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(IsShared(Take(5000)));
  EXPECT_EQ(made_, 1u);
}

TEST_F(LoanPoolTest, PublishedLoansAreFinishedBeforeMoreMemoryIsMade) {
  (void)Take(5000);
  EXPECT_EQ(finished_, 1);
  std::vector<Taken> taken;
  for (int i = 0; i < 65; ++i) taken.push_back(Take(16 << 10));
  EXPECT_GT(finished_, 1);
}

TEST_F(LoanPoolTest, LargerLoanMakesLargerPlacesAndTheOldOnesGo) {
  const Taken small = Take(5000);
  const std::weak_ptr<LoanMemory> first = small->place()->memory;
  std::memset(small->bytes().data(), 1, small->bytes().size());
  const Taken large = Take(100'000);
  ASSERT_TRUE(IsShared(large));
  EXPECT_NE(large->place()->memory, first.lock());
  EXPECT_EQ(small->bytes()[4999], std::byte{1});
  Taken last = Take(5000);
  EXPECT_EQ(last->place()->memory, large->place()->memory);
  EXPECT_FALSE(first.expired());
  const_cast<Taken&>(small).reset();
  EXPECT_TRUE(first.expired());
}

TEST_F(LoanPoolTest, SharedMemoryIsBoundedAndThenLoansAreOfThisProcess) {
  std::vector<Taken> taken;
  do {
    taken.push_back(Take(8 << 20));
  } while (IsShared(taken.back()) && taken.size() < 100);
  EXPECT_EQ(taken.size(), LoanPool::kSharedBytesMax / (8 << 20) + 1);
  EXPECT_EQ(made_bytes_, LoanPool::kSharedBytesMax);
  EXPECT_EQ(taken.back()->bytes().size(), size_t{8} << 20);
  taken.erase(taken.begin());
  EXPECT_TRUE(IsShared(Take(8 << 20)));
}

// What is still read there still takes memory.
TEST_F(LoanPoolTest, MemoryOfLoansOfAnotherSizeCountsAsLongAsOneIsOpen) {
  std::vector<Taken> taken;
  while (made_bytes_ < LoanPool::kSharedBytesMax) {
    taken.push_back(Take(8 << 20));
  }
  EXPECT_FALSE(IsShared(Take(16 << 20)));
  EXPECT_EQ(made_bytes_, LoanPool::kSharedBytesMax);
  taken.clear();
  EXPECT_TRUE(IsShared(Take(16 << 20)));
}

TEST_F(LoanPoolTest, MemoryThatIsBeingMadeCountsAlready) {
  std::vector<Taken> taken;
  while (made_bytes_ < LoanPool::kSharedBytesMax / 2) {
    taken.push_back(Take(8 << 20));
  }
  Taken meanwhile;
  during_make_ = [&] { meanwhile = Take(8 << 20); };
  while (during_make_ != nullptr) taken.push_back(Take(8 << 20));
  EXPECT_TRUE(IsShared(taken.back()));
  EXPECT_FALSE(IsShared(meanwhile));
  EXPECT_EQ(made_bytes_, LoanPool::kSharedBytesMax);
}

TEST_F(LoanPoolTest, MemoryThatIsMadeWhileSizesChangeCountsToo) {
  std::vector<Taken> taken;
  during_make_ = [&] { taken.push_back(Take(16 << 20)); };
  taken.push_back(Take(8 << 20));
  while (IsShared(taken.back())) taken.push_back(Take(16 << 20));
  EXPECT_EQ(made_bytes_, LoanPool::kSharedBytesMax);
}

TEST_F(LoanPoolTest, LoanThatIsLargerThanAllOfItLeavesTheOthersWhereTheyWere) {
  EXPECT_TRUE(IsShared(Take(LoanPool::kSharedBytesMax)));
  const Taken huge = Take(LoanPool::kSharedBytesMax + 1);
  EXPECT_FALSE(IsShared(huge));
  EXPECT_EQ(huge->bytes().size(), LoanPool::kSharedBytesMax + 1);
  EXPECT_TRUE(IsShared(Take(5000)));
}

TEST_F(LoanPoolTest, WithoutSharedMemoryLoansAreOfThisProcess) {
  has_memory_ = false;
  EXPECT_FALSE(IsShared(Take(5000)));
  has_memory_ = true;
  EXPECT_FALSE(IsShared(Take(5000))) << "it was asked for again";
  EXPECT_EQ(made_, 0u);
  const Taken taken = pool_->Take(5000, nullptr);
  EXPECT_EQ(taken->place(), nullptr);
  EXPECT_EQ(taken->bytes().size(), 5000u);
  for (int i = 0; i < LoanPool::kLoansRemembered; ++i) (void)Take(5000);
  EXPECT_TRUE(IsShared(Take(5000))) << "it was never asked for again";
}

TEST_F(LoanPoolTest, PlacesBecomeSmallerAWhileAfterALargeLoan) {
  ASSERT_TRUE(IsShared(Take(10 << 20)));
  EXPECT_EQ(made_bytes_, size_t{128} << 20);
  const Taken open = Take(5000);
  std::memset(open->bytes().data(), 1, open->bytes().size());
  for (int i = 0; i < 2 * LoanPool::kLoansRemembered; ++i) (void)Take(5000);
  EXPECT_EQ(made_, 2u);
  const Taken last = Take(5000);
  ASSERT_TRUE(IsShared(last));
  EXPECT_EQ(last->place()->memory->bytes().size(), size_t{64} * 8192);
  EXPECT_NE(last->place()->memory, open->place()->memory);
  EXPECT_EQ(open->bytes()[4999], std::byte{1});
}

TEST_F(LoanPoolTest, LargeLoanNowAndThenKeepsItsMemory) {
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(IsShared(Take(10 << 20)));
    for (int j = 0; j < LoanPool::kLoansRemembered - 1; ++j) (void)Take(5000);
  }
  EXPECT_EQ(made_, 1u);
}

TEST_F(LoanPoolTest, PlacesThatFitHalfwayStayAsTheyAre) {
  (void)Take(100'000);
  for (int i = 0; i < 3 * LoanPool::kLoansRemembered; ++i) (void)Take(50'000);
  EXPECT_EQ(made_, 1u);
}

TEST_F(LoanPoolTest, SpoiledMemoryIsNotWrittenAgainWhereALoanHasBeen) {
  Taken read = Take(5000);
  const std::weak_ptr<LoanMemory> memory = read->place()->memory;
  const Taken other = Take(5000);
  ASSERT_EQ(other->place()->memory, memory.lock());
  memory.lock()->Spoil();
  read = nullptr;
  for (int i = 0; i < 100; ++i) {
    EXPECT_NE(Take(5000)->place()->memory, memory.lock());
  }
  EXPECT_EQ(made_, 2u);
  const_cast<Taken&>(other).reset();
  EXPECT_TRUE(memory.expired());
}

TEST_F(LoanPoolTest, SpoiledMemoryMakesRoomForOther) {
  for (int round = 0; round < 20; ++round) {
    std::vector<Taken> taken;
    while (taken.size() < 33) taken.push_back(Take(8 << 20));
    EXPECT_TRUE(IsShared(taken[31])) << "round " << round;
    EXPECT_FALSE(IsShared(taken[32]));
    taken[round]->place()->memory->Spoil();
  }
}

TEST_F(LoanPoolTest, LoanOutlivesItsPool) {
  const Taken taken = Take(5000);
  pool_ = nullptr;
  std::memset(taken->bytes().data(), 1, taken->bytes().size());
}

TEST_F(LoanPoolTest, ManyThreadsGetNoPlaceTwiceAndNoMoreThanThereIs) {
  std::vector<std::thread> threads;
  for (int t = 1; t <= 4; ++t) {
    threads.emplace_back([this, t] {
      std::vector<Taken> taken;
      for (int i = 0; i < 300; ++i) {
        taken.push_back(Take((1 << 20) << (i / 100)));
        std::memset(taken.back()->bytes().data(), t, 64);
        if (taken.size() < 6) continue;
        for (const Taken& held : taken) {
          EXPECT_EQ(held->bytes()[0], static_cast<std::byte>(t));
          EXPECT_EQ(held->bytes()[63], static_cast<std::byte>(t));
        }
        taken.erase(taken.begin(), taken.begin() + 3);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(LoanPoolTest, SizesThatChangeAndChangeBackWhileMemoryIsMadeAreNoticed) {
  const auto small_ones = [this] {
    for (int i = 0; i < 2 * LoanPool::kLoansRemembered + 2; ++i) {
      (void)Take(100);
    }
  };
  during_make_ = [&] {
    (void)Take(1 << 20);
    small_ones();
  };
  const Taken first = Take(100);
  ASSERT_TRUE(IsShared(first));
  // That memory was made before, and has no places for other loans; the memory
  // that the pool has since does.
  const Taken second = Take(100);
  ASSERT_TRUE(IsShared(second));
  EXPECT_NE(second->place()->memory, first->place()->memory);
}

TEST_F(LoanPoolTest, LoanIsNeverSmallerThanWasAskedFor) {
  std::atomic<bool> over{false};
  std::thread small([&] {
    while (!over) EXPECT_EQ(Take(100)->bytes().size(), 100u);
  });
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(Take(1 << 20)->bytes().size(), size_t{1} << 20);
    for (int j = 0; j < 20; ++j) (void)Take(100);
  }
  over = true;
  small.join();
}

}  // namespace
}  // namespace mycelium
