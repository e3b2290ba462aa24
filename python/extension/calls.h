#ifndef PYTHON_EXTENSION_CALLS_H_
#define PYTHON_EXTENSION_CALLS_H_

#include <cxxabi.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>

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

[[noreturn]] void StayForEver();

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
  // make calls from now on. What has not returned in time stays where it is.
  static void EndCalls(double seconds);

  // A callback was left running by who had waited for it long enough.
  static void LeaveCallback() { left_callback_ = true; }
  // Whether what waits for callbacks might wait for such a one.
  static bool HasLeftCallback() {
    return left_callback_ && entered_.load() > 0;
  }
  // Whether EndCalls() has waited in vain.
  static bool has_stuck_calls() { return has_stuck_calls_; }

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

  // Keeps what a callback raised for the call of Python on whose thread it ran,
  // which then raises it, if that is no Exception, such as KeyboardInterrupt.
  // False: it is one, or there is no such call.
  static bool KeepForCaller(const pybind11::error_already_set& raised);
  // Whether something is kept for this thread.
  static bool HasKept() { return has_kept_ && FindKept(); }
  // Raises what was kept for this thread.
  static void RaiseKept() {
    if (has_kept_) FindAndRaiseKept();
  }

  // How many buses are open: a fork without any is harmless.
  static void CountOpenBus(int change) { open_buses_ += change; }

 private:
  friend class CallUnderWay;
  static bool FindKept();
  static void FindAndRaiseKept();
  inline static bool has_kept_ = false;  // For any thread.
  inline static int calls_ = 0;
  inline static std::atomic<int> entered_{0};
  inline static int open_buses_ = 0;
  inline static bool forked_ = false;
  inline static bool left_callback_ = false;
  inline static bool has_stuck_calls_ = false;
  inline static std::atomic<bool> ending_{false};
  inline static std::thread::id ending_thread_;
};

// Calls `function`, which asks for the GIL, or may. A thread that does once the
// interpreter is being finalised is ended by it, which C++ code on its stack
// turns into an abort: so it stays here for ever, as from Python 3.14 on.
template <typename Function>
auto OrStay(Function function) {
  try {
    return function();
  } catch (const abi::__forced_unwind&) {
    StayForEver();
  }
}

// Without the GIL, while it lives.
class GilReleased final {
 public:
  GilReleased() : state_(PyEval_SaveThread()) {}
  GilReleased(const GilReleased&) = delete;
  GilReleased& operator=(const GilReleased&) = delete;
  ~GilReleased() {
    OrStay([this] { PyEval_RestoreThread(state_); });
  }

 private:
  PyThreadState* const state_;
};

// With the GIL, while it lives. On threads that have a thread state of Python:
// see callback.h.
class GilTaken final {
 public:
  GilTaken() : state_(OrStay([] { return PyGILState_Ensure(); })) {}
  GilTaken(const GilTaken&) = delete;
  GilTaken& operator=(const GilTaken&) = delete;
  ~GilTaken() { PyGILState_Release(state_); }

 private:
  const PyGILState_STATE state_;
};

// Around every call that releases the GIL. At exit calls are waited for, and
// the threads that begin another one, which can only be daemons, never come
// back from it.
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

// Calls `function`, which returns a Status or a StatusOr, without the GIL. What
// a callback raised meanwhile for this call is thrown instead: KeepForCaller().
template <typename Function>
auto WithoutGil(Function function) {
  const auto call = [&function] {
    const GilReleased released;
    return function();
  };
  if constexpr (std::is_void_v<decltype(function())>) {
    call();
    Interpreter::RaiseKept();
  } else {
    auto result = call();
    if (Interpreter::HasKept()) {
      {
        const GilReleased released;  // It may wait for who wants the GIL.
        (void)decltype(result)(std::move(result));
      }
      Interpreter::RaiseKept();
    }
    return result;
  }
}

// Calls `wait`, which passes its argument on to a call of the runtime that
// waits. Meanwhile signal handlers run, so that Ctrl-C ends the wait; what one
// raises is thrown, or what a callback raised that the call ran.
// REQUIRES: the GIL is held; `wait` is called without it.
absl::Status WaitForRuntime(
    absl::FunctionRef<absl::Status(const KeepWaiting&)> wait);

// The same for what the runtime has no part in: calls `wait` with parts of
// `timeout`, one after the other, until it returns true. False: the time is
// over.
bool WaitInParts(absl::Duration timeout,
                 absl::FunctionRef<bool(absl::Duration)> wait);

// Runs `destroy`, which waits for a callback, on a thread of its own.
void DestroyAside(std::function<void()> destroy);

// Frees what a Python object owned. A child that was forked since keeps it: the
// destructor would wait for threads that are not there. So does a process that
// ends while a callback does not: it would wait for that.
class DeleteWithoutGil final {
 public:
  template <typename T>
  void operator()(T* object) const {
    if (keeps()) return;
    if (Interpreter::HasLeftCallback()) {
      return DestroyAside([object] { delete object; });
    }
    Now(object);
  }

  // The same at once, of what does not wait.
  template <typename T>
  void Now(T* object) const {
    const CallUnderWay call;
    const GilReleased released;
    delete object;
  }

  bool keeps() const {
    return guard_.is_inherited() || Interpreter::has_stuck_calls();
  }

 private:
  ForkGuard guard_;
};

// Owned by a Python object.
template <typename T>
using Owned = std::unique_ptr<T, DeleteWithoutGil>;

}  // namespace mycelium

#endif  // PYTHON_EXTENSION_CALLS_H_
