// Callbacks.
#include "python/extension/subscription.h"

#include <stdexcept>
#include <string>

#include "python/extension/define.h"

namespace py = pybind11;

namespace mycelium {
namespace {

// Gives a thread of the runtime a Python thread state for as long as it lives.
// Making one for each message would cost more than the callback, and lose the
// callback's threading.local.
class ThreadState final {
 public:
  static void Keep() { thread_local const ThreadState state; }

 private:
  ThreadState() {
    if (PyGILState_GetThisThreadState() != nullptr) return;  // Python's own.
    gil_ = PyGILState_Ensure();
    state_ = PyEval_SaveThread();
  }
  ~ThreadState() {
    // Afterwards the interpreter has freed it, or is about to.
    if (state_ == nullptr || Interpreter::ending()) return;
    PyEval_RestoreThread(state_);
    PyGILState_Release(gil_);
  }

  PyGILState_STATE gil_ = PyGILState_LOCKED;
  PyThreadState* state_ = nullptr;
};

// On a thread of the runtime, without the GIL. Whether the bytes were a
// message; throws what the runtime counts.
bool Deliver(const PythonSubscription::Target& target, ByteSpan bytes,
             const MessageInfo& info) {
  if (Interpreter::ending()) return true;  // atexit has unsubscribed all.
  ThreadState::Keep();
  std::string error;
  {
    const py::gil_scoped_acquire gil;
    if (target.owner == nullptr) return true;  // Being unsubscribed.
    const auto owner =
        py::reinterpret_borrow<py::object>(PyWeakref_GetObject(target.owner));
    if (owner.is_none()) return true;  // Garbage, about to be unsubscribed.
    try {
      return owner.attr("_deliver")(BytesOf(bytes), TupleOf(info)).cast<bool>();
    } catch (py::error_already_set& raised) {
      error = raised.what();
      raised.discard_as_unraisable(owner);  // With a traceback, by the hook.
    }
  }
  throw std::runtime_error(error.substr(0, error.find('\n')));
}

}  // namespace

OwnedSubscription SubscriptionOf(MessageBus& bus, const MessageType& type,
                                 const py::object& owner,
                                 const py::kwargs& options) {
  const SubscriberOptions made = SubscriberOptionsOf(options);
  auto target = std::make_shared<PythonSubscription::Target>();
  target->owner = PyWeakref_NewRef(owner.ptr(), nullptr);
  if (target->owner == nullptr) throw py::error_already_set();
  absl::StatusOr<SubscriptionHandle> handle = WithoutGil([&] {
    return bus.SubscribeParsing(
        type,
        [target](ByteSpan bytes, const MessageInfo& info) {
          return Deliver(*target, bytes, info);
        },
        made);
  });
  if (!handle.ok()) Py_CLEAR(target->owner);
  return OwnedSubscription(new PythonSubscription(
      std::move(target), ValueOrRaise(std::move(handle))));
}

void DefineSubscription(py::module_& module) {
  py::class_<PythonSubscription, OwnedSubscription>(module, "Subscription")
      .def("unsubscribe", &PythonSubscription::Unsubscribe, MayWait())
      .def(
          "check",
          [](PythonSubscription& self) {
            RaiseUnlessOk(WithoutGil([&] { return self.status(); }));
          },
          MayWait())
      .def_property_readonly("handler_errors",
                             &PythonSubscription::handler_errors);
}

}  // namespace mycelium
