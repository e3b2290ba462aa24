#include "mycelium/routing/inbound_queue.h"

#include <sys/epoll.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <new>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/base/environment.h"
#include "mycelium/routing/local_frame.h"
#include "mycelium/transport/lane/ring_frames.h"

namespace mycelium {
namespace {

using Sequences = std::vector<uint64_t>;

constexpr size_t kFrameBytes = 64;

// A ring that a test writes to.
class TestFeed final : public InboundQueue::Feed {
 public:
  // False: there is no room.
  bool Write(uint64_t sequence, size_t bytes = kFrameBytes) {
    return test::WriteFrame(writer_, sequence, bytes);
  }
  // Writes a frame that holds `object`.
  void WriteObject(uint64_t sequence, std::shared_ptr<const void> object) {
    FrameFields fields;
    fields.flags = kFrameObject;
    const absl::Span<std::byte> room =
        writer_.TryClaim(EncodedFrameBytes(fields, sizeof(ObjectPayload)));
    const absl::Span<std::byte> payload =
        EncodeFrame(fields, sequence, sizeof(ObjectPayload), room);
    new (payload.data()) ObjectPayload{std::move(object), nullptr};
    writer_.Commit();
  }
  void End() { SetEnded(); }
  // At these looks a frame is there that is gone when it is to be taken.
  void PretendAt(std::set<int> looks) { pretended_ = std::move(looks); }

  // The last frame of each Release().
  const Sequences& released() const { return released_; }

  RingReader::Result Poll(FrameView* frame) override {
    return reader_.Poll(frame);
  }
  bool HasFrame() const override {
    return pretended_.count(looks_++) != 0 || reader_.HasFrame();
  }
  void Release(const FrameHeader& last) override {
    reader_.Release();
    released_.push_back(last.lane_sequence);
  }

 private:
  test::RingMemory memory_{kRingBytesMin};
  RingPositions positions_;
  RingWriter writer_{memory_.bytes(), positions_};
  RingReader reader_{memory_.bytes(), positions_, kLocalFrameFlags};
  Sequences released_;
  std::set<int> pretended_;
  mutable std::atomic<int> looks_{0};
};

class InboundQueueTest : public testing::Test {
 protected:
  std::shared_ptr<TestFeed> AddFeed() {
    auto feed = std::make_shared<TestFeed>();
    queue_.AddFeed(feed);
    return feed;
  }

  // The sequence of the next frame; 0 if there is none.
  uint64_t Take() {
    const FrameView* const frame = queue_.Take();
    return frame == nullptr ? 0 : frame->header.lane_sequence;
  }

  Sequences Close() {
    Sequences dropped;
    queue_.Close([&](const FrameView& frame) {
      dropped.push_back(frame.header.lane_sequence);
    });
    return dropped;
  }

  static bool IsReadable(int descriptor) {
    Sys& sys = Sys::Real();
    const int epoll = static_cast<int>(sys.EpollCreate());
    epoll_event event = {};
    event.events = EPOLLIN;
    sys.EpollCtl(epoll, EPOLL_CTL_ADD, descriptor, &event);
    const bool readable = sys.EpollWait(epoll, &event, 1, 0) == 1;
    sys.Close(epoll);
    return readable;
  }

  InboundQueue queue_{Environment::Real()};
};

TEST_F(InboundQueueTest, TakesTheFramesOfAFeedInOrder) {
  const auto feed = AddFeed();
  for (uint64_t i = 1; i <= 3; ++i) ASSERT_TRUE(feed->Write(i));
  EXPECT_EQ(Take(), 1u);
  EXPECT_EQ(Take(), 2u);
  EXPECT_EQ(Take(), 3u);
  EXPECT_EQ(Take(), 0u);
}

TEST_F(InboundQueueTest, FeedsTakeTurns) {
  const auto one = AddFeed();
  const auto two = AddFeed();
  for (uint64_t i = 1; i <= 2; ++i) {
    ASSERT_TRUE(one->Write(i));
    ASSERT_TRUE(two->Write(10 + i));
  }
  EXPECT_EQ(Take(), 1u);
  EXPECT_EQ(Take(), 11u);
  EXPECT_EQ(Take(), 2u);
  EXPECT_EQ(Take(), 12u);
}

TEST_F(InboundQueueTest, TakenFrameKeepsItsRoomUntilTheNextTake) {
  const auto feed = AddFeed();
  ASSERT_TRUE(feed->Write(1));
  ASSERT_EQ(Take(), 1u);
  EXPECT_EQ(feed->released(), Sequences());
  EXPECT_EQ(Take(), 0u);
  EXPECT_EQ(feed->released(), Sequences({1}));
}

TEST_F(InboundQueueTest, FinishGivesTheRoomBackOnce) {
  const auto feed = AddFeed();
  ASSERT_TRUE(feed->Write(1));
  ASSERT_EQ(Take(), 1u);
  queue_.Finish();
  queue_.Finish();
  EXPECT_EQ(Take(), 0u);
  EXPECT_EQ(feed->released(), Sequences({1}));
}

TEST_F(InboundQueueTest, FinishDestroysTheObjectOfItsFrame) {
  const auto feed = AddFeed();
  const auto object = std::make_shared<const int>(7);
  feed->WriteObject(1, object);
  ASSERT_EQ(Take(), 1u);
  EXPECT_EQ(object.use_count(), 2);
  queue_.Finish();
  EXPECT_EQ(object.use_count(), 1);
}

TEST_F(InboundQueueTest, FeedThatIsAddedLaterIsSeen) {
  EXPECT_FALSE(queue_.HasFrame());
  const auto one = AddFeed();
  EXPECT_FALSE(queue_.HasFrame());
  const auto two = AddFeed();
  ASSERT_TRUE(two->Write(1));
  EXPECT_TRUE(queue_.HasFrame());
  EXPECT_EQ(Take(), 1u);
}

// DropLate() holds the lock while its visitor runs.
TEST_F(InboundQueueTest, LookThatFindsNothingTakesNoLock) {
  AddFeed();
  ASSERT_EQ(Take(), 0u);  // Has seen the feed.
  TestFeed late;
  ASSERT_TRUE(late.Write(1));
  std::future<bool> look;
  queue_.DropLate(late, [&](const FrameView&) {
    look = std::async(std::launch::async, [&] {
      return queue_.HasFrame() || queue_.Take() != nullptr;
    });
    EXPECT_EQ(look.wait_for(std::chrono::seconds(20)),
              std::future_status::ready);
  });
  EXPECT_FALSE(look.get());
}

TEST_F(InboundQueueTest, EndedFeedIsForgottenWhenItIsEmpty) {
  auto ended = AddFeed();
  const auto other = AddFeed();
  const std::weak_ptr<TestFeed> watch = ended;
  ASSERT_TRUE(ended->Write(1));
  ended->End();
  ended.reset();
  EXPECT_EQ(Take(), 1u);
  EXPECT_EQ(Take(), 0u);
  ASSERT_TRUE(other->Write(2));
  EXPECT_EQ(Take(), 2u);  // The ended feed is no longer the one taken from.
  EXPECT_EQ(Take(), 0u);
  EXPECT_TRUE(watch.expired());
}

TEST_F(InboundQueueTest, EndedFeedOfAnIdleQueueIsForgottenWithTheNextOne) {
  auto ended = AddFeed();
  const std::weak_ptr<TestFeed> watch = ended;
  ended->End();
  ended.reset();
  AddFeed();
  EXPECT_FALSE(queue_.HasFrame());
  EXPECT_TRUE(watch.expired());
}

TEST_F(InboundQueueTest, EndedFeedWithFramesIsNotForgotten) {
  auto ended = AddFeed();
  ASSERT_TRUE(ended->Write(1));
  ended->End();
  AddFeed();
  EXPECT_EQ(Take(), 1u);
}

TEST_F(InboundQueueTest, WhatAnEndedFeedHoldsComesBeforeOthers) {
  auto other = AddFeed();
  auto old = AddFeed();
  for (const uint64_t sequence : {1, 2, 3}) old->Write(sequence);
  other->Write(100);
  other->Write(101);
  EXPECT_EQ(Take(), 100u);
  EXPECT_EQ(Take(), 1u);
  old->End();
  auto successor = AddFeed();
  successor->Write(4);
  successor->Write(5);
  EXPECT_EQ(Take(), 2u);
  EXPECT_EQ(Take(), 3u);
  Sequences rest = {Take(), Take(), Take()};
  std::sort(rest.begin(), rest.end());
  EXPECT_EQ(rest, (Sequences{4, 5, 101}));
  EXPECT_EQ(Take(), 0u);
}

TEST_F(InboundQueueTest, CloseDropsWhatNobodyTook) {
  const auto one = AddFeed();
  const auto two = AddFeed();
  for (uint64_t i = 1; i <= 2; ++i) ASSERT_TRUE(one->Write(i));
  ASSERT_TRUE(two->Write(11));
  EXPECT_TRUE(queue_.HasFrame());
  EXPECT_EQ(Close(), Sequences({1, 2, 11}));
  EXPECT_EQ(one->released(), Sequences({2}));
  EXPECT_EQ(two->released(), Sequences({11}));
  EXPECT_FALSE(queue_.HasFrame());
  EXPECT_EQ(Take(), 0u);
}

TEST_F(InboundQueueTest, TakenFrameOutlivesCloseAndGivesTheRoomOfAllBack) {
  const auto feed = AddFeed();
  for (uint64_t i = 1; i <= 3; ++i) ASSERT_TRUE(feed->Write(i));
  const FrameView* const frame = queue_.Take();
  ASSERT_NE(frame, nullptr);
  EXPECT_EQ(Close(), Sequences({2, 3}));
  EXPECT_TRUE(test::IsFilled(*frame, 1, kFrameBytes));
  EXPECT_EQ(feed->released(), Sequences());
  queue_.Finish();
  EXPECT_EQ(feed->released(), Sequences({3}));
}

TEST_F(InboundQueueTest, ReportedFrameIsNotReleasedAgain) {
  const auto feed = AddFeed();
  ASSERT_TRUE(feed->Write(1));
  ASSERT_EQ(Take(), 1u);
  Close();
  queue_.ReportTaken();
  EXPECT_EQ(feed->released(), Sequences({1}));
  queue_.Finish();
  EXPECT_EQ(feed->released(), Sequences({1}));
}

TEST_F(InboundQueueTest, ClosedQueueLetsGoOfItsFeedsAndTakesNoMore) {
  auto feed = AddFeed();
  EXPECT_FALSE(queue_.HasFrame());
  const std::weak_ptr<TestFeed> watch = feed;
  Close();
  feed.reset();
  EXPECT_EQ(Take(), 0u);
  EXPECT_TRUE(watch.expired());
  const auto late = AddFeed();
  ASSERT_TRUE(late->Write(1));
  EXPECT_EQ(Take(), 0u);
}

TEST_F(InboundQueueTest, DescriptorIsReadableOnlyAfterItWasArmed) {
  const auto feed = AddFeed();
  const absl::StatusOr<int> descriptor = queue_.Descriptor();
  ASSERT_TRUE(descriptor.ok()) << descriptor.status();
  queue_.Notify();
  EXPECT_FALSE(IsReadable(*descriptor));
  EXPECT_TRUE(queue_.ArmDescriptor());
  EXPECT_FALSE(IsReadable(*descriptor));
  ASSERT_TRUE(feed->Write(1));
  queue_.Notify();
  EXPECT_TRUE(IsReadable(*descriptor));
  EXPECT_FALSE(queue_.ArmDescriptor());  // What is there is taken first.
  EXPECT_EQ(Take(), 1u);
  EXPECT_TRUE(queue_.ArmDescriptor());
  EXPECT_FALSE(IsReadable(*descriptor));
}

// A lossy lane drops a frame for the next one, and between the two it has none.
TEST_F(InboundQueueTest, FrameThatIsDroppedAfterALookLeavesTheDescriptorArmed) {
  const absl::StatusOr<int> descriptor = queue_.Descriptor();
  ASSERT_TRUE(descriptor.ok()) << descriptor.status();
  for (int look = 0; look < 6; ++look) {
    const auto feed = AddFeed();
    feed->PretendAt({look});
    while (queue_.TakeOrArm() != nullptr) continue;
    ASSERT_TRUE(feed->Write(1));
    queue_.Notify();
    EXPECT_TRUE(IsReadable(*descriptor)) << "look " << look;
    EXPECT_EQ(Take(), 1u);
    EXPECT_EQ(Take(), 0u);
    feed->End();
  }
}

TEST_F(InboundQueueTest, PublisherThatIsAlwaysFasterHoldsNobodyUp) {
  const absl::StatusOr<int> descriptor = queue_.Descriptor();
  ASSERT_TRUE(descriptor.ok()) << descriptor.status();
  const auto feed = AddFeed();
  std::set<int> always;
  for (int look = 0; look < 10'000; ++look) always.insert(look);
  feed->PretendAt(always);
  EXPECT_EQ(queue_.TakeOrArm(), nullptr);
  EXPECT_TRUE(IsReadable(*descriptor));
}

// One thread writes, one takes, one closes somewhere in the middle.
TEST(InboundQueueConcurrentTest, EachFrameIsTakenOrDroppedOnce) {
  constexpr int kRounds = 200;
  constexpr uint64_t kFrames = 200;
  for (int round = 0; round < kRounds; ++round) {
    InboundQueue queue(Environment::Real());
    const auto first = std::make_shared<TestFeed>();
    const auto second = std::make_shared<TestFeed>();
    queue.AddFeed(first);
    std::atomic<uint64_t> written{0};
    std::atomic<int> uses[kFrames + 1] = {};
    std::thread writer([&] {
      for (uint64_t i = 1; i <= kFrames; ++i) {
        if (i == kFrames / 4) queue.AddFeed(second);
        TestFeed& feed = i >= kFrames / 4 && i % 2 == 0 ? *second : *first;
        while (!feed.Write(i)) {
          if (queue.closed()) return;
          std::this_thread::yield();
        }
        written.store(i);
        queue.Notify();
        if (queue.closed()) return;
      }
    });
    std::thread consumer([&] {
      while (!queue.closed()) {
        const FrameView* const frame = queue.Take();
        if (frame != nullptr) uses[frame->header.lane_sequence].fetch_add(1);
      }
      queue.Finish();
    });
    const uint64_t close_at = (kFrames * round) / kRounds;
    while (written.load() < close_at) std::this_thread::yield();
    const auto drop = [&](const FrameView& frame) {
      uses[frame.header.lane_sequence].fetch_add(1);
    };
    queue.Close(drop);
    writer.join();
    queue.DropLate(*first, drop);
    queue.DropLate(*second, drop);
    consumer.join();
    for (uint64_t i = 1; i <= kFrames; ++i) {
      ASSERT_EQ(uses[i].load(), i <= written.load() ? 1 : 0)
          << "frame " << i << " of round " << round;
    }
  }
}

}  // namespace
}  // namespace mycelium
