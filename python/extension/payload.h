#ifndef PYTHON_EXTENSION_PAYLOAD_H_
#define PYTHON_EXTENSION_PAYLOAD_H_

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>

#include "python/extension/convert.h"

namespace mycelium {

class PythonSubscriber;

// The bytes of a message where they were received, as a buffer of Python that
// is read-only. They are gone with the next receive.
//
// An object of Python without pybind11, which would take longer to make one
// than everything else that a receive does.
//
// Thread safety: guarded by the GIL.
class PythonPayload final {
 public:
  // A new one. It keeps the subscriber.
  static pybind11::object Make(std::shared_ptr<PythonSubscriber> subscriber,
                               uint64_t generation, ByteSpan bytes);

  // Adds the class to the module.
  static void Define(pybind11::module_& module);

 private:
  struct Object;

  // False: it is finished, and Python's BufferError, which says so, is set.
  static bool CheckCurrent(const Object& self);
  static int GetBuffer(PyObject* self, Py_buffer* view, int flags);
  static void ReleaseBuffer(PyObject* self, Py_buffer* view);
  static Py_ssize_t Length(PyObject* self);
  static PyObject* Bytes(PyObject* self, PyObject* nothing);
  static PyObject* Valid(PyObject* self, void* nothing);
  static void Destroy(PyObject* self);

  // The class; what holds for the whole process, as the interpreter does.
  inline static PyTypeObject* type_ = nullptr;
};

}  // namespace mycelium

#endif  // PYTHON_EXTENSION_PAYLOAD_H_
