#ifndef PYTHON_EXTENSION_SUBSCRIBER_H_
#define PYTHON_EXTENSION_SUBSCRIBER_H_

#include <pybind11/pybind11.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "mycelium/base/fork_guard.h"
#include "mycelium/bus/message_bus.h"
#include "python/extension/calls.h"
#include "python/extension/convert.h"

namespace mycelium {

// A raw subscriber that several threads of Python may receive from: they take
// turns. Receiving while somebody has a view of the last message's bytes raises
// BufferError, since that message would be finished.
//
// Who receives says what makes a message of bytes: `parse`, a callable of
// Python. What it raises is raised, and the message counts as
// dropped[undecodable] if that is DataLoss. Else it was, as far as can be told,
// a signal handler that raised: what was taken is kept for the next receive.
// With None a message is a PythonPayload.
//
// A signal that comes while C++ code runs is handled when that has returned,
// and if the handler raises, what it returned is lost. So a receive runs
// handlers itself once it has all that it will return, and if one raises, keeps
// that.
//
// Thread safety: called with the GIL. What it waits for, it waits for without.
// Who waits for the GIL may have the turn; who has the GIL never waits for the
// turn.
class PythonSubscriber final
    : public std::enable_shared_from_this<PythonSubscriber> {
 public:
  explicit PythonSubscriber(RawSubscriber subscriber)
      : subscriber_(std::move(subscriber)) {
    subscriber_.LeaveCounting();
  }
  ~PythonSubscriber();  // Without the GIL.

  // The next message. `seconds`: of Python, where users first forget it.
  pybind11::object Receive(const pybind11::object& parse,
                           const pybind11::object& seconds);

  // None if there is no message, or another thread is about to take it; raises
  // why no message will come.
  pybind11::object TryReceive(const pybind11::object& parse);

  // Up to `count_max` messages: those that are there, after waiting for the
  // first. An empty list if none comes, or other threads receive all the while.
  // With None they are bytes. One that does not parse ends the list, and is
  // raised by the next receive.
  pybind11::list ReceiveMany(const pybind11::object& parse, size_t count_max,
                             double seconds);

  // Finishes the last message.
  void Finish();

  // Ends the subscription, for a thread that waits in Receive() too. A view of
  // the last message stays good, and that is then not finished.
  void Close();

  pybind11::tuple info() const { return TupleOf(info_); }
  int Descriptor() {
    return ValueOrRaise(
        WithoutGil([this] { return subscriber_.Descriptor(); }));
  }
  bool closed() const { return subscriber_.closed(); }
  absl::Status status() const { return subscriber_.status(); }

  // Of PythonPayload.
  bool IsCurrent(uint64_t generation) const {
    return generation == generation_ && !is_inherited();
  }
  bool is_inherited() const { return guard_.is_inherited(); }
  void CountView(int change) { views_ += change; }

 private:
  // A mutex that knows whether the caller has it, so that a signal handler, or
  // a callback, does not wait for the receive during which it runs.
  class TurnMutex final {
   public:
    bool try_lock() {
      if (is_mine() || !mutex_.try_lock()) return false;
      owner_ = std::this_thread::get_id();
      return true;
    }
    bool TryLockFor(absl::Duration timeout) {
      if (!mutex_.try_lock_for(absl::ToChronoNanoseconds(timeout))) {
        return false;
      }
      owner_ = std::this_thread::get_id();
      return true;
    }
    void unlock() {
      owner_ = std::thread::id();
      mutex_.unlock();
    }
    bool is_mine() const { return owner_.load() == std::this_thread::get_id(); }

   private:
    std::timed_mutex mutex_;
    std::atomic<std::thread::id> owner_{};
  };
  // The right to receive, while it lives.
  using Turn = std::unique_lock<TurnMutex>;
  // Waits for it, and takes the wait from `timeout`; without it if another
  // thread received all the while. Raises if this thread would wait for itself.
  Turn WaitForTurn(absl::Duration* timeout);
  // Returns what the call of a receive returns. If it raises and Close() came
  // meanwhile, nothing is kept.
  template <typename Call>
  auto KeepingIfOpen(const Call& call) -> decltype(call());
  // Makes what was received before unusable; raises if somebody uses it.
  void EndLast();
  // The next message's bytes; false if there is none now.
  bool TakeNext(ByteSpan* bytes);
  absl::Status WaitForNext(absl::Duration timeout, ByteSpan* bytes);
  // Keeps a message for the next receive, with those bytes, which were taken at
  // `taken`.
  void KeepTaken(ByteSpan bytes, ByteSpan taken);
  // Counts the message that was taken last as delivered. But first runs signal
  // handlers: if one raises, the message is kept instead, as by KeepTaken().
  void CountUnlessInterrupted(ByteSpan bytes, ByteSpan taken);
  // Counts it, if nobody got it, for who ends.
  void CountLeftOver();
  // The end of Close(), with the turn.
  void EndKept();
  // Raises what is being handled; DataLoss, which only knows its class, with
  // the message that was taken last.
  [[noreturn]] void RaiseNamed(const std::exception& error);
  // What to return for the message that was just taken, which is counted, or
  // kept if a signal handler raises.
  pybind11::object Parsed(const pybind11::object& parse, ByteSpan bytes);
  // `left`: what was kept, if it was. Else null.
  struct LeftOver;
  pybind11::object ParsedOrKept(const pybind11::object& parse, ByteSpan bytes,
                                const LeftOver* left);
  // The next of those that a receive had parsed before it was interrupted.
  pybind11::object TakeKept();
  pybind11::object ViewOrParsed(const pybind11::object& parse, ByteSpan bytes);
  // The messages that ReceiveMany() returns, and what their infos are.
  void TakeMany(const pybind11::object& parse, size_t count_max,
                absl::Duration timeout, pybind11::list* messages,
                std::vector<MessageInfo>* infos);
  // What was kept, as Receive() returns it.
  pybind11::object TakeLeftOver(const pybind11::object& parse);
  // Raises what ended the last list, or returns what was kept.
  pybind11::object ParseLeftOver(const pybind11::object& parse);
  bool has_kept() const { return !kept_.empty() || left_over_.has_value(); }
  bool is_left_uncounted() const {
    return left_over_.has_value() && !left_over_->is_counted;
  }

  // A message that ended a list, which was counted; or one with which a receive
  // was interrupted, which was not, and is not finished.
  struct LeftOver {
    std::string bytes;
    MessageInfo info;
    bool is_counted;
    ByteSpan taken;  // Where its bytes are. If it was not counted.
  };
  struct Kept {
    pybind11::object message;
    MessageInfo info;
  };

  const ForkGuard guard_;
  TurnMutex turn_;
  RawSubscriber subscriber_;
  MessageInfo info_;         // Of the last message returned or raised.
  uint64_t generation_ = 0;  // Counts messages.
  int views_ = 0;            // Of the last one's bytes.
  std::deque<Kept> kept_;    // Before what is left over.
  std::optional<LeftOver> left_over_;
  bool is_closed_ = false;  // Guarded by the GIL.
};

std::shared_ptr<PythonSubscriber> SubscriberOf(MessageBus& bus,
                                               const MessageType& type,
                                               const pybind11::kwargs& options);

}  // namespace mycelium

#endif  // PYTHON_EXTENSION_SUBSCRIBER_H_
