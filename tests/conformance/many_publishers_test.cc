// More publishers than a link carries at a time: the connection stays, and
// nothing that was accepted is lost. A publisher without room is told so and
// gets room later.

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mycelium/routing/link_bounds.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/support/notification.h"

namespace mycelium::test {
namespace {

class ManyPublishersTest : public ConformanceTest {
 protected:
  void OpenBoth() {
    BusOptions options;
    options.on_connection = [this](const ConnectionEvent& event) {
      lost_ += event.state == ConnectionEvent::State::kDisconnected;
    };
    Open("", options);
    first_.emplace(*alpha_->Publisher<Note>());
  }

  // Waits until alpha sees beta's subscription: publishers that are made from
  // here on match.
  void WaitForSubscription() {
    EXPECT_THAT(first_->WaitForSubscribers(1, kLong), IsOk());
  }

  std::atomic<int> lost_{0};  // Connections.
  std::optional<Publisher<Note>> first_;
};

TEST_P(ManyPublishersTest, EachOfManyThatComeAndGoIsHeard) {
  OpenBoth();
  Inbox got;
  auto handle = beta_->Subscribe<Note>(got.Handler());
  WaitForSubscription();
  constexpr uint64_t kCount = kLinkPublishersMax + 1000;
  for (uint64_t id = 1; id <= kCount; ++id) {
    auto publisher = alpha_->Publisher<Note>();
    ASSERT_THAT(publisher->Publish(MakeNote(id)), IsOk());
  }
  ASSERT_TRUE(got.WaitFor(kCount));
  EXPECT_EQ(got.ids(), Counting(kCount));
  EXPECT_EQ(lost_, 0);
}

// Dropped messages are settled, though nothing tells the subscriber's node how
// far the lane has come meanwhile.
TEST_P(ManyPublishersTest, WhoseMessagesWereDroppedAreInNobodysWay) {
  OpenBoth();
  Inbox got;
  Notification entered, go_on;
  SubscriberOptions options = Delivered(DeliveryMode::kQueued);
  options.overflow = Overflow::kLatest;
  auto handle = beta_->Subscribe<Note>(
      [&](const Note& note, const MessageInfo&) {
        if (note.id() == 1) {
          entered.Notify();
          // So many publishers need time.
          EXPECT_TRUE(go_on.WaitForNotificationWithTimeout(absl::Minutes(4)));
        }
        got.Add(note.id());
      },
      options);
  WaitForSubscription();
  ASSERT_THAT(first_->Publish(MakeNote(1)), IsOk());
  entered.WaitForNotification();
  constexpr uint64_t kCount = kLinkPublishersMax + 1000;
  for (uint64_t id = 2; id <= kCount; ++id) {
    auto publisher = alpha_->Publisher<Note>();
    ASSERT_THAT(publisher->Publish(MakeNote(id)), IsOk());
  }
  go_on.Notify();
  ASSERT_TRUE(got.WaitFor(2));
  EXPECT_EQ(got.ids(), (std::vector<uint64_t>{1, kCount}));
  EXPECT_EQ(lost_, 0);
}

TEST_P(ManyPublishersTest, OneBeyondTheMostIsToldAndMatchedWhenAnotherEnds) {
  OpenBoth();
  Inbox got;
  auto handle = beta_->Subscribe<Note>(got.Handler());
  WaitForSubscription();
  std::vector<Publisher<Note>> publishers;
  constexpr uint64_t kMost = kLinkPublishersMax;
  while (publishers.size() + 1 < kMost) {
    publishers.push_back(*alpha_->Publisher<Note>());
  }
  auto beyond = alpha_->Publisher<Note>();
  const absl::Status refused = beyond->Publish(MakeNote(1));
  EXPECT_THAT(refused, HasCode(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(refused.ToString(), testing::HasSubstr("16384 already"));
  EXPECT_THAT(beyond->refusals(), testing::SizeIs(1));
  for (uint64_t id = 1; id < kMost; ++id) {
    ASSERT_THAT(publishers[id - 1].Publish(MakeNote(id)), IsOk());
  }
  ASSERT_TRUE(got.WaitFor(kMost - 1));
  EXPECT_THAT(handle->status(), HasCode(absl::StatusCode::kResourceExhausted));
  publishers.pop_back();
  ASSERT_THAT(beyond->WaitForSubscribers(1, kLong), IsOk());
  ASSERT_THAT(beyond->Publish(MakeNote(kMost)), IsOk());
  ASSERT_TRUE(got.WaitFor(kMost));
  EXPECT_EQ(got.ids(), Counting(kMost));
  EXPECT_EQ(lost_, 0);
  Settle();
  (void)alpha_->Shutdown(kLong);  // Else each that ends looks at all others.
}

INSTANTIATE_TEST_SUITE_P(OverLinks, ManyPublishersTest,
                         ::testing::Values("unix", "shm"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace mycelium::test
