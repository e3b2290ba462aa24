// Subscribers that are asked, and what they receive.
#include "python/extension/subscriber.h"

#include <algorithm>

#include "absl/time/clock.h"
#include "python/extension/define.h"

namespace py = pybind11;

namespace mycelium {
namespace {

int GetPayloadBuffer(PyObject* self, Py_buffer* view, int flags) {
  return py::cast<PythonPayload&>(py::handle(self))
      .GetBuffer(self, view, flags);
}

void ReleasePayloadBuffer(PyObject* self, Py_buffer*) {
  py::cast<PythonPayload&>(py::handle(self)).ReleaseBuffer();
}

}  // namespace

// Payload

int PythonPayload::GetBuffer(PyObject* self, Py_buffer* view, int flags) const {
  if (!valid()) {
    PyErr_SetString(PyExc_BufferError,
                    "the message is finished: another one was received");
    view->obj = nullptr;
    return -1;
  }
  static std::byte nothing;
  // Not written to: the buffer is read-only.
  std::byte* const data =
      bytes_.empty() ? &nothing : const_cast<std::byte*>(bytes_.data());
  if (PyBuffer_FillInfo(view, self, data,
                        static_cast<Py_ssize_t>(bytes_.size()), 1,
                        flags) != 0) {
    return -1;
  }
  subscriber_->CountView(1);
  return 0;
}

// Subscriber

PythonSubscriber::Turn PythonSubscriber::TurnOrRaise(absl::Duration* timeout) {
  Turn turn(turn_, std::try_to_lock);
  if (turn.owns_lock()) return turn;
  const absl::Time start = absl::Now();
  RaiseUnlessOk(WaitInParts(*timeout, [&](absl::Duration part) {
    if (turn.try_lock_for(absl::ToChronoNanoseconds(part))) {
      return absl::OkStatus();
    }
    return absl::DeadlineExceededError(
        "another thread was receiving all the while");
  }));
  *timeout -= absl::Now() - start;
  return turn;
}

void PythonSubscriber::EndLast() {
  if (views_ > 0) {
    RaiseBufferError(
        "a view of the last message is in use; release it before receiving");
  }
  ++generation_;
}

bool PythonSubscriber::TakeNext(absl::FunctionRef<void(ByteSpan)> use) {
  const std::optional<ByteSpan> bytes = ValueOrRaise(subscriber_.TryReceive());
  if (!bytes.has_value()) return false;
  use(*bytes);
  return true;
}

ByteSpan PythonSubscriber::WaitForNext(absl::Duration timeout) {
  ByteSpan bytes;
  RaiseUnlessOk(WaitInParts(timeout, [&](absl::Duration part) {
    const absl::StatusOr<ByteSpan> received = subscriber_.Receive(part);
    if (received.ok()) bytes = *received;
    return received.status();
  }));
  return bytes;
}

std::shared_ptr<PythonPayload> PythonSubscriber::PayloadOf(ByteSpan bytes) {
  return std::make_shared<PythonPayload>(shared_from_this(), generation_,
                                         bytes);
}

py::bytes PythonSubscriber::Receive(double seconds) {
  absl::Duration timeout = TimeoutOf(seconds);
  const Turn turn = TurnOrRaise(&timeout);
  EndLast();
  py::bytes copy;
  const auto take = [&](ByteSpan bytes) { copy = BytesOf(bytes); };
  if (!TakeNext(take)) take(WaitForNext(timeout));
  return copy;
}

std::shared_ptr<PythonPayload> PythonSubscriber::ReceiveView(double seconds) {
  absl::Duration timeout = TimeoutOf(seconds);
  const Turn turn = TurnOrRaise(&timeout);
  EndLast();
  std::shared_ptr<PythonPayload> payload;
  const auto take = [&](ByteSpan bytes) { payload = PayloadOf(bytes); };
  if (!TakeNext(take)) take(WaitForNext(timeout));
  return payload;
}

py::object PythonSubscriber::TryReceive() {
  const Turn turn(turn_, std::try_to_lock);
  if (!turn.owns_lock()) return py::none();
  EndLast();
  py::object copy = py::none();
  const auto take = [&](ByteSpan bytes) { copy = BytesOf(bytes); };
  if (TakeNext(take)) return copy;
  RaiseUnlessOk(subscriber_.TakeNews());
  return copy;
}

py::object PythonSubscriber::TryReceiveView() {
  const Turn turn(turn_, std::try_to_lock);
  if (!turn.owns_lock()) return py::none();
  EndLast();
  py::object payload = py::none();
  const auto take = [&](ByteSpan bytes) {
    payload = py::cast(PayloadOf(bytes));
  };
  if (TakeNext(take)) return payload;
  RaiseUnlessOk(subscriber_.TakeNews());
  return payload;
}

py::list PythonSubscriber::ReceiveMany(size_t count_max, double seconds) {
  absl::Duration timeout = TimeoutOf(seconds);
  const Turn turn = TurnOrRaise(&timeout);
  EndLast();
  py::list messages;
  if (count_max == 0) return messages;
  const auto append = [&](ByteSpan bytes) { messages.append(BytesOf(bytes)); };
  if (!TakeNext(append)) {
    ByteSpan first;
    const absl::Status waited = WaitInParts(timeout, [&](absl::Duration part) {
      const absl::StatusOr<ByteSpan> received = subscriber_.Receive(part);
      if (received.ok()) first = *received;
      return received.status();
    });
    if (absl::IsDeadlineExceeded(waited)) return messages;
    RaiseUnlessOk(waited);
    append(first);
  }
  while (messages.size() < count_max && TakeNext(append)) {
  }
  return messages;
}

void PythonSubscriber::Finish() {
  const Turn turn(turn_, std::try_to_lock);
  if (!turn.owns_lock()) return;  // Who receives finishes it.
  EndLast();
  subscriber_.Finish();
}

std::shared_ptr<PythonSubscriber> SubscriberOf(MessageBus& bus,
                                               const MessageType& type,
                                               const py::kwargs& options) {
  const SubscriberOptions made = SubscriberOptionsOf(options);
  // Not make_shared: destroyed without the GIL.
  return std::shared_ptr<PythonSubscriber>(
      new PythonSubscriber(ValueOrRaise(
          WithoutGil([&] { return bus.RawSubscriber(type, made); }))),
      DeleteWithoutGil());
}

void DefineSubscriber(py::module_& module) {
  const py::class_<PythonPayload, std::shared_ptr<PythonPayload>> payload =
      py::class_<PythonPayload, std::shared_ptr<PythonPayload>>(
          module, "Payload", py::buffer_protocol())
          .def("__len__", &PythonPayload::size)
          .def("__bytes__",
               [](const py::object& self) {
                 return py::reinterpret_steal<py::bytes>(
                     PyBytes_FromObject(self.ptr()));
               })
          .def_property_readonly("valid", &PythonPayload::valid);
  SetBufferProtocol(payload, &GetPayloadBuffer, &ReleasePayloadBuffer);

  py::class_<PythonSubscriber, std::shared_ptr<PythonSubscriber>>(module,
                                                                  "Subscriber")
      .def("receive", &PythonSubscriber::Receive, MayWait())
      .def("receive_view", &PythonSubscriber::ReceiveView, MayWait())
      .def("try_receive", &PythonSubscriber::TryReceive, MayWait())
      .def("try_receive_view", &PythonSubscriber::TryReceiveView, MayWait())
      .def("receive_many", &PythonSubscriber::ReceiveMany, MayWait())
      .def("finish", &PythonSubscriber::Finish, MayWait())
      .def("info", &PythonSubscriber::info)
      .def("descriptor", &PythonSubscriber::Descriptor)
      .def_property_readonly("closed", &PythonSubscriber::closed);
}

}  // namespace mycelium
