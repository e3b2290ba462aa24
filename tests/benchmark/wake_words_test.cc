#include "tests/benchmark/wake_words.h"

#include <sched.h>

#include <atomic>
#include <cstdint>

#include "gtest/gtest.h"
#include "tests/benchmark/clock.h"
#include "tests/benchmark/pinned_run.h"

namespace mycelium::bench {
namespace {

struct Shared {
  WakeWords words;
  std::atomic<int64_t> number;  // Of the last call that was let go.
};

absl::Status Lost() { return absl::AbortedError("the other side gave up"); }

// Two threads, of which one waits and the other lets it go at the
// `attempts`-th time that it says so.
absl::StatusOr<RoundResult> RunWakes(int64_t samples, int attempts) {
  PinnedRun run;
  run.sharing = PinnedRun::Sharing::kThreads;
  // Both roles share one CPU, since there may be only one.
  const int cpu = sched_getcpu();
  run.cpus = {cpu, cpu};
  run.shared_bytes = sizeof(Shared);
  run.samples_max = samples;
  const Role wait = [&](Stage& stage) {
    auto& shared = *static_cast<Shared*>(stage.shared());
    const auto call = [&](int64_t number) {
      while (shared.number.load() != number) {
        if (stage.aborted()) return false;
        sched_yield();
      }
      return true;
    };
    return SleepAgainAndAgain(stage, shared.words, 0, samples, call)
               ? absl::OkStatus()
               : Lost();
  };
  const Role wake = [&](Stage& stage) {
    auto& shared = *static_cast<Shared*>(stage.shared());
    int64_t last_call = 0;
    int made = 0;
    const auto let_go = [&](int64_t call) {
      made = call == last_call ? made + 1 : 1;
      last_call = call;
      if (made >= attempts) shared.number.store(call);
      return true;
    };
    return WakeAgainAndAgain(stage, shared.words, let_go, [] { sched_yield(); })
               ? absl::OkStatus()
               : Lost();
  };
  run.roles = {wait, wake};
  return RunPinned(run);
}

TEST(WakeWordsTest, WakeUpThatWasLostIsASampleFromTheFirstOne) {
  constexpr int64_t kSamples = 3;
  const absl::StatusOr<RoundResult> result = RunWakes(kSamples, /*attempts=*/2);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->latencies_ns.size(), static_cast<size_t>(kSamples));
  for (const int64_t ns : result->latencies_ns) {
    EXPECT_GE(ns, WakeWords::kLateNs);
  }
  EXPECT_EQ(result->late_wakes, kSamples);
}

TEST(WakeWordsTest, LateCallIsCountedOnceHoweverLateItIs) {
  const absl::StatusOr<RoundResult> result = RunWakes(1, /*attempts=*/3);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GE(result->latencies_ns.at(0), 2 * WakeWords::kLateNs);
  EXPECT_EQ(result->late_wakes, 1);
}

}  // namespace
}  // namespace mycelium::bench
