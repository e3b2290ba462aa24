#ifndef MYCELIUM_BUS_NODE_REGISTRY_H_
#define MYCELIUM_BUS_NODE_REGISTRY_H_

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "mycelium/base/mutex.h"
#include "mycelium/bus/node_runtime.h"
#include "mycelium/bus/options.h"

namespace mycelium {

// The nodes that this process runs, by topology file and node name: how buses
// of services that were made apart find each other. It is the only global of
// Mycelium that knows nodes, and keeps none of them alive. The child of a
// fork() begins with an empty one (PerProcess).
//
// Thread safety: all members may be called from any thread.
class NodeRegistry final {
 public:
  static NodeRegistry& Get();

  // The node that hosts `service` according to that file: the one that runs
  // already, or a new one. For the errors see MessageBus::FromTopology().
  absl::StatusOr<std::shared_ptr<NodeRuntime>> Join(const std::string& path,
                                                    const std::string& service,
                                                    const BusOptions& options);

  // The node for buses of this process that have no topology and share it.
  absl::StatusOr<std::shared_ptr<NodeRuntime>> JoinProcess(
      const BusOptions& options);

 private:
  // Canonical path, node; both empty for the node without a topology.
  using Key = std::pair<std::string, std::string>;

  struct Known {
    std::weak_ptr<NodeRuntime> node;
    std::shared_ptr<const std::atomic<bool>> ended;  // Null: there was none.

    bool HasEnded() const {
      return ended == nullptr || ended->load(std::memory_order_acquire);
    }
  };

  Mutex mutex_;
  std::map<Key, Known> nodes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mycelium

#endif  // MYCELIUM_BUS_NODE_REGISTRY_H_
