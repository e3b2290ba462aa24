#ifndef TESTS_BENCHMARK_WAKE_WORDS_H_
#define TESTS_BENCHMARK_WAKE_WORDS_H_

#include <atomic>
#include <cstdint>

#include "absl/functional/function_ref.h"
#include "tests/benchmark/clock.h"
#include "tests/benchmark/stage.h"

namespace mycelium::bench {

// What the two sides of a wake-up tell each other, in memory that both map:
// one side sleeps in a call, the other lets it go on. Zero is its first state.
//
// The side that lets go first makes sure that the other side sleeps: it has
// seen it in the same call for kAsleepNs. It stores the time, lets the sleeper
// go, and waits for the call to end; that is one sample. If the call does not
// end, it lets go again and again, and the sample goes on, so that the sample
// shows how long a lost wake-up took.
struct WakeWords {
  static constexpr int64_t kAsleepNs = 50'000;
  // After this time the sleeper is told anew; such calls are counted, each
  // once.
  static constexpr int64_t kLateNs = 5'000'000;

  alignas(64) std::atomic<int64_t> entered;  // Calls, counted from 1.
  std::atomic<int64_t> left;
  alignas(64) std::atomic<int64_t> freed_ns;
  std::atomic<bool> done;
};

// Runs the sleeper's calls, the n-th of them as `call(n)`, until `samples` of
// them have slept, or a call or the run fails. Samples after the first
// `warm_up` go to the stage.
template <typename Call>
bool SleepAgainAndAgain(Stage& stage, WakeWords& words, int64_t warm_up,
                        int64_t samples, Call call) {
  int64_t number = 0;
  for (int64_t taken = 0; taken < warm_up + samples;) {
    const int64_t freed_before = words.freed_ns.load();
    words.entered.store(++number);
    if (stage.aborted() || !call(number)) return false;
    // In this order, so that a sleeper that is let go only now has no sample of
    // less than nothing.
    const int64_t freed_ns = words.freed_ns.load();
    const int64_t now_ns = NowNs();
    words.left.store(number);
    if (freed_ns == freed_before) continue;  // There was no need to sleep.
    if (taken++ >= warm_up) stage.AddSample(now_ns - freed_ns);
  }
  words.done.store(true);
  return true;
}

// The other side: lets the sleeper go on, again and again, until it is done.
// `let_go(n)` does one step for the sleeper's n-th call. It returns true if
// that told the sleeper, and false if another step is needed. `idle` is called
// while this side waits for the sleeper to sleep.
inline bool WakeAgainAndAgain(Stage& stage, WakeWords& words,
                              absl::FunctionRef<bool(int64_t)> let_go,
                              absl::FunctionRef<void()> idle) {
  const auto is_in = [&](int64_t call) {
    return words.entered.load() == call && words.left.load() < call;
  };
  while (!words.done.load()) {
    if (stage.aborted()) return false;
    const int64_t call = words.entered.load();
    if (call == 0 || !is_in(call)) {
      idle();
      continue;
    }
    SpinUntil(NowNs() + WakeWords::kAsleepNs);
    if (!is_in(call)) continue;
    bool told = false;
    bool late = false;
    while (is_in(call) && !stage.aborted()) {
      if (!told) words.freed_ns.store(NowNs());
      if (!let_go(call)) continue;
      told = true;
      const int64_t late_ns = NowNs() + WakeWords::kLateNs;
      while (is_in(call) && NowNs() < late_ns) CpuRelax();
      if (late || !is_in(call)) continue;
      late = true;
      stage.AddLateWake();
    }
  }
  return true;
}

}  // namespace mycelium::bench

#endif  // TESTS_BENCHMARK_WAKE_WORDS_H_
