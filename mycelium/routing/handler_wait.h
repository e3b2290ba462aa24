#ifndef MYCELIUM_ROUTING_HANDLER_WAIT_H_
#define MYCELIUM_ROUTING_HANDLER_WAIT_H_

#include <cstdint>
#include <thread>

namespace mycelium {

class Subscription;

// A thread's wait, without a deadline, for another thread to be done with a
// subscription's handler. Handlers may unsubscribe each other, two or more in a
// circle, and would wait for ever: who would close the circle is told so, and
// does not wait. One table of the process says who waits, since handlers of
// several nodes may be in it.
//
// Invariants:
//  (1) A wait is in the table from before its thread sleeps until after that,
//      unless it would close a circle. So there is none in the table, and all
//      who wait are let go when those who do not return.
//  (2) A way from one wait to the next does not change while both last: the
//      subscription was shut before, so nobody enters its handler any more, and
//      who is inside sleeps. So what is told is a circle, and the one who comes
//      last finds it, however many begin at once.
//
// A wait of another kind is not seen: one with a deadline, which ends by
// itself, one for room, for a lock of the program's or for another thread of
// it, nor that of a bus which is closed.
//
// Thread safety: belongs to the thread that waits, which has one at a time.
//
// Ownership: borrows the subscription.
//
// Example:
//   const HandlerWait wait(subscription);
//   if (wait.in_circle()) return;
//   ...                              // Sleeps until the handler has returned.
class HandlerWait final {
 public:
  // REQUIRES: the subscription was shut.
  explicit HandlerWait(const Subscription& subscription);
  ~HandlerWait();
  HandlerWait(const HandlerWait&) = delete;
  HandlerWait& operator=(const HandlerWait&) = delete;

  // Whether who is in the handler waits for the caller, or is the caller.
  bool in_circle() const { return in_circle_; }

 private:
  class Table;

  const Subscription& subscription_;
  const std::thread::id thread_;
  const uint64_t number_;  // The thread's; 0: it takes from no queue.
  bool in_circle_;
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_HANDLER_WAIT_H_
