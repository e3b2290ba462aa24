// The Python extension: converts arguments and results, and nothing else. The
// runtime is in libmycelium.so. Messages cross as bytes, so that the Protobuf
// of Python and that of C++ never meet. Threads and the GIL: calls.h.
#include <pybind11/pybind11.h>

#include <string>

#include "mycelium/message/described_type.h"
#include "mycelium/version.h"
#include "python/extension/callback.h"
#include "python/extension/convert.h"
#include "python/extension/define.h"
#include "python/extension/log.h"

namespace py = pybind11;

namespace mycelium {
namespace {

MessageType RawTypeOf(const std::string& name, const py::object& digest) {
  if (name.empty()) {
    Raise(absl::InvalidArgumentError("the name of a type is empty"));
  }
  if (digest.is_none()) return RawMessageType(name);
  return RawMessageType(
      name, ValueOrRaise(Digest::FromBytes(ViewOf(digest.cast<py::bytes>()))));
}

void DefineTypes(py::module_& module) {
  py::class_<MessageType>(module, "MessageType")
      .def(py::init([](const std::string& name, const py::bytes& files) {
        return ValueOrRaise(DescribedMessageType(name, ViewOf(files)));
      }))
      .def_readonly("name", &MessageType::name)
      .def_readonly("canonical_text", &MessageType::canonical_text)
      .def_property_readonly("digest", [](const MessageType& type) {
        return BytesOf(type.digest.bytes());
      });
  module.def("raw_type", &RawTypeOf);
}

// The runtime and what is kept of the interpreter here exist once in a process.
void CheckInterpreter() {
  if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
    throw py::import_error(
        "mycelium works in the main interpreter only, not in another one of "
        "the same process");
  }
  if (Interpreter::ending()) {
    throw py::import_error(
        "an interpreter of this process that used mycelium has ended; keep one "
        "for as long as the process runs");
  }
}

PYBIND11_MODULE(_mycelium, module) {
  // Not called here: of a module that is loaded, an interpreter gets a copy.
  module.def("check_interpreter", &CheckInterpreter);
  module.def("version", &Version, "The version of the running libmycelium.so.");
  module.def("end_calls", &Interpreter::EndCalls);
  module.def("after_fork_in_child", [] {
    Interpreter::AfterForkInChild();
    PythonLog::AfterForkInChild();
  });
  module.def("set_teller", &SetTeller);
  module.def("set_log", &PythonLog::SetWriter);
  module.def("end_log", &PythonLog::End);
  module.def("forked", &Interpreter::forked);
  DefineTypes(module);
  DefineTopology(module);
  DefinePublisher(module);
  DefineSubscriber(module);
  DefineSubscription(module);
  DefineBus(module);
}

}  // namespace
}  // namespace mycelium
