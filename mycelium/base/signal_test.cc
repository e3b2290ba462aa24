#include "mycelium/base/signal.h"

#include <poll.h>

#include <functional>
#include <memory>

#include "gtest/gtest.h"
#include "tests/support/faulty_sys.h"

namespace mycelium {
namespace {

// The kernel, and something that happens around each write.
class SlowlyWritingSys final : public test::FaultySys {
 public:
  int64_t Write(int fd, const void* bytes, size_t bytes_count) override {
    if (before != nullptr) before();
    const int64_t written = FaultySys::Write(fd, bytes, bytes_count);
    if (after != nullptr) after();
    return written;
  }
  std::function<void()> before, after;
};

class SignalTest : public ::testing::Test {
 protected:
  bool IsReadable() const {
    pollfd polled = {signal_->descriptor(), POLLIN, 0};
    return poll(&polled, 1, /*timeout=*/0) == 1;
  }

  SlowlyWritingSys sys_;
  const std::shared_ptr<Signal> signal_ = *Signal::Create(sys_);
};

TEST_F(SignalTest, IsReadableFromRaiseToArm) {
  EXPECT_FALSE(IsReadable());
  signal_->Arm();
  signal_->Arm();
  EXPECT_FALSE(IsReadable());
  signal_->Raise();
  signal_->Raise();
  EXPECT_TRUE(IsReadable());
  signal_->Arm();
  EXPECT_FALSE(IsReadable());
}

// Otherwise a thread that sleeps on the descriptor spins until the next
// Raise().
TEST_F(SignalTest, ArmMakesItUnreadableWhereverAnotherMetRaise) {
  const auto arm = [&] { signal_->Arm(); };
  for (const bool is_armed : {false, true}) {
    for (const bool is_before : {false, true}) {
      if (is_armed) arm();
      (is_before ? sys_.before : sys_.after) = arm;
      signal_->Raise();
      sys_.before = sys_.after = nullptr;
      signal_->Arm();
      EXPECT_FALSE(IsReadable()) << is_armed << is_before;
      signal_->Raise();
      EXPECT_TRUE(IsReadable()) << is_armed << is_before;
    }
  }
}

}  // namespace
}  // namespace mycelium
