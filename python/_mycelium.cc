// The Python extension: converts arguments and results, and nothing else. The
// runtime is in libmycelium.so.
#include <pybind11/pybind11.h>

#include "mycelium/version.h"

namespace mycelium {
namespace {

PYBIND11_MODULE(_mycelium, module) {
  module.def("version", &Version, "The version of the running libmycelium.so.");
}

}  // namespace
}  // namespace mycelium
