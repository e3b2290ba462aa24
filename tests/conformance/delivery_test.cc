// Which subscribers get a message, in which order, and what the caller is told.

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "mycelium/base/environment.h"
#include "tests/conformance/conformance_fixture.h"

namespace mycelium::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kNotes = 500;

class DeliveryTest : public ConformanceTest {
 protected:
  // A publisher of alpha that reaches `subscriptions`.
  Publisher<Note> Publishing(size_t subscriptions,
                             const PublisherOptions& options = {}) {
    auto publisher = alpha_->Publisher<Note>(options);
    EXPECT_TRUE(publisher.ok()) << publisher.status();
    EXPECT_THAT(publisher->WaitForSubscribers(subscriptions, kLong), IsOk());
    return *std::move(publisher);
  }

  static void PublishMany(Publisher<Note>& publisher, uint64_t count) {
    for (uint64_t id = 1; id <= count; ++id) {
      ASSERT_THAT(publisher.Publish(MakeNote(id)), IsOk());
    }
  }
};

TEST_P(DeliveryTest, NoteArrivesWithItsContentAndOrigin) {
  Open();
  auto pull = beta_->Subscriber<Note>();
  Publisher<Note> publisher = Publishing(1);
  ASSERT_THAT(publisher.Publish(MakeNote(7, 1000)), IsOk());
  auto note = pull->Receive(kLong);
  ASSERT_TRUE(note.ok()) << note.status();
  EXPECT_EQ((*note)->SerializeAsString(),
            MakeNote(7, 1000).SerializeAsString());
  EXPECT_EQ(pull->info().publisher_service(), "alpha");
  EXPECT_EQ(pull->info().publisher_node(), alpha_->node());
  EXPECT_EQ(pull->info().topic(), "mycelium.test.Note");
  EXPECT_EQ(pull->info().sequence(), 1u);
}

TEST_P(DeliveryTest, RawBytesArriveUnchanged) {
  Open();
  const MessageType type = RawMessageType("bytes");
  auto pull = beta_->RawSubscriber(type);
  std::vector<std::byte> all(256);
  for (size_t i = 0; i < all.size(); ++i) all[i] = std::byte(i);
  auto publisher = alpha_->RawPublisher(type);
  ASSERT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
  ASSERT_THAT(publisher->Publish(all), IsOk());
  ASSERT_THAT(publisher->Publish({}), IsOk());
  auto first = pull->Receive(kLong);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(std::vector<std::byte>(first->begin(), first->end()), all);
  auto second = pull->Receive(kLong);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(second->empty());
}

TEST_P(DeliveryTest, PullQueuedAndInlineGetAllInOrder) {
  Open();
  Inbox queued, inlined;
  auto pull = beta_->Subscriber<Note>(Delivered({}, "pull"));
  auto queued_handle = beta_->Subscribe<Note>(
      queued.Handler(), Delivered(DeliveryMode::kQueued, "queued"));
  auto inline_handle = beta_->Subscribe<Note>(
      inlined.Handler(), Delivered(DeliveryMode::kInline, "inline"));
  Publisher<Note> publisher = Publishing(3);
  PublishMany(publisher, kNotes);
  EXPECT_EQ(ReceiveAll(*pull, kNotes), Counting(kNotes));
  EXPECT_TRUE(queued.WaitFor(kNotes));
  EXPECT_TRUE(inlined.WaitFor(kNotes));
  EXPECT_EQ(queued.ids(), Counting(kNotes));
  EXPECT_EQ(inlined.ids(), Counting(kNotes));
}

TEST_P(DeliveryTest, NoteOfEachOfFourThreadsArrivesOnce) {
  Open();
  constexpr uint64_t kThreads = 4;
  auto pull = beta_->Subscriber<Note>();
  Publisher<Note> publisher = Publishing(1);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&publisher, t] {
      for (uint64_t i = 1; i <= kNotes; ++i) {
        ASSERT_THAT(publisher.Publish(MakeNote(t * kNotes + i)), IsOk());
      }
    });
  }
  std::vector<uint64_t> ids = ReceiveAll(*pull, kThreads * kNotes);
  for (std::thread& thread : threads) thread.join();
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(ids, Counting(kThreads * kNotes));
}

TEST_P(DeliveryTest, PublisherToReachesOnlyItsService) {
  Open();
  auto own = alpha_->Subscriber<Note>();
  auto theirs = beta_->Subscriber<Note>();
  auto publisher = alpha_->PublisherTo<Note>("beta");
  ASSERT_TRUE(publisher.ok()) << publisher.status();
  ASSERT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
  ASSERT_THAT(publisher->Publish(MakeNote(1)), IsOk());
  EXPECT_THAT(ReceiveAll(*theirs, 1), ElementsAre(1));
  EXPECT_EQ(publisher->subscriber_count(), 1u);
  auto none = own->TryReceive();
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(*none, nullptr);
}

TEST_P(DeliveryTest, PublishToServiceIsUnavailableUntilItSubscribes) {
  WriteTopology();
  alpha_ = OpenService("alpha");
  auto publisher = alpha_->PublisherTo<Note>("beta");
  ASSERT_TRUE(publisher.ok()) << publisher.status();
  EXPECT_THAT(publisher->Publish(MakeNote(1)),
              HasCode(absl::StatusCode::kUnavailable));
  beta_ = OpenService("beta");
  auto other = beta_->Subscriber<Reply>();
  auto reply = alpha_->PublisherTo<Reply>("beta");
  ASSERT_THAT(reply->WaitForSubscribers(1, kLong), IsOk());
  EXPECT_THAT(publisher->Publish(MakeNote(1)),
              HasCode(absl::StatusCode::kUnavailable));
  auto pull = beta_->Subscriber<Note>();
  ASSERT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
  ASSERT_THAT(publisher->Publish(MakeNote(2)), IsOk());
  EXPECT_THAT(ReceiveAll(*pull, 1), ElementsAre(2));
}

TEST_P(DeliveryTest, UnknownServiceIsNotFoundAndNamesTheNearest) {
  Open();
  const auto publisher = alpha_->PublisherTo<Note>("betta");
  EXPECT_THAT(publisher.status(), HasCode(absl::StatusCode::kNotFound));
  EXPECT_THAT(publisher.status().ToString(), HasSubstr("nearest: beta"));
  const auto bus = MessageBus::FromTopology(topology_path(), "alfa");
  EXPECT_THAT(bus.status(), HasCode(absl::StatusCode::kNotFound));
  EXPECT_THAT(bus.status().ToString(), HasSubstr("nearest: alpha"));
  auto known = alpha_->Publisher<Note>();
  EXPECT_THAT(known->Publish(MakeNote(1)), IsOk());
  EXPECT_EQ(Total().dropped_for(DropReason::kNoSubscriber), 1u);
}

TEST_P(DeliveryTest, FrameAboveTheLimitIsInvalidAndAtTheLimitArrives) {
  Open("[limits]\nframe_bytes_max = 4096");
  constexpr size_t kHeaderBytes = 40;
  const MessageType type = RawMessageType("bytes");
  auto pull = beta_->RawSubscriber(type);
  auto publisher = alpha_->RawPublisher(type);
  ASSERT_THAT(publisher->WaitForSubscribers(1, kLong), IsOk());
  const std::vector<std::byte> bytes(4096);
  const auto first = [&](size_t count) {
    return absl::MakeConstSpan(bytes).first(count);
  };
  EXPECT_THAT(publisher->Publish(first(4096 - kHeaderBytes + 1)),
              HasCode(absl::StatusCode::kInvalidArgument));
  ASSERT_THAT(publisher->Publish(first(4096 - kHeaderBytes)), IsOk());
  auto got = pull->Receive(kLong);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->size(), 4096 - kHeaderBytes);
}

TEST_P(DeliveryTest, ReceiveAndWaitForSubscribersEndAtTheDeadline) {
  Open();
  auto pull = beta_->Subscriber<Note>();
  Publisher<Note> publisher = Publishing(1);
  EXPECT_THAT(pull->Receive(absl::Milliseconds(5)).status(),
              HasCode(absl::StatusCode::kDeadlineExceeded));
  const absl::Status waited =
      publisher.WaitForSubscribers(2, absl::Milliseconds(5));
  EXPECT_THAT(waited, HasCode(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(waited.ToString(), HasSubstr("1 of 2"));
  ASSERT_THAT(publisher.Publish(MakeNote(1)), IsOk());
  EXPECT_THAT(ReceiveAll(*pull, 1), ElementsAre(1));
}

TEST_P(DeliveryTest, DescriptorIsReadableOnceANoteCame) {
  Open();
  auto pull = beta_->Subscriber<Note>();
  const auto descriptor = pull->Descriptor();
  ASSERT_TRUE(descriptor.ok()) << descriptor.status();
  Publisher<Note> publisher = Publishing(1);
  ASSERT_EQ(*pull->TryReceive(), nullptr);
  pollfd watched = {*descriptor, POLLIN, 0};
  EXPECT_EQ(poll(&watched, 1, 0), 0);
  ASSERT_THAT(publisher.Publish(MakeNote(1)), IsOk());
  ASSERT_EQ(poll(&watched, 1, 20'000), 1);
  EXPECT_THAT(ReceiveAll(*pull, 1), ElementsAre(1));
}

TEST_P(DeliveryTest, EpollForgetsTheDescriptorOfAClosedSubscriber) {
  Open();
  auto pull = beta_->Subscriber<Note>();
  const auto descriptor = pull->Descriptor();
  ASSERT_TRUE(descriptor.ok()) << descriptor.status();
  Publisher<Note> publisher = Publishing(1);
  ASSERT_THAT(publisher.Publish(MakeNote(1)), IsOk());
  EXPECT_THAT(ReceiveAll(*pull, 1), ElementsAre(1));
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event = {};
  event.events = EPOLLIN;
  ASSERT_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, *descriptor, &event), 0);
  pull = absl::CancelledError("closed");
  EXPECT_EQ(epoll_wait(epoll, &event, 1, 0), 0);
  close(epoll);
}

TEST_P(DeliveryTest, CallerWhoPollsNeedsNoThread) {
  BusOptions options;
  options.poll = PollMode::kCaller;
  Open("", options);
  std::vector<uint64_t> got;
  auto handle = beta_->Subscribe<Note>(
      [&](const Note& note, const MessageInfo&) { got.push_back(note.id()); });
  auto publisher = alpha_->Publisher<Note>();
  const auto poll_until = [&](const std::function<bool()>& done) {
    while (!done()) {
      pollfd watched[] = {{alpha_->poll_descriptor(), POLLIN, 0},
                          {beta_->poll_descriptor(), POLLIN, 0}};
      ASSERT_GT(poll(watched, 2, absl::ToInt64Milliseconds(kLong)), 0);
      ASSERT_TRUE(alpha_->Poll(absl::ZeroDuration()).ok());
      ASSERT_TRUE(beta_->Poll(absl::ZeroDuration()).ok());
    }
  };
  poll_until([&] { return publisher->subscriber_count() == 1; });
  PublishMany(*publisher, 100);
  // Acknowledgements come by a timer.
  poll_until(
      [&] { return Total().delivered == 100 && Total().in_flight == 0; });
  EXPECT_EQ(got, Counting(100));
}

TEST_P(DeliveryTest, TimeIsStampedOnlyWhereAskedFor) {
  Open();
  auto pull = beta_->Subscriber<Note>();
  PublisherOptions stamped;
  stamped.publish_time = true;
  Publisher<Note> with = Publishing(1, stamped);
  Publisher<Note> without = Publishing(1);
  // Abseil's clock would not do: it is an estimate, which may lag behind.
  const int64_t before = Environment::Real().clock.WallNs();
  ASSERT_THAT(with.Publish(MakeNote(1)), IsOk());
  ASSERT_TRUE(pull->Receive(kLong).ok());
  EXPECT_GE(pull->info().publish_time_ns(), before);
  EXPECT_LE(pull->info().publish_time_ns(), Environment::Real().clock.WallNs());
  ASSERT_THAT(without.Publish(MakeNote(2)), IsOk());
  ASSERT_TRUE(pull->Receive(kLong).ok());
  EXPECT_EQ(pull->info().publish_time_ns(), 0);
}

TEST_P(DeliveryTest, SubscriptionsWithNamesEachGetTheNote) {
  Open();
  auto one = beta_->Subscriber<Note>(Delivered({}, "one"));
  auto two = beta_->Subscriber<Note>(Delivered({}, "two"));
  Publisher<Note> publisher = Publishing(2);
  ASSERT_THAT(publisher.Publish(MakeNote(1)), IsOk());
  EXPECT_THAT(ReceiveAll(*one, 1), ElementsAre(1));
  EXPECT_THAT(ReceiveAll(*two, 1), ElementsAre(1));
  Settle();
  std::set<std::string> names;
  for (const FlowReport& flow : Flows()) {
    if (flow.ledger.delivered == 1) names.insert(flow.subscription_name);
  }
  EXPECT_THAT(names, ElementsAre("one", "two"));
}

MYCELIUM_ALL_TRANSPORTS(DeliveryTest);

}  // namespace
}  // namespace mycelium::test
