// What happens when a subscriber does not keep up.

#include <algorithm>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "tests/conformance/conformance_fixture.h"

namespace mycelium::test {
namespace {

using ::testing::HasSubstr;

constexpr char kSmallLanes[] =
    "[limits]\nframe_bytes_max = 4096\n"
    "[defaults]\nlane_bytes = \"64KiB\"\npublish_timeout = \"20ms\"";
// 33 such notes fill a small lane: not even a pointer to one fits behind them.
constexpr size_t kBlobBytes = 1930;

class PolicyTest : public ConformanceTest {
 protected:
  Publisher<Note> Publishing(size_t subscriptions,
                             const PublisherOptions& options = {}) {
    auto publisher = alpha_->Publisher<Note>(options);
    EXPECT_TRUE(publisher.ok()) << publisher.status();
    EXPECT_THAT(publisher->WaitForSubscribers(subscriptions, kLong), IsOk());
    return *std::move(publisher);
  }

  // Publishes 1, 2, … until one is not accepted, and returns the last accepted
  // id.
  static uint64_t Fill(Publisher<Note>& publisher, absl::Status* refused) {
    for (uint64_t id = 1; id < kMoreThanFits; ++id) {
      *refused = publisher.Publish(MakeNote(id, kBlobBytes));
      if (!refused->ok()) return id - 1;
    }
    ADD_FAILURE() << "the lane never filled";
    return 0;
  }

  // Publishes as soon as there is room again.
  static void PublishOnceThereIsRoom(Publisher<Note>& publisher, uint64_t id) {
    SendOnceThereIsRoom(
        [&] { return publisher.Publish(MakeNote(id, kBlobBytes)); });
  }

  // There is room only when the reader's node has told of it, which is after
  // the reader has the messages.
  static void SendOnceThereIsRoom(absl::FunctionRef<absl::Status()> send) {
    const absl::Time end = absl::Now() + kLong;
    absl::Status sent;
    do {
      sent = send();
    } while (sent.code() == absl::StatusCode::kResourceExhausted &&
             absl::Now() < end);
    ASSERT_THAT(sent, IsOk());
  }

  static PublisherOptions Patient() {
    PublisherOptions options;
    options.publish_timeout = absl::Hours(1);
    return options;
  }
};

TEST_P(PolicyTest, BlockGivesUpOnceThenAtOnceAndGoesOnWhenThereIsRoom) {
  Open(kSmallLanes);
  auto pull = beta_->Subscriber<Note>();
  Publisher<Note> publisher = Publishing(1);
  absl::Status refused;
  const uint64_t filled = Fill(publisher, &refused);
  EXPECT_THAT(refused, HasCode(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(refused.ToString(), HasSubstr("waited 20ms"));
  const absl::Status next = publisher.Publish(MakeNote(0, kBlobBytes));
  EXPECT_THAT(next, HasCode(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(next.ToString(), HasSubstr("stalled"));
  EXPECT_EQ(ReceiveAll(*pull, filled), Counting(filled));
  PublishOnceThereIsRoom(publisher, 77);
  EXPECT_THAT(ReceiveAll(*pull, 1), testing::ElementsAre(77));
}

TEST_P(PolicyTest, WaitEndsAsTheRouteToTheFullSubscriptionSays) {
  Open(
      "[limits]\nframe_bytes_max = 4096\n"
      "[defaults]\nlane_bytes = \"64KiB\"\npublish_timeout = \"1h\"\n"
      "[[routes]]\nfrom = \"alpha\"\nto = \"beta\"\n"
      "publish_timeout = \"20ms\"\n");
  auto pull = beta_->Subscriber<Note>();
  Publisher<Note> publisher = Publishing(1);
  absl::Status refused;
  uint64_t filled = Fill(publisher, &refused);
  EXPECT_THAT(refused.ToString(), HasSubstr("waited 20ms"));
  EXPECT_EQ(ReceiveAll(*pull, filled), Counting(filled));
  // The timeout that the publisher was made with goes before that one.
  PublisherOptions impatient;
  impatient.publish_timeout = absl::Milliseconds(3);
  Publisher<Note> other = Publishing(1, impatient);
  PublishOnceThereIsRoom(other, 1);
  EXPECT_THAT(ReceiveAll(*pull, 1), testing::ElementsAre(1));
  // On another thread: this thread takes from the queue, so its publishes would
  // not wait.
  filled = std::async(std::launch::async, [&] {
             return Fill(other, &refused);
           }).get();
  EXPECT_THAT(refused.ToString(), HasSubstr("waited 3ms"));
  EXPECT_EQ(ReceiveAll(*pull, filled), Counting(filled));
}

TEST_P(PolicyTest, BlockLosesNothingWhileTheReaderIsSlower) {
  Open(kSmallLanes);
  auto pull = beta_->Subscriber<Note>();
  Publisher<Note> publisher = Publishing(1, Patient());
  std::thread writer([&] {
    for (uint64_t id = 1; id <= 1000; ++id) {
      ASSERT_THAT(publisher.Publish(MakeNote(id, kBlobBytes)), IsOk());
    }
  });
  EXPECT_EQ(ReceiveAll(*pull, 1000), Counting(1000));
  writer.join();
}

TEST_P(PolicyTest, FailReturnsAtOnceHoweverLongThePublisherWouldWait) {
  Open(kSmallLanes);
  SubscriberOptions fail;
  fail.overflow = Overflow::kFail;
  auto pull = beta_->Subscriber<Note>(fail);
  Publisher<Note> publisher = Publishing(1, Patient());
  absl::Status refused;
  const uint64_t filled = Fill(publisher, &refused);
  EXPECT_THAT(refused, HasCode(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(refused.ToString(), HasSubstr("overflow is fail"));
  EXPECT_EQ(ReceiveAll(*pull, filled), Counting(filled));
}

TEST_P(PolicyTest, TryPublishReturnsAtOnceHoweverLongThePublisherWouldWait) {
  Open(kSmallLanes);
  auto pull = beta_->Subscriber<Note>();
  Publisher<Note> publisher = Publishing(1, Patient());
  const auto note = [](uint64_t id) { return MakeNote(id, kBlobBytes); };
  uint64_t filled = 0;
  absl::Status refused;
  while (filled < kMoreThanFits &&
         (refused = publisher.TryPublish(note(filled + 1))).ok()) {
    ++filled;
  }
  EXPECT_THAT(refused, HasCode(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(refused.ToString(), HasSubstr("it was not waited for"));
  EXPECT_THAT(publisher.TryPublish(std::make_shared<const Note>(note(0))),
              HasCode(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(ReceiveAll(*pull, filled), Counting(filled));
  // Nobody has waited, so no subscriber counts as stalled.
  EXPECT_THAT(publisher.Publish(note(77)), IsOk());
  SendOnceThereIsRoom([&] {
    return publisher.TryPublish(std::make_shared<const Note>(note(78)));
  });
  EXPECT_THAT(ReceiveAll(*pull, 2), testing::ElementsAre(77, 78));
  EXPECT_THAT(publisher.TryPublish(std::shared_ptr<const Note>()),
              HasCode(absl::StatusCode::kInvalidArgument));
}

TEST_P(PolicyTest, SlowSubscriberBesideAFastOneBothGetAllInOrder) {
  Open(kSmallLanes);
  constexpr uint64_t kNotes = 1000;
  Inbox fast, slow;
  std::promise<void> go;
  std::shared_future<void> may_go(go.get_future());
  auto fast_handle = beta_->Subscribe<Note>(
      fast.Handler(), Delivered(DeliveryMode::kQueued, "fast"));
  auto slow_handle = beta_->Subscribe<Note>(
      [&](const Note& note, const MessageInfo&) {
        may_go.wait();
        slow.Add(note.id());
      },
      Delivered(DeliveryMode::kQueued, "slow"));
  Publisher<Note> publisher = Publishing(2, Patient());
  std::thread writer([&] {
    for (uint64_t id = 1; id <= kNotes; ++id) {
      ASSERT_THAT(publisher.Publish(MakeNote(id, kBlobBytes)), IsOk());
    }
  });
  EXPECT_TRUE(fast.WaitFor(10));
  EXPECT_TRUE(slow.ids().empty());
  go.set_value();
  writer.join();
  EXPECT_TRUE(fast.WaitFor(kNotes));
  EXPECT_TRUE(slow.WaitFor(kNotes));
  EXPECT_EQ(fast.ids(), Counting(kNotes));
  EXPECT_EQ(slow.ids(), Counting(kNotes));
}

TEST_P(PolicyTest, PublishInItsOwnHandlerIsQueuedNotNested) {
  Open();
  Inbox got;
  int depth = 0, deepest = 0;
  auto own = beta_->Publisher<Note>();
  auto handle =
      beta_->Subscribe<Note>([&](const Note& note, const MessageInfo&) {
        deepest = std::max(deepest, ++depth);
        if (note.id() < 5) {
          EXPECT_THAT(own->Publish(MakeNote(note.id() + 1)), IsOk());
        }
        --depth;
        got.Add(note.id());
      });
  ASSERT_THAT(own->WaitForSubscribers(1, kLong), IsOk());
  Publisher<Note> publisher = Publishing(1);
  ASSERT_THAT(publisher.Publish(MakeNote(1)), IsOk());
  EXPECT_TRUE(got.WaitFor(5));
  EXPECT_EQ(got.ids(), Counting(5));
  EXPECT_EQ(deepest, 1);
}

TEST_P(PolicyTest, PublishInAHandlerThatCannotWaitReturnsAtOnce) {
  Open(kSmallLanes);
  Inbox got;
  absl::Status refused;
  uint64_t filled = 0;
  auto own = beta_->Publisher<Note>(Patient());
  auto handle =
      beta_->Subscribe<Note>([&](const Note& note, const MessageInfo&) {
        if (note.id() == 0) filled = Fill(*own, &refused);
        got.Add(note.id());
      });
  ASSERT_THAT(own->WaitForSubscribers(1, kLong), IsOk());
  Publisher<Note> publisher = Publishing(1);
  ASSERT_THAT(publisher.Publish(MakeNote(0)), IsOk());
  ASSERT_TRUE(got.WaitFor(1));
  Settle();
  EXPECT_THAT(refused, HasCode(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(refused.ToString(), HasSubstr("only this thread"));
  EXPECT_GT(filled, 0u);
  EXPECT_EQ(got.ids().size(), 1 + filled);
}

MYCELIUM_ALL_TRANSPORTS(PolicyTest);

}  // namespace
}  // namespace mycelium::test
