// A node has no memory to take a lane's frames into: that lane waits, the other
// lanes go on, and once there is memory nothing is missing.

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <optional>

#include "absl/strings/match.h"
#include "tests/conformance/conformance_fixture.h"
#include "tests/support/comes.h"
#include "tests/support/faulty_sys.h"
#include "tests/support/notification.h"

namespace mycelium::test {
namespace {

// A kernel that has no private memory to give while `is_short`.
class ShortSys final : public FaultySys {
 public:
  void* Map(size_t bytes, int protection, int flags, int fd,
            int64_t* error) override {
    if (is_short && fd == -1) {
      *error = -ENOMEM;
      return nullptr;
    }
    return FaultySys::Map(bytes, protection, flags, fd, error);
  }

  std::atomic<bool> is_short{false};
};

class WaitingLaneTest : public ConformanceTest {
 protected:
  // Lanes of 64 KiB, in which no publisher waits for room.
  void OpenBoth() {
    WriteTopology(
        "[defaults]\nlane_bytes = \"64KiB\"\npublish_timeout = "
        "\"0s\"\n[limits]\nframe_bytes_max = \"16KiB\"");
    BusOptions options;
    options.on_connection = [this](const ConnectionEvent& event) {
      lost_ += event.state == ConnectionEvent::State::kDisconnected;
    };
    options.log = [this](LogLevel, absl::string_view text) {
      if (absl::StrContains(text, "the peer cannot read it now")) {
        alpha_is_told_.Notify();
      }
    };
    alpha_ = OpenService("alpha", options);
    options.environment = &environment_;
    options.log = [](LogLevel, absl::string_view) {};
    beta_ = OpenService("beta", options);
  }

  SubscriberOptions Telling() {
    SubscriberOptions options;
    options.on_error = [this](const absl::Status&) { beta_is_told_.Notify(); };
    return options;
  }

  // A publisher of alpha's that matches that many subscriptions.
  Publisher<Note> PublisherTo(size_t subscribers) {
    auto publisher = alpha_->Publisher<Note>();
    EXPECT_THAT(publisher->WaitForSubscribers(subscribers, kLong), IsOk());
    return *std::move(publisher);
  }

  ShortSys sys_;
  Environment environment_{sys_, Environment::Real().clock,
                           Environment::Real().waiter};
  std::atomic<int> lost_{0};  // Connections, told on both sides.
  Notification alpha_is_told_, beta_is_told_;
};

TEST_P(WaitingLaneTest, OthersGoOnAndNothingIsMissingWhenThereIsMemory) {
  OpenBoth();
  Inbox got;
  auto handle = beta_->Subscribe<Note>(got.Handler());
  auto pull = beta_->Subscriber<Note>(Telling());
  ASSERT_TRUE(pull.ok()) << pull.status();
  sys_.is_short = true;
  auto publisher = PublisherTo(2);
  // More than may be sent before an acknowledgement has to come.
  constexpr uint64_t kCount = 100;
  for (uint64_t id = 1; id <= kCount / 2; ++id) {
    ASSERT_THAT(publisher.Publish(MakeNote(id, 500)), IsOk());
  }
  alpha_is_told_.WaitForNotification();
  beta_is_told_.WaitForNotification();
  for (uint64_t id = kCount / 2 + 1; id <= kCount; ++id) {
    ASSERT_THAT(publisher.Publish(MakeNote(id, 500)), IsOk());
    ASSERT_TRUE(got.WaitFor(id));
  }
  EXPECT_THAT(pull->status().ToString(), testing::HasSubstr("no memory"));
  ASSERT_THAT(publisher.refusals(), testing::SizeIs(1));
  EXPECT_THAT(publisher.refusals()[0].ToString(),
              testing::HasSubstr("cannot read it now: no memory"));
  EXPECT_EQ(lost_, 0);
  sys_.is_short = false;
  EXPECT_EQ(ReceiveAll(*pull, kCount), Counting(kCount));
  EXPECT_EQ(got.ids(), Counting(kCount));
  EXPECT_THAT(pull->status(), IsOk());
  // Frames in shared memory overtake the message that the refusal is over.
  EXPECT_TRUE(Comes([&] { return publisher.refusals().empty(); }));
}

TEST_P(WaitingLaneTest, PublisherIsToldWhyTheLaneIsFull) {
  OpenBoth();
  auto pull = beta_->Subscriber<Note>(Telling());
  sys_.is_short = true;
  auto publisher = PublisherTo(1);
  ASSERT_THAT(publisher.Publish(MakeNote(1)), IsOk());
  alpha_is_told_.WaitForNotification();
  uint64_t accepted = 1;
  absl::Status full;
  while (full.ok() && accepted < kMoreThanFits) {
    full = publisher.Publish(MakeNote(accepted + 1, 1000));
    accepted += full.ok();
  }
  EXPECT_THAT(full, HasCode(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(full.ToString(), testing::HasSubstr("lane full"));
  EXPECT_THAT(full.ToString(), testing::HasSubstr("no memory"));
  EXPECT_EQ(lost_, 0);
  sys_.is_short = false;
  EXPECT_EQ(ReceiveAll(*pull, accepted), Counting(accepted));
}

TEST_P(WaitingLaneTest, WhatWaitsForASubscriptionThatEndsIsCounted) {
  OpenBoth();
  std::optional<Publisher<Note>> publisher;
  {
    auto pull = beta_->Subscriber<Note>(Telling());
    sys_.is_short = true;
    // Not before: the lane could have its memory by now.
    publisher.emplace(PublisherTo(1));
    ASSERT_THAT(publisher->Publish(MakeNote(1)), IsOk());
    beta_is_told_.WaitForNotification();
  }
  Settle();
  EXPECT_EQ(Total().dropped_for(DropReason::kSubscriberGone), 1u);
}

INSTANTIATE_TEST_SUITE_P(OverLinks, WaitingLaneTest,
                         ::testing::Values("unix", "shm", "grpc"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace mycelium::test
