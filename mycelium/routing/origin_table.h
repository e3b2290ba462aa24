#ifndef MYCELIUM_ROUTING_ORIGIN_TABLE_H_
#define MYCELIUM_ROUTING_ORIGIN_TABLE_H_

#include <cstddef>
#include <limits>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "mycelium/base/mutex.h"
#include "mycelium/message/message_info.h"

namespace mycelium {

// The origins that publishers have, or for which messages are counted, each of
// them once. An origin lasts as long as it has an owner (Origin::Keep()), so
// the table does not grow with past ones.
//
// Thread safety: all members may be called from any thread. An origin may be
// let go of with any lock held.
//
// Ownership: origins may outlive the table.
class OriginTable final {
 public:
  // The one object that equals `origin`. Null: it is new, and there are `most`
  // already.
  std::shared_ptr<const Origin> Intern(
      Origin origin, size_t most = std::numeric_limits<size_t>::max());

  size_t size() const;

 private:
  struct Known {
    mutable Mutex mutex;
    absl::flat_hash_map<std::string, std::weak_ptr<const Origin>> origins
        ABSL_GUARDED_BY(mutex);
  };

  const std::shared_ptr<Known> known_ = std::make_shared<Known>();
};

}  // namespace mycelium

#endif  // MYCELIUM_ROUTING_ORIGIN_TABLE_H_
