#ifndef MYCELIUM_ROUTING_FLOW_TABLE_H_
#define MYCELIUM_ROUTING_FLOW_TABLE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "mycelium/base/mutex.h"
#include "mycelium/transport/lane/ledger.h"
#include "mycelium/transport/lane/lossy_stage.h"

namespace mycelium {

// Counts what the lossy lanes to one subscription of a peer drop, for each
// publisher of this node.
//
// Thread safety: all members may be called from any thread.
class FlowTable final : public DropSink {
 public:
  // `on_drop` is called at each drop, like OnDrop().
  explicit FlowTable(std::function<void()> on_drop)
      : on_drop_(std::move(on_drop)) {}

  void Add(uint32_t publisher, std::shared_ptr<FlowCounters> flow) {
    MutexLock lock(mutex_);
    flows_[publisher] = std::move(flow);
  }
  void Remove(uint32_t publisher) {
    MutexLock lock(mutex_);
    flows_.erase(publisher);
  }

  void OnDrop(const FrameView& frame, DropReason reason) override {
    MutexLock lock(mutex_);
    const auto flow = flows_.find(frame.header.publisher_id);
    if (flow != flows_.end()) flow->second->CountDropped(reason, 1);
    if (on_drop_ != nullptr) on_drop_();
  }

 private:
  const std::function<void()> on_drop_;
  Mutex mutex_;
  absl::flat_hash_map<uint32_t, std::shared_ptr<FlowCounters>> flows_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_FLOW_TABLE_H_
