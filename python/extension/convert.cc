#include "python/extension/convert.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mycelium/routing/schema_mismatch.h"
#include "python/extension/callback.h"
#include "python/extension/log.h"

namespace py = pybind11;

namespace mycelium {
namespace {

constexpr absl::Duration kTimeoutMax = absl::Hours(24 * 365);

// What a keyword must be, for who gave something else.
template <typename T>
const char* Expected() {
  if (std::is_same_v<T, bool>) return "True or False";
  if (std::is_same_v<T, double>) return "a number";
  if (std::is_integral_v<T>) return "an integer of at most 64 bits";
  if (std::is_same_v<T, std::string>) return "text";
  if (std::is_same_v<T, py::bytes>) return "bytes";
  if (std::is_same_v<T, py::kwargs>) return "a dict";
  return "integers";
}

// The value of a keyword that was given and is not None.
template <typename T>
std::optional<T> Given(const py::kwargs& options, const char* name) {
  if (!options.contains(name)) return std::nullopt;
  const py::object value = options[name];
  if (value.is_none()) return std::nullopt;
  try {
    return value.cast<T>();
  } catch (const py::builtin_exception&) {  // A cast_error or a type_error.
    throw py::type_error(absl::StrCat(name, " must be ", Expected<T>(),
                                      ", got ",
                                      py::repr(value).cast<std::string>()));
  }
}

void CheckKnown(const py::kwargs& options,
                std::initializer_list<absl::string_view> known) {
  for (const auto& [key, value] : options) {
    const auto name = key.cast<std::string>();
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    throw py::type_error(
        absl::StrCat("unexpected keyword argument \"", name,
                     "\"; known: ", absl::StrJoin(known, ", ")));
  }
}

// What `Parse` makes of a word, or InvalidArgument with the words that it
// knows.
template <typename Parse, typename Words>
auto WordOrRaise(const char* what, const std::string& word, Parse parse,
                 Words words) {
  const auto value = parse(word);
  if (value.has_value()) return value;
  Raise(absl::InvalidArgumentError(
      absl::StrCat("unknown ", what, " \"", word,
                   "\"; known: ", absl::StrJoin(words(), ", "))));
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
  py::dict dropped;
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    dropped[TextOf(DropReasonWord(static_cast<DropReason>(i)))] =
        flow.ledger.dropped[i];
  }
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
                  py::arg("dropped") = dropped);
}

py::dict DictOf(const LinkReport& link) {
  return py::dict(
      py::arg("peer") = link.peer, py::arg("transport") = link.transport,
      py::arg("address") = link.address, py::arg("rule") = link.rule,
      py::arg("fallback") = link.fallback, py::arg("is_up") = link.is_up,
      py::arg("last_error") = link.last_error);
}

SubscriberOptions SubscriberOptionsOf(const py::kwargs& options) {
  CheckKnown(options, {"topic", "name", "overflow", "depth", "window", "queued",
                       "on_publisher_gone"});
  SubscriberOptions made;
  if (const auto number = Given<uint64_t>(options, "on_publisher_gone");
      number.has_value()) {
    made.on_publisher_gone = [number = *number](const PublisherGone& gone) {
      TellPublisherGone(number, gone);
    };
  }
  made.topic = Given<std::string>(options, "topic").value_or("");
  made.name = Given<std::string>(options, "name").value_or("");
  if (const auto word = Given<std::string>(options, "overflow");
      word.has_value()) {
    made.overflow = WordOrRaise("overflow", *word, &OverflowOf, &OverflowWords);
  }
  made.depth = Given<int64_t>(options, "depth");
  made.window = Given<int64_t>(options, "window");
  if (Given<bool>(options, "queued").value_or(false)) {
    made.delivery = DeliveryMode::kQueued;
  }
  return made;
}

PublisherOptions PublisherOptionsOf(const py::kwargs& options) {
  CheckKnown(options, {"topic", "publish_time", "publish_timeout",
                       "require_subscriber"});
  PublisherOptions made;
  made.topic = Given<std::string>(options, "topic").value_or("");
  made.publish_time = Given<bool>(options, "publish_time").value_or(false);
  made.require_subscriber =
      Given<bool>(options, "require_subscriber").value_or(false);
  if (const auto seconds = Given<double>(options, "publish_timeout");
      seconds.has_value()) {
    made.publish_timeout = TimeoutOf(*seconds);
  }
  return made;
}

namespace {

Tls TlsOf(const py::kwargs& options) {
  CheckKnown(options,
             {"certificate", "key", "ca", "require_client_certificate"});
  Tls made;
  made.certificate = Given<std::string>(options, "certificate").value_or("");
  made.key = Given<std::string>(options, "key").value_or("");
  made.ca = Given<std::string>(options, "ca").value_or("");
  made.require_client_certificate =
      Given<bool>(options, "require_client_certificate").value_or(false);
  return made;
}

}  // namespace

BusOptions BusOptionsOf(const py::kwargs& options) {
  CheckKnown(options, {"node", "wait", "schema_digest", "allow_uids",
                       "delivers_locally", "tls", "insecure", "allow_anonymous",
                       "poll_by_caller", "on_connection", "on_flow"});
  BusOptions made;
  made.log = PythonLog::Sink();
  if (const auto number = Given<uint64_t>(options, "on_connection");
      number.has_value()) {
    made.on_connection = [number = *number](const ConnectionEvent& event) {
      TellConnection(number, event);
    };
  }
  if (const auto number = Given<uint64_t>(options, "on_flow");
      number.has_value()) {
    made.on_flow = [number = *number](const FlowEvent& event) {
      TellFlow(number, event);
    };
  }
  made.node = Given<std::string>(options, "node").value_or("");
  if (const auto word = Given<std::string>(options, "wait"); word.has_value()) {
    made.wait = WordOrRaise("wait", *word, &WaitModeOf, &WaitWords);
  }
  if (const auto digest = Given<py::bytes>(options, "schema_digest");
      digest.has_value()) {
    made.schema_digest = ValueOrRaise(Digest::FromBytes(ViewOf(*digest)));
  }
  made.delivers_locally =
      Given<bool>(options, "delivers_locally").value_or(true);
  made.allow_uids = Given<std::vector<int64_t>>(options, "allow_uids")
                        .value_or(std::vector<int64_t>());
  if (const auto tls = Given<py::kwargs>(options, "tls"); tls.has_value()) {
    made.tls = TlsOf(*tls);
  }
  made.insecure = Given<bool>(options, "insecure").value_or(false);
  made.allow_anonymous =
      Given<bool>(options, "allow_anonymous").value_or(false);
  if (Given<bool>(options, "poll_by_caller").value_or(false)) {
    made.poll = PollMode::kCaller;
  }
  return made;
}

HeldBuffer::HeldBuffer(const py::handle& object) {
  if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_SIMPLE) != 0) {
    throw py::error_already_set();
  }
}

}  // namespace mycelium
