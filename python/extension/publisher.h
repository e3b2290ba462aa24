#ifndef PYTHON_EXTENSION_PUBLISHER_H_
#define PYTHON_EXTENSION_PUBLISHER_H_

#include <pybind11/pybind11.h>

#include <shared_mutex>
#include <string>
#include <utility>

#include "mycelium/bus/loan.h"
#include "mycelium/bus/message_bus.h"
#include "python/extension/calls.h"
#include "python/extension/convert.h"

namespace mycelium {

// Room for a message, as a writable buffer of Python.
//
// Thread safety: guarded by the GIL. While Publish() runs, and once it is over,
// nobody gets a view or publishes; and it does not run while somebody has one.
// Calls that use the loan without the GIL take a lock, for which none waits
// with the GIL.
//
// In a forked child it has no bytes, and nobody takes the lock there.
class PythonLoan final {
 public:
  explicit PythonLoan(Loan loan) : loan_(std::move(loan)) {}

  void Publish();
  // Gives the room back, unless somebody has a view.
  void Close();
  size_t size();
  // False while it is being published, and afterwards.
  bool in_place();

  int GetBuffer(PyObject* self, Py_buffer* view, int flags);
  void ReleaseBuffer() { --views_; }

 private:
  // Null if it has bytes, else why not.
  const char* WhyWithoutBytes() const;

  std::shared_mutex mutex_;  // Of `loan_`, where the GIL is not held.
  Loan loan_;                // Changes only while `is_open_` is false.
  bool is_open_ = true;
  int views_ = 0;
};

// A raw publisher, for objects with the buffer protocol.
class PythonPublisher final {
 public:
  explicit PythonPublisher(RawPublisher publisher)
      : publisher_(std::move(publisher)) {}

  void Publish(const pybind11::handle& data) {
    const HeldBuffer buffer(data);
    RaiseUnlessOk(
        WithoutGil([&] { return publisher_.PublishShared(buffer.bytes()); }));
  }

  // Never waits for room.
  void TryPublish(const pybind11::handle& data) {
    const HeldBuffer buffer(data);
    RaiseUnlessOk(WithoutGil(
        [&] { return publisher_.TryPublishShared(buffer.bytes()); }));
  }

  RawPublisher& publisher() { return publisher_; }

 private:
  RawPublisher publisher_;
};

Owned<PythonPublisher> PublisherOf(MessageBus& bus, const MessageType& type,
                                   const std::string& service,
                                   const pybind11::kwargs& options);

}  // namespace mycelium

#endif  // PYTHON_EXTENSION_PUBLISHER_H_
