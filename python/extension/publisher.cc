// Publishers and loans.
#include "python/extension/publisher.h"

#include <mutex>

#include "python/extension/define.h"
#include "python/extension/options.h"

namespace py = pybind11;

namespace mycelium {
namespace {

constexpr char kLoanIsOver[] =
    "the loan is over: it was published, or left unpublished";

int GetLoanBuffer(PyObject* self, Py_buffer* view, int flags) {
  return py::cast<PythonLoan&>(py::handle(self)).GetBuffer(self, view, flags);
}

void ReleaseLoanBuffer(PyObject* self, Py_buffer*) {
  py::cast<PythonLoan&>(py::handle(self)).ReleaseBuffer();
}

}  // namespace

const char* PythonLoan::WhyWithoutBytes() const {
  if (!is_open_) return kLoanIsOver;
  if (loan_.CheckNotForked().ok()) return nullptr;
  return "the loan is that of the process that this one was forked from";
}

int PythonLoan::GetBuffer(PyObject* self, Py_buffer* view, int flags) {
  if (const char* const why = WhyWithoutBytes(); why != nullptr) {
    PyErr_SetString(PyExc_BufferError, why);
    view->obj = nullptr;
    return -1;
  }
  static std::byte nothing;
  const absl::Span<std::byte> bytes = loan_.bytes();
  std::byte* const data = bytes.empty() ? &nothing : bytes.data();
  if (PyBuffer_FillInfo(view, self, data, static_cast<Py_ssize_t>(bytes.size()),
                        0, flags) != 0) {
    return -1;
  }
  ++views_;
  return 0;
}

size_t PythonLoan::size() {
  if (const char* const why = WhyWithoutBytes(); why != nullptr) {
    RaiseBufferError(why);
  }
  return loan_.bytes().size();
}

void PythonLoan::Publish() {
  if (views_ > 0) {
    RaiseBufferError(
        "a view of the loan is in use; release it before publishing");
  }
  if (!is_open_) {
    Raise(absl::FailedPreconditionError(
        "the loan was published already, or is being published"));
  }
  RaiseUnlessOk(loan_.CheckNotForked());
  // While others run, callbacks included, nobody gets a view or publishes.
  is_open_ = false;
  absl::Status sent;
  try {
    WithoutGil([&] {
      const std::lock_guard<std::shared_mutex> lock(mutex_);
      sent = loan_.Publish();
    });
  } catch (const py::error_already_set&) {  // A callback's.
    is_open_ = !sent.ok();
    throw;
  }
  is_open_ = !sent.ok();
  RaiseUnlessOk(sent);
}

void PythonLoan::Close() {
  if (views_ > 0 || WhyWithoutBytes() != nullptr) return;
  is_open_ = false;
  WithoutGil([this] {
    const std::lock_guard<std::shared_mutex> lock(mutex_);
    const Loan over = std::move(loan_);
  });
}

bool PythonLoan::in_place() {
  if (WhyWithoutBytes() != nullptr) return false;
  return WithoutGil([this] {
    const std::shared_lock<std::shared_mutex> lock(mutex_, std::try_to_lock);
    return lock.owns_lock() && loan_.in_place();  // Else it is being published.
  });
}

void SetBufferProtocol(const py::object& cls, getbufferproc get,
                       releasebufferproc release) {
  auto* const type = reinterpret_cast<PyHeapTypeObject*>(cls.ptr());
  type->as_buffer.bf_getbuffer = get;
  type->as_buffer.bf_releasebuffer = release;
}

Owned<PythonPublisher> PublisherOf(MessageBus& bus, const MessageType& type,
                                   const std::string& service,
                                   const py::kwargs& options) {
  const PublisherOptions made = PublisherOptionsOf(options);
  return Owned<PythonPublisher>(new PythonPublisher(ValueOrRaise(
      WithoutGil([&] { return bus.RawPublisher(type, service, made); }))));
}

void DefinePublisher(py::module_& module) {
  const py::class_<PythonLoan, Owned<PythonLoan>> loan =
      py::class_<PythonLoan, Owned<PythonLoan>>(module, "Loan",
                                                py::buffer_protocol())
          .def("publish", &PythonLoan::Publish, MayWait())
          .def("__len__", &PythonLoan::size)
          .def("__array__", &ArrayOf)
          .def("__enter__", [](py::object self) { return self; })
          .def(
              "__exit__",
              [](PythonLoan& self, const py::args&) { self.Close(); },
              py::call_guard<CallUnderWay>())
          .def_property_readonly(
              "in_place", py::cpp_function(&PythonLoan::in_place, MayWait()));
  SetBufferProtocol(loan, &GetLoanBuffer, &ReleaseLoanBuffer);

  // Local to this module: found sooner, at each call.
  py::class_<PythonPublisher, Owned<PythonPublisher>>(module, "Publisher",
                                                      py::module_local())
      .def_property_readonly(
          "topic",
          [](PythonPublisher& self) { return self.publisher().topic(); })
      .def("publish", &PythonPublisher::Publish, MayWait())
      .def("try_publish", &PythonPublisher::TryPublish, MayWait())
      .def(
          "loan",
          [](PythonPublisher& self, size_t bytes) {
            return Owned<PythonLoan>(new PythonLoan(ValueOrRaise(
                WithoutGil([&] { return self.publisher().Loan(bytes); }))));
          },
          MayWait(), py::keep_alive<0, 1>())
      .def(
          "room_descriptor",
          [](PythonPublisher& self) {
            return ValueOrRaise(
                WithoutGil([&] { return self.publisher().RoomDescriptor(); }));
          },
          MayWait())
      .def(
          "subscriber_count",
          [](PythonPublisher& self) {
            return WithoutGil(
                [&] { return self.publisher().subscriber_count(); });
          },
          MayWait())
      .def(
          "refusals",
          [](PythonPublisher& self) {
            py::list refusals;
            for (const absl::Status& status :
                 WithoutGil([&] { return self.publisher().refusals(); })) {
              refusals.append(ErrorOrNone(status));
            }
            return refusals;
          },
          MayWait())
      .def(
          "wait_for_subscribers",
          [](PythonPublisher& self, size_t count, double seconds) {
            const absl::Duration timeout = TimeoutOf(seconds);
            RaiseUnlessOk(WaitForRuntime([&](const KeepWaiting& keep_waiting) {
              return self.publisher().WaitForSubscribers(count, timeout,
                                                         keep_waiting);
            }));
          },
          MayWait());
}

}  // namespace mycelium
