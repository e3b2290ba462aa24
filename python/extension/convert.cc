#include "python/extension/convert.h"

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "mycelium/routing/schema_mismatch.h"

namespace py = pybind11;

namespace mycelium {
namespace {

constexpr absl::Duration kTimeoutMax = absl::Hours(24 * 365);

// Whether some element is, or has, a Python object.
bool HasReferences(const Py_buffer& buffer) {
  if (buffer.format == nullptr) return false;
  bool in_name = false;  // Of a field of a struct, between colons.
  for (const char* at = buffer.format; *at != '\0'; ++at) {
    if (*at == ':') in_name = !in_name;
    if (*at == 'O' && !in_name) return true;
  }
  return false;
}

// Raises why an object with the buffer protocol has no contiguous bytes, which
// it has just said.
[[noreturn]] void RaiseNoBytes(PyObject* from) {
  const py::error_already_set said;
  Py_buffer whole;
  if (PyObject_GetBuffer(from, &whole, PyBUF_STRIDED_RO) != 0) {
    PyErr_Clear();
    throw said;
  }
  PyBuffer_Release(&whole);
  Raise(absl::InvalidArgumentError(absl::StrCat(
      Py_TYPE(from)->tp_name,
      " is not C-contiguous; numpy.ascontiguousarray() makes a copy that is")));
}

py::dict ByReason(const DropCounts& counts) {
  py::dict dropped;
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    dropped[TextOf(DropReasonWord(static_cast<DropReason>(i)))] = counts[i];
  }
  return dropped;
}

}  // namespace

py::object ErrorOrNone(const absl::Status& status) {
  if (status.ok()) return py::none();
  py::object mismatch = py::none();
  if (const std::optional<v1::SchemaMismatch> found = SchemaMismatchOf(status);
      found.has_value()) {
    mismatch = py::dict(
        py::arg("topic") = found->topic(), py::arg("type_name") = found->type(),
        py::arg("local_digest") = py::bytes(found->local_digest()),
        py::arg("remote_digest") = py::bytes(found->remote_digest()),
        py::arg("difference") = found->difference(),
        py::arg("remote_node") = found->remote_node());
  }
  return py::module_::import("mycelium.errors")
      .attr("error_of")(static_cast<int>(status.code()),
                        ReplacingTextOf(status.message()), mismatch);
}

void Raise(const absl::Status& status) {
  const py::object error = ErrorOrNone(status);
  PyErr_SetObject(py::type::of(error).ptr(), error.ptr());
  throw py::error_already_set();
}

void RaiseBufferError(const char* text) {
  PyErr_SetString(PyExc_BufferError, text);
  throw py::error_already_set();
}

py::object ArrayOf(const py::object& object, const py::args& args,
                   const py::kwargs& options) {
  PyObject* const view = PyMemoryView_FromObject(object.ptr());
  if (view == nullptr) throw py::error_already_set();
  return py::module_::import("numpy").attr("asarray")(
      py::reinterpret_steal<py::object>(view), *args, **options);
}

absl::Duration TimeoutOf(double seconds) {
  if (!(seconds >= 0 && seconds <= absl::ToDoubleSeconds(kTimeoutMax))) {
    Raise(absl::InvalidArgumentError(
        "a timeout is a number of seconds from 0 to one year"));
  }
  return absl::Seconds(seconds);
}

absl::Duration TimeoutOf(const py::handle& seconds) {
  const double value = PyFloat_AsDouble(seconds.ptr());
  if (value == -1 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    throw py::type_error(
        absl::StrCat("the timeout must be a number of seconds, got ",
                     py::repr(seconds).cast<std::string>()));
  }
  return TimeoutOf(value);
}

absl::string_view ViewOf(const py::bytes& bytes) {
  return absl::string_view(PyBytes_AS_STRING(bytes.ptr()),
                           static_cast<size_t>(PyBytes_GET_SIZE(bytes.ptr())));
}

py::bytes BytesOf(absl::string_view view) {
  return py::bytes(view.data(), view.size());
}

py::bytes BytesOf(ByteSpan bytes) {
  return py::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

py::str TextOf(absl::string_view view) {
  return py::str(view.data(), view.size());
}

py::str ReplacingTextOf(absl::string_view view) {
  PyObject* const text = PyUnicode_DecodeUTF8(
      view.data(), static_cast<Py_ssize_t>(view.size()), "replace");
  if (text == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(text);
}

py::tuple TupleOf(const MessageInfo& info) {
  return py::make_tuple(
      TextOf(info.topic()), TextOf(info.type()), TextOf(info.publisher_node()),
      TextOf(info.publisher_service()), info.sequence(), info.publish_time_ns(),
      info.lost_before(), info.redelivered());
}

py::dict DictOf(const FlowReport& flow) {
  return py::dict(py::arg("topic") = flow.topic,
                  py::arg("publisher_node") = flow.publisher_node,
                  py::arg("publisher_service") = flow.publisher_service,
                  py::arg("subscriber_node") = flow.subscriber_node,
                  py::arg("subscriber_service") = flow.subscriber_service,
                  py::arg("subscription_name") = flow.subscription_name,
                  py::arg("transport") = flow.transport,
                  py::arg("accepted") = flow.ledger.accepted,
                  py::arg("delivered") = flow.ledger.delivered,
                  py::arg("in_flight") = flow.ledger.in_flight,
                  py::arg("dropped") = ByReason(flow.ledger.dropped));
}

py::dict DictOf(const EndpointCounts& counts) {
  const LinkTraffic& traffic = counts.traffic;
  return py::dict(py::arg("connections") = counts.connections,
                  py::arg("handshake_failures") = counts.handshake_failures,
                  py::arg("frames_sent") = traffic.frames_sent,
                  py::arg("bytes_sent") = traffic.bytes_sent,
                  py::arg("frames_received") = traffic.frames_received,
                  py::arg("bytes_received") = traffic.bytes_received,
                  py::arg("stalls") = traffic.stalls,
                  py::arg("dropped") = ByReason(counts.dropped));
}

py::dict DictOf(const LinkReport& link) {
  return py::dict(py::arg("peer") = ReplacingTextOf(link.peer),
                  py::arg("transport") = link.transport,
                  py::arg("address") = ReplacingTextOf(link.address),
                  py::arg("rule") = ReplacingTextOf(link.rule),
                  py::arg("fallback") = link.fallback,
                  py::arg("is_up") = link.is_up,
                  py::arg("last_error") = ReplacingTextOf(link.last_error));
}

HeldBuffer::HeldBuffer(const py::handle& object) {
  PyObject* const from = object.ptr();
  if (PyBytes_CheckExact(from)) {  // The commonest case, with nothing to ask.
    if (PyObject_GetBuffer(from, &buffer_, PyBUF_SIMPLE) == 0) return;
    throw py::error_already_set();
  }
  if (!PyObject_CheckBuffer(from)) {
    throw py::type_error(absl::StrCat(
        "expected bytes, or what has the buffer protocol, such as a numpy "
        "array; got ",
        Py_TYPE(from)->tp_name));
  }
  if (PyObject_GetBuffer(from, &buffer_, PyBUF_ND | PyBUF_FORMAT) != 0) {
    PyErr_Clear();
    // Elements that a format does not tell of, such as dates, are bytes too.
    if (PyObject_GetBuffer(from, &buffer_, PyBUF_SIMPLE) == 0) return;
    RaiseNoBytes(from);
  }
  if (!HasReferences(buffer_)) return;
  PyBuffer_Release(&buffer_);
  throw py::type_error(absl::StrCat(
      Py_TYPE(from)->tp_name,
      " of references to objects: these mean nothing to who receives them"));
}

}  // namespace mycelium
