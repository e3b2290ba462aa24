#ifndef MYCELIUM_BUS_OBSERVERS_H_
#define MYCELIUM_BUS_OBSERVERS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>

#include "absl/time/time.h"
#include "mycelium/base/environment.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/transport/channel.h"
#include "proto/mycelium/v1/status.pb.h"

namespace mycelium {

// Tells observers, which only look (`mycelium status`), what this node is
// doing. Each gets one NodeStatus, or a reason why not, and its connection
// ends: an observer is no peer, and no peer hears of it.
//
// Observers cost the node little, however many come. After an answer it rests
// for kRest times as long as that answer took, kRestMaxNs at most. An observer
// that comes during that time waits, and all that wait share one answer. There
// are at most kObserversMax at a time, and each has a deadline.
//
// Thread safety: on the loop.
//
// Ownership: borrows all it is given.
class Observers final {
 public:
  static constexpr size_t kObserversMax = 32;
  static constexpr int64_t kRest = 20;
  static constexpr int64_t kRestMaxNs = 500'000'000;

  // `deadline`: how long an observer may wait and take to read its answer.
  Observers(Environment& environment, EventLoop& loop, absl::Duration deadline,
            std::function<v1::NodeStatus()> status);
  ~Observers();

  // Answers the observer at the other end. Refuses it if it is not a process of
  // this host, and of this user or root, or if there are kObserversMax already.
  // Not from within a call of the channel.
  void Add(std::unique_ptr<Channel> channel);

  // Ends every connection. No answer follows.
  void Close();

  size_t count() const { return observers_.size(); }

 private:
  class Observer;

  void AnswerAll();
  void Remove(Observer* observer);

  Environment& environment_;
  EventLoop& loop_;
  const absl::Duration deadline_;
  const std::function<v1::NodeStatus()> status_;
  std::list<std::unique_ptr<Observer>> observers_;
  TimeNs next_answer_ = 0;  // Not before this time.
  uint64_t timer_ = 0;      // Set for that time; 0: none.
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_OBSERVERS_H_
