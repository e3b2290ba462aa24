// Handlers that end each other's subscriptions, each of which would wait for
// the other one to return.
#include <atomic>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/bus/bus_fixture.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/bus/subscriber.h"
#include "tests/support/notification.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;
using ::mycelium::test::Notification;

using Modes = std::vector<DeliveryMode>;

class MutualUnsubscribingTest : public BusFixture,
                                public ::testing::WithParamInterface<Modes> {
 protected:
  // One handler for each mode. Each is given one message, and when all are
  // under way, each runs `end` with its number. Returns when all have returned.
  void RunHandlers(const std::function<void(size_t)>& end) {
    const size_t count = GetParam().size();
    handles_.resize(count);
    std::atomic<size_t> inside{0};
    Notification all_inside, all_returned;
    for (size_t i = 0; i < count; ++i) {
      SubscriberOptions options;
      options.topic = TopicOf(i);
      options.delivery = GetParam()[i];
      handles_[i] = *bus_->Subscribe<Note>(
          [&, i](const Note&, const MessageInfo&) {
            if (++inside == count) all_inside.Notify();
            all_inside.WaitForNotification();
            end(i);
            if (++returned_ == count) all_returned.Notify();
          },
          options);
    }
    // An inline handler runs on the thread that publishes.
    std::vector<std::thread> publishing;
    for (size_t i = 0; i < count; ++i) {
      publishing.emplace_back([&, i] { PublishTo(i); });
    }
    if (!all_returned.WaitForNotificationWithTimeout(kLong)) {
      std::cerr << "handlers wait for each other for ever\n";
      std::abort();
    }
    for (std::thread& thread : publishing) thread.join();
    // No handler waits for the thread that calls this.
    for (SubscriptionHandle& handle : handles_) handle.Unsubscribe();
    for (size_t i = 0; i < count; ++i) PublishTo(i);
    EXPECT_EQ(returned_, count);
  }

  void TearDown() override {
    ASSERT_TRUE(bus_->Flush(kLong).ok());
    EXPECT_EQ(SettledLedger().delivered, GetParam().size());
  }

  std::vector<SubscriptionHandle> handles_;

 private:
  static std::string TopicOf(size_t i) { return "topic " + std::to_string(i); }

  void PublishTo(size_t i) {
    PublisherOptions options;
    options.topic = TopicOf(i);
    EXPECT_TRUE(bus_->Publisher<Note>(options)->Publish(Note()).ok());
  }

  std::atomic<size_t> returned_{0};
};

TEST_P(MutualUnsubscribingTest, EachEndsTheNext) {
  RunHandlers(
      [&](size_t i) { handles_[(i + 1) % handles_.size()].Unsubscribe(); });
}

TEST_P(MutualUnsubscribingTest, EachEndsAll) {
  RunHandlers([&](size_t) {
    for (SubscriptionHandle& handle : handles_) handle.Unsubscribe();
  });
}

TEST_P(MutualUnsubscribingTest, EachEndsTheNextInHoweverMuchTimeThatTakes) {
  std::atomic<size_t> told{0};
  RunHandlers([&](size_t i) {
    if (!handles_[(i + 1) % handles_.size()].UnsubscribeWithin(
            absl::InfiniteDuration())) {
      ++told;
    }
  });
  EXPECT_EQ(told, 1u);
}

TEST_P(MutualUnsubscribingTest, EachEndsTheNextByDestroyingItsHandle) {
  RunHandlers([&](size_t i) {
    handles_[(i + 1) % handles_.size()] = SubscriptionHandle();
  });
}

constexpr DeliveryMode kInline = DeliveryMode::kInline;
constexpr DeliveryMode kQueued = DeliveryMode::kQueued;

INSTANTIATE_TEST_SUITE_P(Modes, MutualUnsubscribingTest,
                         ::testing::Values(Modes{kQueued, kQueued},
                                           Modes{kInline, kInline},
                                           Modes{kInline, kQueued},
                                           Modes{kQueued, kInline, kQueued}),
                         [](const auto& info) {
                           std::string name;
                           for (const DeliveryMode mode : info.param) {
                             name += mode == kInline ? "Inline" : "Queued";
                           }
                           return name;
                         });

}  // namespace
}  // namespace mycelium
