// A node leaves while a publisher does not listen and so goes on publishing.
#include <fstream>
#include <functional>
#include <memory>
#include <thread>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/support/loopback_address.h"
#include "tests/support/notification.h"

namespace mycelium::test {
namespace {

constexpr size_t kLarge = 5000;  // Is read where it lies, where it can be.

// The publisher is alpha, which hears news only while it is polled. Beta
// leaves, and gamma answers.
class LeavingTest : public ConformanceTest {
 protected:
  LeavingTest() {
    unpolled_.poll = PollMode::kCaller;
    at_once_.publish_timeout = absl::ZeroDuration();
  }

  void OpenThree() {
    WriteTopology();
    std::ofstream topology(path_, std::ios::app);
    topology << "[[nodes]]\nname = \"gamma-node\"\nservices = [\"gamma\"]\n";
    if (GetParam() == "grpc") {
      topology << "host = \"" << host_
               << "\"\nport = " << LoopbackAddress().port << "\n";
    }
    topology.close();
    alpha_ = OpenService("alpha", unpolled_);
    beta_ = OpenService("beta");
    BusOptions options;
    options.on_connection = [this](const ConnectionEvent& event) {
      if (event.peer != "beta-node") return;
      if (event.state == ConnectionEvent::State::kConnected) met_.Notify();
      if (event.state == ConnectionEvent::State::kGone) left_.Notify();
    };
    gamma_ = OpenService("gamma", options);
    ASSERT_TRUE(met_.WaitForNotificationWithTimeout(kLong));
  }

  void PollWhile(const std::function<bool()>& condition) {
    const absl::Time end = absl::Now() + kLong;
    while (condition() && absl::Now() < end) {
      ASSERT_TRUE(alpha_->Poll(absl::Milliseconds(1)).ok());
    }
  }

  BusOptions unpolled_;
  PublisherOptions at_once_;
  Notification met_, left_;
  std::unique_ptr<MessageBus> gamma_;
};

INSTANTIATE_TEST_SUITE_P(AllTransports, LeavingTest,
                         ::testing::Values("unix", "shm", "grpc"),
                         [](const auto& info) { return info.param; });

TEST_P(LeavingTest, WhatIsPublishedUnheardOfTheGoodbyeIsCountedOnce) {
  OpenThree();
  auto pull = beta_->Subscriber<Note>();
  auto publisher = alpha_->Publisher<Note>(at_once_);
  ASSERT_TRUE(publisher.ok()) << publisher.status();
  PollWhile([&] { return publisher->subscriber_count() == 0; });
  ASSERT_THAT(publisher->Publish(MakeNote(1, kLarge)), IsOk());
  // The subscriber holds this message, and so all that come behind it.
  PollWhile([&] { return *pull->TryReceive() == nullptr; });
  std::thread leaving(
      [this] { EXPECT_THAT(beta_->Shutdown(absl::ZeroDuration()), IsOk()); });
  EXPECT_TRUE(left_.WaitForNotificationWithTimeout(kLong));
  for (uint64_t id = 2; id <= 100; ++id) {
    EXPECT_THAT(publisher->Publish(MakeNote(id, kLarge)), IsOk());
  }
  leaving.join();
  PollWhile([&] { return publisher->subscriber_count() > 0; });
  EXPECT_EQ(Total().accepted, 100u);
}

}  // namespace
}  // namespace mycelium::test
