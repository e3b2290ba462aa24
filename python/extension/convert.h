#ifndef PYTHON_EXTENSION_CONVERT_H_
#define PYTHON_EXTENSION_CONVERT_H_

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "mycelium/bus/endpoint_stats.h"
#include "mycelium/bus/message_bus.h"

// Arguments and results of the extension. All functions here need the GIL.

namespace mycelium {

using ByteSpan = absl::Span<const std::byte>;

// Raises the exception of python/mycelium/errors.py that stands for `status`.
[[noreturn]] void Raise(const absl::Status& status);

inline void RaiseUnlessOk(const absl::Status& status) {
  if (!status.ok()) Raise(status);
}

template <typename T>
T ValueOrRaise(absl::StatusOr<T> value) {
  if (!value.ok()) Raise(value.status());
  return *std::move(value);
}

// The exception that Raise() would raise, or None for OK.
pybind11::object ErrorOrNone(const absl::Status& status);

// Raises Python's BufferError.
[[noreturn]] void RaiseBufferError(const char* text);

// What numpy asks an object with the buffer protocol for where it was refused
// the buffer: raises why. Without it numpy makes an array of one object.
pybind11::object ArrayOf(const pybind11::object& object,
                         const pybind11::args& args,
                         const pybind11::kwargs& options);

// InvalidArgument unless it is a number of seconds from 0 to a year.
absl::Duration TimeoutOf(double seconds);
// The same; TypeError for what is no number.
absl::Duration TimeoutOf(const pybind11::handle& seconds);

// Valid as long as the object, which nobody can change.
absl::string_view ViewOf(const pybind11::bytes& bytes);

pybind11::bytes BytesOf(absl::string_view view);
pybind11::bytes BytesOf(ByteSpan bytes);
pybind11::str TextOf(absl::string_view view);
// The same for what a peer or a user wrote, which may be no UTF-8.
pybind11::str ReplacingTextOf(absl::string_view view);

// The fields of mycelium.MessageInfo, in its order.
pybind11::tuple TupleOf(const MessageInfo& info);
pybind11::dict DictOf(const FlowReport& flow);
pybind11::dict DictOf(const LinkReport& link);
pybind11::dict DictOf(const EndpointCounts& counts);

// The contiguous bytes of an object that has the buffer protocol, which is held
// for as long as this lives.
class HeldBuffer final {
 public:
  // TypeError: it has no buffer, or one of references to objects.
  // InvalidArgument: its elements do not lie one behind the other, in the order
  // of C. What else the object raises.
  explicit HeldBuffer(const pybind11::handle& object);
  HeldBuffer(const HeldBuffer&) = delete;
  HeldBuffer& operator=(const HeldBuffer&) = delete;
  ~HeldBuffer() { PyBuffer_Release(&buffer_); }

  ByteSpan bytes() const {
    return ByteSpan(static_cast<const std::byte*>(buffer_.buf),
                    static_cast<size_t>(buffer_.len));
  }

 private:
  Py_buffer buffer_;
};

}  // namespace mycelium

#endif  // PYTHON_EXTENSION_CONVERT_H_
