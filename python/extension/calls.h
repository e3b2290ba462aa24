#ifndef PYTHON_EXTENSION_CALLS_H_
#define PYTHON_EXTENSION_CALLS_H_

#include <pybind11/pybind11.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mycelium/base/fork_guard.h"
#include "mycelium/bus/options.h"

// How calls from Python enter the runtime: the GIL, the end of the interpreter
// and fork().
//
// The rule: no thread holds the GIL while it waits for anything. A call that
// may wait, for a lock that is held while handlers run included, releases it.

namespace mycelium {

// What holds for the whole process, as the interpreter does.
//
// Thread safety: guarded by the GIL, but for what is atomic.
class Interpreter final {
 public:
  // Raises FailedPrecondition in a forked child, where the threads of the
  // runtime are gone and locks of theirs may be held for ever.
  static void CheckNotForked();
  static bool forked() { return forked_; }
  static void AfterForkInChild();

  // Whether Python code may still be run: set once atexit has ended all calls.
  static bool ending() { return ending_.load(std::memory_order_acquire); }

  // Waits for the calls of other threads, and those of the runtime into Python,
  // which somebody has seen to that they return. Only the calling thread may
  // make calls from now on.
  static void EndCalls(double seconds);

  // Around what a thread of the runtime does in Python, which EndCalls() waits
  // for. False: it is too late. Each counts first and asks then, so that one of
  // the two sees the other.
  static bool TryEnter() {
    entered_.fetch_add(1);
    if (!ending_.load()) return true;
    entered_.fetch_sub(1);
    return false;
  }
  static void Leave() { entered_.fetch_sub(1); }

  // How many buses are open: a fork without any is harmless.
  static void CountOpenBus(int change) { open_buses_ += change; }

 private:
  friend class CallUnderWay;
  inline static int calls_ = 0;
  inline static std::atomic<int> entered_{0};
  inline static int open_buses_ = 0;
  inline static bool forked_ = false;
  inline static std::atomic<bool> ending_{false};
  inline static std::thread::id ending_thread_;
};

// Around every call that releases the GIL. A thread that asks for the GIL once
// the interpreter is being finalised is ended by it, which C++ code on its
// stack turns into an abort. So at exit calls are waited for, and the threads
// that begin another one, which can only be daemons, never come back from it.
//
// Thread safety: made and destroyed with the GIL.
class CallUnderWay final {
 public:
  CallUnderWay();
  CallUnderWay(const CallUnderWay&) = delete;
  CallUnderWay& operator=(const CallUnderWay&) = delete;
  ~CallUnderWay() { --Interpreter::calls_; }
};

// Of a method: the call may wait. It is refused in a forked child.
class MayWaitGuard final {
 public:
  MayWaitGuard() { Interpreter::CheckNotForked(); }

 private:
  const CallUnderWay call_;
};
using MayWait = pybind11::call_guard<MayWaitGuard>;

// Calls `function`, which returns a Status or a StatusOr, without the GIL.
template <typename Function>
auto WithoutGil(Function function) {
  const pybind11::gil_scoped_release release;
  return function();
}

// Calls `wait`, which passes its argument on to a call of the runtime that
// waits. Meanwhile signal handlers run, so that Ctrl-C ends the wait; what one
// raises is thrown.
// REQUIRES: the GIL is held; `wait` is called without it.
absl::Status WaitForRuntime(
    absl::FunctionRef<absl::Status(const KeepWaiting&)> wait);

// The same for what the runtime has no part in: calls `wait` with parts of
// `timeout`, one after the other, until it returns true. False: the time is
// over.
bool WaitInParts(absl::Duration timeout,
                 absl::FunctionRef<bool(absl::Duration)> wait);

// Frees what a Python object owned. A child that was forked since keeps it: the
// destructor would wait for threads that are not there.
class DeleteWithoutGil final {
 public:
  template <typename T>
  void operator()(T* object) const {
    if (guard_.is_inherited()) return;
    const CallUnderWay call;
    const pybind11::gil_scoped_release release;
    delete object;
  }

 private:
  ForkGuard guard_;
};

// Owned by a Python object.
template <typename T>
using Owned = std::unique_ptr<T, DeleteWithoutGil>;

}  // namespace mycelium

#endif  // PYTHON_EXTENSION_CALLS_H_
