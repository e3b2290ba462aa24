#include "mycelium/routing/wait_graph.h"

#include <condition_variable>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mycelium/codec/frame_encoder.h"

namespace mycelium {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

std::shared_ptr<Subscription> QueueOf(const std::string& service,
                                      const std::string& name = "") {
  Subscription::Options options;
  options.service = service;
  options.topic = "readings";
  options.name = name;
  options.mode = DeliveryMode::kQueued;
  options.lane_bytes = 4096;
  options.frame_bytes_max = 1024;
  return *Subscription::Create(Environment::Real(), options,
                               /*handler=*/nullptr,
                               [](LogLevel, absl::string_view) {});
}

// A thread of its own, which does what it is told, one thing at a time.
class Worker final {
 public:
  ~Worker() {
    Do([this] { over_ = true; });
    thread_.join();
  }

  void Do(std::function<void()> task) {
    std::unique_lock<std::mutex> lock(mutex_);
    task_ = std::move(task);
    changed_.notify_all();
    changed_.wait(lock, [this] { return task_ == nullptr; });
  }

 private:
  void Run() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!over_) {
      changed_.wait(lock, [this] { return task_ != nullptr; });
      task_();
      task_ = nullptr;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> task_;
  bool over_ = false;
  std::thread thread_{[this] { Run(); }};
};

// If nothing else is said, no lane has given any room back.
class WaitGraphTest : public ::testing::Test {
 protected:
  // A queue, the thread that takes from it, and its wait for room in a lane.
  struct Taker {
    explicit Taker(std::shared_ptr<Subscription> queue)
        : queue(std::move(queue)) {
      worker.Do([this] { this->queue->SetConsumerThread(); });
    }
    ~Taker() { EndWait(); }

    std::shared_ptr<Lane> lane() const { return {queue, &queue->lane()}; }

    void WaitsFor(WaitGraph& graph, const Taker& other) {
      Look(graph, other.lane(), other.queue);
    }
    void WaitsForPeer(WaitGraph& graph, const Taker& other,
                      uint64_t released = 0) {
      Look(graph, other.lane(), nullptr, released);
    }
    void LooksAgain(uint64_t released = 0) {
      worker.Do([this, released] { wait->Look(released); });
    }
    bool in_circle() const { return wait->in_circle(); }
    void EndWait() {
      worker.Do([this] { wait.reset(); });
    }

    const std::shared_ptr<Subscription> queue;
    std::optional<WaitGraph::Wait> wait;
    Worker worker;

   private:
    void Look(WaitGraph& graph, const std::shared_ptr<Lane>& lane,
              const std::shared_ptr<Subscription>& subscription,
              uint64_t released = 0) {
      worker.Do([&] {
        wait.emplace(&graph, lane, subscription);
        wait->Look(released);
      });
    }
  };

  // A message comes and is taken.
  static void PassOneThrough(Subscription& queue) {
    Lane& lane = queue.lane();
    ASSERT_EQ(lane.TryClaim(sizeof(FrameHeader) + 8),
              Lane::ClaimResult::kClaimed);
    EncodeFrame(FrameFields(), lane.next_sequence(), 8, lane.Room());
    lane.Commit();
    lane.Ring();
    ASSERT_NE(queue.queue().Take(), nullptr);
    queue.queue().Finish();
    ASSERT_GT(lane.released(), 0u);
  }

  WaitGraph::Tell Keep(std::vector<v1::RoomAwaited>& told) {
    return [&told](const Lane&, v1::RoomAwaited awaited) {
      told.push_back(std::move(awaited));
    };
  }

  // The two wait for each other through their nodes, and both have asked before
  // a probe arrives. Returns the probe of `a` on its way back.
  v1::RoomAwaited LetWaitForEachOther(Taker& a, Taker& b) {
    a.WaitsForPeer(here_, b);
    b.WaitsForPeer(there_, a);
    there_.OnAwaited(told_here_.back(), *b.queue);
    EXPECT_THAT(told_there_, SizeIs(2));
    return told_there_.back();
  }

  std::vector<v1::RoomAwaited> told_here_, told_there_;
  WaitGraph here_{Environment::Real(), "here", 1, 100, Keep(told_here_)};
  WaitGraph there_{Environment::Real(), "there", 2, 200, Keep(told_there_)};
};

TEST_F(WaitGraphTest, CircleIsFoundByWhoClosesIt) {
  Taker a(QueueOf("a")), b(QueueOf("b", "second")), c(QueueOf("c"));
  a.WaitsFor(here_, b);
  b.WaitsFor(here_, c);
  EXPECT_FALSE(a.in_circle());
  EXPECT_FALSE(b.in_circle());
  c.WaitsFor(here_, a);
  EXPECT_TRUE(c.in_circle());
  EXPECT_EQ(c.wait->circle(),
            "here/c (readings) waits for here/a (readings), which waits for "
            "here/b (readings, second), which waits for here/c (readings)");
  EXPECT_FALSE(a.in_circle()) << "one of them is enough";
}

TEST_F(WaitGraphTest, ChainThatSomebodyDoesNotWaitInIsNone) {
  Taker a(QueueOf("a")), b(QueueOf("b")), c(QueueOf("c"));
  a.WaitsFor(here_, b);
  b.WaitsFor(here_, c);
  a.LooksAgain();
  EXPECT_FALSE(a.in_circle());
  c.WaitsFor(here_, a);
  c.EndWait();
  a.LooksAgain();
  EXPECT_FALSE(a.in_circle());
}

TEST_F(WaitGraphTest, LaneThatHasMovedSinceIsNoPartOfACircle) {
  Taker a(QueueOf("a")), b(QueueOf("b"));
  a.WaitsFor(here_, b);
  b.worker.Do([&] { PassOneThrough(*b.queue); });
  b.WaitsFor(here_, a);
  EXPECT_FALSE(b.in_circle()) << "what a waits for has come";
  // What came is not enough for `a`.
  a.LooksAgain(b.queue->lane().released());
  EXPECT_TRUE(a.in_circle());
}

TEST_F(WaitGraphTest, CircleThroughAnotherNodeIsFound) {
  Taker a(QueueOf("a")), b(QueueOf("b"));
  b.worker.Do([&] { PassOneThrough(*b.queue); });
  const uint64_t released = b.queue->lane().released();
  a.WaitsForPeer(here_, b, released);
  ASSERT_THAT(told_here_, SizeIs(1));
  EXPECT_EQ(told_here_[0].handled(), released);
  there_.OnAwaited(told_here_[0], *b.queue);
  EXPECT_THAT(told_there_, IsEmpty()) << "it goes no further";
  b.WaitsForPeer(there_, a);
  ASSERT_THAT(told_there_, SizeIs(1));
  here_.OnAwaited(told_there_[0], *a.queue);
  ASSERT_THAT(told_here_, SizeIs(2));
  EXPECT_THAT(told_here_[1].steps(), SizeIs(2));
  there_.OnAwaited(told_here_[1], *b.queue);
  EXPECT_TRUE(b.in_circle());
  EXPECT_EQ(b.wait->circle(),
            "there/b (readings) waits for here/a (readings), which waits for "
            "there/b (readings)");
  EXPECT_FALSE(a.in_circle());
}

// The thread that sent a probe waits for something else when the probe comes
// back.
TEST_F(WaitGraphTest, ProbeOfAnotherWaitIsNotTakenForOnes) {
  Taker a(QueueOf("a")), b(QueueOf("b"));
  const v1::RoomAwaited probe = LetWaitForEachOther(a, b);
  a.EndWait();
  a.WaitsForPeer(here_, b);
  here_.OnAwaited(probe, *a.queue);
  EXPECT_FALSE(a.in_circle());
}

TEST_F(WaitGraphTest, ProbeDoesNotGoRoundACircleOfOthers) {
  Taker a(QueueOf("a")), b(QueueOf("b")), outside(QueueOf("outside"));
  (void)LetWaitForEachOther(a, b);  // None of them has been told.
  told_here_.clear();
  outside.WaitsFor(here_, a);
  ASSERT_THAT(told_here_, SizeIs(1));
  there_.OnAwaited(told_here_[0], *b.queue);
  ASSERT_THAT(told_there_, SizeIs(3));
  here_.OnAwaited(told_there_[2], *a.queue);
  EXPECT_THAT(told_here_, SizeIs(1)) << "it has been here";
  EXPECT_FALSE(outside.in_circle());
}

TEST_F(WaitGraphTest, ProbeOfTooManyStepsOrTooLongNamesIsIgnored) {
  Taker a(QueueOf("a")), b(QueueOf("b"));
  a.WaitsForPeer(here_, b);
  told_here_.clear();
  v1::RoomAwaited probe;
  here_.OnAwaited(probe, *a.queue);
  v1::RoomAwaited::Step& step = *probe.add_steps();
  step.set_queue(std::string(WaitGraph::kNamesBytesMax, 'x'));
  here_.OnAwaited(probe, *a.queue);
  EXPECT_THAT(told_here_, IsEmpty()) << "there is no room for another";
  step.set_queue("x");
  while (probe.steps_size() < WaitGraph::kStepsMax) *probe.add_steps() = step;
  here_.OnAwaited(probe, *a.queue);
  EXPECT_THAT(told_here_, IsEmpty());
  probe.mutable_steps()->RemoveLast();
  here_.OnAwaited(probe, *a.queue);
  EXPECT_THAT(told_here_, SizeIs(1));
}

// What a newer peer, or a hostile one, has put in besides.
TEST_F(WaitGraphTest, OnlyWhatIsKnownOfAProbeGoesOn) {
  Taker a(QueueOf("a")), b(QueueOf("b"));
  a.WaitsForPeer(here_, b);
  told_here_.clear();
  v1::RoomAwaited probe;
  v1::RoomAwaited::Step& step = *probe.add_steps();
  step.GetReflection()->MutableUnknownFields(&step)->AddLengthDelimited(
      1000, std::string(100'000, 'x'));
  here_.OnAwaited(probe, *a.queue);
  ASSERT_THAT(told_here_, SizeIs(1));
  EXPECT_LT(told_here_[0].ByteSizeLong(), 200u);
}

TEST_F(WaitGraphTest, FloodOfProbesIsNotPassedOn) {
  Taker a(QueueOf("a")), b(QueueOf("b"));
  a.WaitsForPeer(here_, b);
  told_here_.clear();
  v1::RoomAwaited probe;
  probe.add_steps();
  for (int i = 0; i < 2 * WaitGraph::kPassedMax; ++i) {
    here_.OnAwaited(probe, *a.queue);
  }
  EXPECT_THAT(told_here_, SizeIs(WaitGraph::kPassedMax));
  a.LooksAgain();
  told_here_.clear();
  here_.OnAwaited(probe, *a.queue);
  EXPECT_THAT(told_here_, SizeIs(1));
}

TEST_F(WaitGraphTest, WhoHasTakenFromNoQueueIsWaitedForByNobody) {
  Taker a(QueueOf("a"));
  Worker worker;
  worker.Do([&] {
    WaitGraph::Wait wait(&here_, a.lane(), nullptr);
    wait.Look(/*released=*/0);
  });
  EXPECT_THAT(told_here_, IsEmpty());
}

// A wait that was told of a circle is about to end, so a thread that waits for
// this one may have room soon.
TEST_F(WaitGraphTest, WaitThatWasToldIsNoPartOfAnotherCircle) {
  Taker a(QueueOf("a")), b(QueueOf("b"));
  a.WaitsFor(here_, b);
  b.WaitsFor(here_, a);
  ASSERT_TRUE(b.in_circle());
  a.LooksAgain();
  EXPECT_FALSE(a.in_circle());
}

TEST_F(WaitGraphTest, WhoHasRoomWhenTheProbeComesBackIsNotTold) {
  Taker a(QueueOf("a")), b(QueueOf("b"));
  const v1::RoomAwaited probe = LetWaitForEachOther(a, b);
  b.worker.Do([&] { PassOneThrough(*b.queue); });
  here_.OnAwaited(probe, *a.queue);
  EXPECT_FALSE(a.in_circle());
}

TEST_F(WaitGraphTest, WhatAPeerSaysIsNotPrintedAsItIs) {
  Taker a(QueueOf("a")), b(QueueOf("b"));
  a.WaitsForPeer(here_, b);
  v1::RoomAwaited probe = told_here_[0];
  probe.add_steps()->set_queue("two\nlines");
  here_.OnAwaited(probe, *a.queue);
  ASSERT_TRUE(a.in_circle());
  EXPECT_EQ(a.wait->circle(),
            "here/a (readings) waits for two\\nlines, which waits for here/a "
            "(readings)");
}

}  // namespace
}  // namespace mycelium
