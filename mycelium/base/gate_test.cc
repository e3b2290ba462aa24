#include "mycelium/base/gate.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "mycelium/base/environment.h"

namespace mycelium {
namespace {

Waiter& RealWaiter() { return Environment::Real().waiter; }

TEST(GateTest, SecondThreadFindsItBusy) {
  Gate gate;
  ASSERT_EQ(gate.TryEnter(), Gate::Entry::kEntered);
  EXPECT_TRUE(gate.IsInside());
  std::thread([&] {
    EXPECT_FALSE(gate.IsInside());
    EXPECT_EQ(gate.TryEnter(), Gate::Entry::kBusy);
  }).join();
  EXPECT_EQ(gate.Leave(RealWaiter()), Gate::Exit::kOut);
  EXPECT_FALSE(gate.IsInside());
  EXPECT_EQ(gate.TryEnter(), Gate::Entry::kEntered);
}

TEST(GateTest, WhoMarkedItPendingIsAnsweredBeforeAnybodyLeaves) {
  Gate gate;
  ASSERT_TRUE(gate.MarkPending());
  std::thread([&] { EXPECT_FALSE(gate.MarkPending()); }).join();
  EXPECT_FALSE(gate.MarkPending()) << "from within: queued, not recursed";
  EXPECT_EQ(gate.Leave(RealWaiter()), Gate::Exit::kStillInside);
  EXPECT_TRUE(gate.IsInside());
  EXPECT_EQ(gate.Leave(RealWaiter()), Gate::Exit::kOut);
}

TEST(GateTest, WhoIsInsideSeesThatSomebodyWaitsOrClosesIt) {
  Gate gate;
  ASSERT_EQ(gate.TryEnter(), Gate::Entry::kEntered);
  EXPECT_TRUE(gate.IsUndisturbed());
  std::thread([&] { EXPECT_FALSE(gate.MarkPending()); }).join();
  EXPECT_FALSE(gate.IsUndisturbed());
  EXPECT_EQ(gate.Leave(RealWaiter()), Gate::Exit::kStillInside);
  EXPECT_TRUE(gate.IsUndisturbed());
  std::thread([&] { EXPECT_FALSE(gate.Shut()); }).join();
  EXPECT_FALSE(gate.IsUndisturbed());
  EXPECT_EQ(gate.Leave(RealWaiter()), Gate::Exit::kOutForGood);
}

TEST(GateTest, NobodyEntersAfterClose) {
  Gate gate;
  EXPECT_FALSE(gate.closed());
  gate.Close(RealWaiter());
  EXPECT_TRUE(gate.closed());
  EXPECT_EQ(gate.TryEnter(), Gate::Entry::kClosed);
  EXPECT_FALSE(gate.MarkPending());
}

TEST(GateTest, CloseFromWithinTakesEffectAtLeaving) {
  Gate gate;
  ASSERT_EQ(gate.TryEnter(), Gate::Entry::kEntered);
  gate.Close(RealWaiter());
  EXPECT_EQ(gate.Leave(RealWaiter()), Gate::Exit::kOutForGood);
  EXPECT_EQ(gate.TryEnter(), Gate::Entry::kClosed);
}

TEST(GateTest, CloseWaitsForTheOneInside) {
  for (const bool by_queueing : {false, true}) {
    Gate gate;
    if (by_queueing) {
      ASSERT_TRUE(gate.MarkPending());
    } else {
      ASSERT_EQ(gate.TryEnter(), Gate::Entry::kEntered);
    }
    EXPECT_TRUE(gate.HasStarted());
    EXPECT_TRUE(gate.IsUndisturbed()) << "to leave takes one step";
    std::atomic<bool> left{false};
    std::thread closing([&] {
      gate.Close(RealWaiter());
      EXPECT_TRUE(left.load());
    });
    while (!gate.closed()) std::this_thread::yield();
    left.store(true);
    EXPECT_EQ(gate.Leave(RealWaiter()), Gate::Exit::kOutForGood);
    closing.join();
  }
}

TEST(GateTest, WhoHasReservedItIsNotWaitedFor) {
  for (const bool by_queueing : {false, true}) {
    Gate gate;
    if (by_queueing) {
      ASSERT_TRUE(gate.MarkPendingOrReserve());
    } else {
      ASSERT_EQ(gate.TryReserve(), Gate::Entry::kEntered);
    }
    EXPECT_TRUE(gate.IsInside());
    EXPECT_TRUE(gate.IsRunning()) << "nobody else enters, nor destroys it";
    EXPECT_FALSE(gate.HasStarted());
    std::thread([&] {
      EXPECT_EQ(gate.TryEnter(), Gate::Entry::kBusy);
      gate.Close(RealWaiter());
    }).join();
    EXPECT_FALSE(gate.Start());
    EXPECT_EQ(gate.Leave(RealWaiter()), Gate::Exit::kOutForGood);
  }
}

TEST(GateTest, WhoHasStartedIsWaitedFor) {
  Gate gate;
  ASSERT_EQ(gate.TryReserve(), Gate::Entry::kEntered);
  ASSERT_TRUE(gate.Start());
  EXPECT_TRUE(gate.HasStarted());
  std::thread([&] { EXPECT_FALSE(gate.Shut()); }).join();
  EXPECT_EQ(gate.Leave(RealWaiter()), Gate::Exit::kOutForGood);
}

TEST(GateTest, ReservedGateThatIsLeftIsFree) {
  Gate gate;
  ASSERT_EQ(gate.TryReserve(), Gate::Entry::kEntered);
  std::thread([&] { EXPECT_FALSE(gate.MarkPending()); }).join();
  EXPECT_EQ(gate.Leave(RealWaiter()), Gate::Exit::kStillInside);
  EXPECT_TRUE(gate.HasStarted());
  EXPECT_EQ(gate.Leave(RealWaiter()), Gate::Exit::kOut);
  EXPECT_EQ(gate.TryReserve(), Gate::Entry::kEntered);
  EXPECT_EQ(gate.Leave(RealWaiter()), Gate::Exit::kOut);
  EXPECT_EQ(gate.TryEnter(), Gate::Entry::kEntered);
}

TEST(GateTest, EveryPieceOfWorkIsDoneOnceByOneThreadAtATime) {
  constexpr int kThreads = 4;
  constexpr int kEach = 50'000;
  Gate gate;
  std::atomic<int> queued{0};
  std::atomic<int> inside{0};
  std::atomic<int> overlaps{0};
  int done = 0;  // Guarded by the gate.
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) {
        queued.fetch_add(1);
        // Some as handlers do it, some as links do.
        if (i % 2 == 0) {
          if (!gate.MarkPendingOrReserve()) continue;
          EXPECT_TRUE(gate.Start());
        } else if (!gate.MarkPending()) {
          continue;
        }
        do {
          if (inside.fetch_add(1) != 0) ++overlaps;
          done += queued.exchange(0);
          inside.fetch_sub(1);
        } while (gate.Leave(RealWaiter()) == Gate::Exit::kStillInside);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(overlaps, 0);
  EXPECT_EQ(queued, 0) << "somebody left without looking again";
  EXPECT_EQ(done, kThreads * kEach);
}

}  // namespace
}  // namespace mycelium
