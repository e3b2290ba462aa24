#ifndef MYCELIUM_ROUTING_DEPARTED_SUBSCRIPTIONS_H_
#define MYCELIUM_ROUTING_DEPARTED_SUBSCRIPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mycelium/base/mutex.h"
#include "mycelium/message/message_info.h"
#include "mycelium/routing/flow_report_table.h"
#include "mycelium/routing/subscription.h"
#include "mycelium/transport/link.h"

namespace mycelium {

// Counts the messages that peers had accepted for subscriptions that have ended
// here, and that are dropped here. A peer that has not heard of the end yet may
// still match such a subscription, and counts what it sends as accepted. The
// oldest subscriptions are forgotten; what was counted for them stays in sums.
//
// Thread safety: any thread, unless a comment names the thread.
class DepartedSubscriptions final {
 public:
  void Add(const Subscription& subscription);
  // Counts what comes from `origin` for a subscription that ended. One that has
  // been forgotten, or never was here, is counted without its names. Never
  // null. On the loop, where matches end.
  std::shared_ptr<FlowCounters> FlowFrom(
      uint32_t subscription, const std::shared_ptr<const Origin>& origin);
  // Counts a message of that link whose publisher was refused: for which
  // subscription it was is not known.
  void CountRefused(const Link& link);
  // Without the name of the subscribing node, which is ours.
  std::vector<FlowReport> Reports() const;

 private:
  struct Departed {
    std::string service;
    std::string name;
    std::map<std::shared_ptr<const Origin>, std::shared_ptr<FlowCounters>>
        flows;
  };

  static constexpr size_t kBeforeLookMin = 64;

  static void Report(const Departed& departed, FlowReportTable* reports);

  // Adds to the sums what was counted for unknown subscriptions by matches that
  // are over. On the loop.
  void FoldUnknown() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  std::map<uint32_t, Departed> departed_ ABSL_GUARDED_BY(mutex_);
  // Stands for all subscriptions that are not remembered.
  Departed unknown_ ABSL_GUARDED_BY(mutex_);
  // With so many flows of `unknown_`, those that are over are looked for.
  size_t before_look_ ABSL_GUARDED_BY(mutex_) = kBeforeLookMin;
  FlowReportTable forgotten_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_DEPARTED_SUBSCRIPTIONS_H_
