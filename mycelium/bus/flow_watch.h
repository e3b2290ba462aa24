#ifndef MYCELIUM_BUS_FLOW_WATCH_H_
#define MYCELIUM_BUS_FLOW_WATCH_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "mycelium/base/environment.h"
#include "mycelium/base/event_loop.h"
#include "mycelium/base/log.h"
#include "mycelium/base/mutex.h"
#include "mycelium/bus/flow_event.h"
#include "mycelium/routing/flow_report_table.h"

namespace mycelium {

// Tells of drops and stalls soon, but not one by one: it looks at the counters
// shortly after the first, and then at most once in a second.
//
// Thread safety: Note...() from any thread, with any lock held. The callback
// and the log are called on the loop.
//
// Ownership: borrows the environment and the loop.
class FlowWatch final {
 public:
  using Callback = std::function<void(const FlowEvent&)>;

  // `reports`: what the node has counted. `callback` may be null.
  FlowWatch(Environment& environment, EventLoop& loop,
            std::function<std::vector<FlowReport>()> reports, Callback callback,
            LogSink log);
  ~FlowWatch();

  // Some counter of drops has risen. While a look is due, this costs one atomic
  // exchange.
  void NoteDrop();
  void NoteStall(const std::string& lane);

 private:
  static constexpr int64_t kSoonNs = 10'000'000;
  static constexpr int64_t kPauseNs = 1'000'000'000;

  void Look();
  void ForgetFolded(const std::vector<FlowReport>& reports);
  void TellOfDrops(const FlowReport& flow);
  void LogDrop(const FlowEvent& event) const;

  Environment& environment_;
  EventLoop& loop_;
  const std::function<std::vector<FlowReport>()> reports_;
  const Callback callback_;
  const LogSink log_;
  std::atomic<bool> is_due_{false};
  std::atomic<uint64_t> timer_{0};
  std::atomic<int64_t> not_before_{0};
  FlowReportTable told_;  // On the loop.

  Mutex mutex_;
  std::set<std::string> stalled_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_FLOW_WATCH_H_
