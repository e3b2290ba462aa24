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

// The origins that somebody publishes as, or has counted messages of, each one
// once. One lasts as long as somebody keeps it (Origin::Keep()), so the table
// does not grow with those that there were.
//
// Thread safety: all members may be called from any thread. Who lets go of an
// origin may do so with any lock held.
//
// Ownership: origins may outlive the table.
class OriginTable final {
 public:
  // The one object that equals `origin`. Null: it would be one of more than
  // `most`.
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
