#ifndef MYCELIUM_ROUTING_WAIT_GRAPH_H_
#define MYCELIUM_ROUTING_WAIT_GRAPH_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "mycelium/base/environment.h"
#include "mycelium/base/mutex.h"
#include "mycelium/routing/subscription.h"
#include "mycelium/transport/lane/lane.h"
#include "proto/mycelium/v1/control.pb.h"

namespace mycelium {

// Which threads of this node wait for room in which lanes. A thread that takes
// from a queue makes no room there while it waits. So threads that wait for
// each other in a circle, in this process or through several, wait in vain: a
// wait that is found to be in a circle ends with an error instead.
//
// The algorithm is edge chasing, for waits for one resource at a time (Chandy,
// Misra and Haas, "Distributed deadlock detection", 1983). A thread that waits
// sends a probe along the edges: from the lane to the thread that takes from
// it; if that thread waits too, on to the lane that it waits for, and so on. A
// probe that comes back to the wait that sent it has gone round a circle.
//
// Invariants:
//  (1) A probe passes an edge only if nothing was handled in that lane since
//      the thread behind the edge has seen it full. So each thread on its way
//      waited when the next one did, and still does when the probe comes back:
//      the circle that is found exists, and is not a past one.
//  (2) The last wait that closes a circle finds it, since it looks when all the
//      others wait. Two that begin at once may both find it.
//  (3) A probe passes no wait twice, and at most kStepsMax waits; it carries
//      names of at most kNamesBytesMax. A wait passes on at most kPassedMax
//      probes from one Look() to the next, however many come.
//
// The graph knows a queue's thread, and the thread that pulled last. It does
// not see a handler that leaves waiting to another thread, an inline handler
// that a waiting thread runs, or a thread that takes as one node of its process
// and publishes as another: such a circle lasts until the deadline.
//
// Thread safety: all members may be called from any thread; for a Wait see
// there.
//
// Locks: `tell` is called with none held.
class WaitGraph final {
 public:
  static constexpr int kStepsMax = 64;
  static constexpr size_t kNamesBytesMax = 8192;
  static constexpr int kPassedMax = 64;

  // Sends `awaited` to the peer that reads the lane, with the lane's number
  // filled in.
  using Tell = std::function<void(const Lane& lane, v1::RoomAwaited awaited)>;

  // `incarnation`: of this run of the node. `first`: the number of the first
  // wait, which no other process can guess.
  WaitGraph(Environment& environment, std::string node, uint64_t incarnation,
            uint64_t first, Tell tell)
      : environment_(environment),
        node_(std::move(node)),
        incarnation_(incarnation),
        tell_(std::move(tell)),
        next_number_(first) {}

  // One thread's wait for room in one lane. Costs nothing before the first
  // Look().
  //
  // Thread safety: belongs to the thread that waits, except in_circle().
  class Wait final {
   public:
    // `subscription`: the one whose queue the lane is; null: the lane leads to
    // a peer. With a null `graph` nothing is found.
    Wait(WaitGraph* graph, std::shared_ptr<Lane> lane,
         std::shared_ptr<Subscription> subscription)
        : graph_(graph),
          lane_(std::move(lane)),
          subscription_(std::move(subscription)) {}
    ~Wait() {
      if (is_known_) graph_->Remove(*this);
    }
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;

    // Sends a probe: there was no room when Lane::released() was `released`.
    // Does nothing on a thread that has never taken from a queue.
    void Look(uint64_t released) {
      if (graph_ != nullptr) graph_->Look(*this, released);
    }
    // Whether a probe came back. The lane's room_event() is notified then.
    bool in_circle() const { return found_.load(std::memory_order_acquire); }
    // Which queue waits for which, in words. REQUIRES: in_circle().
    const std::string& circle() const { return circle_; }

   private:
    friend class WaitGraph;

    WaitGraph* const graph_;
    const std::shared_ptr<Lane> lane_;
    const std::shared_ptr<Subscription> subscription_;
    bool is_known_ = false;  // To the graph.
    // Under the graph's lock.
    uint64_t number_ = 0;  // Unique in this run.
    uint64_t released_ = 0;
    int passed_ = 0;      // Probes of others since the last Look().
    std::string circle_;  // Written before `found_`.
    std::atomic<bool> found_{false};
  };

  // A peer's probe has come along a lane to that queue, and nothing of the lane
  // was handled since. Ignores a probe that makes no sense.
  void OnAwaited(const v1::RoomAwaited& awaited, const Subscription& queue);

 private:
  void Look(Wait& wait, uint64_t released);
  void Remove(const Wait& wait);
  // Leads the probe on from the wait to which it has come: as far as it goes in
  // this process. Returns the lane by which it leaves the process; null: it
  // does not leave it.
  std::shared_ptr<Lane> Follow(const Wait& wait, v1::RoomAwaited* probe)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The wait to which the probe comes in that queue, as its next step. Null:
  // the probe ends there, maybe where it began.
  const Wait* Enter(const Subscription& queue, v1::RoomAwaited* probe)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Close(Wait& wait, const v1::RoomAwaited& probe, const std::string& name);
  void AddStep(const Wait& wait, const std::string& name,
               v1::RoomAwaited* probe) const;
  bool IsOf(const v1::RoomAwaited::Step& step, const Wait& wait) const {
    return step.incarnation() == incarnation_ && step.wait() == wait.number_;
  }
  std::string NameOf(const Subscription& queue) const;

  Environment& environment_;
  const std::string node_;
  const uint64_t incarnation_;
  const Tell tell_;

  Mutex mutex_;
  uint64_t next_number_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, Wait*> waits_ ABSL_GUARDED_BY(mutex_);  // By thread.
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_WAIT_GRAPH_H_
