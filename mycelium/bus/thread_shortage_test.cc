// If no thread can be started, a call that needs one is refused and undone.
#include <memory>
#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/bus/bus_fixture.h"
#include "mycelium/bus/message_bus.h"
#include "tests/support/no_stacks.h"
#include "tests/testdata/test_messages.pb.h"

namespace mycelium {
namespace {

using ::mycelium::test::Note;

using ThreadShortageTest = BusFixture;

void ExpectNamesTheLimits(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()),
              ::testing::ContainsRegex("thread.*pids.max.*RLIMIT_NPROC"));
}

TEST_F(ThreadShortageTest, BusThatNeedsAThreadIsRefused) {
  {
    test::NoStacks no_stacks;
    ExpectNamesTheLimits(MessageBus::Create(BusOptions()).status());
    BusOptions polled;
    polled.poll = PollMode::kCaller;
    EXPECT_TRUE(MessageBus::Create(polled).ok());
    ExpectNamesTheLimits(MessageBus::OfProcess("one").status());
  }
  EXPECT_TRUE(MessageBus::Create(BusOptions()).ok());
  EXPECT_TRUE(MessageBus::OfProcess("one").ok());
}

TEST_F(ThreadShortageTest, QueuedHandlerThatHasNoThreadIsNotSubscribed) {
  auto publisher = bus_->Publisher<Note>();
  SubscriberOptions options;
  options.delivery = DeliveryMode::kQueued;
  int handled = 0;
  const auto subscribe = [&] {
    return bus_->Subscribe<Note>(
        [&](const Note&, const MessageInfo&) { ++handled; }, options);
  };
  {
    test::NoStacks no_stacks;
    ExpectNamesTheLimits(subscribe().status());
  }
  EXPECT_EQ(publisher->subscriber_count(), 0u);
  {
    auto handle = subscribe();
    ASSERT_TRUE(handle.ok()) << handle.status();
    EXPECT_EQ(publisher->subscriber_count(), 1u);
    ASSERT_TRUE(publisher->Publish(Note()).ok());
    ASSERT_TRUE(bus_->Flush(kLong).ok());
  }
  EXPECT_EQ(handled, 1);
  const Ledger sum = SettledLedger();
  EXPECT_EQ(sum.accepted, 1u);
  EXPECT_EQ(sum.delivered, 1u);
}

}  // namespace
}  // namespace mycelium
