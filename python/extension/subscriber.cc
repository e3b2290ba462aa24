// Subscribers that are asked, and what they receive.
#include "python/extension/subscriber.h"

#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "mycelium/base/environment.h"
#include "python/extension/define.h"
#include "python/extension/options.h"
#include "python/extension/payload.h"

namespace py = pybind11;

namespace mycelium {

PythonSubscriber::Turn PythonSubscriber::WaitForTurn(absl::Duration* timeout) {
  Turn turn(turn_, std::try_to_lock);
  if (turn.owns_lock()) return turn;
  if (turn_.is_mine()) {
    Raise(absl::FailedPreconditionError(
        "a signal handler or callback cannot receive from a subscriber during "
        "whose receive it runs"));
  }
  Clock& clock = Environment::Real().clock;
  const TimeNs start = clock.NowNs();
  if (WaitInParts(*timeout, [this](absl::Duration part) {
        return turn_.TryLockFor(part);
      })) {
    turn = Turn(turn_, std::adopt_lock);
  }
  *timeout -= absl::Nanoseconds(clock.NowNs() - start);
  return turn;
}

template <typename Call>
auto PythonSubscriber::KeepingIfOpen(const Call& call) -> decltype(call()) {
  try {
    return call();
  } catch (const py::error_already_set&) {
    if (is_closed_) EndKept();
    throw;
  }
}

void PythonSubscriber::EndLast() {
  if (views_ > 0) {
    RaiseBufferError(
        "a view of the last message is in use; release it before receiving");
  }
  ++generation_;
}

bool PythonSubscriber::TakeNext(ByteSpan* bytes) {
  const std::optional<ByteSpan> taken = ValueOrRaise(subscriber_.TryReceive());
  if (taken.has_value()) *bytes = *taken;
  return taken.has_value();
}

absl::Status PythonSubscriber::WaitForNext(absl::Duration timeout,
                                           ByteSpan* bytes) {
  bool has_taken = false;
  try {
    return WaitForRuntime([&](const KeepWaiting& keep_waiting) {
      const absl::StatusOr<ByteSpan> received =
          subscriber_.Receive(timeout, keep_waiting);
      has_taken = received.ok();
      if (has_taken) *bytes = *received;
      return received.status();
    });
  } catch (const py::error_already_set&) {  // A callback's that ran meanwhile.
    if (has_taken) {
      info_ = subscriber_.info();
      KeepTaken(*bytes, *bytes);
    }
    throw;
  }
}

void PythonSubscriber::KeepTaken(ByteSpan bytes, ByteSpan taken) {
  left_over_ = LeftOver{std::string(BytesOf(bytes)), info_, false, taken};
}

void PythonSubscriber::CountUnlessInterrupted(ByteSpan bytes, ByteSpan taken) {
  if (PyErr_CheckSignals() != 0) {
    const py::error_already_set raised;
    KeepTaken(bytes, taken);
    throw raised;
  }
  subscriber_.CountLast(true);
}

namespace {

bool IsDataLoss(const py::error_already_set& raised) {
  return raised.matches(
      py::module_::import("mycelium.errors").attr("DataLoss"));
}

}  // namespace

PythonSubscriber::~PythonSubscriber() {
  CountLeftOver();
  if (kept_.empty()) return;
  const py::gil_scoped_acquire gil;
  kept_.clear();
}

void PythonSubscriber::RaiseNamed(const std::exception& error) {
  const auto* const raised = dynamic_cast<const py::error_already_set*>(&error);
  if (raised != nullptr && IsDataLoss(*raised)) {
    Raise(subscriber_.Undecodable());
  }
  throw;  // What is being handled.
}

py::object PythonSubscriber::Parsed(const py::object& parse, ByteSpan bytes) {
  info_ = subscriber_.info();
  return ParsedOrKept(parse, bytes, /*left=*/nullptr);
}

py::object PythonSubscriber::ParsedOrKept(const py::object& parse,
                                          ByteSpan bytes,
                                          const LeftOver* left) {
  const ByteSpan taken = left != nullptr ? left->taken : bytes;
  py::object message;
  try {
    message = BytesOf(bytes);
    if (!parse.is_none()) message = parse(message);
  } catch (const py::error_already_set& error) {
    // A second Exception is the message's own: it must not come for ever.
    if (!IsDataLoss(error) &&
        !(left != nullptr && error.matches(PyExc_Exception))) {
      KeepTaken(bytes, taken);
      throw;
    }
    subscriber_.CountLast(false);
    RaiseNamed(error);
  } catch (const std::exception& error) {
    subscriber_.CountLast(false);
    RaiseNamed(error);
  }
  CountUnlessInterrupted(bytes, taken);
  return message;
}

py::object PythonSubscriber::TakeKept() {
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  const Kept kept = std::move(kept_.front());
  kept_.pop_front();
  info_ = kept.info;
  return kept.message;
}

py::object PythonSubscriber::ViewOrParsed(const py::object& parse,
                                          ByteSpan bytes) {
  if (!parse.is_none()) return Parsed(parse, bytes);
  info_ = subscriber_.info();
  py::object payload =
      PythonPayload::Make(shared_from_this(), generation_, bytes);
  CountUnlessInterrupted(bytes, bytes);
  return payload;
}

py::object PythonSubscriber::TakeLeftOver(const py::object& parse) {
  if (!parse.is_none() || !kept_.empty() || left_over_->is_counted) {
    return ParseLeftOver(parse);
  }
  // Its room is still the subscriber's: see Finish().
  const ByteSpan taken = std::exchange(left_over_, std::nullopt)->taken;
  return ViewOrParsed(parse, taken);
}

py::object PythonSubscriber::ParseLeftOver(const py::object& parse) {
  if (!kept_.empty()) return TakeKept();
  const LeftOver left = *std::exchange(left_over_, std::nullopt);
  info_ = left.info;
  if (!left.is_counted) {
    const auto* const bytes =
        reinterpret_cast<const std::byte*>(left.bytes.data());
    return ParsedOrKept(parse, ByteSpan(bytes, left.bytes.size()), &left);
  }
  try {
    return parse(BytesOf(left.bytes));
  } catch (const std::exception& error) {
    RaiseNamed(error);
  }
}

py::object PythonSubscriber::Receive(const py::object& parse,
                                     const py::object& seconds) {
  absl::Duration timeout = TimeoutOf(seconds);
  const Turn turn = WaitForTurn(&timeout);
  if (!turn.owns_lock()) {
    Raise(absl::DeadlineExceededError(
        "another thread was receiving all the while"));
  }
  EndLast();
  return KeepingIfOpen([&] {
    if (has_kept()) return TakeLeftOver(parse);
    ByteSpan bytes;
    if (!TakeNext(&bytes)) RaiseUnlessOk(WaitForNext(timeout, &bytes));
    return ViewOrParsed(parse, bytes);
  });
}

py::object PythonSubscriber::TryReceive(const py::object& parse) {
  const Turn turn(turn_, std::try_to_lock);
  if (!turn.owns_lock()) return py::none();
  EndLast();
  return KeepingIfOpen([&]() -> py::object {
    if (has_kept()) return TakeLeftOver(parse);
    ByteSpan bytes;
    if (TakeNext(&bytes)) return ViewOrParsed(parse, bytes);
    RaiseUnlessOk(subscriber_.TakeNews());
    return py::none();
  });
}

py::list PythonSubscriber::ReceiveMany(const py::object& parse,
                                       size_t count_max, double seconds) {
  absl::Duration timeout = TimeoutOf(seconds);
  py::list messages;
  const Turn turn = WaitForTurn(&timeout);
  if (!turn.owns_lock()) return messages;
  EndLast();
  return KeepingIfOpen([&] {
    std::vector<MessageInfo> infos;
    try {
      TakeMany(parse, count_max, timeout, &messages, &infos);
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    } catch (const py::error_already_set&) {
      for (size_t i = infos.size(); i > 0; --i) {
        kept_.push_front({messages[i - 1], infos[i - 1]});
      }
      throw;
    }
    return messages;
  });
}

void PythonSubscriber::TakeMany(const py::object& parse, size_t count_max,
                                absl::Duration timeout, py::list* messages,
                                std::vector<MessageInfo>* infos) {
  const auto add = [&](const py::object& message) {
    messages->append(message);
    infos->push_back(info_);
  };
  if (count_max == 0) return;
  if (has_kept()) {
    do {
      add(ParseLeftOver(parse));
    } while (infos->size() < count_max && !kept_.empty());
    return;
  }
  ByteSpan bytes;
  if (!TakeNext(&bytes)) {
    const absl::Status waited = WaitForNext(timeout, &bytes);
    if (absl::IsDeadlineExceeded(waited)) return;
    RaiseUnlessOk(waited);
  }
  add(Parsed(parse, bytes));
  while (infos->size() < count_max && TakeNext(&bytes)) {
    try {
      add(Parsed(parse, bytes));
    } catch (const py::error_already_set&) {
      if (left_over_.has_value()) throw;  // A signal handler raised.
      left_over_ = LeftOver{std::string(BytesOf(bytes)), info_, true, {}};
      info_ = infos->back();
      break;
    }
  }
}

void PythonSubscriber::Finish() {
  const Turn turn(turn_, std::try_to_lock);
  if (!turn.owns_lock()) return;  // Who receives finishes it.
  EndLast();
  // What the next receive returns is not handled.
  if (kept_.empty() && !is_left_uncounted()) subscriber_.Finish();
}

void PythonSubscriber::CountLeftOver() {
  // It had come as far as the program.
  if (is_left_uncounted()) subscriber_.CountLast(true);
  left_over_.reset();
}

void PythonSubscriber::Close() {
  if (std::exchange(is_closed_, true)) return;
  WithoutGil([this] { subscriber_.Unsubscribe(); });
  const Turn turn(turn_, std::try_to_lock);
  if (turn.owns_lock()) EndKept();  // Else the receive that has it does.
}

void PythonSubscriber::EndKept() {
  kept_.clear();
  CountLeftOver();
  if (views_ > 0) return;  // Finish() is left to the owner of the view.
  ++generation_;
  subscriber_.Finish();
}

std::shared_ptr<PythonSubscriber> SubscriberOf(MessageBus& bus,
                                               const MessageType& type,
                                               const py::kwargs& options) {
  const SubscriberOptions made = PullOptionsOf(options);
  // Not make_shared: destroyed without the GIL.
  return std::shared_ptr<PythonSubscriber>(
      new PythonSubscriber(ValueOrRaise(
          WithoutGil([&] { return bus.RawSubscriber(type, made); }))),
      DeleteWithoutGil());
}

void DefineSubscriber(py::module_& module) {
  PythonPayload::Define(module);
  // Local to this module: found sooner, at each call.
  py::class_<PythonSubscriber, std::shared_ptr<PythonSubscriber>>(
      module, "Subscriber", py::module_local())
      .def("receive", &PythonSubscriber::Receive, py::arg("parse"),
           py::arg("timeout") = py::none(), MayWait())
      .def("try_receive", &PythonSubscriber::TryReceive, MayWait())
      .def("receive_many", &PythonSubscriber::ReceiveMany, MayWait())
      .def(
          "check",
          [](PythonSubscriber& self) {
            RaiseUnlessOk(WithoutGil([&] { return self.status(); }));
          },
          MayWait())
      .def("finish", &PythonSubscriber::Finish, MayWait())
      .def("close", &PythonSubscriber::Close, MayWait())
      .def("info", &PythonSubscriber::info)
      .def("descriptor", &PythonSubscriber::Descriptor, MayWait())
      .def_property_readonly("closed", &PythonSubscriber::closed);
}

}  // namespace mycelium
