#include "python/extension/calls.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "python/extension/convert.h"

namespace py = pybind11;

namespace mycelium {
namespace {

// How long a signal handler may have to wait for a thread that waits.
constexpr absl::Duration kPart = absl::Milliseconds(50);

// The error of the last part, about the whole.
absl::Status AboutTheWhole(const absl::Status& status, absl::Duration part,
                           absl::Duration timeout) {
  absl::string_view text = status.message();
  const std::string said = absl::FormatDuration(part);
  if (!absl::ConsumeSuffix(&text, said)) return status;
  return absl::DeadlineExceededError(
      absl::StrCat(text, absl::FormatDuration(timeout)));
}

}  // namespace

void Interpreter::CheckNotForked() {
  if (!forked_) return;
  Raise(absl::FailedPreconditionError(
      "this process was forked from one with an open bus, whose threads it "
      "does not have; open buses after forking, or start processes with "
      "multiprocessing's \"spawn\""));
}

void Interpreter::AfterForkInChild() {
  calls_ = 0;  // Those of other threads have gone with them.
  if (buses_ > 0) forked_ = true;
}

void Interpreter::EndCalls(double seconds) {
  if (forked_) return;
  ending_thread_ = std::this_thread::get_id();
  ending_.store(true, std::memory_order_release);
  const absl::Time deadline = absl::Now() + TimeoutOf(seconds);
  while (calls_ > 0 && absl::Now() < deadline) {
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

absl::Status WaitInParts(absl::Duration timeout,
                         absl::FunctionRef<absl::Status(absl::Duration)> wait) {
  const absl::Time deadline = absl::Now() + timeout;
  absl::Duration left = timeout;
  while (true) {
    const absl::Duration part = std::min(left, kPart);
    absl::Status status = WithoutGil([&] { return wait(part); });
    if (!absl::IsDeadlineExceeded(status)) return status;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return AboutTheWhole(status, part, timeout);
    }
  }
}

}  // namespace mycelium
