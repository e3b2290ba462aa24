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
// message, or why nobody was there for it; throws what the runtime counts.
MessageOutcome Deliver(const PythonSubscription::Target& target, ByteSpan bytes,
                       const MessageInfo& info) {
  const CallIntoPython call;
  if (!call) return DropReason::kSubscriberGone;  // The interpreter ends.
  std::string error;
  {
    const GilTaken gil;
    if (target.owner == nullptr) {  // Being unsubscribed.
      return DropReason::kSubscriberGone;
    }
    const auto owner =
        py::reinterpret_borrow<py::object>(PyWeakref_GetObject(target.owner));
    if (owner.is_none()) {  // Garbage, about to be unsubscribed.
      return DropReason::kSubscriberGone;
    }
    try {
      return CallPython(owner.attr("_deliver"),
                        py::make_tuple(BytesOf(bytes), TupleOf(info)))
          .cast<bool>();
    } catch (py::error_already_set& raised) {
      if (Interpreter::KeepForCaller(raised)) return true;
      error = raised.what();
      raised.discard_as_unraisable(owner);  // With a traceback, by the hook.
    }
  }
  throw std::runtime_error(error.substr(0, error.find('\n')));
}

}  // namespace

bool PythonSubscription::Unsubscribe(std::optional<double> seconds) {
  const absl::Duration timeout =
      seconds.has_value() ? TimeoutOf(*seconds) : absl::InfiniteDuration();
  bool is_out = false;
  try {
    (void)WaitForRuntime([&](const KeepWaiting& keep_waiting) {
      is_out = handle_.UnsubscribeWithin(timeout, keep_waiting);
      return absl::OkStatus();
    });
  } catch (const py::error_already_set&) {
    Interpreter::LeaveCallback();
    throw;
  }
  if (!is_out) Interpreter::LeaveCallback();
  return is_out;
}

bool PythonSubscription::Shut() {
  const CallUnderWay call;
  const GilReleased released;
  return handle_.UnsubscribeWithin(absl::ZeroDuration());
}

OwnedSubscription SubscriptionOf(MessageBus& bus, const MessageType& type,
                                 const py::object& owner,
                                 const py::kwargs& options) {
  const SubscriberOptions made = SubscriberOptionsOf(options);
  auto target = std::make_shared<PythonSubscription::Target>();
  target->owner = PyWeakref_NewRef(owner.ptr(), nullptr);
  if (target->owner == nullptr) throw py::error_already_set();
  absl::StatusOr<SubscriptionHandle> handle = absl::CancelledError();
  try {
    handle = WithoutGil([&] {
      return bus.SubscribeParsing(
          type,
          [target](ByteSpan bytes, const MessageInfo& info) {
            return Deliver(*target, bytes, info);
          },
          made);
    });
  } catch (const py::error_already_set&) {  // What on_error raised.
    Py_CLEAR(target->owner);
    throw;
  }
  if (!handle.ok()) Py_CLEAR(target->owner);
  return OwnedSubscription(new PythonSubscription(
      std::move(target), ValueOrRaise(std::move(handle))));
}

void DefineSubscription(py::module_& module) {
  py::class_<PythonSubscription, OwnedSubscription>(module, "Subscription")
      .def("unsubscribe", &PythonSubscription::Unsubscribe,
           py::arg("seconds") = py::none(), MayWait())
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
