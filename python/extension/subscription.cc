// Callbacks.
#include "python/extension/subscription.h"

#include <stdexcept>
#include <string>

#include "python/extension/callback.h"
#include "python/extension/define.h"
#include "python/extension/options.h"

namespace py = pybind11;

namespace mycelium {
namespace {

// On a thread of the runtime, without the GIL. Whether the bytes were a
// message; throws what the runtime counts.
bool Deliver(const PythonSubscription::Target& target, ByteSpan bytes,
             const MessageInfo& info) {
  const CallIntoPython call;
  if (!call) return true;  // atexit has unsubscribed all.
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
