#ifndef PYTHON_EXTENSION_SUBSCRIBER_H_
#define PYTHON_EXTENSION_SUBSCRIBER_H_

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "mycelium/bus/message_bus.h"
#include "python/extension/calls.h"
#include "python/extension/convert.h"

namespace mycelium {

class PythonPayload;

// A raw subscriber that several threads of Python may receive from: they take
// turns. Receiving while somebody has a view of the last message's bytes raises
// BufferError, since that message would be finished.
//
// Thread safety: called with the GIL. What it waits for, it waits for without.
// Who waits for the GIL may have the turn; who has the GIL never waits for the
// turn.
class PythonSubscriber final
    : public std::enable_shared_from_this<PythonSubscriber> {
 public:
  explicit PythonSubscriber(RawSubscriber subscriber)
      : subscriber_(std::move(subscriber)) {}

  // The next message, as a copy or as a view. Waits in parts.
  pybind11::bytes Receive(double seconds);
  std::shared_ptr<PythonPayload> ReceiveView(double seconds);

  // None if there is no message, or another thread is about to take it; raises
  // why no message will come.
  pybind11::object TryReceive();
  pybind11::object TryReceiveView();

  // Up to `count_max` messages: those that are there, after waiting for the
  // first. An empty list if none comes.
  pybind11::list ReceiveMany(size_t count_max, double seconds);

  // Finishes the last message.
  void Finish();

  pybind11::tuple info() const { return TupleOf(subscriber_.info()); }
  int Descriptor() { return ValueOrRaise(subscriber_.Descriptor()); }
  bool closed() const { return subscriber_.closed(); }

  // Of PythonPayload.
  bool IsCurrent(uint64_t generation) const {
    return generation == generation_;
  }
  void CountView(int change) { views_ += change; }

 private:
  // The right to receive, while it lives.
  using Turn = std::unique_lock<std::timed_mutex>;
  Turn TurnOrRaise(absl::Duration* timeout);
  // Makes what was received before unusable; raises if somebody uses it.
  void EndLast();
  ByteSpan WaitForNext(absl::Duration timeout);
  // Calls `use` for the next message; returns whether there was one.
  bool TakeNext(absl::FunctionRef<void(ByteSpan)> use);
  std::shared_ptr<PythonPayload> PayloadOf(ByteSpan bytes);

  std::timed_mutex turn_;
  RawSubscriber subscriber_;
  uint64_t generation_ = 0;  // Counts messages.
  int views_ = 0;            // Of the last one's bytes.
};

// The bytes of a message where they were received, as a buffer of Python that
// is read-only. They are gone with the next receive.
class PythonPayload final {
 public:
  PythonPayload(std::shared_ptr<PythonSubscriber> subscriber,
                uint64_t generation, ByteSpan bytes)
      : subscriber_(std::move(subscriber)),
        generation_(generation),
        bytes_(bytes) {}

  size_t size() const { return bytes_.size(); }
  bool valid() const { return subscriber_->IsCurrent(generation_); }

  int GetBuffer(PyObject* self, Py_buffer* view, int flags) const;
  void ReleaseBuffer() const { subscriber_->CountView(-1); }

 private:
  const std::shared_ptr<PythonSubscriber> subscriber_;
  const uint64_t generation_;
  const ByteSpan bytes_;
};

std::shared_ptr<PythonSubscriber> SubscriberOf(MessageBus& bus,
                                               const MessageType& type,
                                               const pybind11::kwargs& options);

}  // namespace mycelium

#endif  // PYTHON_EXTENSION_SUBSCRIBER_H_
