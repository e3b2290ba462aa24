#include "python/extension/options.h"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "python/extension/callback.h"
#include "python/extension/convert.h"
#include "python/extension/log.h"

namespace py = pybind11;

namespace mycelium {
namespace {

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

SubscriberOptions PullOptionsOf(const py::kwargs& options) {
  CheckKnown(options, {"topic", "name", "overflow", "depth", "window",
                       "on_publisher_gone", "on_error"});
  return SubscriberOptionsOf(options);
}

SubscriberOptions SubscriberOptionsOf(const py::kwargs& options) {
  CheckKnown(options, {"topic", "name", "overflow", "depth", "window", "queued",
                       "on_publisher_gone", "on_error"});
  SubscriberOptions made;
  if (const auto number = Given<uint64_t>(options, "on_publisher_gone");
      number.has_value()) {
    made.on_publisher_gone = [number = *number](const PublisherGone& gone) {
      TellPublisherGone(number, gone);
    };
  }
  if (const auto number = Given<uint64_t>(options, "on_error");
      number.has_value()) {
    made.on_error = [number = *number](const absl::Status& status) {
      TellError(number, status);
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

// Times that are out of bounds, as a float may well be, are told of by who
// takes the options.
void SetSeconds(const py::kwargs& options, const char* name,
                absl::Duration* made) {
  if (const auto seconds = Given<double>(options, name); seconds.has_value()) {
    *made = absl::Seconds(*seconds);
  }
}

void SetCount(const py::kwargs& options, const char* name, int64_t* made) {
  *made = Given<int64_t>(options, name).value_or(*made);
}

void SetSettings(const py::kwargs& options, RouteSettings* made) {
  CheckKnown(options, {"overflow", "depth", "window", "lane_bytes",
                       "publish_timeout", "retain", "wait", "spin"});
  if (const auto word = Given<std::string>(options, "overflow");
      word.has_value()) {
    made->overflow =
        *WordOrRaise("overflow", *word, &OverflowOf, &OverflowWords);
  }
  if (const auto word = Given<std::string>(options, "wait"); word.has_value()) {
    made->wait = *WordOrRaise("wait", *word, &WaitModeOf, &WaitWords);
  }
  SetCount(options, "depth", &made->depth);
  SetCount(options, "window", &made->window);
  SetCount(options, "lane_bytes", &made->lane_bytes);
  SetSeconds(options, "publish_timeout", &made->publish_timeout);
  SetSeconds(options, "retain", &made->retain);
  SetSeconds(options, "spin", &made->spin);
}

void SetLimits(const py::kwargs& options, Limits* made) {
  CheckKnown(options, {"handshake", "frame_bytes_max", "links", "reconnect_min",
                       "reconnect_max", "keepalive", "redeliver_max"});
  SetSeconds(options, "handshake", &made->handshake);
  SetCount(options, "frame_bytes_max", &made->frame_bytes_max);
  SetCount(options, "links", &made->links);
  SetSeconds(options, "reconnect_min", &made->reconnect_min);
  SetSeconds(options, "reconnect_max", &made->reconnect_max);
  SetSeconds(options, "keepalive", &made->keepalive);
  SetCount(options, "redeliver_max", &made->redeliver_max);
}

}  // namespace

BusOptions BusOptionsOf(const py::kwargs& options) {
  CheckKnown(options, {"node", "wait", "schema", "schema_digest", "allow_uids",
                       "delivers_locally", "tls", "insecure", "allow_anonymous",
                       "poll_by_caller", "on_connection", "on_flow", "settings",
                       "limits"});
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
  if (const auto word = Given<std::string>(options, "schema");
      word.has_value()) {
    made.schema =
        *WordOrRaise("schema", *word, &SchemaPolicyOf, &SchemaPolicyWords);
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
  if (const auto settings = Given<py::kwargs>(options, "settings");
      settings.has_value()) {
    SetSettings(*settings, &made.settings);
  }
  if (const auto limits = Given<py::kwargs>(options, "limits");
      limits.has_value()) {
    SetLimits(*limits, &made.limits);
  }
  if (Given<bool>(options, "poll_by_caller").value_or(false)) {
    made.poll = PollMode::kCaller;
  }
  return made;
}

}  // namespace mycelium
