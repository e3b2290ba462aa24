#include "python/extension/calls.h"

#include <optional>

#include "absl/time/clock.h"
#include "python/extension/convert.h"

namespace py = pybind11;

namespace mycelium {
namespace {

// How long a signal handler may have to wait for a thread that waits. The
// runtime asks as often.
constexpr absl::Duration kPart = absl::Milliseconds(50);

}  // namespace

void Interpreter::CheckNotForked() {
  if (!forked_) return;
  Raise(absl::FailedPreconditionError(
      "this process was forked from one with an open bus, whose threads it "
      "does not have; open buses after forking, or start processes with "
      "multiprocessing's \"spawn\""));
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
  const absl::Time deadline = absl::Now() + TimeoutOf(seconds);
  while ((calls_ > 0 || entered_.load() > 0) && absl::Now() < deadline) {
    const py::gil_scoped_release release;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

CallUnderWay::CallUnderWay() {
  if (Interpreter::ending() &&
      std::this_thread::get_id() != Interpreter::ending_thread_) {
    const py::gil_scoped_release release;
    while (true) std::this_thread::sleep_for(std::chrono::hours(1));
  }
  ++Interpreter::calls_;
}

absl::Status WaitForRuntime(
    absl::FunctionRef<absl::Status(const KeepWaiting&)> wait) {
  std::optional<py::error_already_set> raised;
  const KeepWaiting handle_signals = [&raised] {
    const py::gil_scoped_acquire gil;
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
  const absl::Time deadline = absl::Now() + timeout;
  absl::Duration left = timeout;
  while (true) {
    const absl::Duration part = std::min(left, kPart);
    if (WithoutGil([&] { return wait(part); })) return true;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
  }
}

}  // namespace mycelium
