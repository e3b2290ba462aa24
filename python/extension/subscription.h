#ifndef PYTHON_EXTENSION_SUBSCRIPTION_H_
#define PYTHON_EXTENSION_SUBSCRIPTION_H_

#include <pybind11/pybind11.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "mycelium/bus/message_bus.h"
#include "python/extension/calls.h"
#include "python/extension/convert.h"

namespace mycelium {

// A callback of Python that is subscribed.
//
// The callback belongs to a Python object that owns this one, and is reached
// through a weak reference: the garbage collector sees every reference there
// is, and a cycle of bus, subscription and callback can go.
//
// Thread safety: called with the GIL.
class PythonSubscription final {
 public:
  // What the handler of the runtime holds: nothing of Python that would have to
  // be let go of on a thread of the runtime.
  struct Target {
    PyObject* owner = nullptr;  // A weak reference; guarded by the GIL.
  };

  PythonSubscription(std::shared_ptr<Target> target, SubscriptionHandle handle)
      : target_(std::move(target)), handle_(std::move(handle)) {}

  // Waits for a callback that is running, unless that is the one that calls:
  // for so many seconds, or without end. False: it still runs; no other one
  // will. Signal handlers run meanwhile; what one raises ends the wait.
  bool Unsubscribe(std::optional<double> seconds);
  // The same without waiting.
  bool Shut();

  absl::Status status() const { return handle_.status(); }
  uint64_t handler_errors() const { return handle_.handler_errors(); }

  // With the GIL, before it is destroyed without.
  void LetGo() { Py_CLEAR(target_->owner); }

 private:
  const std::shared_ptr<Target> target_;
  SubscriptionHandle handle_;
};

class DeleteSubscription final {
 public:
  void operator()(PythonSubscription* subscription) const {
    subscription->LetGo();
    if (delete_.keeps()) return;
    if (!subscription->Shut()) {
      return DestroyAside([subscription] { delete subscription; });
    }
    delete_(subscription);
  }

 private:
  DeleteWithoutGil delete_;
};
using OwnedSubscription =
    std::unique_ptr<PythonSubscription, DeleteSubscription>;

// `owner` is a Python object with a method `_deliver(data, info)`, which
// returns whether the data parse; only a weak reference is kept.
OwnedSubscription SubscriptionOf(MessageBus& bus, const MessageType& type,
                                 const pybind11::object& owner,
                                 const pybind11::kwargs& options);

}  // namespace mycelium

#endif  // PYTHON_EXTENSION_SUBSCRIPTION_H_
