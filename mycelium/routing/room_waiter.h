#ifndef MYCELIUM_ROUTING_ROOM_WAITER_H_
#define MYCELIUM_ROUTING_ROOM_WAITER_H_

#include "absl/functional/function_ref.h"
#include "mycelium/base/clock.h"
#include "mycelium/base/event_count.h"

namespace mycelium {

// Lets a thread wait for something that other threads, or the node's event
// loop, bring about. Knows which threads may wait: a thread that runs the loop
// would wait for itself.
//
// Thread safety: may be called from any thread.
class RoomWaiter {
 public:
  enum class Outcome {
    kReady,
    kDeadline,
    kWouldDeadlock,  // Only the calling thread could make it ready.
  };

  virtual ~RoomWaiter() = default;

  // Waits until `ready` returns true, looking again at each notification of
  // `event`, or until `deadline`.
  virtual Outcome WaitFor(EventCount& event, absl::FunctionRef<bool()> ready,
                          TimeNs deadline) = 0;

  // If the node's threads may spin, spins for a moment, or until `is_over`
  // returns true or `deadline`. `is_over` must not wait for a lock. Does
  // nothing on the thread that runs the loop.
  virtual void Rest(absl::FunctionRef<bool()> /*is_over*/,
                    TimeNs /*deadline*/) {}
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_ROOM_WAITER_H_
