#include "mycelium/transport/grpc/loans.h"

#include <atomic>
#include <memory>
#include <thread>

#include "gtest/gtest.h"
#include "mycelium/base/environment.h"

#ifdef __SANITIZE_ADDRESS__
// What ends after Close() stays in memory on purpose.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:mycelium::Loans::End";
}
#endif

namespace mycelium {
namespace {

constexpr int64_t kLongNs = 3600'000'000'000;

TEST(LoansTest, WhoWaitsGoesOnWhenTheLastHasEnded) {
  Loans loans(Environment::Real());
  EXPECT_TRUE(loans.AwaitNone(0));
  loans.Begin();
  loans.Begin();
  loans.End({});
  EXPECT_FALSE(loans.AwaitNone(0));
  std::thread other([&] { loans.End({}); });
  EXPECT_TRUE(loans.AwaitNone(kLongNs));
  other.join();
}

TEST(LoansTest, KeepersAreLetGoOfUntilClose) {
  const auto keeper = std::make_shared<const int>();
  Loans loans(Environment::Real());
  loans.Begin();
  loans.Begin();
  loans.End({keeper});
  EXPECT_EQ(keeper.use_count(), 1);
  loans.Close();
  loans.End({keeper});
  EXPECT_EQ(keeper.use_count(), 2);
}

}  // namespace
}  // namespace mycelium
