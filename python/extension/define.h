#ifndef PYTHON_EXTENSION_DEFINE_H_
#define PYTHON_EXTENSION_DEFINE_H_

#include <pybind11/pybind11.h>

#include <memory>

#include "mycelium/bus/message_bus.h"
#include "mycelium/message/message_type.h"
#include "python/extension/calls.h"

// The classes of the extension, each defined in the source file of its name.
// They convert arguments and results, and nothing else; what users see of them
// is written in Python, in python/mycelium.

namespace mycelium {

void DefineTopology(pybind11::module_& module);
void DefineBus(pybind11::module_& module);
void DefinePublisher(pybind11::module_& module);
void DefineSubscriber(pybind11::module_& module);
void DefineSubscription(pybind11::module_& module);

// Gives the class a buffer protocol of ours.
void SetBufferProtocol(const pybind11::object& cls, getbufferproc get,
                       releasebufferproc release);

}  // namespace mycelium

#endif  // PYTHON_EXTENSION_DEFINE_H_
