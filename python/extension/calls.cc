#include "python/extension/calls.h"

#include <chrono>
#include <map>
#include <optional>
#include <utility>

#include "mycelium/base/environment.h"
#include "mycelium/base/start_thread.h"
#include "python/extension/convert.h"

namespace py = pybind11;

namespace mycelium {
namespace {

// How long a signal handler may have to wait for a thread that waits. The
// runtime asks as often.
constexpr absl::Duration kPart = absl::Milliseconds(50);

}  // namespace

void StayForEver() {
  while (true) std::this_thread::sleep_for(std::chrono::hours(1));
}

void DestroyAside(std::function<void()> destroy) {
  auto* const kept = new std::function<void()>(std::move(destroy));
  absl::StatusOr<std::thread> thread = StartThread("destroy", [kept] {
    (*kept)();
    delete kept;
  });
  if (thread.ok()) thread->detach();  // Else it stays.
}

void Interpreter::CheckNotForked() {
  if (!forked_) return;
  Raise(absl::FailedPreconditionError(
      "this process was forked from one with an open bus, whose threads it "
      "does not have; open buses after forking, or start processes with "
      "multiprocessing's \"spawn\""));
}

namespace {

// Guarded by the GIL. Never destroyed: the interpreter ends first.
auto& Kept() {
  static auto& kept = *new std::map<std::thread::id, py::error_already_set>;
  return kept;
}

}  // namespace

bool Interpreter::KeepForCaller(const py::error_already_set& raised) {
  // On threads of the runtime no code of Python is up the stack.
  if (raised.matches(PyExc_Exception) || PyEval_GetFrame() == nullptr) {
    return false;
  }
  Kept().emplace(std::this_thread::get_id(), raised);
  has_kept_ = true;
  return true;
}

bool Interpreter::FindKept() {
  return Kept().count(std::this_thread::get_id()) != 0;
}

void Interpreter::FindAndRaiseKept() {
  const auto found = Kept().find(std::this_thread::get_id());
  if (found == Kept().end()) return;
  const py::error_already_set raised = found->second;
  Kept().erase(found);
  has_kept_ = !Kept().empty();
  throw raised;
}

void Interpreter::AfterForkInChild() {
  entered_.store(0);
  calls_ = 0;  // Those of other threads have gone with them.
  if (open_buses_ > 0) forked_ = true;
}

void Interpreter::EndCalls(double seconds) {
  if (forked_) return;
  ending_thread_ = std::this_thread::get_id();
  ending_.store(true);
  Clock& clock = Environment::Real().clock;
  const TimeNs deadline = DeadlineAfter(clock.NowNs(), TimeoutOf(seconds));
  while ((calls_ > 0 || entered_.load() > 0) && clock.NowNs() < deadline) {
    const GilReleased released;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  has_stuck_calls_ = calls_ > 0 || entered_.load() > 0;
}

CallUnderWay::CallUnderWay() {
  if (Interpreter::ending() &&
      std::this_thread::get_id() != Interpreter::ending_thread_) {
    const GilReleased released;
    StayForEver();
  }
  ++Interpreter::calls_;
}

absl::Status WaitForRuntime(
    absl::FunctionRef<absl::Status(const KeepWaiting&)> wait) {
  std::optional<py::error_already_set> raised;
  const KeepWaiting handle_signals = [&raised] {
    const GilTaken gil;
    if (Interpreter::HasKept()) return false;  // Which WithoutGil() throws.
    if (PyErr_CheckSignals() == 0) return true;
    raised.emplace();
    return false;
  };
  absl::Status status = WithoutGil([&] { return wait(handle_signals); });
  if (raised.has_value()) throw py::error_already_set(*raised);
  return status;
}

bool WaitInParts(absl::Duration timeout,
                 absl::FunctionRef<bool(absl::Duration)> wait) {
  Clock& clock = Environment::Real().clock;
  const TimeNs deadline = DeadlineAfter(clock.NowNs(), timeout);
  absl::Duration left = timeout;
  while (true) {
    const absl::Duration part = std::min(left, kPart);
    if (WithoutGil([&] { return wait(part); })) return true;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    left = absl::Nanoseconds(deadline - clock.NowNs());
    if (left <= absl::ZeroDuration()) return false;
  }
}

}  // namespace mycelium
