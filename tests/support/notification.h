#ifndef TESTS_SUPPORT_NOTIFICATION_H_
#define TESTS_SUPPORT_NOTIFICATION_H_

#include <condition_variable>
#include <mutex>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace mycelium::test {

// Like absl::Notification, but made of what ThreadSanitizer understands.
// Debian's Abseil is not built with it, so accesses that a notification orders
// would look like a race.
class Notification final {
 public:
  Notification() = default;
  Notification(const Notification&) = delete;
  Notification& operator=(const Notification&) = delete;

  void Notify() {
    // Under the lock: otherwise a waiting thread may already have destroyed
    // this object.
    std::lock_guard<std::mutex> lock(mutex_);
    notified_ = true;
    changed_.notify_all();
  }

  bool HasBeenNotified() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return notified_;
  }

  // A test failure if it is not notified within a time that is long for any
  // machine.
  void WaitForNotification() const {
    EXPECT_TRUE(WaitForNotificationWithTimeout(absl::Seconds(20)))
        << "nobody notifies";
  }

  // Whether it was notified within `timeout`.
  bool WaitForNotificationWithTimeout(absl::Duration timeout) const {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout),
                             [this] { return notified_; });
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool notified_ = false;
};

}  // namespace mycelium::test

#endif  // TESTS_SUPPORT_NOTIFICATION_H_
