#include "python/extension/payload.h"

#include <new>
#include <utility>

#include "python/extension/subscriber.h"

namespace py = pybind11;

namespace mycelium {

struct PythonPayload::Object {
  PyObject head;  // First, as for every object of Python.
  std::shared_ptr<PythonSubscriber> subscriber;
  uint64_t generation;
  ByteSpan bytes;

  static Object& Of(PyObject* self) { return *reinterpret_cast<Object*>(self); }
};

bool PythonPayload::CheckCurrent(const Object& self) {
  if (self.subscriber->IsCurrent(self.generation)) return true;
  PyErr_SetString(
      PyExc_BufferError,
      self.subscriber->is_inherited()
          ? "the message is that of the process that this one was forked from"
          : "the message is finished: another one was received, or finish() or "
            "close() was called");
  return false;
}

int PythonPayload::GetBuffer(PyObject* self, Py_buffer* view, int flags) {
  const Object& payload = Object::Of(self);
  if (!CheckCurrent(payload)) {
    view->obj = nullptr;
    return -1;
  }
  static std::byte nothing;
  // Not written to: the buffer is read-only.
  std::byte* const data = payload.bytes.empty()
                              ? &nothing
                              : const_cast<std::byte*>(payload.bytes.data());
  if (PyBuffer_FillInfo(view, self, data,
                        static_cast<Py_ssize_t>(payload.bytes.size()), 1,
                        flags) != 0) {
    return -1;
  }
  payload.subscriber->CountView(1);
  return 0;
}

void PythonPayload::ReleaseBuffer(PyObject* self, Py_buffer*) {
  Object::Of(self).subscriber->CountView(-1);
}

Py_ssize_t PythonPayload::Length(PyObject* self) {
  const Object& payload = Object::Of(self);
  if (!CheckCurrent(payload)) return -1;
  return static_cast<Py_ssize_t>(payload.bytes.size());
}

PyObject* PythonPayload::Bytes(PyObject* self, PyObject*) {
  return PyBytes_FromObject(self);
}

PyObject* PythonPayload::Valid(PyObject* self, void*) {
  const Object& payload = Object::Of(self);
  return PyBool_FromLong(payload.subscriber->IsCurrent(payload.generation));
}

void PythonPayload::Destroy(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  std::destroy_at(&Object::Of(self).subscriber);
  PyObject_Free(self);
  Py_DECREF(type);  // Which each object of a class like this one holds.
}

py::object PythonPayload::Make(std::shared_ptr<PythonSubscriber> subscriber,
                               uint64_t generation, ByteSpan bytes) {
  Object* const made = PyObject_New(Object, type_);
  if (made == nullptr) throw py::error_already_set();
  new (&made->subscriber)
      std::shared_ptr<PythonSubscriber>(std::move(subscriber));
  made->generation = generation;
  new (&made->bytes) ByteSpan(bytes);
  return py::reinterpret_steal<py::object>(&made->head);
}

void PythonPayload::Define(py::module_& module) {
  static PyMethodDef methods[] = {
      {"__bytes__", &PythonPayload::Bytes, METH_NOARGS, nullptr}, {}};
  static PyGetSetDef attributes[] = {
      {"valid", &PythonPayload::Valid, nullptr, nullptr, nullptr}, {}};
  PyType_Slot slots[] = {
      {Py_tp_dealloc, reinterpret_cast<void*>(&PythonPayload::Destroy)},
      {Py_tp_methods, methods},
      {Py_tp_getset, attributes},
      {Py_sq_length, reinterpret_cast<void*>(&PythonPayload::Length)},
      {Py_bf_getbuffer, reinterpret_cast<void*>(&PythonPayload::GetBuffer)},
      {Py_bf_releasebuffer,
       reinterpret_cast<void*>(&PythonPayload::ReleaseBuffer)},
      {0, nullptr}};
  PyType_Spec spec = {"_mycelium.Payload", sizeof(Object), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                      slots};
  const auto made = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  if (!made) throw py::error_already_set();
  type_ = reinterpret_cast<PyTypeObject*>(made.ptr());
  py::setattr(
      made, "__array__",
      py::cpp_function(&ArrayOf, py::is_method(made), py::name("__array__")));
  module.add_object("Payload", made);
}

}  // namespace mycelium
