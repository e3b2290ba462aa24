// In steady state a message costs no allocation, on either side.

#include <atomic>
#include <cstdint>
#include <vector>

#include "tests/benchmark/allocation_counter.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/support/comes.h"

namespace mycelium::test {
namespace {

constexpr uint64_t kWarmUp = 5'000;
constexpr uint64_t kMeasured = 20'000;
// Messages that are handed out and taken back again, so that few are under way
// at once.
constexpr uint64_t kBurst = 10;

class AllocationTest : public ConformanceTest {
 protected:
  // Runs `burst` often enough for all buffers to reach their size, and then
  // counts.
  template <typename Burst>
  void ExpectNoAllocation(Burst burst) {
    // Sanitizers bring a malloc of their own, which does not count.
    if (!bench::AllocationsSoFar().has_value()) {
      for (uint64_t i = 0; i < 10; ++i) burst();
      GTEST_SKIP() << "allocations are not counted in this build";
    }
    for (uint64_t i = 0; i < kWarmUp / kBurst; ++i) burst();
    const int64_t before = *bench::AllocationsSoFar();
    for (uint64_t i = 0; i < kMeasured / kBurst; ++i) burst();
    EXPECT_EQ(*bench::AllocationsSoFar() - before, 0)
        << "in " << kMeasured << " messages";
  }

  // Counts the messages that an inline or queued handler got.
  struct Handled {
    std::atomic<uint64_t> count{0};
    void Await(uint64_t goal) const {
      EXPECT_TRUE(
          Comes([&] { return count.load(std::memory_order_acquire) >= goal; }));
    }
  };

  void ExpectHandlerAllocatesNothing(DeliveryMode mode, size_t blob_bytes) {
    Open();
    Handled handled;
    auto handle = beta_->Subscribe<Note>(
        [&](const Note&, const MessageInfo&) {
          handled.count.fetch_add(1, std::memory_order_release);
        },
        Delivered(mode));
    auto publisher = alpha_->Publisher<Note>();
    ASSERT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
    const Note note = MakeNote(1, blob_bytes);
    uint64_t sent = 0;
    ExpectNoAllocation([&] {
      for (uint64_t i = 0; i < kBurst; ++i) {
        if (publisher->Publish(note).ok()) ++sent;
      }
      handled.Await(sent);
    });
    EXPECT_EQ(handled.count, sent);
  }
};

TEST_P(AllocationTest, InlineHandlerCostsNone) {
  ExpectHandlerAllocatesNothing(DeliveryMode::kInline, 100);
}

// Over shared memory the message is serialised, and parsed, where it lies.
TEST_P(AllocationTest, InlineHandlerOfLargeMessagesCostsNone) {
  ExpectHandlerAllocatesNothing(DeliveryMode::kInline, 4096);
}

TEST_P(AllocationTest, QueuedHandlerCostsNone) {
  ExpectHandlerAllocatesNothing(DeliveryMode::kQueued, 100);
}

TEST_P(AllocationTest, QueuedHandlerOfLargeMessagesCostsNone) {
  ExpectHandlerAllocatesNothing(DeliveryMode::kQueued, 4096);
}

TEST_P(AllocationTest, PullOfRawBytesCostsNone) {
  Open();
  const MessageType type = RawMessageType("bytes");
  auto pull = beta_->RawSubscriber(type);
  auto publisher = alpha_->RawPublisher(type);
  ASSERT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
  const std::vector<std::byte> bytes(64);
  ExpectNoAllocation([&] {
    for (uint64_t i = 0; i < kBurst; ++i) {
      EXPECT_TRUE(publisher->Publish(bytes).ok());
    }
    for (uint64_t i = 0; i < kBurst; ++i) {
      EXPECT_TRUE(pull->Receive(kLong).ok());
    }
  });
  (void)pull->TryReceive();
}

// This holds while it drops nothing: drops are reported once a second, which
// allocates.
TEST_P(AllocationTest, LossySubscriptionThatKeepsUpCostsNone) {
  Open();
  SubscriberOptions newest;
  newest.overflow = Overflow::kDropOldest;
  newest.depth = kBurst;
  newest.window = 2;
  auto pull = beta_->Subscriber<Note>(newest);
  auto publisher = alpha_->Publisher<Note>();
  ASSERT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
  const Note note = MakeNote(1, 100);
  ExpectNoAllocation([&] {
    for (uint64_t i = 0; i < kBurst; ++i) {
      EXPECT_TRUE(publisher->Publish(note).ok());
    }
    for (uint64_t i = 0; i < kBurst; ++i) {
      EXPECT_TRUE(pull->Receive(kLong).ok());
    }
  });
  (void)pull->TryReceive();
  EXPECT_EQ(Total().dropped_total(), 0u);
}

TEST_P(AllocationTest, LoanCostsNone) {
  Open();
  constexpr size_t kSizes[] = {64, 4096};  // One is copied, one handed over.
  const MessageType type = RawMessageType("bytes");
  auto pull = beta_->RawSubscriber(type);
  auto publisher = alpha_->RawPublisher(type);
  ASSERT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
  ExpectNoAllocation([&] {
    for (uint64_t i = 0; i < kBurst; ++i) {
      auto loan = publisher->Loan(kSizes[i % 2]);
      EXPECT_TRUE(loan.ok() && loan->Publish().ok());
    }
    for (uint64_t i = 0; i < kBurst; ++i) {
      EXPECT_TRUE(pull->Receive(kLong).ok());
    }
  });
  (void)pull->TryReceive();
}

INSTANTIATE_TEST_SUITE_P(Transports, AllocationTest,
                         testing::Values("inproc", "unix", "shm"),
                         [](const auto& transport) { return transport.param; });

}  // namespace
}  // namespace mycelium::test
