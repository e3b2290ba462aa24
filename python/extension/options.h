#ifndef PYTHON_EXTENSION_OPTIONS_H_
#define PYTHON_EXTENSION_OPTIONS_H_

#include <pybind11/pybind11.h>

#include "mycelium/bus/options.h"

namespace mycelium {

// Options of C++ from keyword arguments, each of which may be missing or None.
// TypeError: there is no such one, or it is of another type. InvalidArgument: a
// word that is none of those. Bounds are checked by who takes the options. All
// functions here need the GIL.

// `topic`, `name`, `overflow`, `depth` and `window`. `on_publisher_gone` and
// `on_error` are numbers, see callback.h.
SubscriberOptions PullOptionsOf(const pybind11::kwargs& options);
// The same for a callback, and `queued`.
SubscriberOptions SubscriberOptionsOf(const pybind11::kwargs& options);

// `topic`, `publish_time`, `publish_timeout` and `require_subscriber`.
PublisherOptions PublisherOptionsOf(const pybind11::kwargs& options);

// Those of mycelium.MessageBus; `tls`, `settings` and `limits` are dicts of the
// fields of mycelium.options, `on_connection` and `on_flow` numbers of
// callbacks. The log is Python's.
BusOptions BusOptionsOf(const pybind11::kwargs& options);

}  // namespace mycelium

#endif  // PYTHON_EXTENSION_OPTIONS_H_
