// What a subscriber may ask for: the maximum, and one beyond it.

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/support/notification.h"

namespace mycelium::test {
namespace {

class LimitsTest : public ConformanceTest {
 protected:
  // Each pair has a topic of its own, so that no match is an old one.
  static std::string TopicOf(int64_t depth, int64_t window) {
    return absl::StrCat("depth ", depth, ", window ", window);
  }

  static SubscriberOptions DropOldest(int64_t depth, int64_t window) {
    SubscriberOptions options;
    options.topic = TopicOf(depth, window);
    options.overflow = Overflow::kDropOldest;
    options.depth = depth;
    options.window = window;
    return options;
  }

  // Publishes 1 to `count`.
  void PublishTo(const std::string& topic, uint64_t count) {
    PublishTo(topic, count, [] {});
  }
  // Calls `after_first` after the first one.
  template <typename AfterFirst>
  void PublishTo(const std::string& topic, uint64_t count,
                 const AfterFirst& after_first) {
    PublisherOptions options;
    options.topic = topic;
    auto publisher = alpha_->Publisher<Note>(options);
    EXPECT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
    for (uint64_t id = 1; id <= count; ++id) {
      EXPECT_THAT(publisher->Publish(MakeNote(id)), IsOk());
      if (id == 1) after_first();
    }
  }
};

TEST_P(LimitsTest, DepthAndWindowAreAcceptedAtTheirLimits) {
  Open();
  for (const auto& [depth, window] :
       {std::pair(int64_t{1}, int64_t{1}), std::pair(kDepthMax, kWindowMax)}) {
    auto pull = beta_->Subscriber<Note>(DropOldest(depth, window));
    ASSERT_TRUE(pull.ok()) << pull.status();
    PublishTo(TopicOf(depth, window), 1);
    EXPECT_EQ(ReceiveAll(*pull, 1), Counting(1));
  }
}

TEST_P(LimitsTest, DepthAndWindowOneBeyondAreRefusedByName) {
  Open();
  const auto refusal = [&](int64_t depth, int64_t window) {
    return beta_->Subscriber<Note>(DropOldest(depth, window)).status();
  };
  for (const int64_t bad : {int64_t{0}, kDepthMax + 1}) {
    EXPECT_THAT(refusal(bad, 1), HasCode(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(refusal(bad, 1).ToString(), testing::HasSubstr("depth"));
  }
  for (const int64_t bad : {int64_t{0}, kWindowMax + 1}) {
    EXPECT_THAT(refusal(1, bad), HasCode(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(refusal(1, bad).ToString(), testing::HasSubstr("window"));
  }
  // A refused subscriber does not hinder others.
  auto pull = beta_->Subscriber<Note>(DropOldest(1, 1));
  PublishTo(TopicOf(1, 1), 1);
  EXPECT_EQ(ReceiveAll(*pull, 1), Counting(1));
}

// While one message is with the handler, `depth` more wait; with one more, the
// oldest is dropped.
TEST_P(LimitsTest, AsManyAsTheDepthWaitAndOneBeyondIsDropped) {
  Open();
  for (const uint64_t beyond : {0, 1}) {
    const uint64_t depth = 100 + beyond;
    Inbox got;
    Notification entered, go_on;
    SubscriberOptions options = DropOldest(static_cast<int64_t>(depth), 1);
    options.delivery = DeliveryMode::kQueued;
    auto handle = beta_->Subscribe<Note>(
        [&](const Note& note, const MessageInfo&) {
          if (note.id() == 1) {
            entered.Notify();
            go_on.WaitForNotification();
          }
          got.Add(note.id());
        },
        options);
    const uint64_t dropped_before = Total().dropped_total();
    const uint64_t kept = 1 + depth;
    PublishTo(options.topic, kept + beyond,
              [&] { entered.WaitForNotification(); });
    go_on.Notify();
    ASSERT_TRUE(got.WaitFor(kept));
    EXPECT_EQ(Total().dropped_total() - dropped_before, beyond);
    EXPECT_EQ(got.ids().size(), kept);
  }
}

MYCELIUM_ALL_TRANSPORTS(LimitsTest);

}  // namespace
}  // namespace mycelium::test
