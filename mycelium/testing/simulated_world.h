#ifndef MYCELIUM_TESTING_SIMULATED_WORLD_H_
#define MYCELIUM_TESTING_SIMULATED_WORLD_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "mycelium/base/clock.h"
#include "mycelium/base/random.h"
#include "mycelium/testing/fiber.h"
#include "mycelium/testing/simulated_kernel.h"
#include "mycelium/testing/trace.h"

namespace mycelium {

// One thread of a simulated world: a fiber and what it waits for.
class SimulatedThread final {
 public:
  SimulatedThread(int place, std::function<void()> body)
      : place_(place), fiber_(std::move(body)) {}

  int place() const { return place_; }
  bool finished() const { return fiber_.finished(); }

  // A thread that is stopped does not run, as under SIGSTOP.
  void SetStopped(bool stopped) { stopped_ = stopped; }
  bool stopped() const { return stopped_; }

 private:
  friend class SimulatedWorld;

  const int place_;
  Fiber fiber_;
  bool stopped_ = false;
  bool dying_ = false;  // Its process has crashed: it does not wait any more.
  bool waits_ = false;
  TimeNs deadline_ = 0;
  const absl::FunctionRef<bool()>* ready_ = nullptr;
  const void* word_ = nullptr;  // It sleeps on this one.
  bool woken_ = false;
};

// Buses of several processes in one thread of one process, for a test.
// Simulated threads take turns as a seed decides, on a SimulatedKernel, in a
// time that passes only when no thread has anything left to do. The same seed
// gives the same run, event by event; trace() compares two runs.
//
// It cannot show data races, since one thread runs at a time, from one wait to
// the next.
//
// Thread safety: none.
//
// Example (see SimulatedProcess for what a thread needs to make a bus):
//   SimulatedWorld world(/*seed=*/7);
//   SimulatedProcess process(world, /*place=*/0, /*pid=*/1, /*seed=*/1);
//   world.Spawn(0, [&] { RunNode(process.environment()); });
//   world.kernel().weather().short_write_percent = 5;
//   world.RunUntil(world.now() + 1'000'000'000);
class SimulatedWorld final {
 public:
  explicit SimulatedWorld(uint64_t seed)
      : random_(seed), kernel_(random_, trace_) {}

  TimeNs now() const { return kernel_.now(); }
  Random& random() { return random_; }
  SimulatedKernel& kernel() { return kernel_; }
  const SimulatedKernel& kernel() const { return kernel_; }
  Trace& trace() { return trace_; }

  // Adds a thread of a process at `place`. The world owns it; the reference is
  // valid as long as the world.
  SimulatedThread& Spawn(int place, std::function<void()> body);

  // Lets one thread run until it waits, or lets time pass up to `until` if no
  // thread can run. Returns false if nothing happens before `until`.
  bool Step(TimeNs until);
  void RunUntil(TimeNs until) {
    while (Step(until)) {
    }
  }

  // Runs a thread to its end at once, without letting it wait, because its
  // process has crashed.
  void Finish(SimulatedThread& thread);

  // Called by a thread: sleeps until `ready` or the deadline. Returns false at
  // once when the thread must run to its end.
  bool Wait(TimeNs deadline, absl::FunctionRef<bool()> ready);
  // The same, until WakeWord().
  bool WaitWord(const void* word, TimeNs deadline);
  void WakeWord(const void* word);

 private:
  bool CanRun(SimulatedThread& thread) const;
  void Run(SimulatedThread& thread);

  Random random_;
  Trace trace_;
  SimulatedKernel kernel_;
  std::vector<std::unique_ptr<SimulatedThread>> threads_;
  std::vector<SimulatedThread*> runnable_;  // Of one Step().
  SimulatedThread* current_ = nullptr;
};

}  // namespace mycelium

#endif  // MYCELIUM_TESTING_SIMULATED_WORLD_H_
