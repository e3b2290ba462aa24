// The Python extension: converts arguments and results, and nothing else. The
// runtime is in libmycelium.so. Messages cross as bytes, so that the Protobuf
// of Python and that of C++ never meet.
//
// The GIL is released around every call that can wait, destructors included. No
// thread of the runtime ever takes it: there are no callbacks into Python.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cmath>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mycelium/bus/message_bus.h"
#include "mycelium/message/described_type.h"
#include "mycelium/routing/schema_mismatch.h"
#include "mycelium/version.h"

namespace py = pybind11;

namespace mycelium {
namespace {

using Bytes = absl::Span<const std::byte>;

constexpr absl::Duration kTimeoutMax = absl::Hours(24 * 365);

// Errors

// Raises the exception of python/mycelium/errors.py that stands for `status`.
[[noreturn]] void Raise(const absl::Status& status) {
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
  const py::object error =
      py::module_::import("mycelium.errors")
          .attr("error_of")(static_cast<int>(status.code()),
                            std::string(status.message()), mismatch);
  PyErr_SetObject(py::type::of(error).ptr(), error.ptr());
  throw py::error_already_set();
}

void RaiseUnlessOk(const absl::Status& status) {
  if (!status.ok()) Raise(status);
}

template <typename T>
T ValueOrRaise(absl::StatusOr<T> value) {
  if (!value.ok()) Raise(value.status());
  return *std::move(value);
}

// Arguments and results

absl::Duration Timeout(double seconds) {
  if (!(seconds >= 0 && seconds <= absl::ToDoubleSeconds(kTimeoutMax))) {
    Raise(absl::InvalidArgumentError(
        "a timeout is a number of seconds from 0 to one year"));
  }
  return absl::Seconds(seconds);
}

// Valid as long as the object, which nobody can change.
absl::string_view ViewOf(const py::bytes& bytes) {
  return absl::string_view(PyBytes_AS_STRING(bytes.ptr()),
                           static_cast<size_t>(PyBytes_GET_SIZE(bytes.ptr())));
}

py::bytes BytesOf(absl::string_view view) {
  return py::bytes(view.data(), view.size());
}

py::bytes BytesOf(Bytes bytes) {
  return py::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

py::dict DictOf(const FlowReport& flow) {
  py::dict dropped;
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    const absl::string_view word = DropReasonWord(static_cast<DropReason>(i));
    dropped[py::str(word.data(), word.size())] = flow.ledger.dropped[i];
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

// The end of the process

// Around every call that releases the GIL. A thread that asks for the GIL once
// the interpreter is being finalised is ended by it, which C++ code on its
// stack turns into an abort. So at exit calls are waited for, and the threads
// that begin another one, which can only be daemons, never come back from it.
//
// Thread safety: made and destroyed with the GIL, which guards the members.
class CallUnderWay final {
 public:
  CallUnderWay() {
    if (ending_ && std::this_thread::get_id() != ending_thread_) {
      const py::gil_scoped_release release;
      while (true) std::this_thread::sleep_for(std::chrono::hours(1));
    }
    ++count_;
  }
  CallUnderWay(const CallUnderWay&) = delete;
  CallUnderWay& operator=(const CallUnderWay&) = delete;
  ~CallUnderWay() { --count_; }

  // Waits for the calls of other threads, which somebody has seen to that they
  // return. Only the calling thread may make calls from now on.
  static void EndCalls(double seconds) {
    ending_ = true;
    ending_thread_ = std::this_thread::get_id();
    const absl::Time deadline = absl::Now() + Timeout(seconds);
    while (count_ > 0 && absl::Now() < deadline) {
      const py::gil_scoped_release release;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

 private:
  inline static int count_ = 0;
  inline static bool ending_ = false;
  inline static std::thread::id ending_thread_;
};

using MayWait = py::call_guard<CallUnderWay>;

// Objects

struct DeleteWithoutGil {
  template <typename T>
  void operator()(T* object) const {
    const CallUnderWay call;
    py::gil_scoped_release release;
    delete object;
  }
};

// Owned by a Python object.
template <typename T>
using Owned = std::unique_ptr<T, DeleteWithoutGil>;

// A RawSubscriber that several threads may receive from: they take turns.
class PullSubscriber final {
 public:
  explicit PullSubscriber(RawSubscriber subscriber)
      : subscriber_(std::move(subscriber)) {}

  py::bytes Receive(absl::Duration timeout) {
    std::unique_lock<std::timed_mutex> turn(turn_, std::defer_lock);
    absl::StatusOr<Bytes> bytes = absl::DeadlineExceededError(
        "another thread was receiving all the while");
    {
      py::gil_scoped_release release;
      const auto start = std::chrono::steady_clock::now();
      if (turn.try_lock()) {
        bytes = subscriber_.Receive(timeout);
      } else if (turn.try_lock_for(absl::ToChronoNanoseconds(timeout))) {
        bytes = subscriber_.Receive(
            timeout -
            absl::FromChrono(std::chrono::steady_clock::now() - start));
      }
    }
    return BytesOf(ValueOrRaise(std::move(bytes)));  // Copied before unlocking.
  }

  // None if there is no message, or another thread is about to take it.
  py::object TryReceive() {
    std::unique_lock<std::timed_mutex> turn(turn_, std::try_to_lock);
    if (!turn.owns_lock()) return py::none();
    const std::optional<Bytes> bytes = ValueOrRaise(subscriber_.TryReceive());
    if (!bytes.has_value()) return py::none();
    return BytesOf(*bytes);
  }

 private:
  std::timed_mutex turn_;
  RawSubscriber subscriber_;
};

// Calls `function`, which returns a Status or a StatusOr, without the GIL.
template <typename Function>
auto WithoutGil(Function function) {
  py::gil_scoped_release release;
  return function();
}

Owned<MessageBus> FromTopology(const std::string& path,
                               const std::string& service,
                               const std::optional<py::bytes>& digest) {
  BusOptions options;
  if (digest.has_value()) {
    options.schema_digest = ValueOrRaise(Digest::FromBytes(ViewOf(*digest)));
  }
  return Owned<MessageBus>(ValueOrRaise(WithoutGil([&] {
                             return MessageBus::FromTopology(path, service,
                                                             options);
                           })).release());
}

Owned<RawPublisher> PublisherTo(MessageBus& bus, const MessageType& type,
                                const std::string& service) {
  return Owned<RawPublisher>(new RawPublisher(ValueOrRaise(
      WithoutGil([&] { return bus.RawPublisher(type, service); }))));
}

Owned<PullSubscriber> SubscriberOf(MessageBus& bus, const MessageType& type) {
  return Owned<PullSubscriber>(new PullSubscriber(
      ValueOrRaise(WithoutGil([&] { return bus.RawSubscriber(type); }))));
}

void DefineBus(py::module_& module) {
  py::class_<MessageBus, Owned<MessageBus>>(module, "MessageBus")
      .def(py::init(&FromTopology), MayWait())
      .def_property_readonly("service", &MessageBus::service)
      .def_property_readonly("node", &MessageBus::node)
      .def("publisher_to", &PublisherTo, MayWait())
      .def("subscriber", &SubscriberOf, MayWait())
      .def(
          "flush",
          [](MessageBus& bus, double seconds) {
            const absl::Duration timeout = Timeout(seconds);
            RaiseUnlessOk(WithoutGil([&] { return bus.Flush(timeout); }));
          },
          MayWait())
      .def(
          "shutdown",
          [](MessageBus& bus, double seconds) {
            const absl::Duration timeout = Timeout(seconds);
            RaiseUnlessOk(WithoutGil([&] { return bus.Shutdown(timeout); }));
          },
          MayWait())
      .def(
          "ledger",
          [](const MessageBus& bus) {
            py::list flows;
            for (const FlowReport& flow :
                 WithoutGil([&] { return bus.FlowReports(); })) {
              flows.append(DictOf(flow));
            }
            return flows;
          },
          MayWait());
}

void DefineEnds(py::module_& module) {
  py::class_<RawPublisher, Owned<RawPublisher>>(module, "RawPublisher")
      .def_property_readonly("topic", &RawPublisher::topic)
      .def(
          "publish",
          [](RawPublisher& publisher, const py::bytes& message) {
            const absl::string_view view = ViewOf(message);
            const Bytes bytes(reinterpret_cast<const std::byte*>(view.data()),
                              view.size());
            RaiseUnlessOk(WithoutGil([&] { return publisher.Publish(bytes); }));
          },
          MayWait())
      .def(
          "wait_for_subscribers",
          [](RawPublisher& publisher, size_t count, double seconds) {
            const absl::Duration timeout = Timeout(seconds);
            RaiseUnlessOk(WithoutGil(
                [&] { return publisher.WaitForSubscribers(count, timeout); }));
          },
          MayWait());
  py::class_<PullSubscriber, Owned<PullSubscriber>>(module, "PullSubscriber")
      .def(
          "receive",
          [](PullSubscriber& subscriber, double seconds) {
            return subscriber.Receive(Timeout(seconds));
          },
          MayWait())
      .def("try_receive", &PullSubscriber::TryReceive, MayWait());
}

PYBIND11_MODULE(_mycelium, module) {
  module.def("version", &Version, "The version of the running libmycelium.so.");
  py::class_<MessageType>(module, "MessageType")
      .def(py::init([](const std::string& name, const py::bytes& files) {
        return ValueOrRaise(DescribedMessageType(name, ViewOf(files)));
      }))
      .def_readonly("name", &MessageType::name)
      .def_readonly("canonical_text", &MessageType::canonical_text)
      .def_property_readonly("digest", [](const MessageType& type) {
        return BytesOf(type.digest.bytes());
      });
  module.def("end_calls", &CallUnderWay::EndCalls);
  DefineBus(module);
  DefineEnds(module);
}

}  // namespace
}  // namespace mycelium
