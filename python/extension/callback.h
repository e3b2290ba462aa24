#ifndef PYTHON_EXTENSION_CALLBACK_H_
#define PYTHON_EXTENSION_CALLBACK_H_

#include <pybind11/pybind11.h>

#include <cstdint>

#include "mycelium/bus/options.h"

// How the runtime calls into Python, from any of its threads.

namespace mycelium {

// Around such a call. From its constructor on, if it converts to true, the
// interpreter does not end before the destructor; the thread has a Python
// thread state from then on for as long as it lives, since making one for each
// call would cost more than the call, and lose its threading.local.
//
// Thread safety: made without the GIL.
class CallIntoPython final {
 public:
  CallIntoPython();
  CallIntoPython(const CallIntoPython&) = delete;
  CallIntoPython& operator=(const CallIntoPython&) = delete;
  ~CallIntoPython();

  // False: the interpreter has begun to end, and no Python code may be run.
  explicit operator bool() const { return entered_; }

 private:
  const bool entered_;
};

// Calls a function of Python, with the GIL, from a thread of the runtime. Does
// not return if the interpreter has been finalised meanwhile.
pybind11::object CallPython(const pybind11::object& function,
                            const pybind11::tuple& arguments);

// Callbacks that are told of events. Python knows each by a number, so that the
// runtime, which lets go of callbacks on threads of its own and with locks
// held, keeps nothing of Python: python/mycelium/events.py.

// The function (number, fields) that calls the callback of that number, if it
// is still there. REQUIRES: the GIL is held; called once.
void SetTeller(const pybind11::object& teller);

// Without the GIL. What the callback raises goes to sys.unraisablehook, or to
// the call that waits for it: Interpreter::KeepForCaller().
void TellConnection(uint64_t callback, const ConnectionEvent& event);
void TellFlow(uint64_t callback, const FlowEvent& event);
void TellPublisherGone(uint64_t callback, const PublisherGone& gone);
void TellError(uint64_t callback, const absl::Status& status);

}  // namespace mycelium

#endif  // PYTHON_EXTENSION_CALLBACK_H_
