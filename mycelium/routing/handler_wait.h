#ifndef MYCELIUM_ROUTING_HANDLER_WAIT_H_
#define MYCELIUM_ROUTING_HANDLER_WAIT_H_

#include <cstdint>
#include <thread>

namespace mycelium {

class Subscription;

// A thread's wait, without a deadline, for another thread to be done with a
// subscription's handler. Handlers may unsubscribe each other, two or more in a
// circle, and would wait for ever. So a thread whose wait would close the
// circle is told so, and does not wait. The process has one table of the
// threads that wait, since a circle may have handlers of several nodes.
//
// Invariants:
//  (1) A wait is in the table from before its thread sleeps until after that,
//      unless it would close a circle. So the table has no circle, and all
//      threads in it wake up once the handlers that do not wait return.
//  (2) An edge from one wait to the next does not change while both last: the
//      subscription was shut before, so no thread enters its handler any more,
//      and the thread inside sleeps. So what is found is a real circle, and the
//      thread that comes last finds it, however many begin at once.
//
// Waits of other kinds are not seen: a wait with a deadline, which ends by
// itself, such as the wait for the node's thread of a call that listens or
// dials; a wait for room, for a lock of the program's or for another thread of
// the program; and the wait in the Close() of a bus.
//
// Thread safety: belongs to the thread that waits, which has one wait at a
// time.
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

  // Whether the thread in the handler waits for the caller, or is the caller.
  bool in_circle() const { return in_circle_; }

 private:
  class Table;

  const Subscription& subscription_;
  const std::thread::id thread_;
  const uint64_t number_;  // The thread's. 0: it takes from no queue.
  bool in_circle_;
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_HANDLER_WAIT_H_
