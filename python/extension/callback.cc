#include "python/extension/callback.h"

#include "absl/functional/function_ref.h"
#include "mycelium/bus/connection_state.h"
#include "python/extension/calls.h"
#include "python/extension/convert.h"

namespace py = pybind11;

namespace mycelium {
namespace {

// Never let go of: the interpreter ends before this library does.
PyObject* teller = nullptr;

class ThreadState final {
 public:
  static void Keep() { thread_local const ThreadState state; }

 private:
  ThreadState() {
    if (PyGILState_GetThisThreadState() != nullptr) return;  // Python's own.
    gil_ = OrStay([] { return PyGILState_Ensure(); });
    state_ = PyEval_SaveThread();
  }
  ~ThreadState() {
    // Once the interpreter ends, it has freed it, or is about to.
    if (state_ == nullptr || !Interpreter::TryEnter()) return;
    OrStay([this] { PyEval_RestoreThread(state_); });
    PyGILState_Release(gil_);
    Interpreter::Leave();
  }

  PyGILState_STATE gil_ = PyGILState_LOCKED;
  PyThreadState* state_ = nullptr;
};

void Tell(uint64_t callback, absl::FunctionRef<py::tuple()> fields) {
  const CallIntoPython call;
  if (!call) return;
  const GilTaken gil;
  const auto function = py::reinterpret_borrow<py::object>(teller);
  try {
    CallPython(function, py::make_tuple(callback, fields()));
  } catch (py::error_already_set& raised) {
    if (Interpreter::KeepForCaller(raised)) return;
    raised.discard_as_unraisable(function);  // With a traceback, by the hook.
  }
}

}  // namespace

CallIntoPython::CallIntoPython() : entered_(Interpreter::TryEnter()) {
  if (entered_) ThreadState::Keep();
}

CallIntoPython::~CallIntoPython() {
  if (entered_) Interpreter::Leave();
}

py::object CallPython(const py::object& function, const py::tuple& arguments) {
  PyObject* const result = OrStay([&] {
    return PyObject_Call(function.ptr(), arguments.ptr(), /*kwargs=*/nullptr);
  });
  if (result == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}

void SetTeller(const py::object& function) {
  teller = py::object(function).release().ptr();
}

void TellConnection(uint64_t callback, const ConnectionEvent& event) {
  Tell(callback, [&event] {
    return py::make_tuple(ReplacingTextOf(event.peer), TextOf(event.transport),
                          TextOf(ConnectionStateWord(event.state)),
                          ErrorOrNone(event.status));
  });
}

void TellFlow(uint64_t callback, const FlowEvent& event) {
  Tell(callback, [&event] {
    if (event.kind == FlowEvent::Kind::kStalled) {
      return py::make_tuple("stalled", py::none(), "", 0,
                            ReplacingTextOf(event.lane));
    }
    return py::make_tuple("dropped", DictOf(event.flow),
                          TextOf(DropReasonWord(event.reason)), event.messages,
                          "");
  });
}

void TellPublisherGone(uint64_t callback, const PublisherGone& gone) {
  Tell(callback, [&gone] {
    return py::make_tuple(ReplacingTextOf(gone.node),
                          ReplacingTextOf(gone.service),
                          ReplacingTextOf(gone.topic));
  });
}

void TellError(uint64_t callback, const absl::Status& status) {
  Tell(callback, [&status] { return py::make_tuple(ErrorOrNone(status)); });
}

}  // namespace mycelium
