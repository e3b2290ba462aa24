#ifndef MYCELIUM_TESTS_MODEL_EXPLORER_H_
#define MYCELIUM_TESTS_MODEL_EXPLORER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "mycelium/base/shared_word.h"
#include "mycelium/testing/fiber.h"
#include "tests/model/memory.h"

namespace mycelium::model {

// A few threads, each with a bounded program over shared memory.
class Scenario {
 public:
  virtual ~Scenario() = default;

  struct Shared {
    std::byte* ring;
    size_t ring_bytes;
    std::byte* words;
    size_t words_bytes;
    size_t word_bytes;         // From one to the next.
    const char* const* names;  // Of the words.
    std::vector<WordApart> apart = {};
  };
  virtual Shared shared() = 0;
  virtual size_t thread_count() const { return 2; }
  // Whether a thread may be killed, so that its place in the program matters.
  virtual bool kills() const { return false; }
  virtual void Run(size_t thread) = 0;
  // Runs when all threads have ended; it sees all that they did.
  virtual void AtEnd() = 0;
};

// Runs a scenario in every way in which the threads can take turns and their
// loads can see stores. Two ways that lead to the same state go on as one. The
// state is what was stored and what each thread has read.
//
// The code under test calls the explorer through shared_word_hooks (hooks.cc),
// before each load and store. A turn ends there, with two exceptions, which
// belong to the current turn. Copies of bytes are one: their order makes no
// difference that is not a race. Stores to the ring are the other, since the
// ring has one writer: a load before such a store sees what a load after it may
// see.
//
// Thread safety: none, and one explorer at a time in a process.
class Explorer final {
 public:
  struct Outcome {
    bool failed = false;
    bool complete = true;  // Else there were more executions than allowed.
    std::string what;
    std::vector<std::string> trace;  // Of the execution that failed.
    uint64_t executions = 0;
    uint64_t states = 0;
  };

  Explorer();
  ~Explorer();
  Explorer(const Explorer&) = delete;
  Explorer& operator=(const Explorer&) = delete;

  using Make = std::function<std::unique_ptr<Scenario>(Explorer&)>;
  Outcome Explore(const Make& make, uint64_t executions_max);

  // The rest is for scenarios and for the hooks.

  // Ends the execution if `holds` is false.
  void Check(bool holds, const char* what);
  void Fail(const std::string& what);

  // Waits until the word, a doorbell, is not 0, and makes it 0.
  void Await(SharedWord<uint32_t>& bell);

  // The thread does not go on: its process was killed, and the kernel has told
  // this to the caller.
  void Kill(size_t thread) {
    threads_[thread].is_killed = true;
    memory_.JoinAll();
  }

  // Does what the kernel does for HeavyBarrier().
  void HeavyBarrier() {
    const View before = memory_.view_now();
    for (size_t i = 0; i < thread_count_; ++i) {
      if (i == running_) continue;
      BeforeAccess();
      memory_.BarrierIn(i, before);
    }
  }

  // Called before each access.
  void BeforeAccess();
  void BeforeStore(const void* at) {
    if (!memory_.IsInRing(at) || scenario_->kills()) BeforeAccess();
  }
  Memory& memory() { return memory_; }
  // Null while no scenario is explored.
  static Explorer* current();

 private:
  struct Unwind {};  // Ends a thread in the middle.
  struct Choice {
    size_t taken;
    size_t count;
  };
  struct Thread {
    std::unique_ptr<Fiber> fiber;
    bool is_started = false;
    bool is_done = false;
    bool is_killed = false;
    SharedWord<uint32_t>* bell = nullptr;  // The doorbell that it waits for.
  };
  static constexpr size_t kNobody = kThreadsMax;

  void Execute(const Make& make);
  void RunThreads();
  void RunFiber(size_t thread);
  void UnwindThreads();
  size_t Choose(size_t count);
  bool CanRun(const Thread& thread) const;
  size_t PickThread();
  bool Backtrack();
  void Note(const std::string& event);

  Memory memory_;
  Thread threads_[kThreadsMax];
  size_t thread_count_ = 0;
  Scenario* scenario_ = nullptr;
  size_t running_ = kNobody;
  size_t next_ = kNobody;
  bool is_picked_ = false;
  bool is_scheduling_ = false;
  bool is_unwinding_ = false;
  bool is_closing_ = false;

  std::vector<Choice> choices_;
  size_t depth_ = 0;   // How many of them this execution has made.
  size_t replay_ = 0;  // How many it repeats.
  std::unordered_set<uint64_t> visited_;
  Outcome outcome_;
};

}  // namespace mycelium::model

#endif  // MYCELIUM_TESTS_MODEL_EXPLORER_H_
