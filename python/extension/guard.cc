// A module of its own, which the package loads before the extension: it says
// whether this program has the runtime in it already. If so, loading
// libmycelium.so would register the same Protobuf files a second time, at which
// Protobuf aborts the program.
//
// It links Protobuf and nothing of Mycelium, and exports its init function
// only.
#include <Python.h>
#include <dlfcn.h>

#include "google/protobuf/descriptor.h"

namespace {

PyObject* HasRuntime(PyObject*, PyObject*) {
  // The one that the extension links to may be there.
  if (void* const library = dlopen("libmycelium.so", RTLD_LAZY | RTLD_NOLOAD);
      library != nullptr) {
    dlclose(library);
    Py_RETURN_FALSE;
  }
  const bool found =
      google::protobuf::DescriptorPool::generated_pool()->FindFileByName(
          "proto/mycelium/v1/handshake.proto") != nullptr;
  return PyBool_FromLong(found ? 1 : 0);
}

PyMethodDef kMethods[] = {
    {"has_runtime_of_its_own", HasRuntime, METH_NOARGS,
     "Whether this program has Mycelium linked into it."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef kModule = {PyModuleDef_HEAD_INIT,
                       "_mycelium_guard",
                       nullptr,
                       -1,
                       kMethods,
                       nullptr,
                       nullptr,
                       nullptr,
                       nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__mycelium_guard(void) {
  return PyModule_Create(&kModule);
}
